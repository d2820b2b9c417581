"""signatlas compare: evaluations of sentence retrieval, or of translation, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared import AsJson, console, print_json


def compare(
    reports: Annotated[list[Path], typer.Argument(help="Folders that 'signatlas evaluate' wrote.")],
    by: Annotated[
        str | None,
        typer.Option(help="Metric of the paired test: R@1 (default), R@5, R@10, MRR; BLEU-4 (default) or ROUGE-L."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the paired test.")] = 0,
    mean: Annotated[
        bool, typer.Option("--mean", help="Average the seeds of one recipe; resample seeds and clips.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    json: AsJson = False,
) -> None:
    """Compare evaluations of sentence retrieval, or of translation, each with the first one.

    Differences have 95 % intervals of a paired bootstrap over clips (queries) and a two-sided p: that of a paired
    randomization test for retrieval, of the bootstrap for translation. With --mean, the seeds of a recipe are averaged,
    and seeds and clips are resampled. "p Holm" is corrected over all comparisons of the call; "n.s." marks values above
    .05. A difference is "undetermined" where its interval contains zero or p Holm is above .05. Evaluations of other
    clips are not tested.

    Example: signatlas compare runs/evaluations/clip/multi-sentences-test runs/evaluations/cico/multi-sentences-test
    """
    from signatlas.evaluation.comparison import compare as compare_evaluations
    from signatlas.evaluation.report import markdown_table, rich_table

    comparison = compare_evaluations(reports, by, seed=seed, mean=mean)
    if json:
        print_json(comparison.rows, indent=2)
    elif markdown:
        lines = [comparison.title]
        for table in comparison.tables:
            lines += ["", *([table.title, ""] if table.title else []), *markdown_table(table.header, table.rows)]
        print("\n".join(lines))
    else:
        output = console()
        output.print(comparison.title)
        for table in comparison.tables:
            output.print(rich_table(table, fold=True))
