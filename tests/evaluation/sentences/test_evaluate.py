"""`signatlas evaluate` and `signatlas compare` on dual encoders, from end to end on a small corpus of sentences."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from cli.compare import compare
from cli.evaluate import evaluate
from signatlas.corpus.format import Corpus, CorpusInfo, write_corpus
from signatlas.errors import UserError
from signatlas.evaluation.sentences.comparison import compare as compare_saved
from signatlas.evaluation.sentences.comparison import read, tables
from signatlas.evaluation.significance import holm
from signatlas.evaluation.trec import read_ranking
from signatlas.features.store import FeatureStore, write
from signatlas.metrics import retrieval


def run(command: Any, *arguments: object) -> Any:
    app = typer.Typer()
    app.command()(command)
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def reports(dual_encoders: Path, sentence_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Evaluations of both models, and what the first of them printed."""
    folder = tmp_path_factory.mktemp("reports")
    arguments = ("--corpus", sentence_corpus.path, "--languages", "de,en", "--out", folder / "first", "--pictures", 1)
    done = run(evaluate, dual_encoders / "first/model", *arguments)
    assert done.exception is None, done.exception
    (folder / "printed.txt").write_text(done.stdout)
    model = dual_encoders / "second/model"
    second = run(evaluate, model, "--corpus", sentence_corpus.path, "--languages", "DE en", "--out", folder / "second")
    assert second.exception is None, second.exception
    return {name: folder / name for name in ("first", "second", "printed.txt")}


def test_prints_both_directions_strict_and_merged_in_80_columns(reports: dict[str, Path]) -> None:
    printed = reports["printed.txt"].read_text()
    assert max(map(len, printed.splitlines()[2:])) <= 80
    for expected in (
        "synthetic signing", "CONTROL: trained on shuffled pairs",
        "not the clip features that the model was trained on",
        "left out 1 clips without a text in each of de, en", "de: 23 videos, 23 texts (22 distinct)",
        "1 of 23 texts repeat an earlier one", "T2V strict", "V2T merged", "chance", "own recordings",
        "own gallery", "mean rank variance of de, en", "mixed gallery of 46 texts", "by translation",
        "tokens: subsampled evenly", "these subsets hold all clips: real signs",
    ):  # fmt: skip
        assert expected in " ".join(printed.split()), expected


def test_metrics_can_be_computed_again_from_runs_and_from_ranks(reports: dict[str, Path]) -> None:
    out = reports["first"]
    document = json.loads((out / "report.json").read_text("utf-8"))
    with open(out / "ranks.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    results = [result for result in document["results"] if result["subset"] == "all"]
    assert len(results) == 8
    for result in results:
        key = [result[name] for name in ("language", "texts", "direction")]
        ranks = np.array([int(r["rank"]) for r in rows if [r["language"], r["texts"], r["direction"]] == key])
        again = {name: float(value) for name, value in retrieval.rank_metrics(ranks).items()}
        assert {name: again[name] for name in result["metrics"]} == result["metrics"]
        if result["texts"] == "strict":
            files = document["files"][f"{result['direction'].lower()}-{result['language']}"]
            ranking = read_ranking(out / files["run"], out / files["qrels"])
            metrics = retrieval.evaluate(ranking.scores, ranking.relevant)
            assert {name: metrics[name] for name in result["metrics"]} == pytest.approx(result["metrics"])
    assert (out / "recall.png").read_bytes().startswith(b"\x89PNG")
    assert not (reports["second"] / "recall.png").exists()


def test_merged_texts_and_subsets_are_counted(reports: dict[str, Path]) -> None:
    document = json.loads((reports["first"] / "report.json").read_text("utf-8"))
    sizes = {
        (r["texts"], r["direction"], r["subset"], r["gallery_of"]): (r["queries"], r["gallery"])
        for r in document["results"]
        if r["language"] == "de"
    }
    assert sizes["strict", "T2V", "all", "whole"] == (23, 23)
    assert sizes["merged", "T2V", "all", "whole"] == (22, 22)
    assert sizes["merged", "V2T", "all", "whole"] == (23, 22)
    assert sizes["strict", "T2V", "new", "whole"] == (22, 23)
    assert sizes["strict", "T2V", "new", "subset"] == (22, 22)
    assert sizes["strict", "V2T", "seen", "subset"] == (1, 1)
    # Sentence 40 is of own recordings, 41 of shared ones; merged, they are one sentence, in neither subset.
    assert sizes["strict", "T2V", "own recordings", "whole"] == (12, 23)
    assert sizes["merged", "T2V", "own recordings", "whole"] == (11, 22)
    assert document["subsets"]["real signs"] == 23
    assert not any(r["subset"] == "real signs" for r in document["results"])


def test_report_md_has_tables_worst_queries_and_card(reports: dict[str, Path]) -> None:
    text = (reports["first"] / "report.md").read_text("utf-8")
    assert text.startswith("# sentence retrieval: sentences\n")
    for expected in ("| chance |", "# Its card", "## Worst queries", "| SYNTH. | R@1 |", "satz "):
        assert expected in text


def test_languages_and_features_come_from_the_record(
    dual_encoders: Path, sentence_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(evaluate, dual_encoders / "first/model", "--corpus", sentence_corpus.path, "--json", "--split", "dev")
    assert result.exception is None, result.exception
    document = json.loads(result.stdout)
    assert (document["languages"], document["across"]) == (["de"], {})
    assert document["videos"] == 6
    assert (tmp_path / "runs/evaluations/first/sentences-sentences-dev/report.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--languages", "fr"], "has no texts in language 'fr': there are de, en; choose --languages from these"),
        (["--split", "tset"], "no split 'tset'"),
        (["--protocol", "closed"], "--protocol is for a sign encoder"),
        (["--words", "dev"], "--words is for a sign encoder"),
        (["--adjust", "csls"], "--adjust is for a sign encoder"),
        (["--gallery", "split=test", "--queries", "split=dev"], "--gallery is for a sign encoder"),
        (["--features", "nowhere"], "no clip features at nowhere"),
    ],
)
def test_user_errors_are_one_line(
    dual_encoders: Path, sentence_corpus: Corpus, tmp_path: Path, options: list[str], message: str
) -> None:
    target = tmp_path / "out"
    model = dual_encoders / "first/model"
    result = run(evaluate, model, "--corpus", sentence_corpus.path, "--out", target, *options)
    assert isinstance(result.exception, UserError), result.exception
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not target.exists()


