"""Compute how many trials of a recipe a cluster can run concurrently."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from signatlas.errors import UserError

if TYPE_CHECKING:
    from signatlas.recipe import Recipe

DRIVER_CPUS = 0.01  # Ray rejects an empty bundle; the driver only waits for its workers


def trial_cpus(recipe: Recipe) -> float:
    """Return the logical CPUs of one trial: those of its workers and of its driver."""
    return recipe.scaling.workers * recipe.scaling.cpus_per_worker + DRIVER_CPUS


def local_capacity(recipe: Recipe, concurrent: int | None) -> tuple[int, int]:
    """Return (concurrent trials, logical CPUs) for a Ray that is started on this machine for the study.

    By default as many trials as the cores can run, and at least one.
    """
    fitting = int((os.cpu_count() or 1) // (recipe.scaling.workers * recipe.scaling.cpus_per_worker))
    trials = concurrent or max(1, fitting)
    return trials, math.ceil(trials * trial_cpus(recipe))


def cluster_concurrency(recipe: Recipe, requested: int | None, trials: int) -> int:
    """Return how many of ``trials`` run concurrently on the connected cluster.

    Raises UserError if the cluster cannot run one trial, or not the ``requested`` number.
    """
    import ray

    fitting = fitting_trials(recipe, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    needs = f"{recipe.scaling.workers} workers with {recipe.scaling.cpus_per_worker:g} CPUs"
    needs += " and a GPU each" if recipe.scaling.gpu else ""
    if fitting < (requested or 1):
        subject = "a trial does" if requested is None else f"{requested} concurrent trials do"
        raise UserError(
            f"{subject} not fit the cluster: each needs {needs}, and {fitting} fit; lower --concurrent, pass --set "
            "scaling.workers=N, or use a larger cluster"
        )
    return min(requested or fitting, trials)


def study_concurrency(recipe: Recipe, requested: int | None, local: int | None, trials: int) -> int:
    """Return the concurrent trials of a study, at most ``local`` on a Ray started for the study. Raises UserError."""
    concurrency = cluster_concurrency(recipe, requested, trials)
    return concurrency if local is None else min(concurrency, local)


def fitting_trials(recipe: Recipe, nodes: list[dict[str, Any]]) -> int:
    """Return how many trials fit nodes with these resources.

    A worker runs on one node; the workers of a trial may run on several.
    """
    scaling = recipe.scaling
    workers = 0
    for node in nodes:
        by_cpu = math.floor((node.get("CPU", 0) + 1e-9) / scaling.cpus_per_worker)
        workers += min(by_cpu, math.floor(node.get("GPU", 0))) if scaling.gpu else by_cpu
    trials = workers // scaling.workers
    # Without CPUs for the drivers, the last trial would wait forever for its last worker.
    cpus = sum(node.get("CPU", 0) for node in nodes)
    while trials and cpus < trials * trial_cpus(recipe):
        trials -= 1
    return trials
