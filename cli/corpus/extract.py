"""signatlas corpus extract."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signatlas.errors import MediaError

if TYPE_CHECKING:
    from signatlas.corpus.sources.base import Listing
    from trainers.pipelines.extract import Extracted, Progress


def extract(
    videos: Annotated[list[str], typer.Argument(help="Videos, .pose files, folders, globs, URIs; or one manifest.")],
    out: Annotated[str, typer.Option(help="Corpus folder or URI to make.")],
    sign_language: Annotated[str | None, typer.Option(help="ISO 639-3 code: ase, gsg, bfi, ...")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the corpus; that of --out by default.")] = None,
    license: Annotated[str, typer.Option(help="License of the recordings.")] = "unknown",
    source: Annotated[str, typer.Option(help="Where the recordings come from.")] = "unknown",
    face: Annotated[bool, typer.Option("--face", help="Keep the 478 points of the face too.")] = False,
    target_fps: Annotated[
        float | None, typer.Option(min=0.1, max=1000, help="Thin faster recordings to this rate.")
    ] = None,
    fps: Annotated[float | None, typer.Option(min=0.1, max=1000, help="Frame rate of folders of pictures.")] = None,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Put longer recordings aside.")] = 14_400,
    seed: Annotated[int, typer.Option(help="Seed of the split, where no manifest says it.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Detectors side by side; one a core by default.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")] = False,
    address: Annotated[str | None, typer.Option(help="Ray cluster [RAY_ADDRESS or a local one].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Turn videos into a corpus of poses with MediaPipe Holistic and Ray Data.

    The same command goes on where it was stopped. Recordings that cannot be used are put aside with their reason, in
    quarantine.jsonl; exit code 1 says that there are some, 0 that there are none.

    Example: signatlas corpus extract recordings/ --out data/mine --sign-language gsg --license CC-BY-4.0
    """
    from signatlas.corpus.extraction.recording import Options

    listing = _listing(videos, out, sign_language, name, license, source, fps)
    options = Options(face=face, target_fps=target_fps, max_seconds=max_seconds)
    made = run(
        listing, out, options=options, workers=workers, overwrite=overwrite, address=address, seed=seed,
        make_splits="splits" not in listing.info.made,
    )  # fmt: skip
    report(made, json)


def _listing(
    videos: list[str], out: str, code: str | None, name: str | None, license: str, source: str, fps: float | None
) -> Listing:
    from pathlib import Path

    from signatlas.corpus.sources import manifest, media_listing

    name = name or out.rstrip("/").rsplit("/", 1)[-1]
    manifests = [video for video in videos if video.lower().endswith(media_listing.MANIFESTS)]
    if manifests and len(videos) > 1:
        raise MediaError(f"{manifests[0]} is a manifest: give it alone, or name its recordings instead")
    if manifests:
        return manifest.read(Path(manifests[0]), sign_language=code, name=name, license=license, source=source)
    if code is None:
        raise MediaError("no --sign-language: give its ISO 639-3 code, such as ase, gsg or bfi")
    return media_listing.listing(videos, name=name, sign_language=code, license=license, source=source, fps=fps)


def run(listing: Listing, out: str, *, address: str | None = None, workers: int | None = None, **how: Any) -> Extracted:
    """:func:`trainers.pipelines.extract.run_listing` on a cluster or a local Ray, with progress on stderr."""
    from cluster.connect import connected
    from trainers.pipelines.extract import refuse, run_listing

    refuse(listing, out, how.get("overwrite", False))  # a mistake should not wait for Ray to start
    # Ray prints on stdout when it starts a lost worker again; there the answer belongs, alone.
    try:
        with redirect_stdout(sys.stderr), connected(address, worker_logs=False), _shown(len(listing)) as progress:
            return run_listing(listing, out, workers=workers, progress=progress, **how)
    except KeyboardInterrupt:
        print("stopped: the same command goes on with what is not finished", file=sys.stderr)
        raise


def report(made: Extracted, json: bool) -> None:
    """Print the summary; ends with exit code 1 when recordings are missing or were put aside."""
    corpus, lost = made.corpus, made.quarantined
    if json:
        told = {"path": corpus.path, "clips": len(corpus), "splits": corpus.info.counts, "frames": made.frames}
        told |= {
            "reused": made.reused,
            "quarantine": [vars(q) for q in lost],
            "missing": [vars(m) for m in made.missing],
        }
        print(dumps(told | {"fingerprint": corpus.info.fingerprint}, indent=2, ensure_ascii=False))
    else:
        splits = ", ".join(f"{split} {number}" for split, number in corpus.info.counts.items())
        earlier = f"; {made.reused} recordings were done before" if made.reused else ""
        print(f"made {corpus.path}: {len(corpus)} clips ({splits}), {made.frames:,} frames detected{earlier}")
        for one in lost[:20]:
            print(f"put aside {one.id}: {one.reason}")
        for gone in made.missing[:20]:
            print(f"missing {gone.id}: {gone.reason}")
        if lost or made.missing:
            print(f"{len(lost)} put aside, {len(made.missing)} missing: all in {corpus.path}/quarantine.jsonl")
    if lost or made.missing:
        raise typer.Exit(1)


@contextmanager
def _shown(total: int) -> Iterator[Callable[[Progress], None]]:
    """One line on a terminal; elsewhere a plain line every tenth of the way, and at least every half minute."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    started = time.monotonic()
    told = {"time": started, "done": 0}

    def rate(state: Progress) -> str:
        return f"{state.frames:,} frames, {state.frames / (time.monotonic() - started):.1f} a second"

    def plain(state: Progress) -> None:
        due = state.done - told["done"] >= max(1, total // 10) or time.monotonic() - told["time"] >= 30
        if due:
            told.update(time=time.monotonic(), done=state.done)
            console.print(f"{state.done} of {state.total} recordings, {rate(state)}", highlight=False, soft_wrap=True)

    if not console.is_terminal:
        yield plain
        return
    columns = (TextColumn("extracting"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("extracting", total=total, rate="starting Ray Data")
        yield lambda state: bars.update(task, completed=state.done, rate=rate(state))
