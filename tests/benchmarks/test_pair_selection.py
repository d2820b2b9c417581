"""The pair selection benchmark on small sizes, without training steps."""

from __future__ import annotations

import time
from argparse import Namespace

import pytest

from benchmarks import pair_selection
from signatlas.errors import UserError


def test_measurements_on_small_sizes() -> None:
    plan = pair_selection.plan_seconds(200, 8, seed=0, rounds=1)
    assert plan["steps"] == 25 and plan["plan_seconds"] > 0
    assert pair_selection.equality(seed=0, cases=6) == {"cases": 6, "equal_cases": 6}
    arguments = Namespace(scratch=None, large=3000, width=8, seed=0, batch=8, pool=256)
    large = pair_selection.large(arguments)
    assert large["large_steps"] == 375 and large["each_clip_once"]
    assert 0.001 < large["large_gib"] < 1


def test_a_recipe_of_another_task_is_a_user_error() -> None:
    with pytest.raises(UserError, match="does not train a translator"):
        pair_selection.step_seconds(pair_selection.REPOSITORY / "recipes" / "procedural.yaml", 1)


def test_the_peak_includes_memory_that_was_freed() -> None:
    with pair_selection.Peak() as peak:
        before = peak.bytes
        buffer = bytearray(b"x") * (64 << 20)
        deadline = time.monotonic() + 20
        while peak.bytes - before <= 48 << 20 and time.monotonic() < deadline:
            time.sleep(0.02)  # the sampling thread may be delayed on a busy machine
        assert len(buffer) == 64 << 20
        del buffer
    assert peak.bytes - before > 48 << 20
