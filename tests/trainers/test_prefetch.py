"""Prefetched values and errors are those of loading without prefetching."""

from __future__ import annotations

import threading

import pytest

from trainers.prefetch import Prefetch


def test_the_next_key_is_loaded_once_in_a_thread():
    loaded, main_thread = [], threading.get_ident()
    prefetched = threading.Event()

    def load(key: int) -> tuple[int, bool]:
        loaded.append(key)
        if key == 1:
            prefetched.set()
        return key * 10, threading.get_ident() != main_thread

    get = Prefetch(load, lambda key: key + 1 if key < 2 else None)
    assert get(0) == (0, False)
    assert prefetched.wait(5), "1 is loaded before it is asked for"
    assert [get(1), get(2)] == [(10, True), (20, True)]
    assert loaded == [0, 1, 2], "2 is the last key"
    assert get(7) == (70, False), "not the prefetched key"


def test_unused_values_are_discarded_and_errors_are_raised_for_their_key():
    def load(key: int) -> int:
        if key == 1:
            raise ValueError("clip 1 is damaged")
        return key

    get = Prefetch(load, lambda key: key + 1)
    assert get(0) == 0
    assert get(5) == 5, "the error of 1 is discarded"
    get = Prefetch(load, lambda key: key + 1)
    get(0)
    with pytest.raises(ValueError, match="clip 1 is damaged"):
        get(1)
