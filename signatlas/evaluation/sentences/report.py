"""A sentence evaluation as a folder: figures, ranks by query, TREC runs, and tables for people."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from signatlas.evaluation.sentences.protocol import (
    DIRECTIONS,
    FIGURES,
    Asked,
    Paired,
    described,
    directions,
    languages,
    merged,
)
from signatlas.evaluation.sentences.sentence_set import SentenceSet, narrowed
from signatlas.evaluation.signs import report
from signatlas.evaluation.signs.protocols import Ranking
from signatlas.evaluation.trec import write_qrels, write_run
from signatlas.files import folder_atomically, write_text_atomically

if TYPE_CHECKING:
    from rich.table import Table

WORST = 10
RANKS = "ranks.csv"
RANK_COLUMNS = ("language", "texts", "direction", "query", "rank", "gallery")


class Evaluated(NamedTuple):
    """Everything that was asked: strict and merged by language, as :class:`Paired`, and the same by direction."""

    sentences: SentenceSet
    paired: dict[tuple[str, str], Paired]  # by (language, "strict" or "merged")

    def asked(self, language: str, texts: str) -> dict[str, Asked]:
        return directions(*self.paired[language, texts])

    def query_ids(self, language: str, texts: str, direction: str) -> list[str]:
        """Ids of the queries; a merged text has that of the first sentence it stands for."""
        if direction == "V2T":
            return self.sentences.video_ids
        if texts == "strict":
            return list(self.sentences.sentence_ids)
        _, first = np.unique(self.sentences.same(language), return_index=True)
        return [self.sentences.sentence_ids[i] for i in first]


def evaluated(sentences: SentenceSet, scores: Mapping[str, np.ndarray]) -> Evaluated:
    """``scores`` [V, T] by language."""
    paired = {}
    for code, matrix in scores.items():
        strict = Paired(matrix, sentences.group_of_video, sentences.group_of_text)
        paired[code, "strict"] = strict
        paired[code, "merged"] = merged(strict, sentences.same(code))
    return Evaluated(sentences, paired)


def results_of(found: Evaluated, subsets: Mapping[str, np.ndarray], seed: int) -> list[dict[str, Any]]:
    """One entry a language, texts (strict, merged), direction, subset and gallery (whole, subset): its figures.

    A subset that is everybody has no entries of its own.
    """
    results = []
    for (code, texts), paired in found.paired.items():
        everybody = np.ones(len(paired.group_of_video), bool)
        parts = {name: mask for name, mask in subsets.items() if not mask.all()}
        for name, mask in {"all": everybody, **parts}.items():
            for gallery in ("whole",) if name == "all" else ("whole", "subset"):
                both = narrowed(paired, mask, whole=gallery == "whole")
                for direction, asked in (both or {}).items():
                    entry = {"language": code, "texts": texts, "direction": direction, "subset": name}
                    results.append({**entry, "gallery_of": gallery, **described(asked, seed=seed)})
    return results


def across_languages(sentences: SentenceSet, scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Mean rank variance and the mixed gallery; empty for one language."""
    if len(scores) < 2:
        return {}
    found = languages(scores, sentences.group_of_video, sentences.group_of_text)
    return {name: found[name] for name in ("MRV", "mixed")}


def worst(found: Evaluated) -> list[dict[str, Any]]:
    """The queries of each language and direction that stand lowest (strict), and what took the first place."""
    videos = [found.sentences.sentence_ids[i] for i in np.unique(found.sentences.group_of_video)]
    items = {"T2V": videos, "V2T": list(found.sentences.sentence_ids)}
    rows = []
    for code in found.sentences.texts:
        for direction, asked in found.asked(code, "strict").items():
            ranks, ids = asked.ranks(), found.query_ids(code, "strict", direction)
            for q in np.argsort(-ranks, kind="stable")[:WORST]:
                if ranks[q] > 1:
                    first = items[direction][int(asked.scores[q].argmax())]
                    entry = {"query": ids[q], "rank": int(ranks[q]), "first": first}
                    rows.append({"language": code, "direction": direction, **entry})
    return rows


