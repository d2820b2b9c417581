"""The report of a sentence evaluation: metrics, rank of each query, TREC runs, tables, recall curves."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from signatlas.evaluation.ranking import Ranking
from signatlas.evaluation.report import (
    ReportTable,
    check_target,
    corner,
    format_interval,
    format_metric,
    markdown_ending,
    markdown_sections,
    markdown_table,
    slug,
    summary,
    write_documents,
)
from signatlas.evaluation.sentences.items import SentenceItems, narrow
from signatlas.evaluation.sentences.protocol import (
    DIRECTIONS,
    METRICS,
    DirectionScores,
    PairScores,
    compare_languages,
    directions,
    merge_identical_texts,
    summarize,
)
from signatlas.evaluation.trec import write_qrels, write_run
from signatlas.files import folder_atomically, write_text_atomically

if TYPE_CHECKING:
    from signatlas.corpus.format import Corpus

PROTOCOL = "sentences"
WORST = 10
RANKS = "ranks.csv"
RANK_COLUMNS = ("language", "texts", "direction", "query", "rank", "gallery")
READING = (
    "T2V: each text ranks sentences; the score of a sentence is that of its best video. V2T: each video ranks all "
    "texts. Strict: identical texts of different clips are errors. Merged: texts that are identical without case and "
    "punctuation are one text, and their sentences one sentence. Intervals are 95 % percentile bootstrap intervals "
    "over queries; chance is the expectation of a random order. Ties count against the query."
)


class SentenceScores(NamedTuple):
    """The scores of an evaluation, by (language, "strict" or "merged")."""

    items: SentenceItems
    pairs: dict[tuple[str, str], PairScores]

    def directions(self, language: str, texts: str) -> dict[str, DirectionScores]:
        """Return T2V and V2T of one language, strict or merged."""
        return directions(*self.pairs[language, texts])

    def query_ids(self, language: str, texts: str, direction: str) -> list[str]:
        """Return the ids of the queries; a merged text has the id of its first sentence."""
        if direction == "V2T":
            return self.items.video_ids
        if texts == "strict":
            return list(self.items.sentence_ids)
        _, first = np.unique(self.items.text_labels(language), return_index=True)
        return [self.items.sentence_ids[i] for i in first]

    def gallery_ids(self, direction: str) -> list[str]:
        """Return the ids of the strict gallery: sentences with a video for T2V, all sentences for V2T."""
        if direction == "V2T":
            return list(self.items.sentence_ids)
        return [self.items.sentence_ids[i] for i in np.unique(self.items.group_of_video)]


def with_merged(items: SentenceItems, scores: Mapping[str, np.ndarray]) -> SentenceScores:
    """Return strict and merged scores of ``scores`` [V, T] by language."""
    pairs = {}
    for code, matrix in scores.items():
        strict = PairScores(matrix, items.group_of_video, items.group_of_text)
        pairs[code, "strict"] = strict
        pairs[code, "merged"] = merge_identical_texts(strict, items.text_labels(code))
    return SentenceScores(items, pairs)


def results_of(scores: SentenceScores, subsets: Mapping[str, np.ndarray], seed: int) -> list[dict[str, Any]]:
    """Return an entry per language, texts (strict, merged), direction, subset and gallery (whole, subset).

    A subset of all videos has no entries.
    """
    results = []
    for (code, texts), pairs in scores.pairs.items():
        all_videos = np.ones(len(pairs.group_of_video), bool)
        parts = {name: mask for name, mask in subsets.items() if not mask.all()}
        for name, mask in {"all": all_videos, **parts}.items():
            for gallery in ("whole",) if name == "all" else ("whole", "subset"):
                both = narrow(pairs, mask, whole_gallery=gallery == "whole")
                for direction, one in (both or {}).items():
                    entry = {"language": code, "texts": texts, "direction": direction, "subset": name}
                    results.append({**entry, "gallery_of": gallery, **summarize(one, seed=seed)})
    return results


def across_languages(items: SentenceItems, scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return mean rank variance and mixed gallery; empty for one language."""
    if len(scores) < 2:
        return {}
    comparison = compare_languages(scores, items.group_of_video, items.group_of_text)
    return {name: comparison[name] for name in ("MRV", "mixed")}


