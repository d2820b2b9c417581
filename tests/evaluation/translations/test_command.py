"""`signatlas evaluate` and `signatlas compare` on translators, from end to end, in one process and with Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from cli.compare import compare
from cli.evaluate import translations as command
from cli.evaluate.command import evaluate
from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import UserError
from signatlas.evaluation.signs.report import run_name
from signatlas.evaluation.translations.comparison import read
from signatlas.evaluation.translations.decoding import Batch, Decoded, Decoder, Decoding, Work
from signatlas.evaluation.translations.report import read_hypotheses
from signatlas.features.store import FeatureStore, write
from signatlas.metrics import translation as metrics
from signatlas.models.translator import translator as translators
from tests.evaluation.translations.tiny_translator import train
from trainers.pipelines.translate import Worker, spread


def run(function: Any, *arguments: object) -> Any:
    app = typer.Typer()
    app.command()(function)
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def model(sentence_corpus: Corpus, sentence_features: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translators") / "tiny" / "model"
    train(folder, sentence_corpus, {"kind": "features", "max_frames": 8}, features=sentence_features.path)
    return folder


@pytest.fixture(scope="module")
def evaluated(model: Path, sentence_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An evaluation in this process, and what it printed."""
    out = tmp_path_factory.mktemp("evaluations") / "here"
    done = run(evaluate, model, "--corpus", sentence_corpus.path, "--out", out, "--workers", 0, "--batch-size", 5)
    assert done.exception is None, done.exception
    return out, done.stdout


def document_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    return found


def test_a_run_and_its_stages_have_names_of_their_own() -> None:
    names = ("runs/x_0/model", "runs/x_0/alignment/model", "x_0/alignment", "hub/name", "alignment", "/tmp/model")
    assert [run_name(name) for name in names] == ["x_0", "x_0/alignment", "x_0/alignment", "name", "alignment", "tmp"]


def test_options_are_defaults_unless_given_zero_too(model: Path, sentence_corpus: Corpus) -> None:
    work = command.work_of(
        str(model), sentence_corpus, "test", None, command.Options(length_penalty=0.0, max_glosses=0)
    )
    assert work.decoding == Decoding(8, 60, 0.0) and work.splits == ("test", "train")
    assert command.Options(length_penalty=0.0, beams=2, workers=3).changed() == "beams 2 length_penalty 0"
    assert command.Options(workers=3).changed() == "all"


def test_the_type_of_translators_is_known_without_importing_them() -> None:
    assert command.MODEL_TYPE == translators.MODEL_TYPE


def test_every_figure_can_be_computed_again_from_the_texts(evaluated: tuple[Path, str]) -> None:
    document, rows = document_of(evaluated[0]), read_hypotheses(evaluated[0])
    references = [row["reference"] for row in rows]
    assert len(rows) == 24 and len({row["hypothesis"] for row in rows}) > 5
    whole = {r["system"]: r for r in document["results"] if r["subset"] == "all"}
    for system in whole:
        told = [row["hypothesis" if system == "model" else system] for row in rows]
        expected = metrics.score(told, references, "de")
        assert {n: whole[system][n] for n in metrics.FIGURES} == pytest.approx(
            {n: expected[n] for n in metrics.FIGURES}
        )
        assert document["signature"] == expected["signature"]
    each = metrics.sentence_scores([row["hypothesis"] for row in rows], references, "de")
    assert [row["ROUGE-L"] for row in rows] == pytest.approx(each["ROUGE-L"].tolist(), abs=1e-3)
    # A model of these features has learned: texts of words that it has seen, in orders that it has not.
    assert document["bootstrap"]["differences"]["most frequent sentence"]["ROUGE-L"]["beats"]


def test_the_nearest_control_has_the_text_of_the_nearest_training_clip(
    evaluated: tuple[Path, str], model: Path, sentence_corpus: Corpus, sentence_features: FeatureStore
) -> None:
    rows, documents = read_hypotheses(evaluated[0]), sentence_corpus.metadata()
    texts = {row["id"]: text_in(row, "de") for row in documents}
    decoder = Decoder(command.work_of(str(model), sentence_corpus, "test", None, command.Options()))
    train_ids = [row["id"] for row in documents if row["split"] == "train"]
    gallery = decoder(Batch(train_ids, False)).vectors
    for row in rows[:6]:
        cosine = gallery @ decoder(Batch([row["id"]], False)).vectors[0]
        assert row["nearest_id"] == train_ids[int(np.argmax(cosine))]
        assert row["nearest training clip"] == texts[row["nearest_id"]]
        assert row["nearest_cosine"] == pytest.approx(float(cosine.max()), abs=1e-4)
    assert np.linalg.norm(gallery, axis=1) == pytest.approx(1, abs=1e-5)


