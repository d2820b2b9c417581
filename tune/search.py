"""The searchers of a study: Optuna, random and grid search for Ray Tune."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from typing import Any

from tune.study import METRIC, Point, Study, Values, encoded


def search(study: Study, baseline: Point) -> dict[str, Any]:
    """Return param_space, search_alg and num_samples for Tune, with the hand-set point as the first trial."""
    if study.searcher.name != "optuna":
        from ray import tune

        # Drawn here and passed to Tune as a list, so that the settings of a trial depend on the seed alone.
        points = grid(study, baseline) if study.searcher.name == "grid" else random_points(study, baseline)
        return {"param_space": {"settings": tune.grid_search(points)}, "search_alg": None, "num_samples": 1}
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A resumed trial reports its evaluations again from step one; only pruners, which are not used, read the steps.
    warnings.filterwarnings("ignore", message="The reported value is ignored", module="optuna")
    algorithm = OptunaSearch(
        space={path: _distribution(values) for path, values in study.space.items()},
        metric=METRIC,
        mode=study.mode,
        # constant_liar also counts running trials; otherwise concurrent trials would get similar settings.
        sampler=optuna.samplers.TPESampler(
            seed=study.searcher.seed, n_startup_trials=study.searcher.startup, multivariate=False, constant_liar=True
        ),
        points_to_evaluate=[{path: _categorical_name(study.space[path], value) for path, value in baseline.items()}],
    )
    return {"param_space": None, "search_alg": algorithm, "num_samples": study.trials}


def settings_of(config: dict[str, Any], study: Study) -> Point:
    """Return the point of a trial from its Tune configuration."""
    if "settings" in config:
        return dict(config["settings"])
    point = {}
    for path, values in study.space.items():
        value = config[path]
        if values.choice is not None:
            value = next(choice for choice in values.choice if encoded(choice) == value)
        point[path] = value
    return point


def random_points(study: Study, baseline: Point) -> list[Point]:
    """Return ``study.trials`` points: the hand-set one, then independent draws."""
    generator = random.Random(study.searcher.seed)
    draws = [{path: _draw(values, generator) for path, values in study.space.items()} for _ in range(study.trials - 1)]
    return [baseline, *draws]


def grid(study: Study, baseline: Point) -> list[Point]:
    """Return every combination of the choices, the hand-set one first."""
    choices = [values.choice or [] for values in study.space.values()]
    points = [dict(zip(study.space, combination, strict=True)) for combination in itertools.product(*choices)]
    return [baseline, *(point for point in points if not same(point, baseline))]


def same(first: Point, second: Point) -> bool:
    """Return whether two points have the same settings."""
    return {path: encoded(value) for path, value in first.items()} == {p: encoded(v) for p, v in second.items()}


def count(study: Study, baseline: Point) -> int:
    """Return how many trials the study has."""
    return len(grid(study, baseline)) if study.searcher.name == "grid" else study.trials


def _draw(values: Values, generator: random.Random) -> Any:
    if values.choice is not None:
        return generator.choice(values.choice)
    low, high = values.ends
    if values.kind == "randint":
        return generator.randint(int(low), int(high))
    if values.kind == "uniform":
        return generator.uniform(low, high)
    value = math.exp(generator.uniform(math.log(low), math.log(high)))
    return min(max(value, low), high) if values.kind == "loguniform" else min(max(round(value), int(low)), int(high))


def _distribution(values: Values) -> Any:
    from optuna import distributions

    if values.choice is not None:
        return distributions.CategoricalDistribution([encoded(value) for value in values.choice])
    low, high = values.ends
    log = values.kind.startswith("log")
    if values.kind.endswith("int"):
        return distributions.IntDistribution(int(low), int(high), log=log)
    return distributions.FloatDistribution(low, high, log=log)


def _categorical_name(values: Values, value: Any) -> Any:
    """Return the value that Optuna stores: a choice as text, since it may be any YAML value."""
    return encoded(value) if values.choice is not None else value