def worst_queries(scores: SentenceScores) -> list[dict[str, Any]]:
    """Return the queries of the highest strict ranks by language and direction, and the item that came first."""
    rows = []
    for code in scores.items.texts:
        for direction, one in scores.directions(code, "strict").items():
            ranks, ids = one.ranks(), scores.query_ids(code, "strict", direction)
            gallery = scores.gallery_ids(direction)
            for q in np.argsort(-ranks, kind="stable")[:WORST]:
                if ranks[q] > 1:
                    first = gallery[int(one.scores[q].argmax())]
                    entry = {"query": ids[q], "rank": int(ranks[q]), "first": first}
                    rows.append({"language": code, "direction": direction, **entry})
    return rows


def rank_rows(scores: SentenceScores) -> list[tuple[str, str, str, str, int, int]]:
    """Return a row of ``RANK_COLUMNS`` per query; rank 0: no relevant item."""
    rows = []
    for code, texts in scores.pairs:
        for direction, one in scores.directions(code, texts).items():
            size = one.relevant.shape[1]
            ids = scores.query_ids(code, texts, direction)
            for id, rank in zip(ids, one.ranks().tolist(), strict=True):
                rows.append((code, texts, direction, id, rank, size))
    return rows


def write(folder: str | os.PathLike[str], document: dict[str, Any], scores: SentenceScores) -> None:
    """Write report.json, report.md, ranks.csv and the strict runs and qrels, atomically; adds ``files``."""
    with folder_atomically(check_target(folder), overwrite=True) as partial:
        files: dict[str, Any] = {}
        for code in scores.items.texts:
            for direction, ranking in _rankings(scores, code).items():
                name = slug(direction, code)
                files[name] = {"run": f"{name}.run.gz", "qrels": f"{name}.qrels"}
                write_run(ranking, partial / files[name]["run"], tag=name)
                write_qrels(ranking, partial / files[name]["qrels"])
        document["files"] = {**files, "ranks": RANKS}
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([RANK_COLUMNS, *rank_rows(scores)])
        write_text_atomically(partial / RANKS, text.getvalue())
        write_documents(partial, document, markdown(document))


def _rankings(scores: SentenceScores, language: str) -> dict[str, Ranking]:
    """Return the strict rankings with ids, for the run files."""
    rankings = {}
    for direction, one in scores.directions(language, "strict").items():
        queries = np.array(scores.query_ids(language, "strict", direction), object)
        gallery = np.broadcast_to(np.array(scores.gallery_ids(direction), object), one.scores.shape)
        rankings[direction] = Ranking(queries, gallery, one.scores, one.relevant, np.full(len(queries), None))
    return rankings


def draw_recall(scores: SentenceScores, folder: Path, corpus: Corpus) -> None:
    """Draw recall.png: strict R@K over K, by language and direction."""
    from signatlas.plots.retrieval import Curve, recall

    curves = []
    for code in scores.items.texts:
        for direction, one in scores.directions(code, "strict").items():
            ranks = one.ranks()
            curves.append(Curve(direction, code, ranks[ranks > 0], one.relevant.shape[1]))
    synthetic = " (synthetic signing)" if corpus.info.synthetic else ""
    recall(curves, folder / "recall.png", title=f"{corpus.info.name}{synthetic}: sentence retrieval, strict")


ResultsByKey = dict[tuple[str, ...], dict[str, Any]]


def tables(document: dict[str, Any]) -> list[ReportTable]:
    """Return the tables of a report: metrics and subsets by language, then all languages together."""
    by_key: ResultsByKey = {
        (r["language"], r["texts"], r["direction"], r["subset"], r["gallery_of"]): r for r in document["results"]
    }
    result = []
    for code in document["languages"]:
        result.append(_metrics_table(document, by_key, code))
        if any(subset != "all" for _, _, _, subset, _ in by_key):
            result.append(_subsets_table(document, by_key, code))
    return result + (_language_tables(document) if document["across"] else [])


