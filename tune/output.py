"""Where a study's own lines go while Ray talks: to the real output, and Ray's to the error output."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

# A trial is several small processes that wait; Ray warns of each on a machine with few cores.
NEEDLESS = "worker processes have been started on node"


@contextmanager
def calm_output() -> Iterator[TextIO]:
    """Inside, what is printed goes to stderr without Ray's count of processes; gives the real stdout.

    Tune writes the traceback of every failed trial, whose one line the study's table has.
    """
    output, tune = sys.stdout, logging.getLogger("ray.tune")
    level = tune.level
    tune.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(_Filtered(sys.stderr)):
            yield output
    finally:
        tune.setLevel(level)


class _Filtered:
    """A stream that drops the needless lines."""

    def __init__(self, stream: TextIO):
        self.stream, self.dropped = stream, False

    def write(self, text: str) -> int:
        if NEEDLESS in text:
            self.dropped = True
        elif not (self.dropped and text == "\n"):
            self.dropped = False
            self.stream.write(text)
        else:
            self.dropped = False
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
