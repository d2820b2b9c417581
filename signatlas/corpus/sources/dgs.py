"""SignLanguageRecognition: German Sign Language (gsg), webcam recordings of 30 words and a dictionary of 3,012.

MediaPipe keypoints as CSV, Apache-2.0 (https://github.com/Tachionstrahl/SignLanguageRecognition); the dictionary's
recordings are from SignDict (https://signdict.org). Each row is a frame: x and y of the face, then 21 points for each
detected hand, without its side.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from signatlas.corpus.format import Clip
from signatlas.corpus.sources.archive import Archive, find
from signatlas.corpus.sources.base import Download, PoseClips, Release, Track
from signatlas.corpus.splits import with_splits
from signatlas.errors import CorpusError
from signatlas.pose.handedness import assign_sides
from signatlas.pose.skeleton import LEFT_HAND, NOSE, NUM_HAND, NUM_POINTS, RIGHT_HAND

ROOT = "lab/data/absolute/"
WEBCAM, DICTIONARY = re.compile(r"3D_full/[^/]+/[^/]+\.csv"), re.compile(r"2D_unknown/unknown/[^/]+\.csv")
UNSET = 1e-6  # image units; a hand with all points in the corner of the image was never written
SAME_HAND = 0.2  # palm lengths; two detections closer than this are one hand
_COLON = "\uf022"  # the private-use character that Windows shares store for a colon in a file name
_FOLDS = str.maketrans({"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue"})


def find_mirror(mirror: Path) -> Path | None:
    """Return the zip or checkout of the corpus in ``mirror``, or None."""
    return find(mirror, ROOT.rstrip("/"))


RELEASE = Release(
    name="dgs",
    title="SignLanguageRecognition",
    version="d6358d5",
    sign_language="gsg",
    license="Apache-2.0 (keypoints); the dictionary's recordings are SignDict's, under their own licenses",
    url="https://github.com/Tachionstrahl/SignLanguageRecognition, https://signdict.org",
    layout=f"CSV files in {ROOT}3D_full and {ROOT}2D_unknown",
    download=Download(
        url="https://github.com/Tachionstrahl/SignLanguageRecognition/archive/d6358d5.zip",
        digest="7bed5e98553c8e01fcc5ea47ae819d0016de6f71f7d08d24517802d0f5c1e0fb",
        find=find_mirror,
    ),
)
MADE = {
    "gloss": "the German word: NFC, lower case, ß -> ss, ä -> ae, ö -> oe, ü -> ue, other accents dropped",
    "hands": "sides by position relative to the face and continuity over frames (signatlas.pose.handedness)",
    "dictionary": "one recording per word, split by hash, so no word is in two splits; select it by source",
    "time": "frames without a hand are missing and the frame rate is unknown",
}


def fold_gloss(word: str) -> str:
    """Return the gloss of a German word: NFC, lower case, ß -> ss, ä -> ae, ö -> oe, ü -> ue, other accents dropped.

    >>> fold_gloss("Fußball"), fold_gloss("Mücke"), fold_gloss("Café")
    ('fussball', 'muecke', 'cafe')
    """
    plain = unicodedata.normalize("NFC", word).lower().translate(_FOLDS)
    return "".join(c for c in unicodedata.normalize("NFD", plain) if not unicodedata.combining(c))


def csv_files(archive: Archive) -> dict[str, str]:
    """Return the names in the archive of the CSV files, by their names below ``lab/data/absolute/`` (NFC), sorted."""
    files = {}
    for name in archive.names:
        _, root, below = ("/" + name).partition("/" + ROOT)
        if root and (WEBCAM.fullmatch(below) or DICTIONARY.fullmatch(below)):
            files[unicodedata.normalize("NFC", below)] = name
    return dict(sorted(files.items()))


def parse(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return face [frames, 2] and hands [frames, 2, 21, 2 or 3] of a CSV, NaN for a hand that was not detected.

    Raises ValueError for another layout.
    """
    header, *lines = content.decode().split()
    dims = 3 if "landmark_z_1" in header else 2
    width = 2 + 2 * NUM_HAND * dims
    table = np.full((len(lines), width), np.nan)
    for row, line in zip(table, lines, strict=True):
        values = line.split(";")
        if len(values) not in (width, 2 + NUM_HAND * dims):
            raise ValueError(f"a row of {len(values)} values, expected {2 + NUM_HAND * dims} or {width}")
        row[: len(values)] = [float(v) for v in values]
    hands = table[:, 2:].reshape(-1, 2, NUM_HAND, dims)
    hands[_find_spurious(hands)] = np.nan
    return table[:, :2], hands


