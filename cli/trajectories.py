"""signatlas trajectories: what became of negatives while a reference model learned."""

from __future__ import annotations

import contextlib
import json as json_
from pathlib import Path
from typing import Annotated

import typer
import yaml

from cli.shared import writing
from signatlas.errors import FeatureError


def trajectories(
    run: Annotated[Path, typer.Argument(help="Run that selects its batches, reference run, or its 'trajectories'.")],
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("trajectories.png"),
    clips: Annotated[int, typer.Option(min=2, help="Clips whose pairs are compared; more are drawn from.")] = 500,
    quantile: Annotated[float | None, typer.Option(min=0, max=1, help="High: above this one. [above the mean]")] = None,
    threshold: Annotated[float | None, typer.Option(help="High: above this similarity, early and late.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read all files against their checksums first.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the clips that are drawn.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the shares and curves as JSON.")] = False,
) -> None:
    """Draw how the similarity of negatives changed: pushed apart (H->L), together (L->H), or not (H->H, L->L).

    Example: signatlas trajectories runs/scl_slt_multi_composed --out trajectories.png
    """
    from signatlas.plots.trajectories import classes as draw
    from signatlas.sampling.trajectories.classes import CLASSES, classes
    from signatlas.sampling.trajectories.similarities import Trajectories

    if quantile is not None and threshold is not None:
        raise FeatureError("--quantile and --threshold exclude each other: name one")
    opened = Trajectories.open(folder(run), verify=verify)
    found = classes(opened, clips=clips, quantile=quantile, threshold=threshold, seed=seed)
    with writing(out):
        draw(found, out, title=f"{opened.info.corpus}: {found.clips:,} of {found.clips_of:,} clips and their texts")
    if json:
        document = {"trajectories": str(opened.path), "fingerprint": opened.fingerprint, "seed": seed}
        print(json_.dumps(document | found.model_dump()))
        return
    print(f"{found.pairs:,} negatives of {found.clips:,} clips, epochs {', '.join(map(str, found.epochs))}")
    print(f"high: above {found.thresholds[0]:.3f} early and {found.thresholds[1]:.3f} late ({found.rule})")
    print(f"{'class':<10}{'share':>7}{'early':>9}{'late':>9}")
    for name in CLASSES:
        ends = [found.curves[name][place] for place in (0, -1)]
        told = "".join(f"{'-' if value is None else format(value, '.3f'):>9}" for value in ends)
        print(f"{name:<10}{found.shares[name]:>7.1%}{told}")
    for name, curve in (("all", found.negatives), ("own text", found.positives)):
        print(f"{name:<10}{'':>7}{curve[0]:>9.3f}{curve[-1]:>9.3f}")
    print(out)


def folder(run: Path) -> Path:
    """Where the trajectories of a run are: in it, in its reference stage, or the folder itself."""
    from signatlas.sampling.trajectories.store import INFO

    for inside in (".", "trajectories", "reference/trajectories", "alignment/trajectories"):
        if (run / inside / INFO).is_file():
            return run / inside
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        named = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))["selection"]["reference"]
        if (Path(named) / "trajectories" / INFO).is_file():  # of another run, whose reference this one takes
            return Path(named) / "trajectories"
    return run
