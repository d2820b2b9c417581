"""Schedules of the curriculum: their ends, their order, and the two readings of "log"."""

import math
from typing import get_args

import pytest

from signatlas.sampling.curriculum import Schedule, alpha


def test_the_two_readings_of_log_differ_as_the_facts_say():
    # p = .1 of 80 epochs is just before epoch 8.
    assert alpha("log", 8, 80) == pytest.approx(math.log(9) / math.log(80))
    assert alpha("log2", 8, 80) == pytest.approx(math.log2(1 + 8 / 79))
    assert 0.47 < alpha("log", 7, 80) < 0.50 < alpha("log", 8, 80) < 0.51
    assert alpha("log2", 8, 80) == pytest.approx(0.14, abs=0.001)


@pytest.mark.parametrize("epochs", [2, 3, 7, 80])
@pytest.mark.parametrize("schedule", ["linear", "sqrt", "log", "log2"])
def test_schedules_rise_from_0_to_1(schedule, epochs):
    values = [alpha(schedule, e, epochs) for e in range(epochs)]
    assert values[0] == 0
    assert values[-1] == 1
    assert values == sorted(set(values))


def test_easy_and_hard_stay_and_the_others_lie_in_order():
    for e in range(1, 9):
        linear, sqrt, log, log2 = (alpha(name, e, 10) for name in ("linear", "sqrt", "log", "log2"))
        assert alpha("easy", e, 10) == 0
        assert alpha("hard", e, 10) == 1
        assert linear == e / 9
        assert linear < log2 < min(sqrt, log)


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_one_epoch_is_an_easy_one_unless_hard_is_asked_for(schedule):
    assert alpha(schedule, 0, 1) == (1.0 if schedule == "hard" else 0.0)


@pytest.mark.parametrize(("schedule", "epoch", "epochs"), [("log", 5, 5), ("log", -1, 5), ("cubic", 0, 5)])
def test_what_is_no_schedule_is_refused(schedule, epoch, epochs):
    with pytest.raises(ValueError, match=r"not one of 5|use one of easy"):
        alpha(schedule, epoch, epochs)
