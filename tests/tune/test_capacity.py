"""How many trials fit a cluster."""

from __future__ import annotations

import math

import pytest

from signatlas.errors import UserError
from tune import capacity
from tune.study import hand_set, load_study


@pytest.fixture
def recipe(study_file):
    base, _ = hand_set(load_study(study_file()))

    def scaled(**changes):
        return base.model_copy(update={"scaling": base.scaling.model_copy(update=changes)})

    return scaled


@pytest.mark.parametrize(
    ("scaling", "nodes", "trials"),
    [
        ({"workers": 1, "cpus_per_worker": 1}, [{"CPU": 4}], 3),  # the drivers need CPUs too
        ({"workers": 1, "cpus_per_worker": 1}, [{"CPU": 3}, {"CPU": 3}], 5),
        ({"workers": 1, "cpus_per_worker": 0.5}, [{"CPU": 2}], 3),
        ({"workers": 2, "cpus_per_worker": 3}, [{"CPU": 4}, {"CPU": 4}, {"CPU": 4}], 1),  # one worker per node
        ({"workers": 1, "cpus_per_worker": 4}, [{"CPU": 2}, {"CPU": 2}], 0),
        ({"workers": 1, "cpus_per_worker": 1, "gpu": True}, [{"CPU": 64, "GPU": 4}, {"CPU": 64}], 4),
        ({"workers": 2, "cpus_per_worker": 1, "gpu": True}, [{"CPU": 8, "GPU": 1}], 0),
        ({"workers": 1, "cpus_per_worker": 1}, [], 0),
    ],
)
def test_trials_that_fit(recipe, scaling, nodes, trials):
    assert capacity.fitting_trials(recipe(**scaling), nodes) == trials


def test_a_local_ray_has_the_cpus_of_its_trials(recipe):
    trials, cpus = capacity.local_capacity(recipe(workers=64, cpus_per_worker=2), None)
    assert (trials, cpus) == (1, math.ceil(128.01)), "at least one trial"
    trials, cpus = capacity.local_capacity(recipe(workers=1, cpus_per_worker=1), 5)
    assert trials == 5
    assert capacity.fitting_trials(recipe(workers=1, cpus_per_worker=1), [{"CPU": cpus}]) >= 5


def test_gpus_limit_the_trials_on_a_machine_with_many_cores(recipe, monkeypatch):
    """A study whose own Ray was started for 16 trials with one CPU each has only one GPU."""
    import ray

    on_gpu = recipe(workers=1, cpus_per_worker=1, gpu=True)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert capacity.local_capacity(on_gpu, None) == (16, 17)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 17, "GPU": 1}}])
    assert capacity.study_concurrency(on_gpu, None, 16, 6) == 1
    with pytest.raises(UserError, match="4 concurrent trials do not fit"):
        capacity.study_concurrency(on_gpu, 4, 4, 6)


def test_a_trial_that_does_not_fit_is_a_user_error(recipe, ray_session):
    with pytest.raises(UserError, match="a trial does not fit the cluster: each needs 99 workers with 1 CPUs"):
        capacity.cluster_concurrency(recipe(workers=99, cpus_per_worker=1), None, 3)
    with pytest.raises(UserError, match="50 concurrent trials do not fit"):
        capacity.cluster_concurrency(recipe(workers=1, cpus_per_worker=1), 50, 60)
    assert capacity.cluster_concurrency(recipe(workers=1, cpus_per_worker=0.1), None, 3) == 3
