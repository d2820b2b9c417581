"""`signatlas evaluate --calibration` from end to end, with a real (untrained) encoder on a small corpus."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.format import Corpus, clips_to_table, write_corpus
from signatlas.errors import UserError
from signatlas.evaluation.confidence.evaluator import evaluate
from signatlas.evaluation.confidence.measures import Answers, summarize
from signatlas.evaluation.report import Evaluation
from signatlas.models.sign_encoder import SignEncoder, SignEncoderConfig
from signatlas.retrieval import index_version
from signatlas.retrieval.confidence import WORDS
from signatlas.retrieval.index_version import CorpusPart, as_rows
from signatlas.retrieval.search import SignSearch


def save_model(folder: Path, seed: int) -> Path:
    import torch

    torch.manual_seed(seed)
    config = SignEncoderConfig(width=32, heads=4, depth=1, feedforward=32, embedding=16, frames=16, dims=2)
    SignEncoder(config).save_pretrained(folder, "# A card of its own\n")
    return folder


@pytest.fixture(scope="module")
def corpus(two_part_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Dev and test have signs that no webcam recording of train shows; one test clip has no hand."""
    clips = []
    for number, clip in enumerate(two_part_corpus):
        if clip.source == "dictionary" and number % 3 == 0:
            clip = replace(clip, split="dev")
        if clip.id == "web/wort 3/7":
            poses = clip.poses.copy()
            poses[:, 33:] = np.nan
            clip = replace(clip, poses=poses)
        clips.append(clip)
    info = replace(two_part_corpus.info, checksums={}, sizes={}, counts={})
    return write_corpus(tmp_path_factory.mktemp("corpora") / "words", info, clips)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0)


