"""Compare saved evaluations of one kind, as ``signatlas compare`` prints them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from signatlas.errors import UserError
from signatlas.evaluation.report import ReportTable, read_report
from signatlas.evaluation.sentences import comparison as sentences
from signatlas.evaluation.sentences.report import PROTOCOL as SENTENCES
from signatlas.evaluation.translations import comparison as translations
from signatlas.evaluation.translations.report import PROTOCOL as TRANSLATION

TWO_LEVEL = "means over seeds; two-level bootstrap over seeds and"


class Comparison(NamedTuple):
    """Rows for programs; a title and tables for people."""

    title: str
    rows: list[dict[str, Any]]
    tables: list[ReportTable]


def compare(folders: Sequence[Path], measure: str | None = None, *, seed: int = 0, mean: bool = False) -> Comparison:
    """Compare evaluations of sentence retrieval (by R@1) or of translation (by BLEU-4), each with the first.

    ``mean`` averages the seeds of one recipe and resamples seeds and clips. Raises UserError for evaluations of
    different kinds, of another kind, and for an unknown measure.
    """
    protocols = {read_report(folder)[1]["protocol"] for folder in folders}
    if len(protocols) > 1:
        raise UserError(f"evaluations of different kinds ({', '.join(sorted(protocols))}): compare one kind at a time")
    (protocol,) = protocols
    if protocol == TRANSLATION:
        measure = measure or "BLEU-4"
        rows = translations.compare([translations.read(folder) for folder in folders], measure, seed, mean=mean)
        test = f"{TWO_LEVEL} clips" if mean else "paired bootstrap over clips"
        return Comparison(_title(rows, test), rows, translations.tables(rows, measure))
    if protocol == SENTENCES:
        measure = measure or "R@1"
        rows = sentences.compare([sentences.read(folder) for folder in folders], measure, seed, mean=mean)
        test = f"{TWO_LEVEL} queries" if mean else "p of a paired randomization test over queries"
        return Comparison(_title(rows, test), rows, sentences.tables(rows, measure))
    raise UserError(
        f"evaluations of protocol {protocol} cannot be compared: name evaluations of dual encoders or of translators"
    )


def _title(rows: Sequence[dict[str, Any]], test: str) -> str:
    names = {f"{row['corpus']}, {row['split']}{', synthetic signing' if row['synthetic'] else ''}" for row in rows}
    return f"{'; '.join(sorted(names))}; {test}"
