"""signatlas corpus import: public corpora, manifests, keypoints and lexicons of .pose files.

Each public corpus in ``signatlas.corpus.sources.SOURCES`` is a command. A corpus with options of its own has a
function here; the commands of the others are made from their release by :func:`__getattr__`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared import Address, AsJson, Overwrite, check_output, corpus_summary, print_json, progress_bars
from signatlas.corpus import sources
from signatlas.errors import CorpusError

if TYPE_CHECKING:
    from signatlas.corpus.sources.base import Item, Listing

Folder = Annotated[Path, typer.Argument(help="Folder with the files that the authors release.", metavar="FOLDER")]
Out = Annotated[str | None, typer.Option(help="Corpus folder or URI to create.")]
List = Annotated[bool, typer.Option("--list", help="Only print the recordings and what is missing.")]
Face = Annotated[bool, typer.Option("--face", help="Extract the 478 points of the face too.")]
TargetFps = Annotated[float | None, typer.Option(help="Resample faster recordings to this frame rate.")]
MaxSeconds = Annotated[float, typer.Option(min=0.1, help="Put longer recordings into quarantine.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Detectors in parallel (default: one per core).")]
Name = Annotated[str | None, typer.Option(help="Name of the corpus (default: that of --out).")]
License = Annotated[str, typer.Option(help="License of the recordings.")]
Source = Annotated[str, typer.Option(help="Where the recordings come from.")]
SplitSeed = Annotated[int, typer.Option(help="Seed of the splits.")]
MAX_SECONDS = 600.0


class Subset(StrEnum):
    """The subsets of WLASL, by number of glosses."""

    wlasl100 = "100"
    wlasl300 = "300"
    wlasl1000 = "1000"
    wlasl2000 = "2000"


def wlasl(
    folder: Folder,
    out: Out = None,
    subset: Annotated[Subset | None, typer.Option(help="Only WLASL100, 300, 1000 or 2000.")] = None,
    whole_frame: Annotated[
        bool, typer.Option("--whole-frame", help="Do not crop to the signer's box, which fits one video size only.")
    ] = False,
    list_: List = False,
    face: Face = False,
    target_fps: TargetFps = None,
    max_seconds: MaxSeconds = MAX_SECONDS,
    workers: Workers = None,
    overwrite: Overwrite = False,
    address: Address = None,
    json: AsJson = False,
) -> None:
    """Import WLASL: WLASL_v0.3.json and the videos that its scripts download. Dead links are listed as missing.

    Example: signatlas corpus import wlasl WLASL/start_kit --out data/wlasl100 --subset 100
    """
    listing = _read("wlasl", folder, subset=int(subset.value) if subset else None, whole_frame=whole_frame)
    _extract(listing, "wlasl", out, list_, json, face=face, target_fps=target_fps, max_seconds=max_seconds,
             workers=workers, overwrite=overwrite, address=address)  # fmt: skip


def autsl(
    folder: Folder,
    out: Out = None,
    gallery_query: Annotated[
        bool,
        typer.Option("--gallery-query", help="Only 4 recordings per sign and a query by another signer (our subset)."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the subset.")] = 0,
    list_: List = False,
    face: Face = False,
    target_fps: TargetFps = None,
    max_seconds: MaxSeconds = MAX_SECONDS,
    workers: Workers = None,
    overwrite: Overwrite = False,
    address: Address = None,
    json: AsJson = False,
) -> None:
    """Import AUTSL: label files, the list of signs, and the color videos in train/, val/ and test/.

    Example: signatlas corpus import autsl AUTSL --out data/autsl-small --gallery-query
    """
    listing = _read("autsl", folder, subset=gallery_query, seed=seed)
    _extract(listing, "autsl", out, list_, json, face=face, target_fps=target_fps, max_seconds=max_seconds,
             workers=workers, overwrite=overwrite, address=address)  # fmt: skip


def __getattr__(name: str) -> Callable[..., None]:
    """Return the import command of the public corpus ``name``, for corpora without options of their own."""
    if name not in sources.names("import"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def command(
        folder: Folder,
        out: Out = None,
        list_: List = False,
        face: Face = False,
        target_fps: TargetFps = None,
        max_seconds: MaxSeconds = MAX_SECONDS,
        workers: Workers = None,
        overwrite: Overwrite = False,
        address: Address = None,
        json: AsJson = False,
    ) -> None:
        _extract(_read(name, folder), name, out, list_, json, face=face, target_fps=target_fps,
                 max_seconds=max_seconds, workers=workers, overwrite=overwrite, address=address)  # fmt: skip

    release = sources.load(name).RELEASE
    command.__doc__ = f"""Import {release.title}: {release.layout}.

    License: {release.license}. Get it from {release.url}

    Example: signatlas corpus import {name} {release.title.split()[0]} --out data/{name}
    """
    return command


def manifest(
    file: Annotated[Path, typer.Argument(help="CSV, TSV or JSONL file with a line per recording.", metavar="FILE")],
    out: Out = None,
    sign_language: Annotated[str | None, typer.Option(help="ISO 639-3 code of recordings without one.")] = None,
    name: Name = None,
    license: License = "unknown",
    source: Source = "unknown",
    seed: SplitSeed = 0,
    list_: List = False,
    face: Face = False,
    target_fps: TargetFps = None,
    max_seconds: MaxSeconds = MAX_SECONDS,
    workers: Workers = None,
    overwrite: Overwrite = False,
    address: Address = None,
    json: AsJson = False,
) -> None:
    """Import your own recordings, listed in a manifest.

    The column path is required. Optional columns are id, label, glosses, signer, split, text with language (or
    text_de, text_en, ...), sign_language, start and end, first_frame and end_frame, box, frames, fps and sha256.

    Example: signatlas corpus import manifest recordings.csv --out data/mine --sign-language gsg
    """
    from signatlas.corpus.sources.manifest import read

    name = name or (out.rstrip("/").rsplit("/", 1)[-1] if out else None)
    listing = read(file, sign_language=sign_language, name=name, license=license, source=source)
    _extract(listing, "manifest", out, list_, json, face=face, target_fps=target_fps, max_seconds=max_seconds,
             workers=workers, overwrite=overwrite, address=address, seed=seed)  # fmt: skip


def keypoints(
    folder: Annotated[
        Path, typer.Argument(help="Folder of <label>/<name>.npy|npz or <label>/<n>/<frame>.npy.", metavar="FOLDER")
    ],
    out: Annotated[Path, typer.Option(help="Corpus folder to create.")],
    sign_language: Annotated[str, typer.Option(help="ISO 639-3 code, such as ase, gsg or bfi.")],
    labels: Annotated[
        Path | None, typer.Option(help="CSV with path,label[,signer], instead of labels from folder names.")
    ] = None,
    name: Name = None,
    license: License = "unknown",
    source: Source = "unknown",
    text_language: Annotated[
        str | None, typer.Option(help="BCP 47 code of the labels, to use them as texts too.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frame rate, if known.")] = None,
    width: Annotated[int | None, typer.Option(help="Image width in pixels, if known.")] = None,
    height: Annotated[int | None, typer.Option(help="Image height in pixels, if known.")] = None,
    seed: SplitSeed = 0,
    skip_empty: Annotated[bool, typer.Option("--skip-empty", help="Skip recordings without a detected point.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Import keypoints in the 258-value layout of MediaPipe Holistic, with labels and optional signers.

    Example: signatlas corpus import keypoints MP_Data --out data/mine --sign-language ase --text-language en
    """
    from signatlas.corpus.clips import sign_language_code
    from signatlas.corpus.format import CorpusInfo, write_corpus
    from signatlas.corpus.sources import holistic_keypoints
    from signatlas.corpus.splits import RULE, with_splits

    name, code = name or out.name, sign_language_code(sign_language)
    check_output(out, overwrite)
    if (width is None) != (height is None):
        raise CorpusError("give both --width and --height, or neither")
    recordings = holistic_keypoints.list_recordings(folder, labels)
    left_out: list[str] = []
    with progress_bars() as bars:
        clips = holistic_keypoints.clips(
            bars.track(recordings, description="reading"),
            name=name,
            sign_language=code,
            text_language=text_language,
            fps=fps,
            size=(width, height) if width and height else None,
            on_empty=(lambda recording: left_out.append(recording.name)) if skip_empty else None,
        )
        split_clips = with_splits(clips, seed=seed)
    made = {"command": "signatlas corpus import keypoints", "splits": RULE, "seed": seed, "left_out": left_out}
    info = CorpusInfo(name, "1", license, source, (code,), fps=fps, made=made)
    corpus = write_corpus(out, info, split_clips, overwrite=overwrite)
    print(f"created {corpus_summary(corpus)}" + (f"; skipped {len(left_out)} without a point" if left_out else ""))