def _metrics_table(document: dict[str, Any], by_key: ResultsByKey, code: str) -> ReportTable:
    rows = []
    for direction in DIRECTIONS:
        for texts in ("strict", "merged"):
            result = by_key[code, texts, direction, "all", "whole"]
            rows.append([f"{direction} {texts}", *(format_metric(n, result["metrics"][n]) for n in METRICS)])
            rows.append(["95 %", *(format_interval(n, result["intervals"][n]) for n in METRICS)])
        chance = by_key[code, "strict", direction, "all", "whole"]["chance"]
        rows.append(["chance", *(format_metric(n, chance[n]) for n in METRICS)])
    sizes = {texts: by_key[code, texts, "V2T", "all", "whole"] for texts in ("strict", "merged")}
    title = f"{code}: {sizes['strict']['queries']:,} videos, {sizes['strict']['gallery']:,} texts"
    if sizes["merged"]["gallery"] != sizes["strict"]["gallery"]:
        title += f" ({sizes['merged']['gallery']:,} distinct)"
    return ReportTable(title, [corner(document["corpus"]), *METRICS], rows, DIRECTIONS)


def _subsets_table(document: dict[str, Any], by_key: ResultsByKey, code: str) -> ReportTable:
    rows = []
    for name in document["subsets"]:
        for gallery in ("whole", "subset"):
            by_direction = [by_key.get((code, "strict", direction, name, gallery)) for direction in DIRECTIONS]
            both = [result for result in by_direction if result is not None]
            if len(both) < len(DIRECTIONS):
                continue
            counts = "/".join(dict.fromkeys(f"{result['queries']}" for result in both))
            row = [name if gallery == "whole" else "  own gallery", counts, f"{both[0]['gallery']}"]
            for result in both:
                value = format_metric("R@1", result["metrics"]["R@1"])
                row += [f"{value} {format_interval('R@1', result['intervals']['R@1'])}"]
                row += [format_metric("MedR", result["metrics"]["MedR"])]
            rows.append([*row, format_metric("R@1", both[0]["chance"]["R@1"])])
    header = ["subset", "queries", "of", "T2V R@1  95 %", "MedR", "V2T R@1  95 %", "MedR", "chance"]
    return ReportTable(f"{code}, strict: subsets, against the whole gallery and their own", header, rows)


def _language_tables(document: dict[str, Any]) -> list[ReportTable]:
    across, codes = document["across"], document["languages"]
    variance, mixed = across["MRV"], across["mixed"]
    columns = [(direction, kind) for direction in DIRECTIONS for kind in ("MRV", "relative")]
    model = [f"{variance[d][kind]:.4g}" for d, kind in columns]
    chance = [f"{variance[d]['chance'][kind]:.4g}" for d, kind in columns]
    header = ["", *(f"{d} {kind}" for d, kind in columns)]
    kinds = ("outranked", "by_translation", "by_wrong", "first")
    rows = [[code, *(format_metric("R@1", mixed[code][kind]) for kind in kinds)] for code in codes]
    size, recall = mixed["V2T"]["gallery"], format_metric("R@1", mixed["V2T"]["R@1"])
    return [
        ReportTable(
            f"mean rank variance of {', '.join(codes)}", header, [["model", *model], ["chance", *chance]], DIRECTIONS
        ),
        ReportTable(
            f"mixed gallery of {size:,} texts: V2T R@1 {recall} in any language",
            ["right text in", "outranked", "by translation", "by wrong text", "first"],
            rows,
            DIRECTIONS,
        ),
    ]


def markdown(document: dict[str, Any]) -> str:
    """Return report.md: the summary, the tables, the worst queries, how to read them, and the model card."""
    lines = [f"# sentence retrieval: {document['corpus']['name']}", ""]
    lines += [f"- {line}" for line in summary(document)]
    lines += markdown_sections(tables(document))
    if document["worst"]:
        rows = [[str(value) for value in row.values()] for row in document["worst"]]
        lines += [
            "",
            "## Worst queries",
            "",
            *markdown_table(["language", "direction", "query", "rank", "first"], rows),
        ]
    return "\n".join(lines + markdown_ending(READING, document))
