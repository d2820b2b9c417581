"""signatlas corpus fetch, info, doctor and export."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared import (
    AsJson,
    CorpusPath,
    Overwrite,
    check_output,
    corpus_summary,
    output_errors,
    print_json,
    progress_bars,
    status,
)
from signatlas.corpus import sources
from signatlas.errors import CorpusError

if TYPE_CHECKING:
    from signatlas.corpus.format import Corpus

DOWNLOADS = ", ".join(sources.names("fetch"))


def fetch(
    name: Annotated[str, typer.Argument(help=f"One of {DOWNLOADS}.", metavar="NAME")],
    out: Annotated[Path | None, typer.Option(help="Folder to create (default: data/NAME).")] = None,
    mirror: Annotated[
        Path | None,
        typer.Option(envvar="SIGNATLAS_MIRROR", help="Local folder with the archive, checkout or .npz; no network."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Download a public corpus of keypoints, or create it from a local mirror.

    Other public corpora must be requested from their authors; see 'signatlas corpus import --help'.

    Example: signatlas corpus fetch dgs --mirror ~/mirror
    """
    from signatlas.corpus.sources.fetch import fetch as fetch_corpus
    from signatlas.corpus.sources.fetch import load_source, open_existing

    load_source(name)
    out = out or Path("data") / name
    if not overwrite and (existing := open_existing(name, out)):
        print(f"already complete: {corpus_summary(existing)}")
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
    print(f"created {corpus_summary(corpus)}")


def info(
    path: CorpusPath,
    json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="PNG to plot the quality of the clips to.")] = None,
) -> None:
    """Print counts, splits, signers, texts and lengths of a corpus, and the quality of its poses.

    Example: signatlas corpus info data/dgs --plot quality.png
    """
    from signatlas.corpus.format import Corpus
    from signatlas.corpus.report import as_text, describe
    from signatlas.plots.quality import quality
    from signatlas.pose.quality import ClipQuality

    corpus, clip_qualities = Corpus.open(path), list[ClipQuality]()
    description = describe(corpus, clip_qualities)
    if plot is not None:
        with output_errors(plot, "--plot"):
            quality(clip_qualities, plot, title=f"{corpus.info.name}: {len(clip_qualities)} clips")
    if json:
        print_json(description, indent=2)
    else:
        print(as_text(description))


def doctor(
    path: CorpusPath,
    probes: Annotated[
        bool,
        typer.Option("--probes", help="Measure shortcuts of a composed corpus, which a model could learn."),
    ] = False,
    lexicon: Annotated[str, typer.Option(help="--probes: corpus that the signs were taken from.")] = "data/dgs",
    seed: Annotated[int, typer.Option(help="--probes: seed of the sample of clips.")] = 0,
) -> None:
    """Check files, checksums, splits, poses and missing frames of a corpus; exit code 1 if there is a problem.

    Recordings that are missing at the source or in quarantine are printed as notes, not as problems. --probes takes
    some minutes and saves its results to probes.json in the corpus folder.

    Example: signatlas corpus doctor data/dgs
    """
    from signatlas.corpus.doctor import examine, notes
    from signatlas.corpus.format import Corpus

    corpus = Corpus.open_unchecked(path)
    for note in notes(corpus):
        print(f"note: {note}")
    problems = examine(corpus)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"no problems: {corpus_summary(corpus)}")
    if probes:
        _probe(corpus, Corpus.open(lexicon), seed)


def _probe(corpus: Corpus, lexicon: Corpus, seed: int) -> None:
    from signatlas.corpus.composed import probe_lines
    from signatlas.synthetic.probes import probe_report

    with status("probing") as show:
        results = probe_report.run_probes(corpus, lexicon, seed=seed, progress=show)
    probe_report.save_report(corpus, results)
    print("\n".join(probe_lines(results)))


def export(
    path: CorpusPath,
    out: Annotated[Path, typer.Option(help="Folder to create, with .pose files and index.csv.")],
    split: Annotated[str | None, typer.Option(help="Export only this split.")] = None,
    source: Annotated[str | None, typer.Option(help="Export only this source.")] = None,
    clip: Annotated[list[str] | None, typer.Option(help="Export only the clip with this id; may be repeated.")] = None,
    fps: Annotated[float | None, typer.Option(min=0.1, help="Frame rate of clips without one.")] = None,
    size: Annotated[str | None, typer.Option(help="Image size of clips without one, such as 640x480.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write clips as .pose files (pose-format) with an index.csv; 'signatlas corpus import pose-lexicon' reads them.

    If only some points of a clip have z, the others get z = 0, because all points of a .pose file have the same
    number of dimensions.

    Example: signatlas corpus export data/dgs --split test --fps 25 --size 640x480 --out poses
    """
    from signatlas.corpus.export import export as export_clips
    from signatlas.corpus.format import Corpus

    check_output(out, overwrite)
    corpus = Corpus.open(path)
    corpus = corpus.split(split) if split else corpus
    corpus = corpus.source(source) if source else corpus
    if clip:
        missing = set(clip) - {row["id"] for row in corpus.metadata()}
        if missing:
            raise CorpusError(f"no clip '{min(missing)}' in {path}" + (" with this split and source" if split else ""))
        ids = frozenset(clip)
        corpus = corpus.where(lambda row: row["id"] in ids)
    number = export_clips(corpus, out, fps=fps, size=None if size is None else _parse_size(size), overwrite=overwrite)
    print(f"{out}: {number} .pose files and index.csv; credit: {corpus.info.source} ({corpus.info.license})")


def _parse_size(size: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", size)
    if match is None:
        raise CorpusError(f"--size {size}: give width and height in pixels, such as 640x480")
    return int(match[1]), int(match[2])