def test_all_workers_write_what_one_process_writes(
    evaluated: tuple[Path, str], model: Path, sentence_corpus: Corpus, tmp_path: Path, ray_session: None
) -> None:
    arguments = ("--corpus", sentence_corpus.path, "--out", tmp_path / "out", "--workers", 2, "--batch-size", 5)
    done = run(evaluate, model, *arguments)
    assert done.exception is None, done.exception
    here, there = (read_hypotheses(out) for out in (evaluated[0], tmp_path / "out"))
    for a, b in zip(here, there, strict=True):
        assert a.pop("nearest_cosine") == pytest.approx(b.pop("nearest_cosine"), abs=1e-5)
        assert a == b
    results = [document_of(out)["results"] for out in (evaluated[0], tmp_path / "out")]
    assert results[0] == results[1]


def test_prints_and_writes_what_people_read(evaluated: tuple[Path, str]) -> None:
    out, printed = evaluated
    assert max(map(len, printed.splitlines()[2:])) <= 80
    for needed in (
        "synthetic signing", "24 clips", "BLEU-4", "nearest training clip", "most frequent sentence", "95 %",
        "tok:13a", "texts that training has not: 22 clips", "texts that training has too: 2 clips", "to the letter",
        "8 beams", "better",
    ):  # fmt: skip
        assert needed in " ".join(printed.split()), needed
    text = (out / "report.md").read_text("utf-8")
    for needed in ("# translation: sentences", "## Examples: best", "## Examples: worst", "# Its card", "scores.png"):
        assert needed in text
    assert (out / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert [p for p in out.parent.iterdir() if p != out] == []  # no part is left


def test_a_stopped_evaluation_goes_on(
    evaluated: tuple[Path, str], model: Path, sentence_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, done = Decoder.__call__, []

    def stopping(self: Decoder, batch: Batch) -> Decoded:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(batch)
        return decode(self, batch)

    arguments = ("--corpus", sentence_corpus.path, "--out", tmp_path / "out", "--workers", 0, "--batch-size", 5)
    monkeypatch.setattr(Decoder, "__call__", stopping)
    assert run(evaluate, model, *arguments).exit_code != 0
    assert not (tmp_path / "out").exists()
    done.append(done[0])  # from now on it does not stop
    result = run(evaluate, model, *arguments)
    assert result.exception is None, result.exception
    assert "going on: 3 of 7 batches are there" in result.stderr
    assert len(done) - 1 == 7  # each batch once, over both runs
    assert read_hypotheses(tmp_path / "out") == read_hypotheses(evaluated[0])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_decoding_options_count(
    evaluated: tuple[Path, str], model: Path, sentence_corpus: Corpus, tmp_path: Path
) -> None:
    arguments = ("--corpus", sentence_corpus.path, "--split", "dev", "--json", "--workers", 0, "--seed", 5)
    options = ("--beams", 2, "--max-new-tokens", 3, "--length-penalty", 0.5)
    done = run(evaluate, model, *arguments, *options, "--out", tmp_path / "out")
    assert done.exception is None, done.exception
    document = json.loads(done.stdout)
    assert document["settings"] == {"beams": 2, "max_new_tokens": 3, "length_penalty": 0.5}
    assert (document["clips"], document["split"], document["bootstrap"]["seed"]) == (6, "dev", 5)
    assert document["texts"]["length_ratio"] < 0.8
    # A sentence has four glosses: none is left under this limit.
    result = run(evaluate, model, *arguments, "--max-glosses", 3, "--out", tmp_path / "few")
    assert "no clip of split dev has a text" in str(result.exception)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--split", "tset"], "no split 'tset'"),
        (["--protocol", "closed"], "--protocol is not for translators"),
        (["--languages", "de"], "--languages is not for translators"),
        (["--features", "nowhere"], "no clip features at nowhere"),
    ],
)
def test_mistakes_are_one_line(
    model: Path, sentence_corpus: Corpus, tmp_path: Path, options: list[str], why: str
) -> None:
    result = run(evaluate, model, "--corpus", sentence_corpus.path, "--out", tmp_path / "out", *options)
    assert isinstance(result.exception, UserError), result.exception
    assert why in str(result.exception) and "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_other_models_refuse_the_options_of_translators(dual_encoders: Path, sentence_corpus: Corpus) -> None:
    for option in ("--beams", "--workers", "--max-glosses"):
        result = run(evaluate, dual_encoders / "first/model", "--corpus", sentence_corpus.path, option, 1)
        assert isinstance(result.exception, UserError)
        assert f"{option} is for translators" in str(result.exception)


