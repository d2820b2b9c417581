"""signatlas trajectories: similarity trajectories of negative pairs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer
import yaml

from cli.shared import AsJson, output_errors, print_json
from signatlas.errors import FeatureError


def trajectories(
    run: Annotated[Path, typer.Argument(help="A run that selects its batches, a reference run, or its trajectories.")],
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("trajectories.png"),
    clips: Annotated[int, typer.Option(min=2, help="Number of clips, drawn at random, whose pairs to compare.")] = 500,
    quantile: Annotated[
        float | None, typer.Option(min=0, max=1, help="High is above this quantile. (default: above the mean)")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="High is above this similarity, early and late.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check all files against their checksums first.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the clips.")] = 0,
    json: AsJson = False,
) -> None:
    """Plot how the similarity of negative pairs changed: pushed apart (H->L), together (L->H), or neither.

    Example: signatlas trajectories runs/scl_slt_multi_composed --out trajectories.png
    """
    from signatlas.plots.trajectories import classes as plot
    from signatlas.sampling.trajectories import Trajectories, classify_negatives
    from signatlas.sampling.trajectories.classes import CLASSES

    if quantile is not None and threshold is not None:
        raise FeatureError("--quantile and --threshold exclude each other: use one")
    store = Trajectories.open(trajectories_folder(run), verify=verify)
    result = classify_negatives(store, clips=clips, quantile=quantile, threshold=threshold, seed=seed)
    with output_errors(out):
        plot(result, out, title=f"{store.info.corpus}: {result.clips:,} of {result.clips_of:,} clips and their texts")
    if json:
        document = {"trajectories": str(store.path), "fingerprint": store.fingerprint, "seed": seed}
        print_json(document | result.model_dump())
        return
    print(f"{result.pairs:,} negatives of {result.clips:,} clips, epochs {', '.join(map(str, result.epochs))}")
    print(f"high: above {result.thresholds[0]:.3f} early and {result.thresholds[1]:.3f} late ({result.rule})")
    print(f"{'class':<10}{'share':>7}{'early':>9}{'late':>9}")
    for name in CLASSES:
        ends = [result.curves[name][index] for index in (0, -1)]
        cells = "".join(f"{'-' if value is None else format(value, '.3f'):>9}" for value in ends)
        print(f"{name:<10}{result.shares[name]:>7.1%}{cells}")
    for name, curve in (("all", result.negatives), ("own text", result.positives)):
        print(f"{name:<10}{'':>7}{curve[0]:>9.3f}{curve[-1]:>9.3f}")
    print(out)


def trajectories_folder(run: Path) -> Path:
    """Return the trajectories folder of a run or of the reference run that its recipe names."""
    from signatlas.sampling.trajectories.store import INFO

    for inside in (".", "trajectories", "reference/trajectories", "alignment/trajectories"):
        if (run / inside / INFO).is_file():
            return run / inside
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
        reference = recipe["negative_selection"]["reference"]
        if (Path(reference) / "trajectories" / INFO).is_file():
            return Path(reference) / "trajectories"
    return run
