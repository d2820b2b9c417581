"""signatlas tune: search settings of a recipe with Ray Tune."""

from __future__ import annotations

import json as json_
import sys
from typing import Annotated, Any

import typer


def tune(
    study: Annotated[str, typer.Argument(help="a study file, see tune/studies/")],
    set: Annotated[list[str], typer.Option("--set", help="fix a setting of the recipe: --set optimizer.epochs=5")] = [],  # noqa: B006
    trials: Annotated[int | None, typer.Option(min=1, help="trials in all; the study's by default")] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="trials at a time; by default as many as the cluster holds")
    ] = None,
    name: Annotated[str | None, typer.Option(help="name of the study; its own by default")] = None,
    storage_path: Annotated[str | None, typer.Option(help="folder or URI; runs/tune by default")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster; a local one is started by default")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="forget an earlier study of this name")] = False,
    json: Annotated[bool, typer.Option("--json", help="print the results as JSON")] = False,
) -> None:
    """Search settings of a recipe: many trainings with Ray Tune, the hand-set recipe first.

    A study that was stopped goes on where it was when the same command is given again. Its folder gets results.parquet,
    report.md, report.html and best_recipe.yaml.

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
        print("stopped: the same command goes on with the study", file=sys.stderr)
        raise
    if json:
        print(json_.dumps(results))
    else:
        _print(results)


def _print(results: dict[str, Any]) -> None:
    from pathlib import Path

    from rich.console import Console

    from tune.record import read, table
    from tune.study import Study

    console = Console()
    study = Study.model_validate(results["study"])
    console.print(table(read(Path(results["folder"])), study))
    if note := results.get("note"):
        console.print(note)
    for line in ("report", "best_recipe"):
        console.print(f"{line.replace('_', ' ')}: {results[line]}", soft_wrap=True)
    console.print(f"train the best: signatlas train {results['best_recipe']}", soft_wrap=True)
