"""signatlas compare: sentence evaluations in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    reports: Annotated[list[Path], typer.Argument(help="Folders that 'signatlas evaluate' wrote.")],
    by: Annotated[str, typer.Option(help="What the paired test compares: R@1, R@5, R@10 or MRR.")] = "R@1",
    seed: Annotated[int, typer.Option(help="Seed of the paired test.")] = 0,
    mean: Annotated[bool, typer.Option("--mean", help="Average the models of one recipe: its seeds.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Sentence evaluations side by side: both directions, strict and merged (m), with p against the first one.

    p is that of a paired randomisation test over the queries, two-sided; it is left out where queries differ.

    Example: signatlas compare runs/evaluations/clip/multi-sentences-test runs/evaluations/cico/multi-sentences-test
    """
    from json import dumps

    from rich import box
    from rich.console import Console
    from rich.table import Table

    from signatlas.evaluation.compare import as_cells, as_markdown, averaged, compared, read

    rows = compared([read(folder) for folder in reports], by, seed)
    rows = averaged(rows) if mean else rows
    if json:
        print(dumps(rows, indent=2, ensure_ascii=False))
        return
    names = {f"{row['corpus']}, {row['split']}{', synthetic signing' if row['synthetic'] else ''}" for row in rows}
    what = "means, range of R@1" if mean else f"p: {by} against the first, two-sided paired randomisation"
    title = f"{'; '.join(sorted(names))}; {what}"
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
