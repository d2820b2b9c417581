"""The report of an evaluation of confidence words: tables, every answer, and a picture."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signatlas.evaluation.report import (
    ReportTable,
    check_target,
    format_interval,
    format_metric,
    markdown_ending,
    markdown_sections,
    summary,
    write_documents,
)
from signatlas.files import folder_atomically

if TYPE_CHECKING:
    from signatlas.evaluation.confidence.measures import Answers

PROTOCOL = "calibration"
ANSWERS_CSV, PICTURE = "answers.csv", "reliability.png"
READING = (
    "Every recording is searched as recorded and mirrored; the better score of each entry counts. Its word is that of "
    "the whole answer (the verdict). An answer is right if its first hit has the query's gloss. Present signs have "
    "recordings in the index, absent signs have none. A word promises the share of right answers that it has on dev. "
    "The expected calibration error is the mean difference between promised and measured share, weighted by the "
    "number of test queries of each word; 'if exact' is the error to expect if every promise were exact. With every "
    "second sign absent, present and absent signs weigh half each, and answers to absent signs are wrong. Intervals "
    "are 95 % Wilson intervals over queries, those of calibration errors 95 % bootstrap intervals over test queries. "
    "Queries of one word or one signer depend on each other, which no interval here shows."
)


def write(folder: str | os.PathLike[str], document: dict[str, Any], answers: Mapping[str, Answers]) -> None:
    """Write report.json, report.md, answers.csv and reliability.png, atomically; ``answers`` are by split."""
    from signatlas.plots.reliability import Scores, reliability

    document["files"] = {"answers": ANSWERS_CSV, "picture": PICTURE}
    with folder_atomically(check_target(folder), overwrite=True) as partial:
        _write_answers(partial / ANSWERS_CSV, answers)
        test = answers[document["split"]]
        scores = [
            Scores("right", test.scores[test.present & test.right]),
            Scores("wrong", test.scores[test.present & ~test.right]),
            Scores("sign not in the index", test.scores[~test.present]),
        ]
        synthetic = ", synthetic signing" if document["synthetic"] else ""
        confidence = document["index"]["confidence"]
        reliability(
            document["words"],
            scores,
            {name: confidence[name] for name in ("found", "possible", "probable")},
            partial / PICTURE,
            split=document["split"],
            title=f"{document['corpus']['name']}, {document['split']}{synthetic}: words of search by either hand",
        )
        write_documents(partial, document, markdown(document))


def _write_answers(path: Path, answers: Mapping[str, Answers]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["split", "query", "gloss", "source", "present", "first", "score", "verdict", "right"])
        for split, part in answers.items():
            for id, gloss, source, present, first, score, verdict, right in zip(*part, strict=True):
                writer.writerow(
                    [split, id, gloss, source, int(present), first, repr(float(score)), verdict, int(right)]
                )


def tables(document: dict[str, Any]) -> list[ReportTable]:
    """Return the tables of present signs, absent signs and errors."""
    split, words = document["split"], document["words"]
    entries, present = document["index"]["entries"], document["first_hit_right"]
    absent = words[0]["absent"]["total"]
    rows = [
        [
            row["word"],
            *(text for part in ("dev", "test") for text in (str(row[part]["total"]), *_cells(row[part]))),
        ]
        for row in words
    ]
    tables = [
        ReportTable(
            f"{present['total']} {split} queries for signs in the index ({entries:,} entries): first hit right",
            ["", "dev", "right", "95 %", split, "right", "95 %"],
            [*rows, ["all", "", "", "", str(present["total"]), *_cells(present)]],
            (),
        )
    ]
    if absent:
        rows = [
            [
                row["word"],
                str(row["absent"]["count"]),
                *_cells(row["absent"]),
                format_metric("", row["absent_by_design"]),
            ]
            for row in words
        ]
        title = f"{absent} {split} queries for signs that are not in the index"
        tables.append(ReportTable(title, ["", "queries", "share", "95 %", "by design"], rows, ()))
    mixed = document["calibration_error"].get("every second sign absent")
    if mixed:
        rows = [
            [row["word"], *(_maybe(mixed[part].get(row["word"])) for part in ("promised", "measured"))] for row in words
        ]
        tables.append(ReportTable("With every second sign absent: first hit right", ["", "dev", split], rows, ()))
    errors = [
        [f"calibration error, {name}", *_error_cells(error)] for name, error in document["calibration_error"].items()
    ]
    errors += [
        [name, *_cells(rate), f"{rate['count']} of {rate['total']}"]
        for name, rate in document["rates"].items()
        if rate["total"]
    ]
    return [*tables, ReportTable("Errors", ["", split, "95 %", ""], errors, ())]


def _cells(share: Mapping[str, Any]) -> list[str]:
    if share["share"] is None:
        return ["-", "-"]
    return [format_metric("", share["share"]), format_interval("", share["interval"])]


def _maybe(share: float | None) -> str:
    return "-" if share is None else format_metric("", share)


def _error_cells(error: Mapping[str, Any] | None) -> list[str]:
    if error is None:
        return ["-", "-", "no dev queries"]
    notes = [f"{format_metric('', error['if_exact'])} if exact"] if error["if_exact"] is not None else []
    if error["without_promise"]:
        notes.append(f"{error['without_promise']} without promise left out")
    return [format_metric("", error["error"]), format_interval("", error["interval"]), ", ".join(notes)]


def markdown(document: dict[str, Any]) -> str:
    """Return report.md."""
    lines = [f"# Confidence words: {document['corpus']['name']}", ""]
    lines += [f"- {line}" for line in summary(document)]
    lines += markdown_sections(tables(document))
    lines += ["", f"![Reliability]({PICTURE})"]
    return "\n".join(lines + markdown_ending(READING, document))