def _find_spurious(hands: np.ndarray) -> np.ndarray:
    """Return false detections, bool [frames, 2]: 599 have unset values near zero, others repeat the first hand."""
    unset = (np.abs(hands[..., :2]) < UNSET).all(axis=(-1, -2))
    palm = np.linalg.norm(hands[:, 0, 9, :2] - hands[:, 0, 0, :2], axis=-1)
    apart = np.linalg.norm(hands[:, 0, :, :2] - hands[:, 1, :, :2], axis=-1).mean(-1)
    repeated = np.stack([np.zeros(len(hands), bool), apart < SAME_HAND * palm], axis=1)
    return unset | (repeated & ~unset[:, :1])


def to_poses(face: np.ndarray, hands: np.ndarray) -> np.ndarray:
    """Return poses [frames, 75, 3]: the face as nose, hands by side; z is NaN for the face and for 2-D hands."""
    dims = hands.shape[-1]
    poses = np.full((len(face), NUM_POINTS, 3), np.nan, np.float32)
    sided = assign_sides(hands, face)
    poses[:, NOSE, :2] = face
    poses[:, LEFT_HAND, :dims], poses[:, RIGHT_HAND, :dims] = sided[:, 0], sided[:, 1]
    return poses


def english_words(readme: str) -> dict[str, str]:
    """Return English words by gloss, from the table ``[Bier](link) | Beer`` in the README of the repository."""
    rows = re.findall(r"^\s*\|?\s*\[([^\]]+)\]\([^)]*\)\s*\|\s*([^|\n]+)", readme, re.MULTILINE)
    return {fold_gloss(german): english.strip() for german, english in rows}


def _parse_clip(name: str, content: bytes, english: dict[str, str]) -> Clip:
    path = PurePosixPath(name)
    webcam = name.startswith("3D_full/")
    stem = path.stem.replace(_COLON, ":")
    word = (path.parent.name if webcam else stem).replace("_", " ")
    gloss = fold_gloss(word)
    try:
        poses = to_poses(*parse(content))
    except ValueError as error:
        raise CorpusError(f"{ROOT}{name} is not a CSV of this corpus ({error}): download it again") from error
    texts: tuple[tuple[str, str], ...] = (("de", word),)
    if webcam and gloss in english:
        texts += (("en", english[gloss]),)
    return Clip(
        id=f"dgs/webcam/{gloss}/{stem}" if webcam else f"dgs/dictionary/{stem}",
        split="train",
        poses=poses,
        sign_language="gsg",
        source="webcam" if webcam else "dictionary",
        gloss=gloss,
        texts=texts,
    )


def read(path: Path, track: Track = iter) -> PoseClips:
    """Read a zip or folder; the digest is a sha256 over the (name, sha256) of its CSV files.

    Raises CorpusError when there is no such file.
    """
    archive = Archive(path)
    files = csv_files(archive)
    if not files:
        raise CorpusError(f"{path} has no {ROOT}3D_full or 2D_unknown: give an archive of SignLanguageRecognition")
    readme = min((n for n in archive.names if PurePosixPath(n).name == "README.md"), key=len, default=None)
    english = english_words(archive.read(readme).decode()) if readme else {}
    digest = hashlib.sha256()

    def clips() -> Iterator[Clip]:
        for name in track(list(files)):
            content = archive.read(files[name])
            digest.update(f"{name}\t{hashlib.sha256(content).hexdigest()}\n".encode())
            yield _parse_clip(name, content, english)

    split_clips = with_splits(clips())
    return PoseClips(RELEASE.info(**MADE), split_clips, digest.hexdigest())
