"""signatlas compare: evaluations of sentence retrieval, or of translations, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from signatlas.errors import UserError


def compare(
    reports: Annotated[list[Path], typer.Argument(help="Folders that 'signatlas evaluate' wrote.")],
    by: Annotated[
        str | None,
        typer.Option(help="What the paired test compares: R@1, R@5, R@10 or MRR [R@1]; BLEU-4 or ROUGE-L [BLEU-4]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the paired test.")] = 0,
    mean: Annotated[bool, typer.Option("--mean", help="Average the models of one recipe: its seeds.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Evaluations of sentence retrieval, or of translations, side by side, each tested against the first one.

    Retrieval: both directions, strict and merged (m); p is that of a paired randomization test over the queries.
    Translations: all figures; difference, 95 % interval and p of a paired bootstrap over the clips. Both are
    two-sided, and left out where queries or clips differ.

    Example: signatlas compare runs/evaluations/clip/multi-sentences-test runs/evaluations/cico/multi-sentences-test
    """
    from signatlas.evaluation.translations.comparison import is_translation

    kinds = {is_translation(folder) for folder in reports}
    if kinds == {True, False}:
        raise UserError("some of these are evaluations of translations and others are not: compare one kind at a time")
    if kinds == {True}:
        _translations(reports, by or "BLEU-4", seed, mean, markdown, json)
    else:
        _sentences(reports, by or "R@1", seed, mean, markdown, json)


def _title(rows: list[dict[str, Any]], what: str) -> str:
    names = {f"{row['corpus']}, {row['split']}{', synthetic signing' if row['synthetic'] else ''}" for row in rows}
    return f"{'; '.join(sorted(names))}; {what}"


def _translations(reports: list[Path], by: str, seed: int, mean: bool, markdown: bool, json: bool) -> None:
    from json import dumps

    from rich import box
    from rich.console import Console
    from rich.table import Table

    from signatlas.evaluation.translations.comparison import as_cells, averaged, compared, read
    from signatlas.evaluation.translations.report import grid

    saved = [read(folder) for folder in reports]
    rows = averaged(saved, by, seed) if mean else compared(saved, by, seed)
    if json:
        print(dumps(rows, indent=2, ensure_ascii=False))
        return
    what = f"{'means over seeds; ' if mean else ''}{by} against the first: paired bootstrap over clips, 95 %"
    header, cells = as_cells(rows, by)
    if markdown:
        print("\n".join([_title(rows, what), "", *grid(header, cells)]))
        return
    console = Console(highlight=False)
    console.print(_title(rows, what), markup=False)
    view = Table(box=box.SIMPLE_HEAD, padding=(0, 0), collapse_padding=True)
    for place, name in enumerate(header):
        view.add_column(name, justify="right" if place else "left", overflow="fold")
    for line in cells:
        view.add_row(*line)
    console.print(view)


def _sentences(reports: list[Path], by: str, seed: int, mean: bool, markdown: bool, json: bool) -> None:
    from json import dumps

    from rich import box
    from rich.console import Console
    from rich.table import Table

    from signatlas.evaluation.sentences.comparison import as_cells, as_markdown, averaged, compared, read

    rows = compared([read(folder) for folder in reports], by, seed)
    rows = averaged(rows) if mean else rows
    if json:
        print(dumps(rows, indent=2, ensure_ascii=False))
        return
    what = "means, range of R@1" if mean else f"p: {by} against the first, two-sided paired randomization"
    title = _title(rows, what)
    if markdown:
        print(f"{title}\n\n{as_markdown(rows)}")
        return
    header, cells = as_cells(rows)
    half = (len(header) - 2) // 2
    console = Console(highlight=False)
    console.print(title, markup=False)
    for start in (2, 2 + half):  # one direction after the other: both do not fit 80 columns
        view = Table(box=box.SIMPLE_HEAD, padding=(0, 0), collapse_padding=True)
        for place, name in enumerate([*header[:2], *header[start : start + half]]):
            view.add_column(name, justify="right" if place > 1 else "left", overflow="fold")
        for line in cells:
            view.add_row(*line[:2], *line[start : start + half])
        console.print(view)
