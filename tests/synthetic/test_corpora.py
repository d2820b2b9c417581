"""End-to-end: composed corpora from plan to corpus.json, by Ray Data and by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cli.main import main
from signatlas.corpus.doctor import examine
from signatlas.corpus.format import Corpus, clip_digest
from signatlas.errors import CorpusError
from signatlas.synthetic.composition.composer import Composer
from signatlas.synthetic.composition.corpora import plan
from tests.synthetic.conftest import SEVERAL, SINGLE
from trainers.pipelines.compose import compose


def test_the_corpus_does_not_depend_on_the_number_of_workers(
    ray_session: None, lexicon_corpus: Path, sentences_file: Path, tmp_path: Path
) -> None:
    planned = plan("sentences", Corpus.open(lexicon_corpus), sentences=sentences_file, name="own", signers=6)
    done: list[int] = []
    one = compose(planned, tmp_path / "one", workers=1, progress=done.append)
    three = compose(planned, tmp_path / "three", workers=3)
    assert done == list(range(1, 60))
    assert one.info.fingerprint == three.info.fingerprint
    assert [clip.id for clip in one] == [s.id for s in planned.sentences] == [clip.id for clip in three]
    composer = Composer(planned.lexicon, planned.settings, planned.words)
    assert [clip_digest(composer.compose(s)) for s in planned.sentences[:5]] == [clip_digest(c) for c in list(one)[:5]]
    assert examine(one) == []


def test_corpus_json_describes_the_composition(
    ray_session: None, lexicon_corpus: Path, sentences_file: Path, tmp_path: Path
) -> None:
    planned = plan("sentences", Corpus.open(lexicon_corpus), sentences=sentences_file, name="own")
    corpus = compose(planned, tmp_path / "own")
    made = json.loads((tmp_path / "own" / "corpus.json").read_text())["made"]
    assert corpus.info.synthetic and "not for learning to sign" in made["notice"]
    assert made["sentences_without_gloss"] == ["own/007"] and len(corpus) == 59
    assert made["lexicon"]["fingerprint"] == Corpus.open(lexicon_corpus).info.fingerprint
    assert made["frames"]["median_ratio"] == 1 and made["frames"]["within_a_tenth"] == 1
    assert made["frames"]["plain_concatenation_median_ratio"] > 1.3
    for gloss, sign in made["signs"].items():
        assert sign["kind"] == "real" and sign["shared"] == (gloss in SINGLE)
        assert sum(sign["recordings"].values()) == (9 if gloss in SEVERAL else 3)
    signers = {split: {r["signer"] for r in corpus.split(split).metadata()} for split in corpus.info.counts}
    assert not signers["train"] & signers["test"] and not signers["train"] & signers["dev"]
    columns = pq.read_table(tmp_path / "own" / "clips").to_pylist()
    assert all(len(row["glosses"]) == len(row["gloss_kinds"]) == len(row["exemplars"]) for row in columns)


def test_recordings_are_disjoint_between_splits_for_words_with_several(
    ray_session: None, lexicon_corpus: Path, sentences_file: Path, tmp_path: Path
) -> None:
    corpus = compose(
        plan("sentences", Corpus.open(lexicon_corpus), sentences=sentences_file, name="own"), tmp_path / "own"
    )
    used: dict[str, set[str]] = {}
    for row in corpus.metadata():
        for gloss, exemplar in zip(row["glosses"], row["exemplars"], strict=True):
            if gloss in SEVERAL:
                used.setdefault(exemplar, set()).add(row["split"])
    assert used and all(len(splits) == 1 for splits in used.values())


def test_the_compose_command(lexicon_corpus: Path, sentences_file: Path, tmp_path: Path, ray_session: None,
                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    out = tmp_path / "own"
    command = ["corpus", "compose", "--kind", "sentences", "--lexicon", str(lexicon_corpus), "--out", str(out)]
    with pytest.raises(SystemExit) as exit_info:
        main([*command, "--sentences", str(sentences_file)])
    output = capsys.readouterr().out
    assert exit_info.value.code == 0
    assert "59 clips" in output and "skipped 1 sentences without a gloss: own/007" in output
    assert "not for learning to sign" in output
    for extra, message in (
        (["--sentences", str(sentences_file)], "already exists"),
        (["--overwrite"], "needs --sentences"),
        (["--out", "/proc/nowhere/own", "--sentences", str(sentences_file)], "cannot be created"),
        (["--signers", "2"], "--signers"),
        (["--overwrite", "--sentences", str(tmp_path / "none.jsonl")], "cannot be read"),
    ):
        with pytest.raises(SystemExit) as exit_info:
            main([*command, *extra])
        assert exit_info.value.code == 2 and message in capsys.readouterr().err


def test_glosses_without_a_sign_are_named(lexicon_corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text('{"id": "1", "split": "train", "glosses": ["many0", "unheard"], "texts": {"de": "x"}}\n')
    with pytest.raises(CorpusError, match=r"no sign for 1 glosses \(unheard"):
        plan("sentences", Corpus.open(lexicon_corpus), sentences=file, name="own")
    with pytest.raises(CorpusError, match="unknown kind"):
        plan("songs", Corpus.open(lexicon_corpus), name="own")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is not a valid sentence"),
        ('{"id": 1, "split": "train", "glosses": []}', "line 1 is not a valid sentence"),
        ('{"id": 1, "split": "train", "glosses": "ich", "texts": {}}', "line 1 is not .*glosses is not a list"),
        ('{"id": 1, "split": "dry", "glosses": [], "texts": {}}', "unknown split 'dry'"),
    ],
)
def test_invalid_lines_of_a_sentences_file_are_named(
    lexicon_corpus: Path, tmp_path: Path, line: str, message: str
) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(CorpusError, match=message):
        plan("sentences", Corpus.open(lexicon_corpus), sentences=file, name="own")
