"""`signatlas evaluate` and `signatlas compare` on translators, in one process and with Ray."""

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
from cli.evaluate import evaluate
from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import UserError
from signatlas.evaluation.significance import holm
from signatlas.evaluation.translations.comparison import read
from signatlas.evaluation.translations.decoding import Batch, Decoded, Decoder, Decoding, DecodingJob
from signatlas.evaluation.translations.evaluator import TranslationSettings, decoding_job
from signatlas.evaluation.translations.report import read_hypotheses
from signatlas.features.store import FeatureStore, write
from signatlas.metrics import translation as metrics
from tests.evaluation.translations.tiny_translator import train
from trainers.pipelines.translate import DecodingActor, decode_with_ray


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
    """An evaluation in this process, and its standard output."""
    out = tmp_path_factory.mktemp("evaluations") / "here"
    done = run(evaluate, model, "--corpus", sentence_corpus.path, "--out", out, "--workers", 0, "--batch-size", 5)
    assert done.exception is None, done.exception
    return out, done.stdout


def document_of(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    return document


def test_settings_override_defaults_even_with_zero(model: Path, sentence_corpus: Corpus) -> None:
    settings = TranslationSettings(length_penalty=0.0, max_glosses=0)
    job = decoding_job(str(model), sentence_corpus, "test", settings)
    assert job.decoding == Decoding(8, 60, 0.0) and job.splits == ("test", "train")
    assert TranslationSettings(length_penalty=0.0, beams=2).variant() == "beams 2 length_penalty 0"
    assert TranslationSettings().variant() == ""


def test_all_metrics_can_be_computed_again_from_the_texts(evaluated: tuple[Path, str]) -> None:
    document, rows = document_of(evaluated[0]), read_hypotheses(evaluated[0])
    references = [row["reference"] for row in rows]
    assert len(rows) == 24 and len({row["hypothesis"] for row in rows}) > 5
    by_system = {r["system"]: r for r in document["results"] if r["subset"] == "all"}
    for system in by_system:
        hypotheses = [row["hypothesis" if system == "model" else system] for row in rows]
        expected = metrics.score(hypotheses, references, "de")
        assert {n: by_system[system][n] for n in metrics.METRICS} == pytest.approx(
            {n: expected[n] for n in metrics.METRICS}
        )
        assert document["signature"] == expected["signature"]
    scores = metrics.sentence_scores([row["hypothesis"] for row in rows], references, "de")
    assert [row["ROUGE-L"] for row in rows] == pytest.approx(scores["ROUGE-L"].tolist(), abs=1e-3)
    # The model has learned: it translates new orders of known words.
    assert document["bootstrap"]["differences"]["most frequent sentence"]["ROUGE-L"]["beats"]


def test_the_nearest_control_has_the_text_of_the_nearest_training_clip(
    evaluated: tuple[Path, str], model: Path, sentence_corpus: Corpus, sentence_features: FeatureStore
) -> None:
    rows, documents = read_hypotheses(evaluated[0]), sentence_corpus.metadata()
    texts = {row["id"]: text_in(row, "de") for row in documents}
    decoder = Decoder(decoding_job(str(model), sentence_corpus, "test", TranslationSettings()))
    train_ids = [row["id"] for row in documents if row["split"] == "train"]
    gallery = decoder(Batch(train_ids, False)).vectors
    for row in rows[:6]:
        cosine = gallery @ decoder(Batch([row["id"]], False)).vectors[0]
        assert row["nearest_id"] == train_ids[int(np.argmax(cosine))]
        assert row["nearest training clip"] == texts[row["nearest_id"]]
        assert row["nearest_cosine"] == pytest.approx(float(cosine.max()), abs=1e-4)
    assert np.linalg.norm(gallery, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_all_workers_write_what_one_process_writes(
    evaluated: tuple[Path, str], model: Path, sentence_corpus: Corpus, tmp_path: Path, ray_session: None
) -> None:
    arguments = ("--corpus", sentence_corpus.path, "--out", tmp_path / "out", "--workers", 2, "--batch-size", 5)
    done = run(evaluate, model, *arguments)
    assert done.exception is None, done.exception
    local, remote = (read_hypotheses(out) for out in (evaluated[0], tmp_path / "out"))
    for a, b in zip(local, remote, strict=True):
        assert a.pop("nearest_cosine") == pytest.approx(b.pop("nearest_cosine"), abs=1e-5)
        assert a == b
    results = [document_of(out)["results"] for out in (evaluated[0], tmp_path / "out")]
    assert results[0] == results[1]


def test_prints_tables_and_writes_report_md(evaluated: tuple[Path, str]) -> None:
    out, printed = evaluated
    assert max(map(len, printed.splitlines()[2:])) <= 80
    for expected in (
        "synthetic signing", "24 clips", "BLEU-4", "nearest training clip", "most frequent sentence", "95 %",
        "tok:13a", "texts not in training: 22 clips", "texts also in training: 2 clips", "verbatim training texts",
        "8 beams", "better",
    ):  # fmt: skip
        assert expected in " ".join(printed.split()), expected
    text = (out / "report.md").read_text("utf-8")
    for expected in ("# translation: sentences", "## Examples: best", "## Examples: worst", "# Its card", "scores.png"):
        assert expected in text
    assert (out / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert [p for p in out.parent.iterdir() if p != out] == []  # no partial results are left


def test_an_interrupted_evaluation_resumes(
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
    assert "resuming: 3 of 7 batches are finished" in result.stderr
    assert len(done) - 1 == 7  # each batch once, over both runs
    assert read_hypotheses(tmp_path / "out") == read_hypotheses(evaluated[0])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_decoding_options_take_effect(
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
    ("options", "message"),
    [
        (["--split", "tset"], "no split 'tset'"),
        (["--protocol", "closed"], "--protocol is for a sign encoder"),
        (["--languages", "de"], "--languages is for a dual encoder"),
        (["--features", "nowhere"], "no clip features at nowhere"),
    ],
)
def test_user_errors_are_one_line(
    model: Path, sentence_corpus: Corpus, tmp_path: Path, options: list[str], message: str
) -> None:
    result = run(evaluate, model, "--corpus", sentence_corpus.path, "--out", tmp_path / "out", *options)
    assert isinstance(result.exception, UserError), result.exception
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_other_models_reject_the_options_of_translators(dual_encoders: Path, sentence_corpus: Corpus) -> None:
    for option in ("--beams", "--workers", "--max-glosses"):
        result = run(evaluate, dual_encoders / "first/model", "--corpus", sentence_corpus.path, option, 1)
        assert isinstance(result.exception, UserError)
        assert f"{option} is for a translator" in str(result.exception)


@pytest.fixture
def lacking(model: Path, sentence_corpus: Corpus, sentence_features: FeatureStore, tmp_path: Path) -> DecodingJob:
    """DecodingJob on features that the last clips have none of."""
    write(tmp_path / "features", sentence_features.info, sentence_features.ids[:50], [1] * 50,
          {"agnostic": [np.ones((1, 8))] * 50})  # fmt: skip
    settings = TranslationSettings(features=tmp_path / "features")
    return decoding_job(str(model), sentence_corpus, "test", settings)


def test_a_worker_returns_an_error_message_instead_of_raising(lacking: DecodingJob) -> None:
    rows = [{"number": 4, "ids": ["satz 55"], "translate": True}, {"number": 2, "ids": ["satz 45"], "translate": True}]
    answers = DecodingActor(lacking)(pa.Table.from_pylist(rows)).to_pylist()
    assert answers[0]["number"] == 4 and "clip satz 55 has no inputs" in answers[0]["problem"]
    assert answers[1]["problem"] is None and len(answers[1]["texts"]) == 1 and answers[1]["vectors"]


@pytest.mark.slow
def test_an_error_on_a_worker_is_one_line(lacking: DecodingJob, ray_session: None) -> None:
    with pytest.raises(UserError, match=r"clip satz 55 has no inputs"):
        list(decode_with_ray(lacking, [Batch(["satz 55"], True)], 1))


@pytest.fixture(scope="module")
def seeds(
    evaluated: tuple[Path, str], model: Path, sentence_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """Evaluations of the tiny model, and of two seeds of the stage of a run with little training."""
    folder = tmp_path_factory.mktemp("seeds")
    folders = {"first": evaluated[0]}
    for seed, steps in ((1, 4), (2, 8)):
        weak, record = folder / f"weak_{seed}" / "alignment" / "model", {"recipe": "alignment", "seed": seed}
        features = Path(document_of(evaluated[0])["inputs"]["features"])
        train(weak, sentence_corpus, {"max_frames": 8}, features=features, steps=steps, record=record)
        out = folder / f"out_{seed}"
        done = run(evaluate, weak, "--corpus", sentence_corpus.path, "--out", out, "--workers", 0, "--beams", 1)
        assert done.exception is None, done.exception
        folders[f"weak_{seed}"] = out
    yield folders


def test_compare_tests_against_the_first_over_the_same_clips(seeds: dict[str, Path]) -> None:
    rows = json.loads(run(compare, *seeds.values(), "--json", "--by", "ROUGE-L").stdout)
    assert [row["run"] for row in rows] == ["tiny", "weak_1/alignment", "weak_2/alignment"]
    assert rows[0]["difference"] is None
    difference = rows[1]["difference"]
    assert difference["observed"] == pytest.approx(rows[1]["ROUGE-L"] - rows[0]["ROUGE-L"])
    assert difference["interval"][0] < difference["observed"] < difference["interval"][1] < 0 and difference["p"] < 0.01
    differences = [row["difference"] for row in rows[1:]]
    assert [one["p_holm"] for one in differences] == holm([one["p"] for one in differences])
    table = run(compare, *seeds.values()).stdout
    assert "BLEU-4 against tiny" in " ".join(table.split())
    markdown = run(compare, *seeds.values(), "--markdown").stdout
    assert "synthetic signing" in markdown and markdown.count("\n| ") == 4 + 3


def test_compare_averages_the_seeds(seeds: dict[str, Path]) -> None:
    rows = json.loads(run(compare, *seeds.values(), "--json", "--mean").stdout)
    assert [row["run"] for row in rows] == ["tiny (1)", "weak/alignment (2)"]
    single = [read(seeds[name]).metrics["chrF"] for name in ("weak_1", "weak_2")]
    assert rows[1]["chrF"] == pytest.approx(sum(single) / 2)
    assert rows[1]["ranges"]["chrF"] == pytest.approx([min(single), max(single)])
    difference = rows[1]["difference"]
    assert difference["observed"] == pytest.approx(rows[1]["BLEU-4"] - rows[0]["BLEU-4"])
    assert (
        difference["interval"][0] < difference["observed"] < difference["interval"][1] and rows[0]["difference"] is None
    )
    one = json.loads(run(compare, seeds["first"], seeds["weak_1"], "--json", "--mean").stdout)[1]["difference"]
    assert one == json.loads(run(compare, seeds["first"], seeds["weak_1"], "--json").stdout)[1]["difference"]
    assert "range of BLEU-4" in run(compare, *seeds.values(), "--mean", "--markdown").stdout


def test_compare_rejects_evaluations_of_different_kinds(seeds: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps({"protocol": "closed"}))
    assert "compare one kind at a time" in str(run(compare, seeds["first"], tmp_path).exception)
    assert "unknown --by 'R@1'" in str(run(compare, seeds["first"], "--by", "R@1").exception)
    (tmp_path / "report.json").write_text(json.dumps({"protocol": "translation"}))
    assert "no readable report.json" in str(run(compare, tmp_path).exception)
