"""American Sign Language (ase), 11 words and phrases, 80 recordings each by one person, from ASL_SignWish (MIT)."""

from __future__ import annotations

from pathlib import Path

from signatlas.corpus.sources import mp_data
from signatlas.corpus.sources.base import Download, PoseClips, Release, Track

LAYOUT = mp_data.Layout("signwish11", "bye", signer="signwish11/1", gloss=lambda label: label)


def find_mirror(mirror: Path) -> Path | None:
    """Return the .npz, zip or checkout of the corpus in ``mirror``, or None."""
    return mp_data.find_mirror(LAYOUT, mirror)


RELEASE = Release(
    name="signwish11",
    title="ASL_SignWish",
    version="641b923",
    sign_language="ase",
    license="MIT",
    url="https://github.com/tamtridung/ASL_SignWish",
    layout="MP_Data/<label>/<n>/<frame>.npy, or signwish11.npz",
    download=Download(
        url="https://github.com/tamtridung/ASL_SignWish/archive/641b923.zip",
        digest="faa8d08c2678a538e05da302619b529b2eae7ede5326245d0a1e787b4f964d19",
        find=find_mirror,
    ),
)
MADE = {"signers": "one person recorded all of it, so splits are not by signer", "values": "rounded to float16"}


def read(path: Path, track: Track = iter) -> PoseClips:
    """Read an .npz, zip or checkout."""
    clips, digest = mp_data.read(LAYOUT, path, track)
    return PoseClips(RELEASE.info(**MADE), clips, digest)
