"""Evaluation reports: folder names, where model and corpus come from, tables for terminals and Markdown."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from signatlas.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from signatlas.corpus.format import Corpus
    from signatlas.models.dual_encoder.encoder import DualEncoder
    from signatlas.models.sign_encoder import SignEncoder
    from signatlas.models.translator.translator import Translator

REPORT_JSON, REPORT_MD = "report.json", "report.md"
ROOT = Path("runs/evaluations")
STAGES = ("reference", "alignment", "translation")  # folders of a translator's run
RANK_METRICS = ("MedR", "MeanR")


class ReportTable(NamedTuple):
    """A table for a terminal or for Markdown. Rows whose label starts with one of ``bold`` are printed bold."""

    title: str
    header: list[str]
    rows: list[list[str]]
    bold: tuple[str, ...] = ("model",)


class Evaluation(NamedTuple):
    """A finished evaluation: its folder, the content of report.json, and what a command prints."""

    folder: Path
    document: dict[str, Any]
    lines: list[str]
    tables: list[ReportTable]


def no_progress() -> Progress:
    """Return progress bars that are never drawn; messages go to standard error."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), disable=True)


# --- names and folders


def slug(*parts: str) -> str:
    """Return a file name made of words.

    >>> slug("A: train", "csls")
    'a-train-csls'
    """
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def run_name(model: str | os.PathLike[str]) -> str:
    """Return the name of a model's run.

    >>> run_name("runs/x/model"), run_name("runs/x/alignment/model")
    ('x', 'x/alignment')
    """
    path = Path(model)
    run = path.parent if path.name == "model" else path
    return f"{run.parent.name}/{run.name}" if run.name in STAGES and run.parent.name else run.name


def seedless_name(run: str, seed: object) -> str:
    """Return the name of a run without its seed; the seeds of a run are named NAME_0, NAME_1.

    >>> seedless_name("x_1", 1), seedless_name("x_1/alignment", 1), seedless_name("x", None)
    ('x', 'x/alignment', 'x')
    """
    name, separator, stage = run.partition("/")
    return name.removesuffix(f"_{seed}") + separator + stage


def default_folder(model: str, corpus: Corpus, protocol: str, split: str, variant: str = "") -> Path:
    """Return ``runs/evaluations/RUN/CORPUS-PROTOCOL-SPLIT[-VARIANT]``."""
    return ROOT / slug(run_name(model)) / slug(corpus.info.name, protocol, split, variant)


def check_target(folder: str | os.PathLike[str]) -> Path:
    """Return the folder to write; it may replace an older evaluation and nothing else. Raises UserError."""
    target = Path(folder)
    if target.exists() and not (target / REPORT_JSON).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists and is not an evaluation: choose another --out")
    return target


