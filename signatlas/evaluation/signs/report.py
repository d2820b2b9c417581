"""The report of a sign evaluation: metrics, TREC runs, tables, and pictures of nearest neighbors."""

from __future__ import annotations

import os
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from signatlas.evaluation.ranking import summarize, worst_queries
from signatlas.evaluation.report import (
    ReportTable,
    check_target,
    corner,
    format_interval,
    format_metric,
    markdown_ending,
    markdown_table,
    slug,
    summary,
    write_documents,
)
from signatlas.evaluation.signs.protocols import Outcome
from signatlas.evaluation.trec import write_qrels, write_run
from signatlas.files import folder_atomically
from signatlas.metrics.retrieval import ranks

if TYPE_CHECKING:
    from signatlas.corpus.format import Corpus

COLUMNS = ("R@1", "R@5", "R@10", "R@50", "mAP", "MRR", "MedR")
NEIGHBORS = 5
READING = (
    "Intervals are 95 % percentile bootstrap intervals, over queries and, by word, over whole words. 1-NN is nearest "
    "neighbor on normalized keypoints; chance is the expectation of a random order. Ties count against the query. "
    "Without signer names in the corpus, nothing here is signer-independent."
)


def summarize_outcome(outcome: Outcome, baseline: Outcome | None, seed: int) -> dict[str, Any]:
    """Return an entry of ``results``: metrics of the outcome and its 1-NN baseline, its words, its worst queries."""
    ranking = outcome.ranking
    result: dict[str, Any] = {"setting": outcome.setting, "adjustment": outcome.adjustment}
    result |= summarize(ranking, seed=seed, groups=ranking.query_glosses)
    result["words"] = sorted({str(gloss) for gloss in ranking.query_glosses})
    if baseline is not None:
        nearest = summarize(baseline.ranking, seed=seed)
        result["nearest_neighbor"] = {name: nearest[name] for name in ("metrics", "intervals")}
    return result | {"failures": worst_queries(ranking)}


def write(folder: str | os.PathLike[str], document: dict[str, Any], outcomes: list[Outcome]) -> None:
    """Write ``report.json``, ``report.md`` and the run and qrels of each outcome, atomically.

    Adds ``files`` to each entry of ``document["results"]``, which has the order of ``outcomes``.
    """
    with folder_atomically(check_target(folder), overwrite=True) as partial:
        for result, outcome in zip(document["results"], outcomes, strict=True):
            adjustment = "" if outcome.adjustment == "none" else outcome.adjustment
            name = slug(document["protocol"], outcome.setting, adjustment)
            result["files"] = {"run": f"{name}.run.gz", "qrels": f"{name}.qrels"}
            write_run(outcome.ranking, partial / result["files"]["run"], tag=name)
            write_qrels(outcome.ranking, partial / result["files"]["qrels"])
        write_documents(partial, document, markdown(document))


def result_table(result: dict[str, Any]) -> ReportTable:
    """Return the table of one result: model, intervals, 1-NN baseline and chance by metric."""
    adjustment = "" if result["adjustment"] == "none" else f", {result['adjustment']}"
    left_out = f", {result['left_out']} left out" if result["left_out"] else ""
    title = (
        f"{result['setting']}{adjustment}: {result['queries']} queries against {result['gallery']:,} clips{left_out}"
    )

    def row(label: str, metrics: dict[str, float]) -> list[str]:
        return [label, *(format_metric(name, metrics[name]) for name in COLUMNS)]

    def interval_row(label: str, intervals: dict[str, tuple[float, float]]) -> list[str]:
        return [label, *(format_interval(name, intervals[name]) for name in COLUMNS)]

    rows = [row("model", result["metrics"]), interval_row("95 %", result["intervals"])]
    rows.append(interval_row("by word", result["group_intervals"]))
    if nearest := result.get("nearest_neighbor"):
        rows += [row("1-NN", nearest["metrics"]), interval_row("95 %", nearest["intervals"])]
    return ReportTable(title, [corner(result), *COLUMNS], [*rows, row("chance", result["chance"])])


def markdown(document: dict[str, Any]) -> str:
    """Return report.md: the summary, a table and the worst queries of each result, and the model card."""
    lines = [f"# {document['protocol']}: {document['corpus']['name']}", ""]
    lines += [f"- {line}" for line in summary(document)]
    for result in document["results"]:
        table = result_table(result)
        lines += ["", f"## {table.title}", "", *markdown_table(table.header, table.rows)]
        if result["failures"]:
            worst = [[str(f[name]) for name in ("query", "gloss", "rank", "first")] for f in result["failures"]]
            lines += ["", "Worst queries:", "", *markdown_table(["query", "word", "rank", "first"], worst)]
    return "\n".join(lines + markdown_ending(READING, document))


def draw_neighbors(corpus: Corpus, outcome: Outcome, folder: Path, count: int) -> None:
    """Draw ``count`` queries with their five nearest clips, alternating queries of rank 1 and others."""
    from signatlas.plots.skeleton import Strip, neighbors

    ranking = outcome.ranking
    rank_of = ranks(ranking.scores, ranking.relevant)
    # One query a word, so that the pictures show different words.
    kinds = [f"{gloss} {rank == 1}" for gloss, rank in zip(ranking.query_glosses, rank_of, strict=True)]
    _, first = np.unique(kinds, return_index=True)
    right, wrong = [q for q in first if rank_of[q] == 1], [q for q in first if rank_of[q] > 1]
    queries = [q for pair in zip_longest(right, wrong) for q in pair if q is not None][:count]
    nearest = {q: np.argsort(-ranking.scores[q], kind="stable")[:NEIGHBORS] for q in queries}
    ids = {str(ranking.query_ids[q]) for q in nearest}
    ids |= {str(ranking.gallery_ids[q, g]) for q, items in nearest.items() for g in items}
    clips = {clip.id: clip for clip in corpus.where(lambda row: row["id"] in ids)}
    for q, items in nearest.items():
        query = clips[ranking.query_ids[q]]
        strips = [Strip(query.poses, f"query: {query.gloss}")]
        for g in items:
            clip = clips[ranking.gallery_ids[q, g]]
            label = f"{clip.gloss}  {ranking.scores[q, g]:.3f}"
            strips.append(Strip(clip.poses, label, bool(ranking.relevant[q, g])))
        neighbors(strips, folder / f"neighbors-{slug(query.id)}.png", credit=f"Source: {corpus.info.source}")
