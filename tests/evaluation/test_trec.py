"""Rankings written as TREC files have the same metrics when read back, by signatlas and by ranx."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from signatlas.errors import UserError
from signatlas.evaluation.ranking import Ranking
from signatlas.evaluation.trec import escape, read_ranking, write_qrels, write_run
from signatlas.metrics.retrieval import evaluate


def ranking(dtype: type, ties: bool) -> Ranking:
    rng = np.random.default_rng(0)
    scores: np.ndarray = np.round(rng.normal(size=(7, 40)), 1 if ties else 12).astype(dtype)
    relevant = rng.random((7, 40)) < 0.1
    relevant[0], relevant[1, 3] = False, True
    ids = np.array([[f"große straße/{g} 100%\u00a0\uf03a" for g in range(40)]] * 7, dtype=object)
    queries = np.array([f"query {q}\t%20" for q in range(7)], dtype=object)
    return Ranking(queries, ids, scores, relevant, np.full(7, None))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ties", [False, True])
def test_metrics_are_the_same_after_reading_back(tmp_path: Path, dtype: type, ties: bool) -> None:
    before = ranking(dtype, ties)
    write_run(before, tmp_path / "x.run.gz")
    write_qrels(before, tmp_path / "x.qrels")
    after = read_ranking(tmp_path / "x.run.gz", tmp_path / "x.qrels")
    assert evaluate(after.scores, after.relevant) == evaluate(before.scores, before.relevant)
    assert after.query_ids.tolist() == before.query_ids.tolist()
    assert set(after.gallery_ids[2]) == set(before.gallery_ids[2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.qrels", "x.run.gz"]


@pytest.mark.slow  # numba compiles ranx for half a minute
def test_ranx_reads_the_files_and_agrees(tmp_path: Path) -> None:
    from ranx import Qrels, Run
    from ranx import evaluate as ranx_evaluate

    before = ranking(np.float32, ties=False)
    write_run(before, tmp_path / "x.run.gz")
    write_qrels(before, tmp_path / "x.qrels")
    run = Run.from_file(str(tmp_path / "x.run.gz"))
    qrels = Qrels.from_file(str(tmp_path / "x.qrels"), kind="trec")
    ours = evaluate(before.scores, before.relevant)
    theirs = ranx_evaluate(qrels, run, ["map", "mrr", "hit_rate@10"], make_comparable=True)
    assert theirs == pytest.approx({"map": ours["mAP"], "mrr": ours["MRR"], "hit_rate@10": ours["R@10"]})


def test_lines_are_trec(tmp_path: Path) -> None:
    write_run(ranking(np.float32, True), tmp_path / "x.run.gz", tag="run-tag")
    lines = gzip.decompress((tmp_path / "x.run.gz").read_bytes()).decode().splitlines()
    assert len(lines) == 7 * 40
    query, q0, _, rank, score, tag = lines[0].split(" ")
    assert (query, q0, rank, tag) == ("query%200%09%2520", "Q0", "1", "run-tag")
    scores = [float(line.split(" ")[4]) for line in lines[:40]]
    assert scores == sorted(scores, reverse=True)
    assert float(score) == scores[0]


def test_escape_keeps_other_characters() -> None:
    assert escape("dgs/webcam/fußball/a-b_c") == "dgs/webcam/fußball/a-b_c"
    assert escape("a b%20") == "a%20b%2520"


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("q Q0 a 1 0.5\n", "line 1: 5 fields, expected 6"),
        ("q Q0 a 1 0.5 t\np Q0 a 1 0.5 t\np Q0 b 2 0.4 t\n", r"queries with \[1, 2\] items"),
    ],
)
def test_damaged_runs_raise(tmp_path: Path, run: str, message: str) -> None:
    (tmp_path / "x.run").write_text(run)
    (tmp_path / "x.qrels").write_text("q 0 a 1\n")
    with pytest.raises(UserError, match=message):
        read_ranking(tmp_path / "x.run", tmp_path / "x.qrels")


def test_a_truncated_run_raises(tmp_path: Path) -> None:
    write_run(ranking(np.float32, True), tmp_path / "x.run.gz")
    write_qrels(ranking(np.float32, True), tmp_path / "x.qrels")
    content = (tmp_path / "x.run.gz").read_bytes()
    (tmp_path / "x.run.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        read_ranking(tmp_path / "x.run.gz", tmp_path / "x.qrels")
