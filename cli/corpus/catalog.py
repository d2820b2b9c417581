"""signatlas corpus: fetch, compose, info, doctor."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared import Overwrite, summary, writing
from cli.shared import bars as progress_bars

if TYPE_CHECKING:
    from signatlas.corpus.format import Corpus

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
    from signatlas.corpus.sources.fetch import adapter, existing
    from signatlas.corpus.sources.fetch import fetch as fetch_corpus

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


def info(
    path: CorpusPath,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[Path | None, typer.Option(help="PNG to draw the quality of the clips into.")] = None,
) -> None:
    """Counts, splits, words and lengths of a corpus, and how well its clips were extracted.

    Example: signatlas corpus info data/dgs --plot quality.png
    """
    from signatlas.corpus.format import Corpus
    from signatlas.corpus.report import as_text, describe
    from signatlas.plots.quality import quality
    from signatlas.pose.quality import Named

    corpus, judged = Corpus.open(path), list[Named]()
    described = describe(corpus, judged)
    if plot is not None:
        with writing(plot, "--plot"):
            quality(judged, plot, title=f"{corpus.info.name}: {len(judged)} clips")
    print(dumps(described, indent=2, ensure_ascii=False) if json else as_text(described))


def doctor(
    path: CorpusPath,
    probes: Annotated[
        bool, typer.Option("--probes", help="Of a composed corpus: what a model could learn without the signs.")
    ] = False,
    lexicon: Annotated[str, typer.Option(help="--probes: the corpus its signs are from.")] = "data/dgs",
    seed: Annotated[int, typer.Option(help="--probes: which clips are drawn.")] = 0,
) -> None:
    """Check files, checksums, poses and missing frames of a corpus; exit code 1 when something is wrong.

    Notes tell what its making left out (missing at the source, or in quarantine): they are no fault of the corpus.
    With --probes the shortcuts of a composed corpus are measured (some minutes) and kept beside it in probes.json.

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
    if probes:
        _probe(corpus, Corpus.open(lexicon), seed)


def _probe(corpus: Corpus, lexicon: Corpus, seed: int) -> None:
    from rich.console import Console

    from signatlas.synthetic.probes import probe_report as examination

    with Console(stderr=True).status("probing") as status:
        found = examination.examine(corpus, lexicon, seed=seed, say=status.update)
    examination.save(corpus, found)
    print(examination.as_text(found))
