"""American Sign Language (ase), 13 words and 19 fingerspelled letters by a few people, from traduttore-model (MIT)."""

from __future__ import annotations

from pathlib import Path

from signatlas.corpus.format import Clip, CorpusInfo
from signatlas.corpus.sources import mp_data
from signatlas.corpus.sources.archive import Track

URL = "https://github.com/traduttore/traduttore-model/archive/c7c2f3e.zip"
DIGEST = "a3718f95b8638a9ed31689663a94becc332332b708de8d3a43d7338be6f2d1a0"
INFO = CorpusInfo(
    name="asl33",
    version="c7c2f3e",
    license="MIT",
    source="https://github.com/traduttore/traduttore-model",
    sign_languages=("ase",),
    made={
        "labels": "a single letter is that letter fingerspelled; the authors' label '-' (no sign) has no gloss",
        "left_out": "60 recordings labeled '-' without a single point (the corpus's 59 exact duplicates)",
        "values": "rounded to float16",
    },
)
_RECORDINGS = mp_data.Recordings("asl33", "muffin", signer=None, gloss=lambda label: None if label == "-" else label)


def find_mirror(mirror: Path) -> Path | None:
    """The .npz, zip or checkout in ``mirror``, or None."""
    return mp_data.find_mirror(_RECORDINGS, mirror)


def read(path: Path, track: Track = iter) -> tuple[list[Clip], str]:
    """Every clip of an .npz, zip or checkout, with splits, and the digest of its recordings."""
    return mp_data.read(_RECORDINGS, path, track)
