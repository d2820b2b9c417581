"""signatlas train: train a recipe with Ray Train and DeepSpeed."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cli.shared import AsJson, console, print_json


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe file, see recipes/.")],
    set: Annotated[list[str], typer.Option("--set", help="Override a setting: --set optimizer.lr=3e-4")] = [],  # noqa: B006
    workers: Annotated[int | None, typer.Option(help="Number of Ray Train workers.")] = None,
    gpu: Annotated[bool | None, typer.Option("--gpu/--cpu", help="Use one GPU per worker.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run (default: that of the recipe).")] = None,
    storage_path: Annotated[str | None, typer.Option(help="Folder or URI for runs (default: runs/).")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster (default: RAY_ADDRESS or a local one).")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run with this name.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the logs of Ray and the workers.")] = False,
    json: AsJson = False,
) -> None:
    """Train a recipe with Ray Train and DeepSpeed.

    A stopped run resumes from its last checkpoint when the same command is given again.

    Example: signatlas train recipes/dgs_gesture.yaml --workers 2 --set seed=1 --name dgs_gesture_1
    """
    from signatlas.recipe import load

    overrides = list(set)
    if workers is not None:
        overrides.append(f"scaling.workers={workers}")
    if gpu is not None:
        overrides.append(f"scaling.gpu={str(gpu).lower()}")
    if name is not None:
        overrides.append(f"name={name}")
    if storage_path is not None:
        overrides.append(f"storage_path={storage_path}")
    loaded = load(recipe, overrides)

    from trainers.fit import fit

    try:
        results = fit(loaded, address=address, fresh=fresh, quiet=json, verbose=verbose)
    except KeyboardInterrupt:
        print("stopped: the same command resumes from the last checkpoint", file=sys.stderr)
        raise
    if json:
        print_json(results)
    else:
        _print_results(results)


def _print_results(results: dict[str, Any]) -> None:
    from rich.table import Table

    output = console()
    table = Table(title=f"{results['name']}, seed {results['seed']}: {results['epochs']} epochs")
    for column in ("checkpoint", "epoch", "loss", *(k for k in results["best"] if k.startswith("dev_"))):
        table.add_column(column.replace("dev_", "dev "), justify="right")
    for kind in ("best", "last"):
        row = results[kind]
        values = [f"{row[k]:.4f}" for k in results["best"] if k.startswith("dev_")]
        table.add_row(kind, str(row["epoch"]), f"{row['loss']:.3f}", *values)
    output.print(table)
    if note := results.get("note"):
        output.print(note)
    output.print(f"model: {results['model']}\ncurves: {results['model'].removesuffix('model')}curves.png")