@pytest.fixture
def lacking(model: Path, sentence_corpus: Corpus, sentence_features: FeatureStore, tmp_path: Path) -> Work:
    """Work on features that the last clips have none of."""
    write(tmp_path / "features", sentence_features.info, sentence_features.ids[:50], [1] * 50,
          {"agnostic": [np.ones((1, 8))] * 50})  # fmt: skip
    return command.work_of(str(model), sentence_corpus, "test", tmp_path / "features", command.Options())


def test_a_worker_tells_what_is_wrong_instead_of_raising(lacking: Work) -> None:
    rows = [{"number": 4, "ids": ["satz 55"], "translate": True}, {"number": 2, "ids": ["satz 45"], "translate": True}]
    answers = Worker(lacking)(pa.Table.from_pylist(rows)).to_pylist()
    assert answers[0]["number"] == 4 and "clip satz 55 has no inputs" in answers[0]["problem"]
    assert answers[1]["problem"] is None and len(answers[1]["texts"]) == 1 and answers[1]["vectors"]


@pytest.mark.slow
def test_what_fails_on_a_worker_is_one_line_too(lacking: Work, ray_session: None) -> None:
    with pytest.raises(UserError, match=r"clip satz 55 has no inputs"):
        list(spread(lacking, [Batch(["satz 55"], True)], 1))


@pytest.fixture(scope="module")
def seeds(
    evaluated: tuple[Path, str], model: Path, sentence_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """Evaluations of the tiny model and of two seeds of a run that was hardly trained, which are a stage's."""
    folder = tmp_path_factory.mktemp("seeds")
    found = {"first": evaluated[0]}
    for seed, steps in ((1, 4), (2, 8)):
        weak, record = folder / f"weak_{seed}" / "alignment" / "model", {"recipe": "alignment", "seed": seed}
        features = Path(document_of(evaluated[0])["inputs"]["features"])
        train(weak, sentence_corpus, {"max_frames": 8}, features=features, steps=steps, record=record)
        out = folder / f"out_{seed}"
        done = run(evaluate, weak, "--corpus", sentence_corpus.path, "--out", out, "--workers", 0, "--beams", 1)
        assert done.exception is None, done.exception
        found[f"weak_{seed}"] = out
    yield found


def test_compare_tests_against_the_first_over_the_same_clips(seeds: dict[str, Path]) -> None:
    rows = json.loads(run(compare, *seeds.values(), "--json", "--by", "ROUGE-L").stdout)
    assert [row["run"] for row in rows] == ["tiny", "weak_1/alignment", "weak_2/alignment"]
    assert rows[0]["difference"] is None
    told = rows[1]["difference"]
    assert told["observed"] == pytest.approx(rows[1]["ROUGE-L"] - rows[0]["ROUGE-L"])
    assert told["interval"][0] < told["observed"] < told["interval"][1] < 0 and told["p"] < 0.01
    table = run(compare, *seeds.values()).stdout
    assert "BLEU-4 against the first" in " ".join(table.split())
    markdown = run(compare, *seeds.values(), "--markdown").stdout
    assert "synthetic signing" in markdown and markdown.count("\n| ") == 4


def test_compare_averages_the_seeds(seeds: dict[str, Path]) -> None:
    rows = json.loads(run(compare, *seeds.values(), "--json", "--mean").stdout)
    assert [row["run"] for row in rows] == ["tiny (1)", "weak/alignment (2)"]
    single = [read(seeds[name]).figures["chrF"] for name in ("weak_1", "weak_2")]
    assert rows[1]["chrF"] == pytest.approx(sum(single) / 2)
    assert rows[1]["ranges"]["chrF"] == pytest.approx([min(single), max(single)])
    told = rows[1]["difference"]
    assert told["observed"] == pytest.approx(rows[1]["BLEU-4"] - rows[0]["BLEU-4"])
    assert told["interval"][0] < told["observed"] < told["interval"][1] and rows[0]["difference"] is None
    one = json.loads(run(compare, seeds["first"], seeds["weak_1"], "--json", "--mean").stdout)[1]["difference"]
    assert one == json.loads(run(compare, seeds["first"], seeds["weak_1"], "--json").stdout)[1]["difference"]
    assert "range of BLEU-4" in run(compare, *seeds.values(), "--mean", "--markdown").stdout


def test_compare_refuses_what_is_not_alike(seeds: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps({"protocol": "closed"}))
    assert "compare one kind at a time" in str(run(compare, seeds["first"], tmp_path).exception)
    assert "unknown --by 'R@1'" in str(run(compare, seeds["first"], "--by", "R@1").exception)
    (tmp_path / "report.json").write_text(json.dumps({"protocol": "translation"}))
    assert "no readable report.json and texts" in str(run(compare, tmp_path).exception)
