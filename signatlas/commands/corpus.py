"""signatlas corpus: fetch, compose, info, doctor."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from signatlas.commands.shared import Overwrite, refuse_existing, summary
from signatlas.commands.shared import bars as progress_bars
from signatlas.errors import CorpusError

CorpusPath = Annotated[str, typer.Argument(help="Corpus folder or URI.")]


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

    Example: signatlas corpus fetch dgs --mirror ~/mirror
    """
    from signatlas.corpus.fetch import adapter, existing
    from signatlas.corpus.fetch import fetch as fetch_corpus

    adapter(name)
    out = out or Path("data") / name
    if not overwrite and (there := existing(name, out)):
        print(f"already there and whole: {summary(there)}")
        return
    with progress_bars() as bars:
        downloading = bars.add_task(f"downloading {name}", visible=mirror is None, total=None)
        corpus = fetch_corpus(
            name,
            out,
            mirror=mirror,
            overwrite=overwrite,
            track=lambda names: bars.track(names, description=f"reading {name}"),
            report=lambda done, total: bars.update(downloading, completed=done, total=total),
        )
    print(f"made {summary(corpus)}")


def compose(
    out: Annotated[Path | None, typer.Option(help="Corpus folder to make; data/KIND by default.")] = None,
    kind: Annotated[str, typer.Option(help="procedural: made-up signs by synthetic signers.")] = "procedural",
    signs: Annotated[int, typer.Option(help="Number of signs.")] = 30,
    signers: Annotated[int, typer.Option(help="Number of synthetic signers.")] = 6,
    takes: Annotated[int, typer.Option(help="Performances of each sign by each signer.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same corpus.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Compose a corpus of procedural signs, for machines without data. It says nothing about any sign language.

    Example: signatlas corpus compose --kind procedural --out data/procedural
    """
    from signatlas.corpus.format import write_corpus
    from signatlas.corpus.procedural import compose as compose_procedural

    if kind != "procedural":
        raise CorpusError(f"unknown --kind '{kind}': the one there is, is procedural")
    out = out or Path("data") / kind
    refuse_existing(out, overwrite)
    info, clips = compose_procedural(signs, signers, takes, seed)
    corpus = write_corpus(out, info, clips, overwrite=overwrite)
    print(f"made {summary(corpus)}; procedural, not real signing")


def info(path: CorpusPath, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Counts, splits, words and lengths of a corpus.

    Example: signatlas corpus info data/dgs --json
    """
    from signatlas.corpus.format import Corpus
    from signatlas.corpus.report import as_text, describe

    described = describe(Corpus.open(path))
    print(dumps(described, indent=2, ensure_ascii=False) if json else as_text(described))


def doctor(path: CorpusPath) -> None:
    """Check files, checksums, poses and missing frames of a corpus; exit code 1 when something is wrong.

    Notes tell what its making left out (missing at the source, or in quarantine): they are no fault of the corpus.

    Example: signatlas corpus doctor data/dgs
    """
    from signatlas.corpus.completeness import notes
    from signatlas.corpus.format import Corpus
    from signatlas.corpus.report import examine

    corpus = Corpus.open_unchecked(path)
    for note in notes(corpus):
        print(f"note: {note}")
    findings = examine(corpus)
    for finding in findings:
        print(finding)
    if findings:
        raise typer.Exit(1)
    print(f"whole: {summary(corpus)}")
