"""signatlas corpus export: clips as .pose files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from cli.shared import Overwrite, refuse_existing
from signatlas.errors import CorpusError


def export(
    path: Annotated[str, typer.Argument(help="Corpus folder or URI.", metavar="CORPUS")],
    out: Annotated[Path, typer.Option(help="Folder to make: .pose files and index.csv.")],
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    clip: Annotated[list[str] | None, typer.Option(help="Only the clip of this id; may be repeated.")] = None,
    fps: Annotated[float | None, typer.Option(min=0.1, help="Frame rate of clips that do not know theirs.")] = None,
    size: Annotated[str | None, typer.Option(help="Picture size of clips that do not know theirs: 640x480.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write clips as .pose files (pose-format) with an index.csv; 'signatlas corpus import pose-lexicon' reads it back.

    Where some points of a clip have z and others not, the latter get 0: a .pose file has one number of dimensions.

    Example: signatlas corpus export data/dgs --split test --fps 25 --size 640x480 --out poses
    """
    from signatlas.corpus.export import export as write
    from signatlas.corpus.format import Corpus

    refuse_existing(out, overwrite)
    corpus = Corpus.open(path)
    corpus = corpus.split(split) if split else corpus
    corpus = corpus.source(source) if source else corpus
    if clip:
        absent = set(clip) - {row["id"] for row in corpus.metadata()}
        if absent:
            raise CorpusError(f"no clip '{min(absent)}' in {path}" + (" with that split and source" if split else ""))
        wanted = frozenset(clip)
        corpus = corpus.where(lambda row: row["id"] in wanted)
    number = write(corpus, out, fps=fps, size=None if size is None else _pixels(size), overwrite=overwrite)
    print(f"{out}: {number} .pose files and index.csv; credit: {corpus.info.source} ({corpus.info.license})")


def _pixels(size: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", size)
    if found is None:
        raise CorpusError(f"--size {size}: give width and height in pixels, as in 640x480")
    return int(found[1]), int(found[2])
