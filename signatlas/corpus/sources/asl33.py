"""American Sign Language (ase), 13 words and 19 fingerspelled letters by a few people, from traduttore-model (MIT)."""

from __future__ import annotations

from pathlib import Path

from signatlas.corpus.sources import mp_data
from signatlas.corpus.sources.base import Download, PoseClips, Release, Track

LAYOUT = mp_data.Layout("asl33", "muffin", signer=None, gloss=lambda label: None if label == "-" else label)


def find_mirror(mirror: Path) -> Path | None:
    """Return the .npz, zip or checkout of the corpus in ``mirror``, or None."""
    return mp_data.find_mirror(LAYOUT, mirror)


RELEASE = Release(
    name="asl33",
    title="traduttore-model",
    version="c7c2f3e",
    sign_language="ase",
    license="MIT",
    url="https://github.com/traduttore/traduttore-model",
    layout="MP_Data/<label>/<n>/<frame>.npy, or asl33.npz",
    download=Download(
        url="https://github.com/traduttore/traduttore-model/archive/c7c2f3e.zip",
        digest="a3718f95b8638a9ed31689663a94becc332332b708de8d3a43d7338be6f2d1a0",
        find=find_mirror,
    ),
)
MADE = {
    "labels": "a single letter is that letter fingerspelled; the authors' label '-' (no sign) has no gloss",
    "left_out": "60 recordings labeled '-' without a single point (the corpus's 59 exact duplicates)",
    "values": "rounded to float16",
}


def read(path: Path, track: Track = iter) -> PoseClips:
    """Read an .npz, zip or checkout."""
    clips, digest = mp_data.read(LAYOUT, path, track)
    return PoseClips(RELEASE.info(**MADE), clips, digest)
