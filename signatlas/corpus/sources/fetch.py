"""Create a public corpus of keypoints from its download or a mirror, verified against its published content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from signatlas.corpus import sources
from signatlas.corpus.format import Corpus, write_corpus
from signatlas.corpus.sources.archive import download
from signatlas.corpus.sources.base import Download, PoseClips, Release, Source, Track
from signatlas.corpus.splits import RULE
from signatlas.errors import CorpusError


def load_source(name: str) -> tuple[Source, Download]:
    """Return a source that can be downloaded. Raises CorpusError for any other name."""
    source = sources.load(name)
    if source.RELEASE.download is None:
        raise CorpusError(
            f"{source.RELEASE.title} cannot be downloaded by signatlas: get it from {source.RELEASE.url}, then run "
            f"'signatlas corpus import {name} FOLDER'"
        )
    return source, source.RELEASE.download


def open_existing(name: str, out: Path) -> Corpus | None:
    """Return the corpus at ``out`` if it is undamaged and has this name, or None if nothing is there.

    Raises CorpusError for anything else at ``out``.
    """
    if not out.exists():
        return None
    try:
        corpus = Corpus.open(out, verify=True)
    except CorpusError as error:
        raise CorpusError(f"{error}: pass --overwrite to replace {out}, or choose another --out") from error
    if corpus.info.name != name:
        raise CorpusError(f"{out} contains the corpus '{corpus.info.name}', not '{name}': choose another --out")
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
    """Create the corpus ``name`` in the folder ``out``, from ``mirror`` or else from its download.

    ``report`` is called with the bytes received and the total, if known. Raises CorpusError when the download or
    mirror is not available, or its content is not the published one.
    """
    source, published = load_source(name)
    release = source.RELEASE
    if mirror is None:
        archive = download(published.url, out.parent / f".{name}-{release.version}.zip", report=report)
    else:
        archive = _find_in_mirror(release, published, mirror)
    try:
        poses = _read_verified(source, published, archive, track)
    except CorpusError:
        if mirror is None:
            archive.unlink()  # so that the next run downloads it again
        raise
    made = {"command": f"signatlas corpus fetch {name}", "content_digest": published.digest, "splits": RULE, "seed": 0}
    info = replace(poses.info, made={**poses.info.made, **made})
    corpus = write_corpus(out, info, poses.clips, overwrite=overwrite)
    if mirror is None:
        archive.unlink()
    return corpus


def _read_verified(source: Source, published: Download, archive: Path, track: Track) -> PoseClips:
    poses = source.read(archive, track)
    release = source.RELEASE
    assert isinstance(poses, PoseClips), f"{release.name} has a download, so it must return PoseClips"
    if poses.digest != published.digest:
        raise CorpusError(
            f"{archive} does not have the content of {release.name} {release.version} (digest {poses.digest[:12]}, "
            f"expected {published.digest[:12]}): download it again or pass another --mirror"
        )
    return poses


def _find_in_mirror(release: Release, published: Download, mirror: Path) -> Path:
    if not mirror.exists():
        raise CorpusError(f"no mirror at {mirror}: pass --mirror with an existing folder")
    archive = published.find(mirror)
    if archive is None:
        raise CorpusError(f"{mirror} contains no {release.name}: pass --mirror with its archive, checkout or .npz")
    return archive
