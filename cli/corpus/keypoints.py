"""signatlas corpus import keypoints and pose-lexicon: recordings whose poses are there already."""

from __future__ import annotations

from dataclasses import asdict, replace
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from cli.shared import AsJson, Overwrite, bars, refuse_existing, summary
from signatlas.errors import CorpusError

Name = Annotated[str | None, typer.Option(help="Name of the corpus; that of --out by default.")]
License = Annotated[str, typer.Option(help="License of the recordings.")]
Source = Annotated[str, typer.Option(help="Where the recordings come from.")]
Seed = Annotated[int, typer.Option(help="Seed of the split.")]


def keypoints(
    folder: Annotated[Path, typer.Argument(help="Folder of <label>/<name>.npy|npz or <label>/<n>/<frame>.npy.")],
    out: Annotated[Path, typer.Option(help="Corpus folder to make.")],
    sign_language: Annotated[str, typer.Option(help="ISO 639-3 code: ase, gsg, bfi, ...")],
    labels: Annotated[Path | None, typer.Option(help="CSV with path,label[,signer] instead of folder names.")] = None,
    name: Name = None,
    license: License = "unknown",
    source: Source = "unknown",
    text_language: Annotated[str | None, typer.Option(help="Labels are words of this language (BCP-47).")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second, where known.")] = None,
    width: Annotated[int | None, typer.Option(help="Picture width in pixels, where known.")] = None,
    height: Annotated[int | None, typer.Option(help="Picture height in pixels, where known.")] = None,
    seed: Seed = 0,
    skip_empty: Annotated[bool, typer.Option("--skip-empty", help="Leave out recordings without a point.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Import keypoints in the 258-value MediaPipe Holistic layout, with labels and optional signers.

    Example: signatlas corpus import keypoints MP_Data --out data/mine --sign-language ase --text-language en
    """
    from signatlas.corpus.format import CorpusInfo, write_corpus
    from signatlas.corpus.clips import sign_language_code
    from signatlas.corpus.sources import holistic_keypoints as kf
    from signatlas.corpus.splits import RULE, with_splits

    name, code = name or out.name, sign_language_code(sign_language)
    refuse_existing(out, overwrite)
    if (width is None) != (height is None):
        raise CorpusError("give both --width and --height, or neither")
    found = kf.recordings(folder, labels)
    left_out: list[str] = []
    with bars() as shown:
        clips = kf.clips(
            shown.track(found, description="reading"),
            name=name,
            sign_language=code,
            text_language=text_language,
            fps=fps,
            size=(width, height) if width and height else None,
            on_empty=(lambda recording: left_out.append(recording.name)) if skip_empty else None,
        )
        divided = with_splits(clips, seed=seed)
    made = {"command": "signatlas corpus import keypoints", "splits": RULE, "seed": seed, "left_out": left_out}
    info = CorpusInfo(name, "1", license, source, (code,), fps=fps, made=made)
    corpus = write_corpus(out, info, divided, overwrite=overwrite)
    print(f"made {summary(corpus)}" + (f"; left out {len(left_out)} without a point" if left_out else ""))


def pose_lexicon(
    folder: Annotated[Path, typer.Argument(help="Folder with index.csv and the .pose files it names.")],
    out: Annotated[Path | None, typer.Option(help="Corpus folder to make.")] = None,
    name: Name = None,
    license: License = "unknown",
    source: Source = "unknown",
    seed: Seed = 0,
    list_: Annotated[bool, typer.Option("--list", help="Only print what is there and what is missing.")] = False,
    json: AsJson = False,
    overwrite: Overwrite = False,
) -> None:
    """Import a lexicon of .pose files (index.csv: path,spoken_language,signed_language,start,end,words,glosses,...).

    Files that are missing or cannot be used are named, and the rest goes on; exit code 1 then.

    Example: signatlas corpus import pose-lexicon lexicon --out data/lexicon --license MIT
    """
    from cli.corpus.listings import print_listing
    from signatlas.corpus.format import write_corpus
    from signatlas.corpus.sources import pose_lexicon as adapter
    from signatlas.corpus.sources.base import Item
    from signatlas.corpus.splits import RULE, with_splits

    if out is None and not list_:
        raise CorpusError("no --out: give the corpus folder to make, or --list to look only")
    if out is not None and not list_:
        refuse_existing(out, overwrite)
    listing = adapter.read(folder, name=name or (out.name if out else None), license=license, source=source)
    if list_ or out is None:
        print_listing(listing, json)
        return
    bad: list[dict[str, str]] = []

    def leave_out(item: Item, reason: str) -> None:
        bad.append({"id": item.id, "media": item.media, "reason": reason})
        typer.echo(f"left out {item.id}: {reason}", err=True)

    clips = with_splits(adapter.clips(listing, leave_out), seed=seed)
    if not clips:
        raise CorpusError(f"{folder}: not one of its {len(bad)} .pose files can be used; first: {bad[0]['reason']}")
    made = listing.info.made | {
        "command": "signatlas corpus import pose-lexicon",
        "splits": RULE,
        "seed": seed,
        "missing": [asdict(missing) for missing in listing.missing],
        "quarantine": bad,
    }
    corpus = write_corpus(out, replace(listing.info, made=made), clips, overwrite=overwrite)
    told = {"path": corpus.path, "clips": len(corpus), "splits": corpus.info.counts, "quarantine": bad}
    told |= {"missing": made["missing"], "fingerprint": corpus.info.fingerprint}
    lost = f"; {len(bad)} cannot be used, {len(listing.missing)} missing" if bad or listing.missing else ""
    print(dumps(told, indent=2, ensure_ascii=False) if json else f"made {summary(corpus)}{lost}")
    if bad or listing.missing:
        raise typer.Exit(1)