def pose_lexicon(
    folder: Annotated[Path, typer.Argument(help="Folder with index.csv and its .pose files.", metavar="FOLDER")],
    out: Annotated[Path | None, typer.Option(help="Corpus folder to create.")] = None,
    name: Name = None,
    license: License = "unknown",
    source: Source = "unknown",
    seed: SplitSeed = 0,
    list_: List = False,
    json: AsJson = False,
    overwrite: Overwrite = False,
) -> None:
    """Import a lexicon of .pose files (index.csv: path,spoken_language,signed_language,start,end,words,glosses,...).

    Missing and unusable files are printed and skipped; the exit code is then 1.

    Example: signatlas corpus import pose-lexicon lexicon --out data/lexicon --license MIT
    """
    from signatlas.corpus.format import write_corpus
    from signatlas.corpus.sources import pose_lexicon as lexicon
    from signatlas.corpus.splits import RULE, with_splits

    _require_out(out, list_)
    if out is not None and not list_:
        check_output(out, overwrite)
    listing = lexicon.read(folder, name=name or (out.name if out else None), license=license, source=source)
    if out is None or list_:
        print_listing(listing, json)
        return
    quarantine: list[dict[str, str]] = []

    def skip(item: Item, reason: str) -> None:
        quarantine.append({"id": item.id, "media": item.media, "reason": reason})
        typer.echo(f"skipped {item.id}: {reason}", err=True)

    clips = with_splits(lexicon.clips(listing, skip), seed=seed)
    if not clips:
        raise CorpusError(
            f"{folder}: none of its {len(quarantine)} .pose files can be used; first: {quarantine[0]['reason']}"
        )
    missing = [asdict(recording) for recording in listing.missing]
    made = listing.info.made | {
        "command": "signatlas corpus import pose-lexicon",
        "splits": RULE,
        "seed": seed,
        "missing": missing,
        "quarantine": quarantine,
    }
    corpus = write_corpus(out, replace(listing.info, made=made), clips, overwrite=overwrite)
    if json:
        summary = {"path": corpus.path, "clips": len(corpus), "splits": corpus.info.counts, "quarantine": quarantine}
        summary |= {"missing": missing, "fingerprint": corpus.info.fingerprint}
        print_json(summary, indent=2)
    else:
        problems = f"; {len(quarantine)} unusable, {len(missing)} missing" if quarantine or missing else ""
        print(f"created {corpus_summary(corpus)}{problems}")
    if quarantine or missing:
        raise typer.Exit(1)


