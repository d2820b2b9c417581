"""signatlas corpus: fetch, import, compose, info, show, doctor."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signatlas.errors import CorpusError

if TYPE_CHECKING:
    from rich.progress import Progress

    from signatlas.corpus.format import Corpus

CorpusPath = Annotated[str, typer.Argument(help="Corpus folder or URI.")]
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

    Example: signatlas corpus fetch dgs --mirror ~/mirror
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


def import_(
    folder: Annotated[Path, typer.Argument(help="Folder of <label>/<name>.npy|npz or <label>/<n>/<frame>.npy.")],
    out: Annotated[Path, typer.Option(help="Corpus folder to make.")],
    sign_language: Annotated[str, typer.Option(help="ISO 639-3 code: ase, gsg, bfi, ...")],
    labels: Annotated[Path | None, typer.Option(help="CSV with path,label[,signer] instead of folder names.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the corpus; that of --out by default.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the recordings.")] = "unknown",
    source: Annotated[str, typer.Option(help="Where the recordings come from.")] = "unknown",
    text_language: Annotated[str | None, typer.Option(help="Labels are words of this language (BCP-47).")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second, where known.")] = None,
    width: Annotated[int | None, typer.Option(help="Picture width in pixels, where known.")] = None,
    height: Annotated[int | None, typer.Option(help="Picture height in pixels, where known.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    skip_empty: Annotated[bool, typer.Option("--skip-empty", help="Leave out recordings without a point.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Import keypoints in the 258-value MediaPipe Holistic layout, with labels and optional signers.

    Example: signatlas corpus import MP_Data --out data/mine --sign-language ase --text-language en
    """
    from signatlas.corpus import keypoint_folder as kf
    from signatlas.corpus.format import CorpusInfo, write_corpus
    from signatlas.corpus.languages import sign_language_code
    from signatlas.corpus.splits import RULE, with_splits

    name, code = name or out.name, sign_language_code(sign_language)
    _refuse_existing(out, overwrite)
    if (width is None) != (height is None):
        raise CorpusError("give both --width and --height, or neither")
    found = kf.recordings(folder, labels)
    left_out: list[str] = []
    with _bars() as bars:
        clips = kf.clips(
            bars.track(found, description="reading"),
            name=name,
            sign_language=code,
            text_language=text_language,
            fps=fps,
            size=(width, height) if width and height else None,
            on_empty=(lambda recording: left_out.append(recording.name)) if skip_empty else None,
        )
        divided = with_splits(clips, seed=seed)
    made = {"command": "signatlas corpus import", "splits": RULE, "seed": seed, "left_out": left_out}
    info = CorpusInfo(name, "1", licence, source, (code,), fps=fps, made=made)
    corpus = write_corpus(out, info, divided, overwrite=overwrite)
    print(f"made {_summary(corpus)}" + (f"; left out {len(left_out)} without a point" if left_out else ""))


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
    _refuse_existing(out, overwrite)
    info, clips = compose_procedural(signs, signers, takes, seed)
    corpus = write_corpus(out, info, clips, overwrite=overwrite)
    print(f"made {_summary(corpus)}; procedural, not real signing")


def info(path: CorpusPath, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Counts, splits, words and lengths of a corpus.

    Example: signatlas corpus info data/dgs --json
    """
    from signatlas.corpus.format import Corpus
    from signatlas.corpus.report import as_text, describe

    described = describe(Corpus.open(path))
    print(dumps(described, indent=2, ensure_ascii=False) if json else as_text(described))


def show(
    path: CorpusPath,
    clip: Annotated[str, typer.Option(help="Id of the clip.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("strip.png"),
    frames: Annotated[int, typer.Option(min=1, help="Skeletons in the strip.")] = 8,
) -> None:
    """Draw one clip as a strip of skeletons.

    Example: signatlas corpus show data/dgs --clip dgs/dictionary/Haus --out haus.png
    """
    from signatlas.corpus.format import Corpus
    from signatlas.plots.figures import save
    from signatlas.plots.skeleton import strip

    corpus = Corpus.open(path)
    shown = corpus.clip(clip)
    aspect = shown.width / shown.height if shown.width and shown.height else None
    label = f"{shown.gloss or 'no gloss'} ({shown.sign_language}, {shown.num_frames} frames)"
    save(strip(shown.poses, frames=frames, title=label, aspect=aspect), out)
    print(f"{out}: {shown.id}, {label}; credit: {corpus.info.source} ({corpus.info.licence})")


def doctor(path: CorpusPath) -> None:
    """Check files, checksums and poses of a corpus; exit code 1 when something is wrong.

    Example: signatlas corpus doctor data/dgs
    """
    from signatlas.corpus.format import Corpus
    from signatlas.corpus.report import examine

    corpus = Corpus.open_unchecked(path)
    findings = examine(corpus)
    for finding in findings:
        print(finding)
    if findings:
        raise typer.Exit(1)
    print(f"whole: {_summary(corpus)}")


def _refuse_existing(out: Path, overwrite: bool) -> None:
    """Before the work, not after it."""
    if out.exists() and not overwrite:
        raise CorpusError(f"{out} exists already: choose another --out or pass --overwrite")


def _bars() -> Progress:
    """Progress bars on stderr, so that stdout holds the answer alone."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
