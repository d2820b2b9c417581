"""The command tune."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cli.shared import AsJson, console, print_json


def tune(
    study: Annotated[str, typer.Argument(help="Study file, see tune/studies/.")],
    set: Annotated[list[str], typer.Option("--set", help="Fix a setting of the recipe: optimizer.epochs=5")] = [],  # noqa: B006
    trials: Annotated[int | None, typer.Option(min=1, help="Number of trials (default: that of the study).")] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Concurrent trials (default: as many as fit the cluster).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study (default: that in the file).")] = None,
    storage_path: Annotated[str | None, typer.Option(help="Folder or URI for results (default: runs/tune).")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster (default: RAY_ADDRESS or a local one).")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier study with this name.")] = False,
    json: AsJson = False,
) -> None:
    """Search settings of a recipe with Ray Tune; the hand-set recipe is the first trial.

    Run the same command again to resume an interrupted study. Its folder gets results.parquet, report.md, report.html
    and best_recipe.yaml.

    Example: signatlas tune tune/studies/curriculum.yaml --trials 12 --name curriculum_12
    """
    from tune.study import load_study, parsed_overrides

    loaded = load_study(
        study, set=parsed_overrides(set), trials=trials, concurrent=concurrent, name=name, storage_path=storage_path
    )
    from tune.run import run

    try:
        results = run(loaded, address=address, fresh=fresh, quiet=json)
    except KeyboardInterrupt:
        print("interrupted: run the same command to resume the study", file=sys.stderr)
        raise
    if json:
        print_json(results)
    else:
        _print_results(results)


def _print_results(results: dict[str, Any]) -> None:
    from pathlib import Path

    from tune.display import table
    from tune.record import read
    from tune.study import Study

    output = console()
    study = Study.model_validate(results["study"])
    output.print(table(read(Path(results["folder"])), study))
    for line in (
        *([results["note"]] if "note" in results else []),
        f"report: {results['report']}",
        f"best recipe: {results['best_recipe']}",
        f"train the best recipe: signatlas train {results['best_recipe']}",
    ):
        output.print(line, soft_wrap=True)
