"""The benchmark of pair selection: its parts on small sizes, without a recipe's training steps."""

from __future__ import annotations

import time
from argparse import Namespace

import pytest

from benchmarks import pair_selection
from signatlas.errors import UserError


def test_parts_on_small_sizes() -> None:
    found = pair_selection.plan_seconds(200, 8, seed=0, rounds=1)
    assert found["steps"] == 25 and found["plan_seconds"] > 0
    assert pair_selection.equality(seed=0, cases=6) == {"cases": 6, "equal_cases": 6}
    arguments = Namespace(scratch=None, large=3000, width=8, seed=0, batch=8, pool=256)
    large = pair_selection.large(arguments)
    assert large["large_steps"] == 375 and large["each_clip_once"]
    assert 0.001 < large["large_gib"] < 1


def test_a_recipe_of_another_task_is_refused() -> None:
    with pytest.raises(UserError, match="trains no translator"):
        pair_selection.step_seconds(pair_selection.REPOSITORY / "recipes" / "procedural.yaml", 1)


def test_anonymous_memory_is_seen_while_it_is_held() -> None:
    with pair_selection.Peak() as peak:
        before = peak.bytes
        held = bytearray(b"x") * (64 << 20)
        deadline = time.monotonic() + 20
        while peak.bytes - before <= 48 << 20 and time.monotonic() < deadline:
            time.sleep(0.02)  # on a busy machine the watching thread may have to wait for its turn
        assert len(held) == 64 << 20
        del held
    assert peak.bytes - before > 48 << 20