def test_sign_encoders_refuse_the_options_of_sentences(small_model: Path, sentence_corpus: Corpus) -> None:
    for option in ("--features", "--languages"):
        result = run(evaluate, small_model, "--corpus", sentence_corpus.path, "--protocol", "closed", option, "x")
        assert isinstance(result.exception, UserError)
        assert f"{option} is for a dual encoder" in str(result.exception)


def test_features_of_another_corpus_width_or_clip_are_one_line(
    dual_encoders: Path, sentence_corpus: Corpus, sentence_features: FeatureStore, tmp_path: Path
) -> None:
    ids, info = sentence_features.ids, sentence_features.info
    other = info.model_copy(update={"corpus_fingerprint": "0" * 64})
    wide = info.model_copy(update={"width": 9})
    write(tmp_path / "other", other, ids, [1] * 60, {"agnostic": [np.zeros((60, 8))]})
    write(tmp_path / "wide", wide, ids, [1] * 60, {"agnostic": [np.zeros((60, 9))]})
    write(tmp_path / "short", info, ids[:40], [1] * 40, {"agnostic": [np.zeros((40, 8))]})
    for name, message in (
        ("other", "not of"),
        ("wide", "width 9, the model takes 8"),
        ("short", "has no features of clip"),
    ):
        arguments = ("--corpus", sentence_corpus.path, "--features", tmp_path / name, "--out", tmp_path / "out")
        result = run(evaluate, dual_encoders / "first/model", *arguments)
        assert isinstance(result.exception, UserError), result.exception
        assert message in str(result.exception)


def test_a_corpus_without_texts_is_one_line(dual_encoders: Path, two_part_corpus: Corpus) -> None:
    result = run(evaluate, dual_encoders / "first/model", "--corpus", two_part_corpus.path)
    assert isinstance(result.exception, UserError)
    assert "has no texts, so it cannot be searched by text" in str(result.exception)


def test_takes_of_one_sentence_are_one_group_end_to_end(
    dual_encoders: Path, sentence_corpus: Corpus, tmp_path: Path
) -> None:
    from dataclasses import replace

    chosen = [clip for clip in sentence_corpus if clip.split == "test"][:6]
    clips = [
        replace(clip, id=f"how2sign/test/v_{number // 2}-{number}-rgb_front", source="how2sign", exemplars=None,
                texts=(("de", f"hund {number // 2}"),))
        for number, clip in enumerate(chosen)
    ]  # fmt: skip
    corpus = write_corpus(tmp_path / "corpus", CorpusInfo("takes", "1", "none", "made", ("ase",)), clips)
    info = FeatureStore.open(dual_encoders / "features").info
    info = info.model_copy(update={"corpus_fingerprint": corpus.info.fingerprint})
    values = np.random.default_rng(0).normal(size=(6, 8))
    write(tmp_path / "features", info, [clip.id for clip in clips], [1] * 6, {"agnostic": [values]})
    arguments = ("--features", tmp_path / "features", "--out", tmp_path / "out", "--json")
    result = run(evaluate, dual_encoders / "first/model", "--corpus", corpus.path, *arguments)
    assert result.exception is None, result.exception
    sizes = {r["direction"]: (r["queries"], r["gallery"]) for r in json.loads(result.stdout)["results"]}
    assert sizes == {"T2V": (3, 3), "V2T": (6, 3)}