def rank_rows(found: Evaluated) -> list[tuple[str, str, str, str, int, int]]:
    """A row of ``RANK_COLUMNS`` a query; rank 0: nothing to find."""
    rows = []
    for code, texts in found.paired:
        for direction, asked in found.asked(code, texts).items():
            size = asked.relevant.shape[1]
            ids = found.query_ids(code, texts, direction)
            for id, rank in zip(ids, asked.ranks().tolist(), strict=True):
                rows.append((code, texts, direction, id, rank, size))
    return rows


def write(folder: str | os.PathLike[str], document: dict[str, Any], found: Evaluated) -> None:
    """Write report.json, report.md, ranks.csv and the strict runs and qrels, all at once; adds ``files``."""
    with folder_atomically(report.check_target(folder), overwrite=True) as partial:
        files: dict[str, dict[str, str]] = {}
        for code in found.sentences.texts:
            for direction, ranking in _rankings(found, code).items():
                name = report.slug(direction, code)
                files[name] = {"run": f"{name}.run.gz", "qrels": f"{name}.qrels"}
                write_run(ranking, partial / files[name]["run"], tag=name)
                write_qrels(ranking, partial / files[name]["qrels"])
        document["files"] = {**files, "ranks": RANKS}
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([RANK_COLUMNS, *rank_rows(found)])
        write_text_atomically(partial / RANKS, text.getvalue())
        (partial / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (partial / "report.md").write_text(markdown(document), "utf-8")


def _rankings(found: Evaluated, language: str) -> dict[str, Ranking]:
    """Strict rankings with ids, for the run files."""
    sentences = found.sentences
    videos = [sentences.sentence_ids[i] for i in np.unique(sentences.group_of_video)]
    items = {"T2V": videos, "V2T": list(sentences.sentence_ids)}
    rankings = {}
    for direction, asked in found.asked(language, "strict").items():
        queries = np.array(found.query_ids(language, "strict", direction), object)
        gallery = np.broadcast_to(np.array(items[direction], object), asked.scores.shape)
        rankings[direction] = Ranking(queries, gallery, asked.scores, asked.relevant, np.full(len(queries), None))
    return rankings


class Sheet(NamedTuple):
    """A table, for a terminal or for Markdown."""

    title: str
    header: list[str]
    rows: list[list[str]]


def sheets(document: dict[str, Any]) -> list[Sheet]:
    """What people read of a report: the figures by language, their subsets, and the languages together."""
    by_key: dict[tuple[str, ...], dict[str, Any]] = {
        (r["language"], r["texts"], r["direction"], r["subset"], r["gallery_of"]): r for r in document["results"]
    }
    found = []
    for code in document["languages"]:
        found.append(_figures(document, by_key, code))
        if any(subset != "all" for _, _, _, subset, _ in by_key):
            found.append(_subsets(document, by_key, code))
    return found + (_together(document) if document["across"] else [])


def _figures(document: dict[str, Any], by_key: dict[tuple[str, ...], dict[str, Any]], code: str) -> Sheet:
    rows = []
    for direction in DIRECTIONS:
        for texts in ("strict", "merged"):
            result = by_key[code, texts, direction, "all", "whole"]
            rows.append([f"{direction} {texts}", *(report.number(n, result["metrics"][n]) for n in FIGURES)])
            rows.append(["95 %", *(_range(n, result["intervals"][n]) for n in FIGURES)])
        chance = by_key[code, "strict", direction, "all", "whole"]["chance"]
        rows.append(["chance", *(report.number(n, chance[n]) for n in FIGURES)])
    sizes = {texts: by_key[code, texts, "V2T", "all", "whole"] for texts in ("strict", "merged")}
    title = f"{code}: {sizes['strict']['queries']:,} videos, {sizes['strict']['gallery']:,} texts"
    if sizes["merged"]["gallery"] != sizes["strict"]["gallery"]:
        title += f" ({sizes['merged']['gallery']:,} different ones)"
    return Sheet(title, ["SYNTH." if document["corpus"]["synthetic"] else "", *FIGURES], rows)


def _subsets(document: dict[str, Any], by_key: dict[tuple[str, ...], dict[str, Any]], code: str) -> Sheet:
    rows = []
    for name in document["subsets"]:
        for gallery in ("whole", "subset"):
            both = [by_key.get((code, "strict", direction, name, gallery)) for direction in DIRECTIONS]
            asked = [result for result in both if result is not None]
            if len(asked) < len(DIRECTIONS):
                continue
            counts = "/".join(dict.fromkeys(f"{result['queries']}" for result in asked))
            row = [name if gallery == "whole" else "  among themselves", counts, f"{asked[0]['gallery']}"]
            for result in asked:
                value = report.number("R@1", result["metrics"]["R@1"])
                row += [f"{value} {_range('R@1', result['intervals']['R@1'])}"]
                row += [report.number("MedR", result["metrics"]["MedR"])]
            rows.append([*row, report.number("R@1", asked[0]["chance"]["R@1"])])
    header = ["subset", "asked", "of", "T2V R@1  95 %", "MedR", "V2T R@1  95 %", "MedR", "chance"]
    return Sheet(f"{code}, strict: parts of the queries, against all and among themselves", header, rows)


def _together(document: dict[str, Any]) -> list[Sheet]:
    across, codes = document["across"], document["languages"]
    spread = across["MRV"]
    cells = [f"{spread[d][kind]:.4g}" for d in DIRECTIONS for kind in ("MRV", "relative")]
    by_chance = [f"{spread[d]['chance'][kind]:.4g}" for d in DIRECTIONS for kind in ("MRV", "relative")]
    title = f"mean rank variance of {', '.join(codes)}"
    header = ["", *(f"{d} {kind}" for d in DIRECTIONS for kind in ("MRV", "relative"))]
    kinds = ("outranked", "by_translation", "by_wrong", "first")
    mixed = across["mixed"]
    found = mixed["V2T"]
    rows = [[code, *(report.number("R@1", mixed[code][kind]) for kind in kinds)] for code in codes]
    described = (
        f"mixed gallery of {found['gallery']:,} texts: V2T R@1 {report.number('R@1', found['R@1'])} in any language"
    )
    return [
        Sheet(title, header, [["model", *cells], ["chance", *by_chance]]),
        Sheet(described, ["right text in", "outranked", "by translation", "by wrong text", "first place"], rows),
    ]


def _range(name: str, ends: tuple[float, float]) -> str:
    return "-".join(report.number(name, end, digits=2) for end in ends)


def table(sheet: Sheet) -> Table:
    """For a terminal of 80 columns."""
    from rich import box
    from rich.table import Table

    view = Table(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0), collapse_padding=True)
    for place, name in enumerate(sheet.header):
        view.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in sheet.rows:
        view.add_row(*row, style="bold" if row[0][:3] in DIRECTIONS else "dim" if row[0].startswith("95") else "")
    return view


def markdown(document: dict[str, Any]) -> str:
    """report.md: the summary, the tables, the worst queries, how to read it and the model's card."""
    lines = [f"# sentence retrieval: {document['corpus']['name']}", ""]
    lines += [f"- {line}" for line in report.summary(document)]
    for sheet in sheets(document):
        lines += ["", f"## {sheet.title}", "", f"| {' | '.join(sheet.header)} |", "|---" * len(sheet.header) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in sheet.rows]
    if document["worst"]:
        lines += ["", "## Worst queries", "", "| language | direction | query | rank | first |", "|---" * 5 + "|"]
        lines += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in document["worst"]]
    lines += ["", "## Reading", "", READING, "", "## Model card", "", document["model"]["card"].strip() or "(none)", ""]
    return "\n".join(lines)


READING = (
    "T2V: each text ranks sentences, a sentence scored by the best of its videos. V2T: each video ranks all texts. "
    "Strict: identical texts of different clips are errors. Merged: texts that are the same without case and "
    "punctuation are one text, and their sentences one sentence. Intervals are 95 % percentile bootstrap intervals "
    "over queries; chance is the expectation of a random order. Ties count against the query."
)