def _read(name: str, folder: Path, **options: Any) -> Listing:
    from signatlas.corpus.sources.base import Listing

    listing = sources.load(name).read(folder, **options)
    assert isinstance(listing, Listing), f"{name} is imported, so it must return a Listing"
    return listing


def _require_out(out: str | Path | None, list_: bool) -> None:
    if out is None and not list_:
        raise CorpusError("no --out: give the corpus folder to create, or --list to only print the recordings")


def _extract(
    listing: Listing,
    name: str,
    out: str | None,
    list_: bool,
    json: bool,
    *,
    face: bool,
    target_fps: float | None,
    max_seconds: float,
    **settings: Any,
) -> None:
    """Print a listing, or extract it into a corpus; splits are assigned unless the listing has them."""
    from cli.corpus.extract import print_summary, run
    from signatlas.corpus.extraction.recording import Options

    _require_out(out, list_)
    if out is None or list_:
        print_listing(listing, json)
        return
    extracted = run(
        listing,
        out,
        options=Options(face=face, target_fps=target_fps, max_seconds=max_seconds),
        command=f"signatlas corpus import {name}",
        make_splits="splits" not in listing.info.made,
        **settings,
    )
    print_summary(extracted, json)


def print_listing(listing: Listing, as_json: bool) -> None:
    """Print the recordings of a listing and what is missing, as JSON or with a line each and a summary."""
    if as_json:
        print_json(_as_object(listing), indent=2)
        return
    for item in listing:
        print(_describe(item))
    for missing in listing.missing:
        print(f"missing {missing.id}: {missing.reason}")
    print(f"{listing.info.name}: {len(listing)} recordings, {len(listing.missing)} missing; {listing.info.license}")


def _as_object(listing: Listing) -> dict[str, Any]:
    """Return a listing as JSON-ready values; the end of an open time span is null."""
    items = [asdict(item) for item in listing]
    for item in items:
        if item["seconds"]:
            item["seconds"] = [None if math.isinf(at) else at for at in item["seconds"]]
    info = listing.info
    metadata = {
        "name": info.name,
        "license": info.license,
        "source": info.source,
        "sign_languages": info.sign_languages,
    }
    return metadata | {"items": items, "missing": [asdict(missing) for missing in listing.missing]}


def _describe(item: Item) -> str:
    label = item.gloss or " ".join(item.glosses or ()) or "no gloss"
    parts = [item.id, item.split, item.sign_language, label]
    parts += [f"signer {item.signer}"] if item.signer else []
    parts += [f"frames {item.span[0]}-{item.span[1]}"] if item.span else []
    if item.seconds:
        parts.append(f"{item.seconds[0]:g}-{'end' if math.isinf(item.seconds[1]) else f'{item.seconds[1]:g}'} s")
    return f"{', '.join(parts)}: {item.media}"
