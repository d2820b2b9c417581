"""American Sign Language (ase), 11 words and phrases, 80 recordings each by one person, from ASL_SignWish (MIT)."""

from __future__ import annotations

from pathlib import Path

from signatlas.corpus.format import Clip, CorpusInfo
from signatlas.corpus.sources import mp_data
from signatlas.corpus.sources.archive import Track

URL = "https://github.com/tamtridung/ASL_SignWish/archive/641b923.zip"
DIGEST = "faa8d08c2678a538e05da302619b529b2eae7ede5326245d0a1e787b4f964d19"
INFO = CorpusInfo(
    name="signwish11",
    version="641b923",
    license="MIT",
    source="https://github.com/tamtridung/ASL_SignWish",
    sign_languages=("ase",),
    made={"signers": "one person recorded all of it, so splits are not by signer", "values": "rounded to float16"},
)
_RECORDINGS = mp_data.Recordings("signwish11", "bye", signer="signwish11/1", gloss=lambda label: label)


def find_mirror(mirror: Path) -> Path | None:
    """The .npz, zip or checkout in ``mirror``, or None."""
    return mp_data.find_mirror(_RECORDINGS, mirror)


def read(path: Path, track: Track = iter) -> tuple[list[Clip], str]:
    """Every clip of an .npz, zip or checkout, with splits, and the digest of its recordings."""
    return mp_data.read(_RECORDINGS, path, track)
