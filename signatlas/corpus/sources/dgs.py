"""German Sign Language (gsg) of SignLanguageRecognition: webcam recordings of 30 words and a dictionary of 3,012.

Keypoints of MediaPipe as CSV, Apache-2.0 (https://github.com/Tachionstrahl/SignLanguageRecognition); the dictionary's
recordings are SignDict's (https://signdict.org). A row a frame: the face's x and y, then 21 points a detected hand.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from signatlas.corpus.format import Clip, CorpusInfo
from signatlas.corpus.sources.archive import Archive, Track, find
from signatlas.corpus.splits import with_splits
from signatlas.errors import CorpusError
from signatlas.pose.handedness import assign_sides
from signatlas.pose.skeleton import LEFT_HAND, NOSE, NUM_HAND, NUM_POINTS, RIGHT_HAND

URL = "https://github.com/Tachionstrahl/SignLanguageRecognition/archive/d6358d5.zip"
DIGEST = "7bed5e98553c8e01fcc5ea47ae819d0016de6f71f7d08d24517802d0f5c1e0fb"
ROOT = "lab/data/absolute/"
WEBCAM, DICTIONARY = re.compile(r"3D_full/[^/]+/[^/]+\.csv"), re.compile(r"2D_unknown/unknown/[^/]+\.csv")
UNSET = 1e-6  # image units; no hand lies in the very corner of the picture with all its points
SAME_HAND = 0.2  # palm lengths between two detections below which they are one hand seen twice
_COLON = "\uf022"  # how Windows shares stored a colon in a file name
_FOLDS = str.maketrans({"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue"})

INFO = CorpusInfo(
    name="dgs",
    version="d6358d5",
    license="Apache-2.0 (keypoints); the dictionary's recordings are SignDict's, under their own licenses",
    source="https://github.com/Tachionstrahl/SignLanguageRecognition, https://signdict.org",
    sign_languages=("gsg",),
    made={
        "gloss": "the German word: NFC, lower case, ß -> ss, ä -> ae, ö -> oe, ü -> ue, other accents dropped",
        "hands": "sides by place against the face and continuity (signatlas.pose.handedness)",
        "dictionary": "one recording a word: its split is its hash's alone, no word is in two splits; choose by source",
        "time": "frames without a hand are missing and the frame rate is unknown",
    },
)


def fold_gloss(word: str) -> str:
    """The gloss of a German word: NFC, lower case, ß -> ss, ä -> ae, ö -> oe, ü -> ue, other accents dropped.

    >>> fold_gloss("Fußball"), fold_gloss("Mücke"), fold_gloss("Café")
    ('fussball', 'muecke', 'cafe')
    """
    plain = unicodedata.normalize("NFC", word).lower().translate(_FOLDS)
    return "".join(c for c in unicodedata.normalize("NFD", plain) if not unicodedata.combining(c))


def needed(archive: Archive) -> dict[str, str]:
    """Names below ``lab/data/absolute/`` (NFC) of the files this corpus is made of -> their names in the archive."""
    found = {}
    for name in archive.names:
        _, root, below = ("/" + name).partition("/" + ROOT)
        if root and (WEBCAM.fullmatch(below) or DICTIONARY.fullmatch(below)):
            found[unicodedata.normalize("NFC", below)] = name
    return dict(sorted(found.items()))


def parse(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A CSV's face [frames, 2] and detected hands [frames, 2, 21, 2 or 3], NaN for a second hand that is not there.

    Raises ValueError for a file that is not of this layout.
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
    hands[_spurious(hands)] = np.nan
    return table[:, :2], hands


def _spurious(hands: np.ndarray) -> np.ndarray:
    """Detections that are none, bool [frames, 2]: 599 hold unset numbers near zero, others repeat the first hand."""
    unset = (np.abs(hands[..., :2]) < UNSET).all(axis=(-1, -2))
    palm = np.linalg.norm(hands[:, 0, 9, :2] - hands[:, 0, 0, :2], axis=-1)
    apart = np.linalg.norm(hands[:, 0, :, :2] - hands[:, 1, :, :2], axis=-1).mean(-1)
    repeated = np.stack([np.zeros(len(hands), bool), apart < SAME_HAND * palm], axis=1)
    return unset | (repeated & ~unset[:, :1])


def to_poses(face: np.ndarray, hands: np.ndarray) -> np.ndarray:
    """float32 [frames, 75, 3]: the face as nose, hands by side; z is NaN for 2-D hands and always for the face."""
    dims = hands.shape[-1]
    poses = np.full((len(face), NUM_POINTS, 3), np.nan, np.float32)
    sided = assign_sides(hands, face)
    poses[:, NOSE, :2] = face
    poses[:, LEFT_HAND, :dims], poses[:, RIGHT_HAND, :dims] = sided[:, 0], sided[:, 1]
    return poses


def english_words(readme: str) -> dict[str, str]:
    """Gloss -> English of the table ``[Bier](link) | Beer`` in the repository's README."""
    rows = re.findall(r"^\s*\|?\s*\[([^\]]+)\]\([^)]*\)\s*\|\s*([^|\n]+)", readme, re.MULTILINE)
    return {fold_gloss(german): english.strip() for german, english in rows}


def _clip(name: str, content: bytes, english: dict[str, str]) -> Clip:
    path = PurePosixPath(name)
    webcam = name.startswith("3D_full/")
    stem = path.stem.replace(_COLON, ":")
    word = (path.parent.name if webcam else stem).replace("_", " ")
    gloss = fold_gloss(word)
    try:
        poses = to_poses(*parse(content))
    except ValueError as error:
        raise CorpusError(f"{ROOT}{name} is not a CSV of this corpus ({error}); fetch it again") from error
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


def find_mirror(mirror: Path) -> Path | None:
    """The zip or checkout in ``mirror``, or None."""
    return find(mirror, ROOT.rstrip("/"))


def read(path: Path, track: Track = iter) -> tuple[list[Clip], str]:
    """Every clip of a zip or folder, with splits, and a digest: sha256 over the files' (name, sha256) pairs.

    ``track`` wraps the file names, to show progress. Raises CorpusError when there are no such files.
    """
    archive = Archive(path)
    files = needed(archive)
    if not files:
        raise CorpusError(f"{path}: no {ROOT}3D_full or 2D_unknown in it; is it SignLanguageRecognition?")
    readme = min((n for n in archive.names if PurePosixPath(n).name == "README.md"), key=len, default=None)
    english = english_words(archive.read(readme).decode()) if readme else {}
    digest = hashlib.sha256()

    def clips() -> Iterator[Clip]:
        for name in track(list(files)):
            content = archive.read(files[name])
            digest.update(f"{name}\t{hashlib.sha256(content).hexdigest()}\n".encode())
            yield _clip(name, content, english)

    return with_splits(clips()), digest.hexdigest()