def read_report(folder: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    """Return an evaluation's folder and the content of its report.json. Raises UserError."""
    path = Path(folder)
    path = path.parent if path.name == REPORT_JSON else path
    try:
        document: dict[str, Any] = json.loads((path / REPORT_JSON).read_text("utf-8"))
        document["protocol"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} has no readable {REPORT_JSON} ({error}): evaluate the model again") from error
    return path, document


# --- content


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """Return path, name, version, license, source, sign languages, counts and fingerprint of a corpus."""
    info = corpus.info
    names = ("name", "version", "license", "source", "sign_languages", "synthetic", "counts", "fingerprint")
    return {"path": corpus.path, **{name: getattr(info, name) for name in names}}


def describe_model(name: str, model: SignEncoder | DualEncoder | Translator) -> dict[str, Any]:
    """Return path, sha256 of the weights, config, training record and model card of a model."""
    from signatlas.files import sha256_bytes
    from signatlas.models import folder

    path = folder.locate(name)
    card = path / "README.md"
    return {
        "path": name,
        "weights_sha256": sha256_bytes((path / folder.WEIGHTS).read_bytes()),
        "config": model.config.model_dump(mode="json"),
        "record": model.record,
        "card": card.read_text("utf-8") if card.is_file() else "",
    }


def excluded_glosses(record: Mapping[str, Any]) -> frozenset[str]:
    """Return the glosses that training left out, from a model's record."""
    return frozenset(record.get("excluded_glosses", ()))


def training_notes(record: Mapping[str, Any], corpus: Corpus, *, same_corpus: bool = True) -> list[str]:
    """Return notes on what training saw and on the corpus; ``same_corpus``: the model should be trained on it."""
    from signatlas.corpus import composed

    notes = []
    trained_on = record.get("corpus_fingerprint")
    if same_corpus and trained_on and trained_on != corpus.info.fingerprint:
        notes.append(f"note: trained on another corpus (fingerprint {trained_on}); its splits may differ")
    if excluded := excluded_glosses(record):
        notes.append(f"note: training left out {len(excluded)} words: {', '.join(sorted(excluded))}")
    return notes + composed.notes(corpus)


def summary(document: dict[str, Any]) -> list[str]:
    """Return lines that say which model was evaluated on which corpus, and the notes."""
    model, corpus = document["model"], document["corpus"]
    counts = ", ".join(f"{count:,} {split}" for split, count in corpus["counts"].items())
    synthetic = " (synthetic signing: says nothing about real signers)" if corpus["synthetic"] else ""
    return [
        f"model: {model['path']} (weights {model['weights_sha256'][:12]})",
        f"corpus: {corpus['name']} {corpus['version']}{synthetic}, {', '.join(corpus['sign_languages'])}, {counts}",
        f"fingerprint: {corpus['fingerprint']}",
        f"protocol: {document['protocol']}, split {document['split']}, bootstrap seed {document['seed']}",
        *document["notes"],
    ]


def write_documents(folder: Path, document: dict[str, Any], markdown: str) -> None:
    """Write report.json and report.md."""
    (folder / REPORT_JSON).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (folder / REPORT_MD).write_text(markdown, "utf-8")


def corner(document: Mapping[str, Any]) -> str:
    """Return the upper left cell of tables, which marks metrics of a ``synthetic`` corpus."""
    return "SYNTH." if document.get("synthetic") else ""


# --- tables


def format_metric(name: str, value: float, digits: int = 3) -> str:
    """Return a metric as text: ranks with three digits, fractions without a leading zero.

    >>> format_metric("R@1", 0.25), format_metric("MedR", 1506.0)
    ('.250', '1506')
    """
    if name in RANK_METRICS:
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:.{digits}f}".removeprefix("0")


def format_interval(name: str, ends: tuple[float, float]) -> str:
    """Return an interval as text, such as ``.12-.31``."""
    return "-".join(format_metric(name, end, digits=2) for end in ends)


def rich_table(table: ReportTable, *, fold: bool = False) -> Table:
    """Return a table for a terminal of 80 columns; ``fold`` wraps long cells instead of cutting them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = Text(table.title, style="table.title") if table.title else None
    view = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0), collapse_padding=True)
    for i, name in enumerate(table.header):
        view.add_column(
            Text(name), justify="right" if i else "left", no_wrap=not fold, overflow="fold" if fold else "ellipsis"
        )
    for row in table.rows:
        style = "bold" if row[0].startswith(table.bold) else "dim" if row[0].strip().startswith("95 %") else ""
        view.add_row(*map(Text, row), style=style)
    return view


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; line breaks and ``|`` in cells are escaped."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(row)} |" for row in cells)]


def markdown_sections(tables: Sequence[ReportTable]) -> list[str]:
    """Return the lines of a Markdown section for each table."""
    return [
        line for table in tables for line in ("", f"## {table.title}", "", *markdown_table(table.header, table.rows))
    ]


def markdown_ending(reading: str, document: dict[str, Any]) -> list[str]:
    """Return the last lines of report.md: how to read it, and the model card."""
    return ["", "## Reading", "", reading, "", "## Model card", "", document["model"]["card"].strip() or "(none)", ""]
