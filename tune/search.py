"""The searchers and the scheduler of a study, as Ray Tune wants them."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune.study import Point, Study, Values, encoded

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

METRIC, TIME = "best", "epochs"  # what trials report: the best so far, after so many epochs


def search(study: Study, hand: Point) -> dict[str, Any]:
    """What Tune's configuration gets: param_space, search_alg and num_samples, the hand-set point first."""
    if study.searcher.name != "optuna":
        from ray import tune

        # Drawn here and listed for Tune: which settings a trial gets depends on the seed alone.
        points = grid(study, hand) if study.searcher.name == "grid" else chance(study, hand)
        return {"param_space": {"settings": tune.grid_search(points)}, "search_alg": None, "num_samples": 1}
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A trial that goes on counts its evaluations from one again; only Optuna's pruners, which are not used, read them.
    warnings.filterwarnings("ignore", message="The reported value is ignored", module="optuna")
    algorithm = OptunaSearch(
        space={path: _distribution(values) for path, values in study.space.items()},
        metric=METRIC,
        mode=study.mode,
        # constant_liar: trials at work count too, or those that run side by side would be alike.
        sampler=optuna.samplers.TPESampler(
            seed=study.searcher.seed, n_startup_trials=study.searcher.startup, multivariate=False, constant_liar=True
        ),
        points_to_evaluate=[{path: _stored(study.space[path], value) for path, value in hand.items()}],
    )
    return {"param_space": None, "search_alg": algorithm, "num_samples": study.trials}


def settings_of(config: dict[str, Any], study: Study) -> Point:
    """The point that a trial's Tune configuration stands for."""
    if "settings" in config:
        return dict(config["settings"])
    point = {}
    for path, values in study.space.items():
        value = config[path]
        if values.choice is not None:
            value = next(known for known in values.choice if encoded(known) == value)
        point[path] = value
    return point


def chance(study: Study, hand: Point) -> list[Point]:
    """``trials`` points, the hand-set one first, the others drawn independently."""
    import random

    generator = random.Random(study.searcher.seed)
    drawn = [{path: _draw(values, generator) for path, values in study.space.items()} for _ in range(study.trials - 1)]
    return [hand, *drawn]


def grid(study: Study, hand: Point) -> list[Point]:
    """Every combination of the choices, the hand-set one first."""
    choices = [values.choice or [] for values in study.space.values()]
    points = [dict(zip(study.space, combination, strict=True)) for combination in itertools.product(*choices)]
    return [hand, *(point for point in points if not same(point, hand))]


def same(one: Point, other: Point) -> bool:
    return {path: encoded(value) for path, value in one.items()} == {p: encoded(v) for p, v in other.items()}


def count(study: Study, hand: Point) -> int:
    """How many trials the study has."""
    return len(grid(study, hand)) if study.searcher.name == "grid" else study.trials


def scheduler(study: Study, hand: Point, epochs: int, folder: Path) -> TrialScheduler:
    """What ends trials early. ``epochs``: of a whole trial; ``folder``: of the study, on this machine."""
    from ray.tune.schedulers import FIFOScheduler

    if study.scheduler.name == "none" or study.scheduler.grace >= epochs:
        return FIFOScheduler()

    from tune.asha import SparingASHA

    return SparingASHA(study, hand, epochs, folder)


def _draw(values: Values, generator: Any) -> Any:
    import math

    if values.choice is not None:
        return generator.choice(values.choice)
    low, high = values.ends
    if values.kind == "randint":
        return generator.randint(int(low), int(high))
    if values.kind == "uniform":
        return generator.uniform(low, high)
    drawn = math.exp(generator.uniform(math.log(low), math.log(high)))
    return min(max(drawn, low), high) if values.kind == "loguniform" else min(max(round(drawn), int(low)), int(high))


def _distribution(values: Values) -> Any:
    from optuna import distributions

    if values.choice is not None:
        return distributions.CategoricalDistribution([encoded(value) for value in values.choice])
    low, high = values.ends
    log = values.kind.startswith("log")
    if values.kind.endswith("int"):
        return distributions.IntDistribution(int(low), int(high), log=log)
    return distributions.FloatDistribution(low, high, log=log)


def _stored(values: Values, value: Any) -> Any:
    """A value as Optuna keeps it: choices by name, so that they may be any YAML value."""
    return encoded(value) if values.choice is not None else value
