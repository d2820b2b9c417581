"""Fetch a public corpus from its source or a mirror: verified, resumable, whole or not at all."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from signatlas.corpus.format import Clip, Corpus, CorpusInfo, write_corpus
from signatlas.corpus.sources.archive import Track, download
from signatlas.corpus.splits import RULE
from signatlas.errors import CorpusError

NAMES = ("dgs", "asl33", "signwish11")


class Adapter(Protocol):
    """What a module signatlas.corpus.sources.NAME of a public corpus offers."""

    INFO: CorpusInfo
    URL: str  # a zip of the authors' repository at the named commit
    DIGEST: str  # of the content the corpus is made of, as read() computes it

    def find_mirror(self, mirror: Path) -> Path | None: ...

    def read(self, path: Path, track: Track = iter) -> tuple[list[Clip], str]: ...


def adapter(name: str) -> Adapter:
    """The adapter of a public corpus. Raises CorpusError for an unknown name."""
    if name not in NAMES:
        raise CorpusError(f"unknown corpus '{name}': choose one of {', '.join(NAMES)}")
    return cast(Adapter, importlib.import_module(f"signatlas.corpus.sources.{name}"))


def existing(name: str, out: Path) -> Corpus | None:
    """The corpus at ``out`` when it is there, whole and of this name. Raises CorpusError for anything else there."""
    if not out.exists():
        return None
    try:
        corpus = Corpus.open(out, verify=True)
    except CorpusError as error:
        raise CorpusError(f"{error}: pass --overwrite to make {out} anew, or choose another --out") from error
    if corpus.info.name != name:
        raise CorpusError(f"{out} holds the corpus '{corpus.info.name}', not '{name}': choose another --out")
    return corpus


def fetch(
    name: str,
    out: Path,
    *,
    mirror: Path | None = None,
    overwrite: bool = False,
    track: Track = iter,
    report: Callable[[int, int | None], None] = lambda done, total: None,
) -> Corpus:
    """Make the corpus ``name`` in the folder ``out`` from ``mirror``, or from its public source.

    ``report`` is called with the bytes downloaded and the total, if known. Raises CorpusError when the source cannot
    be reached or its content is not what was published.
    """
    source = adapter(name)
    if mirror is None:
        packed = download(source.URL, out.parent / f".{name}-{source.INFO.version}.zip", report=report)
    else:
        packed = _in_mirror(source, mirror)
    try:
        clips = _verified(source, packed, track)
    except CorpusError:
        if mirror is None:
            packed.unlink()  # what was downloaded is no use: the next run starts afresh
        raise
    made = {"command": f"signatlas corpus fetch {name}", "content_digest": source.DIGEST, "splits": RULE, "seed": 0}
    corpus = write_corpus(out, replace(source.INFO, made={**source.INFO.made, **made}), clips, overwrite=overwrite)
    if mirror is None:
        packed.unlink()
    return corpus


def _verified(source: Adapter, packed: Path, track: Track) -> list[Clip]:
    clips, digest = source.read(packed, track)
    if digest != source.DIGEST:
        raise CorpusError(
            f"{packed}: its files are not those of {source.INFO.name} at {source.INFO.version} "
            f"(digest {digest[:12]}, expected {source.DIGEST[:12]}); get them again or pass another --mirror"
        )
    return clips


def _in_mirror(source: Adapter, mirror: Path) -> Path:
    if not mirror.exists():
        raise CorpusError(f"no mirror at {mirror}: pass --mirror with a folder that is there")
    packed = source.find_mirror(mirror)
    if packed is None:
        raise CorpusError(f"{mirror} holds no {source.INFO.name}: pass --mirror with its archive, checkout or .npz")
    return packed
