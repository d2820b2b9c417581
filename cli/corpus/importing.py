"""signatlas corpus import of the public corpora and of manifests: what their authors ship, extracted with Ray Data."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared import AsJson, Overwrite
from signatlas.errors import CorpusError

if TYPE_CHECKING:
    from signatlas.corpus.sources.base import Listing

Folder = Annotated[Path, typer.Argument(help="Folder as the authors ship it.")]
Out = Annotated[str | None, typer.Option(help="Corpus folder or URI to make.")]
List = Annotated[bool, typer.Option("--list", help="Only print what would be extracted and what is missing.")]
Face = Annotated[bool, typer.Option("--face", help="Keep the 478 points of the face too.")]
TargetFps = Annotated[float | None, typer.Option(help="Thin faster recordings to this frame rate.")]
MaxSeconds = Annotated[float, typer.Option(min=0.1, help="Put longer recordings aside.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Detectors side by side; one a core by default.")]
Address = Annotated[str | None, typer.Option(help="Ray cluster [RAY_ADDRESS or a local one].")]
Seed = Annotated[int, typer.Option(help="Seed of the choice, or of the split.")]
LONGEST = 600.0


class Subset(StrEnum):
    wlasl100 = "100"
    wlasl300 = "300"
    wlasl1000 = "1000"
    wlasl2000 = "2000"


def wlasl(
    folder: Folder,
    out: Out = None,
    subset: Annotated[Subset | None, typer.Option(help="WLASL100, 300, 1000 or 2000 alone.")] = None,
    whole_picture: Annotated[
        bool, typer.Option("--whole-picture", help="Do not crop to the box of the signer, which fits one size only.")
    ] = False,
    list_: List = False,
    face: Face = False,
    target_fps: TargetFps = None,
    max_seconds: MaxSeconds = LONGEST,
    workers: Workers = None,
    overwrite: Overwrite = False,
    address: Address = None,
    json: AsJson = False,
) -> None:
    """Import WLASL: WLASL_v0.3.json and the videos its scripts download. Dead links are listed, never hidden.

    Example: signatlas corpus import wlasl WLASL/start_kit --out data/wlasl100 --subset 100
    """
    from signatlas.corpus.sources import wlasl as adapter

    listing = adapter.read(folder, subset=int(subset.value) if subset else None, whole_picture=whole_picture)
    _go_on(listing, "wlasl", out, list_, json, face=face, target_fps=target_fps, max_seconds=max_seconds,
           workers=workers, overwrite=overwrite, address=address)  # fmt: skip


def autsl(
    folder: Folder,
    out: Out = None,
    gallery_query: Annotated[
        bool,
        typer.Option("--gallery-query", help="A subset of ours: 4 recordings a sign and a query by another signer."),
    ] = False,
    seed: Seed = 0,
    list_: List = False,
    face: Face = False,
    target_fps: TargetFps = None,
    max_seconds: MaxSeconds = LONGEST,
    workers: Workers = None,
    overwrite: Overwrite = False,
    address: Address = None,
    json: AsJson = False,
) -> None:
    """Import AUTSL: label files, the list of signs, and the color videos in train/, val/ and test/.

    Example: signatlas corpus import autsl AUTSL --out data/autsl-small --gallery-query
    """
    from signatlas.corpus.sources import autsl as adapter

    listing = adapter.read(folder, subset=gallery_query, seed=seed)
    _go_on(listing, "autsl", out, list_, json, face=face, target_fps=target_fps, max_seconds=max_seconds,
           workers=workers, overwrite=overwrite, address=address)  # fmt: skip


def _as_shipped(kind: str, doc: str) -> Callable[..., None]:
    """The command that imports a corpus whose adapter needs nothing but its folder."""

    def command(
        folder: Folder,
        out: Out = None,
        list_: List = False,
        face: Face = False,
        target_fps: TargetFps = None,
        max_seconds: MaxSeconds = LONGEST,
        workers: Workers = None,
        overwrite: Overwrite = False,
        address: Address = None,
        json: AsJson = False,
    ) -> None:
        adapter = importlib.import_module(f"signatlas.corpus.sources.{kind.replace('-', '_')}")
        _go_on(adapter.read(folder), kind, out, list_, json, face=face, target_fps=target_fps,
               max_seconds=max_seconds, workers=workers, overwrite=overwrite, address=address)  # fmt: skip

    command.__doc__ = doc
    return command


phoenix14t = _as_shipped(
    "phoenix14t",
    """Import RWTH-PHOENIX-Weather 2014 T: annotations/manual/*.corpus.csv and features/fullFrame-210x260px.

    Example: signatlas corpus import phoenix14t PHOENIX-2014T-release-v3 --out data/phoenix14t
    """,
)
csl_daily = _as_shipped(
    "csl-daily",
    """Import CSL-Daily: sentence_label/split_1.txt and video_map.txt (the pickle is not read), and the frames.

    Example: signatlas corpus import csl-daily CSL-Daily --out data/csl-daily
    """,
)
how2sign = _as_shipped(
    "how2sign",
    """Import How2Sign: how2sign_realigned_*.csv and the front view, as clips or whole recordings to cut.

    Example: signatlas corpus import how2sign How2Sign --out data/how2sign --target-fps 25
    """,
)


def manifest(
    file: Annotated[Path, typer.Argument(help="CSV, TSV or JSONL with a line a recording: path and what is known.")],
    out: Out = None,
    sign_language: Annotated[str | None, typer.Option(help="ISO 639-3 code of lines that do not say theirs.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the corpus; that of --out by default.")] = None,
    license: Annotated[str, typer.Option(help="License of the recordings.")] = "unknown",
    source: Annotated[str, typer.Option(help="Where the recordings come from.")] = "unknown",
    seed: Seed = 0,
    list_: List = False,
    face: Face = False,
    target_fps: TargetFps = None,
    max_seconds: MaxSeconds = LONGEST,
    workers: Workers = None,
    overwrite: Overwrite = False,
    address: Address = None,
    json: AsJson = False,
) -> None:
    """Import recordings of one's own. Columns: path, and where known id, label, glosses, signer, split, text with
    language (or text_de, text_en, ...), sign_language, start and end, first_frame and end_frame, box, frames, fps and
    sha256.

    Example: signatlas corpus import manifest recordings.csv --out data/mine --sign-language gsg
    """
    from signatlas.corpus.sources import manifest as adapter

    name = name or (out.rstrip("/").rsplit("/", 1)[-1] if out else None)
    listing = adapter.read(file, sign_language=sign_language, name=name, license=license, source=source)
    _go_on(listing, "manifest", out, list_, json, face=face, target_fps=target_fps, max_seconds=max_seconds,
           workers=workers, overwrite=overwrite, address=address, seed=seed)  # fmt: skip


def _go_on(
    listing: Listing,
    kind: str,
    out: str | None,
    list_: bool,
    json: bool,
    *,
    face: bool,
    target_fps: float | None,
    max_seconds: float,
    **how: Any,
) -> None:
    """Print the listing, or extract it; without a split of its own a corpus is given one."""
    from cli.corpus.extract import report, run
    from cli.corpus.listings import print_listing
    from signatlas.corpus.extraction.recording import Options

    if list_:
        print_listing(listing, json)
        return
    if out is None:
        raise CorpusError("no --out: give the corpus folder to make, or --list to look only")
    made = run(
        listing,
        out,
        options=Options(face=face, target_fps=target_fps, max_seconds=max_seconds),
        command=f"signatlas corpus import {kind}",
        make_splits="splits" not in listing.info.made,
        **how,
    )
    report(made, json)
