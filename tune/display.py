"""Terminal output of a study: a live table of its trials, and filtering of what Ray prints on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from cluster.ray_internals import is_worker_count_warning
from tune.record import ENDED, Recorder, Trial, ranked
from tune.study import Study, formatted


@contextmanager
def redirected_output() -> Iterator[TextIO]:
    """Redirect stdout to stderr, without Ray's warnings about worker counts, and yield the real stdout.

    Tune's logs are silenced: it would print a traceback for each failed trial, whose error the table shows in one line.
    """
    output, logger = sys.stdout, logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(_FilteredStream(sys.stderr)):
            yield output
    finally:
        logger.setLevel(level)


class _FilteredStream:
    """A stream without warnings about worker counts and without the line end that follows each."""

    def __init__(self, stream: TextIO):
        self.stream, self.dropped = stream, False

    def write(self, text: str) -> int:
        if is_worker_count_warning(text):
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


class Display:
    """A live table on a terminal; elsewhere one line for each event."""

    def __init__(self, study: Study, count: int, output: TextIO):
        from rich.console import Console
        from rich.live import Live

        self.study, self.count = study, count
        self.console = Console(file=output)
        self.output, self.last_line = output, ""
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> Display:
        if self.live is not None:
            self.live.start()
        Recorder.display = self
        return self

    def __exit__(self, *_: object) -> None:
        Recorder.display = None
        if self.live is not None:
            self.live.stop()

    def update(self, trials: list[Trial], changed: Trial) -> None:
        """Show that one of ``trials`` has changed."""
        if self.live is not None:
            self.live.update(table(trials, self.study, self.count), refresh=True)
            return
        values = f"epoch {max(changed.values)}  " if changed.values else ""
        if (best := changed.best(self.study.mode)) is not None:
            values += f"{self.study.metric} {changed.values[max(changed.values)]:.4g}  best {best[0]:.4g}  "
        settings = "  ".join(f"{path} {formatted(value)}" for path, value in changed.settings.items())
        line = f"trial {changed.number} of {self.count}  {changed.status}  {values}{settings}"
        line += f"  ({changed.reason})" if changed.reason else ""
        if line != self.last_line:
            self.last_line = line
            print(line, file=self.output, flush=True)


def table(trials: list[Trial], study: Study, count: int | None = None) -> Any:
    """Return a rich table of the trials, the best first."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    ended = sum(trial.status in ENDED for trial in trials)
    title = f"{study.name}: {ended} of {count or len(trials)} trials, {study.metric} ({study.mode})"
    result = Table(box=SIMPLE, title=Text(title), caption="* hand-set recipe")
    names = _short_names(study)
    for column in ("trial", *names, study.metric, "epoch", "s", "status"):
        left = column in names or column == "status"
        result.add_column(column, justify="left" if left else "right", overflow="fold")
    for trial in ranked(trials, study.mode):
        best = trial.best(study.mode)
        # Text, because rich would read brackets in settings and error messages as markup.
        cells = (
            f"{trial.number}{'*' if trial.hand_set else ''}",
            *(formatted(value) for value in trial.settings.values()),
            "-" if best is None else f"{best[0]:.4f}",
            "-" if best is None else f"{best[1]} of {max(trial.values)}",
            f"{trial.seconds:.0f}",
            trial.status + (f": {trial.reason}" if trial.reason else ""),
        )
        result.add_row(*map(Text, cells))
    return result


def _short_names(study: Study) -> list[str]:
    """Return the last part of each setting's path, or the whole path where that is ambiguous."""
    ends = [path.rpartition(".")[2] for path in study.space]
    return [end if ends.count(end) == 1 else path for path, end in zip(study.space, ends, strict=True)]
