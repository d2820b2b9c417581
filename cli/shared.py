"""What the commands that make corpora share: options, progress bars, the last line."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signatlas.errors import CorpusError, UserError

if TYPE_CHECKING:
    from rich.progress import Progress

    from signatlas.corpus.format import Corpus

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def summary(corpus: Corpus) -> str:
    """Where it is, how many clips by split, and the beginning of its fingerprint."""
    counts = ", ".join(f"{split} {number}" for split, number in corpus.info.counts.items())
    return f"{corpus.path}: {len(corpus)} clips ({counts}), fingerprint {corpus.info.fingerprint[:12]}"


def refuse_existing(out: Path, overwrite: bool) -> None:
    """Before the work, not after it."""
    if out.exists() and not overwrite:
        raise CorpusError(f"{out} exists already: choose another --out or pass --overwrite")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".signatlas-"):
            pass
    except OSError as error:
        raise CorpusError(f"{out} cannot be made ({error.strerror}): choose another --out") from error


@contextmanager
def writing(target: Path, option: str = "--out") -> Iterator[None]:
    """Around what writes ``target``: a place that takes no file is a mistake in ``option``."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror or error}): choose another {option}") from error


def bars() -> Progress:
    """Progress bars on stderr, so that stdout holds the answer alone."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
