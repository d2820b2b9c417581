"""signatlas corpus: fetch, import, compose, info, show, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from signatlas.corpus.format import Corpus

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]


def _summary(corpus: Corpus) -> str:
    counts = ", ".join(f"{split} {number}" for split, number in corpus.info.counts.items())
    return f"{corpus.path}: {len(corpus)} clips ({counts}), fingerprint {corpus.info.fingerprint[:12]}"


def fetch(
    name: Annotated[str, typer.Argument(help="dgs, asl33 or signwish11.")],
    out: Annotated[Path | None, typer.Option(help="Folder to make; data/NAME by default.")] = None,
    mirror: Annotated[
        Path | None,
        typer.Option(envvar="SIGNATLAS_MIRROR", help="Local folder with the archive, checkout or .npz; no network."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Fetch a public corpus from its source, or from a local mirror.

    Example: signatlas corpus fetch dgs --mirror ../shared/data
    """
    from signatlas.corpus.fetch import adapter, existing
    from signatlas.corpus.fetch import fetch as fetch_corpus

    adapter(name)
    out = out or Path("data") / name
    if not overwrite and (there := existing(name, out)):
        print(f"already there and whole: {_summary(there)}")
        return
    with _bars() as bars:
        downloading = bars.add_task(f"downloading {name}", visible=mirror is None, total=None)
        corpus = fetch_corpus(
            name,
            out,
            mirror=mirror,
            overwrite=overwrite,
            track=lambda names: bars.track(names, description=f"reading {name}"),
            report=lambda done, total: bars.update(downloading, completed=done, total=total),
        )
    print(f"made {_summary(corpus)}")


def _bars() -> Progress:
    """Progress bars on stderr, so that stdout holds the answer alone."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True)
