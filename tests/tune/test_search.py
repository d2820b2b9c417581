"""Searchers and scheduler: the hand-set point first, draws by seed, trials that ASHA never stops."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tune import record
from tune.scheduler import StudyASHA, scheduler
from tune.search import count, grid, random_points, search, settings_of
from tune.study import Study, encoded

HAND = {"window": 0.0, "width": 8, "schedule": "log", "pool": None}


@pytest.fixture
def study() -> Study:
    return Study.model_validate({
        "name": "s", "recipe": "r.yaml", "trials": 40,
        "space": {
            "window": {"uniform": [0, 0.5]}, "width": {"lograndint": [2, 64]},
            "schedule": {"choice": ["log", "hard", ["a", 1]]}, "pool": {"choice": [None, 16]},
        },
    })  # fmt: skip


def test_random_points_depend_on_the_seed_and_are_in_the_space(study):
    points = random_points(study, HAND)
    assert points[0] == HAND and len(points) == 40
    assert points == random_points(study, HAND)
    for point in points:
        assert all(study.space[path].contains(value) for path, value in point.items())
    assert len({encoded(point["schedule"]) for point in points}) == 3
    other = study.model_copy(update={"searcher": study.searcher.model_copy(update={"seed": 1})})
    assert random_points(other, HAND)[1:] != points[1:]


def test_a_grid_has_every_combination_once_the_hand_set_one_first():
    choices = {"a": {"choice": [1, 2, 3]}, "b": {"choice": [None, "x"]}}
    study = Study.model_validate({"name": "s", "recipe": "r", "space": choices, "searcher": {"name": "grid"}})
    hand = {"a": 2, "b": "x"}
    points = grid(study, hand)
    assert points[0] == hand and count(study, hand) == 6
    assert len({encoded(point) for point in points}) == 6


def test_optuna_starts_with_the_hand_set_point_and_stays_in_the_space(study):
    algorithm = search(study, HAND)["search_alg"]
    points = [settings_of(algorithm.suggest(str(number)), study) for number in range(20)]
    assert points[0] == HAND
    for point in points:
        assert all(study.space[path].contains(value) for path, value in point.items())
    again = search(study, HAND)["search_alg"]
    assert [settings_of(again.suggest(str(number)), study) for number in range(20)] == points
    assert ["a", 1] in [point["schedule"] for point in points], "a choice may be any YAML value"


def _trial(name: str, point: dict) -> SimpleNamespace:
    return SimpleNamespace(trial_id=name, config={"settings": point}, stub=False)


def test_asha_stops_worse_trials_except_the_hand_set_and_those_in_their_last_epoch(study, tmp_path):
    asha = scheduler(study, HAND, 9, tmp_path)
    assert isinstance(asha, StudyASHA)
    assert asha.set_search_properties("best", "max")
    other = HAND | {"width": 4}
    trials = {name: _trial(name, HAND if name == "hand" else other) for name in ("good", "hand", "bad", "late")}
    for trial in trials.values():
        asha.on_trial_add(None, trial)

    def decision(name: str, epochs: int, best: float) -> str:
        return asha.on_trial_result(None, trials[name], {"epochs": epochs, "best": best})

    assert decision("good", 1, 0.9) == TrialScheduler.CONTINUE
    assert decision("bad", 1, 0.1) == TrialScheduler.STOP
    assert decision("hand", 1, 0.05) == TrialScheduler.CONTINUE, "the hand-set trial runs to its end"
    assert decision("good", 9, 0.95) == TrialScheduler.CONTINUE, "it has yet to write its model"
    assert decision("late", 9, 0.01) == TrialScheduler.CONTINUE


def test_a_resumed_study_compares_with_earlier_trials(study, tmp_path):
    other = HAND | {"width": 4}
    record.write(tmp_path, [record.Trial("good", 0, other, False, "finished", values={1: 0.9, 2: 0.7})])
    asha = scheduler(study, HAND, 9, tmp_path)
    assert asha.set_search_properties("best", "max")
    for name in ("good", "bad"):
        asha.on_trial_add(None, _trial(name, other))
    assert asha.on_trial_result(None, _trial("bad", other), {"epochs": 1, "best": 0.8}) == TrialScheduler.STOP


def test_no_early_stopping_within_the_grace_period_or_when_switched_off(study, tmp_path):
    assert isinstance(scheduler(study, HAND, 1, tmp_path), FIFOScheduler)
    none = study.model_copy(update={"scheduler": study.scheduler.model_copy(update={"name": "none"})})
    assert isinstance(scheduler(none, HAND, 9, tmp_path), FIFOScheduler)
