"""Options, output and checks that several commands share.

Console output of the commands goes through :func:`console`, :func:`status` and :func:`progress_bars`: they print
brackets as they are, so that a gloss such as ``[mouth]`` is not read as rich markup.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from signatlas.errors import CorpusError, UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from signatlas.corpus.format import Corpus

CorpusPath = Annotated[str, typer.Argument(help="Corpus folder or URI.", metavar="CORPUS")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
Address = Annotated[str | None, typer.Option(help="Address of the Ray cluster (default: RAY_ADDRESS or a local one).")]


_stdout: TextIO | None = None  # of the running command with --json


def _reserve_stdout(context: typer.Context, json: bool) -> bool:
    """Keep stdout for the JSON document: all else, as what Ray prints of its processes, goes to stderr."""
    global _stdout
    if json:
        _stdout, sys.stdout = sys.stdout, sys.stderr
        context.call_on_close(_give_stdout_back)
    return json


def _give_stdout_back() -> None:
    global _stdout
    assert _stdout is not None
    sys.stdout, _stdout = _stdout, None


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.", callback=_reserve_stdout)]


def print_json(value: object, *, indent: int | None = None) -> None:
    """Print the JSON document of a command with the option :data:`AsJson`."""
    from json import dumps

    print(dumps(value, ensure_ascii=False, indent=indent), file=_stdout)


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that prints text unchanged: no markup, emoji codes or highlighting."""
    from rich.console import Console

    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


@contextmanager
def status(message: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with a message on stderr; yields a function that replaces the message."""
    from rich.text import Text

    with console(stderr=True).status(Text(message)) as spinner:
        yield lambda text: spinner.update(Text(text))


def progress_bars() -> Progress:
    """Return progress bars on stderr, shown only on a terminal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    output = console(stderr=True)
    description = TextColumn("{task.description}", markup=False)
    columns = (description, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=output, transient=True, disable=not output.is_terminal)


def corpus_summary(corpus: Corpus) -> str:
    """Return path, number of clips by split, and the first digits of the fingerprint of a corpus."""
    counts = ", ".join(f"{split} {number}" for split, number in corpus.info.counts.items())
    return f"{corpus.path}: {len(corpus)} clips ({counts}), fingerprint {corpus.info.fingerprint[:12]}"


def check_output(out: Path, overwrite: bool) -> None:
    """Raise CorpusError, before the work starts, if ``out`` exists without ``overwrite`` or cannot be created."""
    if out.exists() and not overwrite:
        raise CorpusError(f"{out} already exists: choose another --out or pass --overwrite")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".signatlas-"):
            pass
    except OSError as error:
        raise CorpusError(f"{out} cannot be created ({error.strerror}): choose another --out") from error


@contextmanager
def output_errors(target: Path, option: str = "--out") -> Iterator[None]:
    """Raise UserError, naming ``option``, when ``target`` cannot be written inside the block."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror or error}): choose another {option}") from error
