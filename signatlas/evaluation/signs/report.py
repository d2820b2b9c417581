"""An evaluation as a folder: runs, qrels, report.json and a report.md to read."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signatlas.errors import UserError
from signatlas.evaluation.signs.protocols import failures
from signatlas.evaluation.signs.protocols import report as figures_of
from signatlas.evaluation.signs.suites import Outcome
from signatlas.evaluation.trec import write_qrels, write_run
from signatlas.files import folder_atomically

if TYPE_CHECKING:
    from rich.table import Table

STAGES = ("reference", "alignment", "translation")  # folders of a translator's run
SHOWN = ("R@1", "R@5", "R@10", "R@50", "mAP", "MRR", "MedR")


def slug(*parts: str) -> str:
    """A file name of words: ``slug("A: train", "csls")`` is ``a-train-csls``."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def result_of(outcome: Outcome, baseline: Outcome | None, seed: int) -> dict[str, Any]:
    """The figures of one outcome, those of the baseline beside them, the words they cover and the worst queries."""
    ranking = outcome.ranking
    result: dict[str, Any] = {"setting": outcome.setting, "adjustment": outcome.adjustment}
    result |= figures_of(ranking, seed=seed, groups=ranking.query_glosses)
    result["words"] = sorted({str(gloss) for gloss in ranking.query_glosses})
    if baseline is not None:
        nearest = figures_of(baseline.ranking, seed=seed)
        result["nearest_neighbor"] = {name: nearest[name] for name in ("metrics", "intervals")}
    return result | {"failures": failures(ranking)}


def run_name(model: str | os.PathLike[str]) -> str:
    """What a model is called: ``runs/x/model`` is x, ``runs/x/alignment/model``, of a stage, x/alignment."""
    path = Path(model)
    owner = path.parent if path.name == "model" else path
    return f"{owner.parent.name}/{owner.name}" if owner.name in STAGES and owner.parent.name else owner.name


def check_target(folder: str | os.PathLike[str]) -> Path:
    """The folder to write, which may replace an older evaluation and nothing else. Raises UserError."""
    target = Path(folder)
    if target.exists() and not (target / "report.json").is_file() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists and is not an evaluation; choose another --out")
    return target


def write(folder: str | os.PathLike[str], document: dict[str, Any], outcomes: list[Outcome]) -> None:
    """Write ``report.json``, ``report.md`` and each outcome's run and qrels, all at once.

    Adds ``files`` to each entry of ``document["results"]``, which stands in the order of ``outcomes``.
    """
    with folder_atomically(check_target(folder), overwrite=True) as partial:
        for result, outcome in zip(document["results"], outcomes, strict=True):
            adjustment = "" if outcome.adjustment == "none" else outcome.adjustment
            name = slug(document["protocol"], outcome.setting, adjustment)
            result["files"] = {"run": f"{name}.run.gz", "qrels": f"{name}.qrels"}
            write_run(outcome.ranking, partial / result["files"]["run"], tag=name)
            write_qrels(outcome.ranking, partial / result["files"]["qrels"])
        (partial / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (partial / "report.md").write_text(markdown(document), "utf-8")


def title_of(result: dict[str, Any]) -> str:
    adjustment = "" if result["adjustment"] == "none" else f", {result['adjustment']}"
    left_out = f", {result['left_out']} left out" if result["left_out"] else ""
    return f"{result['setting']}{adjustment}: {result['queries']} queries against {result['gallery']:,} clips{left_out}"


def corner_of(result: dict[str, Any]) -> str:
    """What stands above the rows' labels: figures on synthetic signing say so."""
    return "SYNTH." if result.get("synthetic") else ""


def lines_of(result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """The rows of one result's table: (label, one cell for each figure in ``SHOWN``)."""

    def cells(metrics: dict[str, float]) -> list[str]:
        return [number(name, metrics[name]) for name in SHOWN]

    def ranges(intervals: dict[str, tuple[float, float]]) -> list[str]:
        return ["-".join(number(name, end, digits=2) for end in intervals[name]) for name in SHOWN]

    rows = [("model", cells(result["metrics"])), ("95 %", ranges(result["intervals"]))]
    rows.append(("by word", ranges(result["group_intervals"])))
    if nearest := result.get("nearest_neighbor"):
        rows += [("1-NN", cells(nearest["metrics"])), ("95 %", ranges(nearest["intervals"]))]
    return [*rows, ("chance", cells(result["chance"]))]


def number(name: str, value: float, digits: int = 3) -> str:
    """Ranks as they are, fractions with so many digits and no leading zero."""
    if name in ("MedR", "MeanR"):
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:.{digits}f}".removeprefix("0")


def table(result: dict[str, Any]) -> Table:
    """One result for a terminal of 80 columns."""
    from rich import box
    from rich.table import Table

    view = Table(
        title=title_of(result), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0), collapse_padding=True
    )
    view.add_column(corner_of(result), no_wrap=True)
    for name in SHOWN:
        view.add_column(name, justify="right", no_wrap=True)
    for label, cells in lines_of(result):
        view.add_row(label, *cells, style="bold" if label == "model" else "dim" if label.startswith("9") else "")
    return view


def summary(document: dict[str, Any]) -> list[str]:
    """What was evaluated on what, in a few lines."""
    model, corpus = document["model"], document["corpus"]
    counts = ", ".join(f"{count:,} {split}" for split, count in corpus["counts"].items())
    made = " (synthetic signing: says nothing about real signers)" if corpus["synthetic"] else ""
    return [
        f"model: {model['path']} (weights {model['weights_sha256'][:12]})",
        f"corpus: {corpus['name']} {corpus['version']}{made}, {', '.join(corpus['sign_languages'])}, {counts}",
        f"fingerprint: {corpus['fingerprint']}",
        f"protocol: {document['protocol']}, split {document['split']}, bootstrap seed {document['seed']}",
        *document["notes"],
    ]


def markdown(document: dict[str, Any]) -> str:
    """report.md: the summary, a table for each result, the worst queries and the model's card."""
    lines = [f"# {document['protocol']}: {document['corpus']['name']}", ""]
    lines += [f"- {line}" for line in summary(document)]
    for result in document["results"]:
        lines += [
            "",
            f"## {title_of(result)}",
            "",
            f"| {corner_of(result)} | {' | '.join(SHOWN)} |",
            "|---" * (len(SHOWN) + 1) + "|",
        ]
        lines += [f"| {label} | {' | '.join(cells)} |" for label, cells in lines_of(result)]
        if result["failures"]:
            lines += ["", "Worst queries:", "", "| query | word | rank | first |", "|---|---|---|---|"]
            lines += [f"| {f['query']} | {f['gloss']} | {f['rank']} | {f['first']} |" for f in result["failures"]]
    lines += ["", "## Reading", "", READING, "", "## Model card", "", document["model"]["card"].strip() or "(none)", ""]
    return "\n".join(lines)


READING = (
    "Intervals are 95 % percentile bootstrap intervals, over queries and, by word, over whole words. 1-NN is nearest "
    "neighbor on normalized keypoints; chance is the expectation of a random order. Ties count against the query. "
    "Where the corpus names no signers, nothing here is signer-independent."
)
