"""signatlas corpus extract: poses of videos, images and .pose files, with MediaPipe and Ray Data."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared import Address, AsJson, Overwrite, console, corpus_summary, print_json
from signatlas.errors import MediaError

if TYPE_CHECKING:
    from signatlas.corpus.sources.base import Listing
    from trainers.pipelines.extract import ExtractionResult, Progress


MAX_LINES = 20  # recordings listed in the summary


def extract(
    videos: Annotated[
        list[str],
        typer.Argument(help="Videos, .pose files, folders, globs, URIs; or one manifest.", metavar="VIDEO..."),
    ],
    out: Annotated[str, typer.Option(help="Corpus folder or URI to create.")],
    sign_language: Annotated[str | None, typer.Option(help="ISO 639-3 code, such as ase, gsg or bfi.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the corpus (default: that of --out).")] = None,
    license: Annotated[str, typer.Option(help="License of the recordings.")] = "unknown",
    source: Annotated[str, typer.Option(help="Where the recordings come from.")] = "unknown",
    face: Annotated[bool, typer.Option("--face", help="Extract the 478 points of the face too.")] = False,
    target_fps: Annotated[
        float | None, typer.Option(min=0.1, max=1000, help="Resample faster recordings to this frame rate.")
    ] = None,
    fps: Annotated[float | None, typer.Option(min=0.1, max=1000, help="Frame rate of folders of images.")] = None,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Put longer recordings into quarantine.")] = 14_400,
    seed: Annotated[int, typer.Option(help="Seed of the splits, unless a manifest has them.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Detectors in parallel (default: one per core).")] = None,
    overwrite: Overwrite = False,
    address: Address = None,
    json: AsJson = False,
) -> None:
    """Extract the poses of videos into a corpus, with MediaPipe Holistic and Ray Data.

    If interrupted, the same command resumes. Unusable recordings are listed with their reasons in quarantine.jsonl;
    the exit code is 1 if there are any.

    Example: signatlas corpus extract recordings/ --out data/mine --sign-language gsg --license CC-BY-4.0
    """
    from signatlas.corpus.extraction.recording import Options

    listing = _listing(videos, out, sign_language, name, license, source, fps)
    options = Options(face=face, target_fps=target_fps, max_seconds=max_seconds)
    extracted = run(
        listing, out, options=options, workers=workers, overwrite=overwrite, address=address, seed=seed,
        make_splits="splits" not in listing.info.made,
    )  # fmt: skip
    print_summary(extracted, json)


def _listing(
    videos: list[str], out: str, code: str | None, name: str | None, license: str, source: str, fps: float | None
) -> Listing:
    from pathlib import Path

    from signatlas.corpus.sources import manifest, media_listing

    name = name or out.rstrip("/").rsplit("/", 1)[-1]
    manifests = [video for video in videos if video.lower().endswith(media_listing.MANIFESTS)]
    if manifests and len(videos) > 1:
        raise MediaError(f"{manifests[0]} is a manifest: give it alone, or list its recordings instead")
    if manifests:
        return manifest.read(Path(manifests[0]), sign_language=code, name=name, license=license, source=source)
    if code is None:
        raise MediaError("no --sign-language: give an ISO 639-3 code, such as ase, gsg or bfi")
    return media_listing.listing(videos, name=name, sign_language=code, license=license, source=source, fps=fps)


def run(
    listing: Listing, out: str, *, address: str | None = None, workers: int | None = None, **settings: Any
) -> ExtractionResult:
    """Run :func:`trainers.pipelines.extract.run_listing` on a cluster or a local Ray, with progress on stderr."""
    from cluster.connect import connected
    from trainers.pipelines.extract import check_request, run_listing

    check_request(listing, out, settings.get("overwrite", False))  # before Ray starts, which takes seconds
    # Ray prints to stdout when it restarts a lost worker; stdout is for the summary.
    try:
        with redirect_stdout(sys.stderr), connected(address, worker_logs=False), _progress(len(listing)) as progress:
            return run_listing(listing, out, workers=workers, progress=progress, **settings)
    except KeyboardInterrupt:
        print("stopped: run the same command to resume", file=sys.stderr)
        raise


def print_summary(extracted: ExtractionResult, json: bool) -> None:
    """Print the summary; exit with code 1 if recordings are missing or in quarantine."""
    corpus, quarantined, missing = extracted.corpus, extracted.quarantined, extracted.missing
    if json:
        summary = {
            "path": corpus.path,
            "clips": len(corpus),
            "splits": corpus.info.counts,
            "frames": extracted.frames,
            "reused": extracted.reused,
            "quarantine": [vars(recording) for recording in quarantined],
            "missing": [vars(recording) for recording in missing],
            "fingerprint": corpus.info.fingerprint,
        }
        print_json(summary, indent=2)
    else:
        reused = f"; {extracted.reused} recordings from an earlier run" if extracted.reused else ""
        print(f"created {corpus_summary(corpus)}; {extracted.frames:,} frames detected{reused}")
        for recording in quarantined[:MAX_LINES]:
            print(f"quarantined {recording.id}: {recording.reason}")
        for item in missing[:MAX_LINES]:
            print(f"missing {item.id}: {item.reason}")
        if quarantined or missing:
            print(f"{len(quarantined)} in quarantine, {len(missing)} missing: see {corpus.path}/quarantine.jsonl")
    if quarantined or missing:
        raise typer.Exit(1)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows progress: bars on a terminal, else a line per tenth, or every half minute."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    output = console(stderr=True)
    started = time.monotonic()
    last = {"time": started, "done": 0}

    def rate(state: Progress) -> str:
        return f"{state.frames:,} frames, {state.frames / (time.monotonic() - started):.1f} per second"

    def print_line(state: Progress) -> None:
        if state.done - last["done"] >= max(1, total // 10) or time.monotonic() - last["time"] >= 30:
            last.update(time=time.monotonic(), done=state.done)
            output.print(f"{state.done} of {state.total} recordings, {rate(state)}", soft_wrap=True)

    if not output.is_terminal:
        yield print_line
        return
    columns = (TextColumn("extracting"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Bars(*columns, console=output, transient=True) as bars:
        task = bars.add_task("extracting", total=total, rate="starting Ray Data")
        yield lambda state: bars.update(task, completed=state.done, rate=rate(state))
