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
        ({"workers": 1, "cpus_per_worker": 1}, [{"CPU": 4}], 3),  # the drivers need a little too
        ({"workers": 1, "cpus_per_worker": 1}, [{"CPU": 3}, {"CPU": 3}], 5),
        ({"workers": 1, "cpus_per_worker": 0.5}, [{"CPU": 2}], 3),
        ({"workers": 2, "cpus_per_worker": 3}, [{"CPU": 4}, {"CPU": 4}, {"CPU": 4}], 1),  # one worker a node
        ({"workers": 1, "cpus_per_worker": 4}, [{"CPU": 2}, {"CPU": 2}], 0),
        ({"workers": 1, "cpus_per_worker": 1, "gpu": True}, [{"CPU": 64, "GPU": 4}, {"CPU": 64}], 4),
        ({"workers": 2, "cpus_per_worker": 1, "gpu": True}, [{"CPU": 8, "GPU": 1}], 0),
        ({"workers": 1, "cpus_per_worker": 1}, [], 0),
    ],
)
def test_trials_that_fit(recipe, scaling, nodes, trials):
    assert capacity.fitting(recipe(**scaling), nodes) == trials


def test_a_local_ray_gets_what_its_trials_need(recipe):
    trials, cpus = capacity.local(recipe(workers=64, cpus_per_worker=2), None)
    assert (trials, cpus) == (1, math.ceil(128.01)), "one trial in any case"
    trials, cpus = capacity.local(recipe(workers=1, cpus_per_worker=1), 5)
    assert trials == 5
    assert capacity.fitting(recipe(workers=1, cpus_per_worker=1), [{"CPU": cpus}]) >= 5


def test_gpus_not_cores_decide_on_a_machine_of_few(recipe, monkeypatch):
    """A study on its own Ray, which was started for 16 trials of a CPU each, finds a single GPU."""
    import ray

    on_gpu = recipe(workers=1, cpus_per_worker=1, gpu=True)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert capacity.local(on_gpu, None) == (16, 17)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 17, "GPU": 1}}])
    assert capacity.of_study(on_gpu, None, 16, 6) == 1
    with pytest.raises(UserError, match="4 trials at a time do not fit"):
        capacity.of_study(on_gpu, 4, 4, 6)


def test_a_trial_that_does_not_fit_is_one_line(recipe, ray_session):
    with pytest.raises(UserError, match="a trial does not fit the cluster: each needs 99 workers of 1 CPUs"):
        capacity.concurrency(recipe(workers=99, cpus_per_worker=1), None, 3)
    with pytest.raises(UserError, match="50 trials at a time do not fit"):
        capacity.concurrency(recipe(workers=1, cpus_per_worker=1), 50, 60)
    assert capacity.concurrency(recipe(workers=1, cpus_per_worker=0.1), None, 3) == 3