def test_compare_lists_evaluations_and_tests_against_the_first(reports: dict[str, Path]) -> None:
    first, second = reports["first"], reports["second"]
    rows = json.loads(run(compare, first, second, "--json", "--by", "MRR").stdout)
    assert [(row["run"], row["language"]) for row in rows] == [
        ("first", "de"), ("second", "de"), ("first", "en"), ("second", "en"),
    ]  # fmt: skip
    document = json.loads((second / "report.json").read_text("utf-8"))
    expected = next(r for r in document["results"] if (r["language"], r["direction"]) == ("de", "T2V"))
    assert rows[1]["T2V"]["strict"] == expected["metrics"]
    assert rows[0]["T2V"]["difference"] is None
    differences = [row[direction]["difference"] for row in rows[1::2] for direction in ("T2V", "V2T")]
    assert all(0 < one["p"] <= 1 and one["interval"][0] <= one["observed"] <= one["interval"][1] for one in differences)
    assert [one["p_holm"] for one in differences] == holm([one["p"] for one in differences])
    table = run(compare, first, second, "--markdown").stdout
    assert "synthetic signing" in table
    assert table.count("\n| second |") == 4 and table.count("\n| second de T2V |") == 1
    assert run(compare, first, first, "--json").stdout.count('"p": 1.0') == 4
    for view in tables(compare_saved([read(first / "report.json")]), "R@1"):
        assert {len(row) for row in view.rows} == {len(view.header)}
    printed = run(compare, first, second).stdout
    assert "m R@1" in printed and "p Holm" in printed and "n.s." in printed and "undetermined" in printed
    assert max(map(len, printed.splitlines()[1:])) <= 80


def test_compare_averages_the_seeds_of_a_recipe(reports: dict[str, Path]) -> None:
    saved = [read(reports[name]) for name in ("first", "second")]
    rows = compare_saved(saved)
    assert [row["run"] for row in compare_saved(saved, mean=True)] == ["first (1)", "second (1)"] * 2
    for seed, one in enumerate(saved):  # as `signatlas train --name one_1 --set seed=1` names them
        one.report["model"]["record"] |= {"recipe": f"one_{seed}", "seed": seed}
    means = compare_saved(saved, mean=True)
    assert [(row["run"], row["language"], row["seeds"]) for row in means] == [
        ("one (2)", "de", [0, 1]), ("one (2)", "en", [0, 1]),
    ]  # fmt: skip
    values = [row["V2T"]["strict"]["R@5"] for row in rows if row["language"] == "de"]
    assert means[0]["V2T"]["strict"]["R@5"] == pytest.approx(sum(values) / 2)
    for view in tables(means, "R@1"):
        assert view.header[-1] == "range of R@1" and "-" in view.rows[0][-1]
    printed = run(compare, reports["first"], reports["second"], "--mean", "--markdown").stdout
    assert "two-level bootstrap over seeds and queries" in printed


def test_nan_scores_are_one_line(dual_encoders: Path, sentence_corpus: Corpus, tmp_path: Path) -> None:
    import torch

    from signatlas.models.dual_encoder.encoder import DualEncoder

    model = DualEncoder.from_pretrained(dual_encoders / "first/model")
    with torch.no_grad():
        model.text_head.weight.fill_(torch.nan)
    model.save_pretrained(tmp_path / "broken")
    result = run(evaluate, tmp_path / "broken", "--corpus", sentence_corpus.path, "--out", tmp_path / "out")
    assert isinstance(result.exception, UserError)
    assert "24 of 24 clips have NaN scores in de" in str(result.exception)


def test_compare_rejects_unreadable_and_other_evaluations(reports: dict[str, Path], tmp_path: Path) -> None:
    result = run(compare, tmp_path)
    assert isinstance(result.exception, UserError)
    assert "no readable report.json" in str(result.exception)
    (tmp_path / "report.json").write_text(json.dumps({"protocol": "closed"}))
    assert "cannot be compared" in str(run(compare, tmp_path).exception)
    assert "unknown --by 'mAP'" in str(run(compare, reports["first"], "--by", "mAP").exception)
