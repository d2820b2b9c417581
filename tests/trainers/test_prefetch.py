"""Reading ahead gives what reading would, and its errors where they belong."""

from __future__ import annotations

import threading

import pytest

from trainers.prefetch import Prefetch


def test_the_next_is_read_beside_and_each_only_once():
    read, here = [], threading.get_ident()
    ahead = threading.Event()

    def load(key: int) -> tuple[int, bool]:
        read.append(key)
        if key == 1:
            ahead.set()
        return key * 10, threading.get_ident() != here

    get = Prefetch(load, lambda key: key + 1 if key < 2 else None)
    assert get(0) == (0, False)
    assert ahead.wait(5), "1 is read before anybody asks"
    assert [get(1), get(2)] == [(10, True), (20, True)]
    assert read == [0, 1, 2], "nothing follows 2"
    assert get(7) == (70, False), "another place than the next"


def test_what_is_not_asked_for_is_thrown_away_and_errors_come_when_asked():
    def load(key: int) -> int:
        if key == 1:
            raise ValueError("clip 1 is damaged")
        return key

    get = Prefetch(load, lambda key: key + 1)
    assert get(0) == 0
    assert get(5) == 5, "the error of 1 is nobody's"
    get = Prefetch(load, lambda key: key + 1)
    get(0)
    with pytest.raises(ValueError, match="clip 1 is damaged"):
        get(1)