@pytest.fixture(scope="module")
def built(model: Path, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    out = tmp_path_factory.mktemp("out") / "built"
    return evaluate(str(model), corpus.path, folder=out)


def rows_of(evaluation: Evaluation) -> list[dict[str, str]]:
    with (evaluation.folder / "answers.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_figures_can_be_counted_in_the_answers(built: Evaluation) -> None:
    rows = rows_of(built)
    document = json.loads((built.folder / "report.json").read_text("utf-8"))
    test = [r for r in rows if r["split"] == "test"]
    present, absent = ([r for r in test if r["present"] == p] for p in "10")
    assert len(present) > 15 and len(absent) == 4 and document["left_out"] == 1
    for row in document["words"]:
        for split in ("dev", "test"):
            said = [r for r in rows if r["split"] == split and r["present"] == "1" and r["verdict"] == row["word"]]
            assert row[split]["total"] == len(said)
            assert row[split]["count"] == sum(r["right"] == "1" for r in said)
        assert row["absent"]["count"] == sum(r["verdict"] == row["word"] for r in absent)
    rates = document["rates"]
    wrong = [r for r in present if r["verdict"] == "probable" and r["right"] == "0"]
    assert rates["wrong but probable, of present signs"]["share"] == len(wrong) / len(present)
    assert rates["not found, of present signs"]["count"] == sum(r["verdict"] == "not found" for r in present)
    assert rates["found, of absent signs"]["count"] == sum(r["verdict"] != "not found" for r in absent)
    assert document["first_hit_right"]["count"] == sum(r["right"] == "1" for r in present)
    assert all(r["right"] == "0" for r in absent)


def test_each_answer_is_that_of_a_search_by_either_hand(model: Path, corpus: Corpus, tmp_path: Path) -> None:
    clips = [c for c in corpus if c.split in ("train", "dev") and c.source == "webcam"]
    vectors, rows = SignEncoder.from_pretrained(model).embed_clips(clips), as_rows([clips_to_table(clips)])
    index_version.write(
        tmp_path / "index", vectors, rows, model=model, corpus=CorpusPart.of(corpus), shards=3, version="v1"
    )
    opened = index_version.activate(tmp_path / "index", "v1")
    evaluation = evaluate(str(model), corpus.path, index=tmp_path / "index", folder=tmp_path / "out")
    assert any("thresholds are those of searches as recorded" in note for note in evaluation.document["notes"])
    search, queries = SignSearch(opened), {c.id: c for c in corpus}
    rows = rows_of(evaluation)
    assert {r["split"] for r in rows} == {"dev", "test"}
    for row in rows[::3]:
        clip = queries[row["query"]]
        aspect = clip.width / clip.height if clip.width and clip.height else None
        hits = search.search(clip.poses, aspect=aspect, k=1, leave_out=clip.id)  # dev recordings are in this index
        assert row["first"] == hits[0].id != clip.id
        assert float(row["score"]) == pytest.approx(hits[0].score, abs=1e-5)
        assert row["verdict"] == opened.manifest.confidence.verdict(float(row["score"]))
        assert row["right"] == str(int(hits[0].gloss == clip.gloss))


def test_the_report_says_what_was_measured(built: Evaluation) -> None:
    text = (built.folder / "report.md").read_text("utf-8")
    for expected in ("# Confidence words: two-part", "synthetic signing", "searched by either hand", "if exact",
                     "With every second sign absent", "# A card of its own"):  # fmt: skip
        assert expected in text
    assert (built.folder / "reliability.png").read_bytes().startswith(b"\x89PNG")
    printed = "\n".join(built.lines)
    assert "protocol: calibration, split test" in printed and "thresholds: best scores of" in printed


def answers(present: list[bool], verdicts: list[str], right: list[bool]) -> Answers:
    count = len(present)
    text = np.array([""] * count, dtype=object)
    return Answers(text, text, text, np.array(present, bool), text, np.zeros(count), np.array(verdicts, object),
                   np.array(right, bool))  # fmt: skip


def test_errors_of_a_small_example() -> None:
    """Dev promises 3 in 4 for probable and nothing for possible; test gets 1 of 2, and one word without promise."""
    dev = answers([True] * 4 + [False] * 2, ["probable"] * 4 + ["probable", "not found"], [True] * 3 + [False] * 3)
    test = answers([True] * 3 + [False], ["probable", "probable", "possible", "probable"], [True, False, True, False])
    result = summarize(dev, test)
    present = result["calibration_error"]["present signs"]
    assert present["error"] == pytest.approx(0.25) and present["without_promise"] == 1
    assert present["promised"] == {"probable": 0.75}
    mixed = result["calibration_error"]["every second sign absent"]
    # Half of the weight on each kind: dev 3/8 right of 1/2 + 1/4 probable; test 1/4 right of 1/2 + 1/2.
    assert mixed["promised"] == {"probable": pytest.approx(0.5), "not found": 0.0}
    assert mixed["error"] == pytest.approx(0.25) and mixed["measured"] == {"probable": pytest.approx(0.25)}
    assert result["rates"]["probable, of absent signs"]["share"] == 1.0
    assert result["rates"]["wrong, of those called probable"]["share"] == 0.5
    assert [row["word"] for row in result["words"]] == list(WORDS)


def test_without_dev_recordings_nothing_is_promised() -> None:
    test = answers([True, True], ["probable", "not found"], [True, False])
    result = summarize(answers([], [], []), test)
    assert result["calibration_error"] == {"present signs": None}
    assert result["words"][0]["dev"] == {"count": 0, "total": 0, "share": None, "interval": None}


@pytest.fixture
def command(model: Path, corpus: Corpus, tmp_path: Path) -> Callable[..., str]:
    """Run the command on the corpus; returns the message of its UserError."""
    import typer
    from typer.testing import CliRunner

    from cli.evaluate import evaluate as evaluate_command

    app = typer.Typer()
    app.command()(evaluate_command)

    def run(*options: object) -> str:
        arguments = [str(model), "--corpus", corpus.path, "--out", str(tmp_path / "out"), *map(str, options)]
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, UserError), result.output
        assert not (tmp_path / "out").exists() and "\n" not in str(result.exception)
        return str(result.exception)

    return run


def test_mistakes_are_one_line(command: Callable[..., str], corpus: Corpus, tmp_path: Path) -> None:
    assert "--protocol is not for --calibration" in command("--calibration", "--protocol", "closed")
    assert "--index is for --calibration" in command("--protocol", "closed", "--index", tmp_path)
    assert "compares a split with dev" in command("--calibration", "--split", "dev")
    assert "no split 'tset'" in command("--calibration", "--split", "tset")
    assert "no index at" in command("--calibration", "--index", tmp_path / "nothing")
    clips = [c for c in corpus if c.source == "webcam"]
    for name, seed, entries in (("other", 1, clips), ("one", 0, [replace(c, gloss="the same") for c in clips])):
        folder, root = save_model(tmp_path / name, seed), tmp_path / f"index-{name}"
        vectors, rows = SignEncoder.from_pretrained(folder).embed_clips(entries), as_rows([clips_to_table(entries)])
        index_version.write(root, vectors, rows, model=folder, corpus=CorpusPart.of(corpus), version="v1")
        index_version.activate(root, "v1")
    assert "was built with another model: evaluate its copy" in command(
        "--calibration", "--index", tmp_path / "index-other"
    )
    assert "fewer than two glosses" in command("--calibration", "--index", tmp_path / "index-one")
