"""How many trials of a recipe a cluster holds at a time."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from signatlas.errors import UserError

if TYPE_CHECKING:
    from signatlas.recipe import Recipe

DRIVER_CPUS = 0.01  # an empty bundle is refused; the driver only waits for its workers


def cpus_of_trial(recipe: Recipe) -> float:
    return recipe.scaling.workers * recipe.scaling.cpus_per_worker + DRIVER_CPUS


def local(recipe: Recipe, concurrent: int | None) -> tuple[int, int]:
    """(trials at a time, logical CPUs) for a Ray that is started for the study on this machine.

    As many as its cores hold by default, and one in any case.
    """
    fits = int((os.cpu_count() or 1) // (recipe.scaling.workers * recipe.scaling.cpus_per_worker))
    trials = concurrent or max(1, fits)
    return trials, math.ceil(trials * cpus_of_trial(recipe))


def concurrency(recipe: Recipe, wanted: int | None, trials: int) -> int:
    """Trials at a time on the connected cluster. Raises UserError when not even one, or not as many as wanted, fit."""
    import ray

    fits = fitting(recipe, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    needs = f"{recipe.scaling.workers} workers of {recipe.scaling.cpus_per_worker:g} CPUs"
    needs += " and a GPU each" if recipe.scaling.gpu else ""
    if fits < (wanted or 1):
        what = "a trial does" if wanted is None else f"{wanted} trials at a time do"
        raise UserError(
            f"{what} not fit the cluster: each needs {needs}, and it holds {fits}; give --concurrent, --set "
            "scaling.workers=N, or a larger cluster"
        )
    return min(wanted or fits, trials)


def of_study(recipe: Recipe, wanted: int | None, local: int | None, trials: int) -> int:
    """Trials at a time: at most those that a Ray of the study's own was started for. Raises UserError."""
    fits = concurrency(recipe, wanted, trials)
    return fits if local is None else min(fits, local)


def fitting(recipe: Recipe, nodes: list[dict[str, Any]]) -> int:
    """Trials that fit nodes with these resources. A worker is on one node, the workers of a trial may be on several."""
    scaling = recipe.scaling
    workers = 0
    for node in nodes:
        fits = math.floor((node.get("CPU", 0) + 1e-9) / scaling.cpus_per_worker)
        workers += min(fits, math.floor(node.get("GPU", 0))) if scaling.gpu else fits
    trials = workers // scaling.workers
    # The drivers' own shares must be left over, or the last trial waits for ever for its last worker.
    cpus = sum(node.get("CPU", 0) for node in nodes)
    while trials and cpus < trials * cpus_of_trial(recipe):
        trials -= 1
    return trials
