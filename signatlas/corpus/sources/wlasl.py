"""WLASL: 2,000 words of American Sign Language from the web, by more than a hundred signers.

The release: `WLASL_v0.3.json` (a list of glosses with their instances) and the videos that its scripts download:
`videos/VIDEO_ID.mp4`, where `preprocess.py` has already cut YouTube videos with several signs; or the downloads in
`raw_videos_mp4/` or `raw_videos/`, those from YouTube named by their YouTube id, which are cut here. `frame_start` and
`frame_end` count from 1, both included, at 25 frames per second, whatever the frame rate of the video; a `frame_end` of
-1 stands for the whole video. Many links are dead; such instances are listed as missing, with their link.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from signatlas.corpus.sources.base import Item, Listing, Missing, Release, find_videos
from signatlas.errors import CorpusError

RELEASE = Release(
    name="wlasl",
    title="WLASL",
    version="0.3",
    sign_language="ase",
    license="C-UDA 1.0: academic and computational use, non-commercial; cite Li et al., WACV 2020",
    url="https://dxli94.github.io/WLASL/",
    layout="WLASL_v0.3.json and videos/ (or raw_videos/) as its scripts make them",
)
LABELS = "WLASL_v0.3.json"
FPS = 25  # of the frame numbers in the JSON
SUBSETS = (100, 300, 1000, 2000)
SPLITS = {"train": "train", "val": "dev", "test": "test"}


class _Instance(NamedTuple):
    """One entry of the JSON; ``first`` and ``last`` count from 1, both included, -1 for the whole video."""

    rank: int  # of its gloss in the JSON
    gloss: str
    video: str
    split: str
    signer: str | None
    first: int
    last: int
    box: tuple[int, int, int, int]
    url: str


def read(path: Path, *, subset: int | None = None, whole_frame: bool = False) -> Listing:
    """Return the instances of a release, or of WLASL100, 300, 1000 or 2000 (``subset``).

    A subset has the videos and splits of `nslt_N.json` if the release has this file, else the first N glosses of the
    JSON, as the authors define it. ``whole_frame`` ignores the signer's bounding box, for videos of another size than
    that of the boxes. Raises CorpusError when the JSON or every video is missing.
    """
    if subset is not None and subset not in SUBSETS:
        raise CorpusError(f"WLASL has no subset {subset}: choose one of {', '.join(map(str, SUBSETS))}")
    root = RELEASE.root(path, LABELS)
    instances = _read_instances(root / LABELS)
    made: dict[str, Any] = {}
    if subset:
        splits = _subset_splits(root, subset)
        made = {"subset": subset, "subset_by": "order of the JSON" if splits is None else f"nslt_{subset}.json"}
        if splits is None:
            instances = [i for i in instances if i.rank < subset]
        else:
            instances = [i._replace(split=splits[i.video]) for i in instances if i.video in splits]
    cut, raw = find_videos(root / "videos"), find_videos(root / "raw_videos") | find_videos(root / "raw_videos_mp4")
    if not cut and not raw:
        raise RELEASE.error(f"{root} has no video in videos/ or raw_videos/")
    items, missing = [], []
    for instance in instances:
        media, uncut = _find_media(instance, cut, raw)
        if media is None:
            reason = f"no video {instance.video}; its link, which may be dead: {instance.url or 'none'}"
            missing.append(Missing(f"{RELEASE.name}/{instance.video}", reason))
        else:
            items.append(_make_item(instance, media, uncut=uncut, whole_frame=whole_frame))
    return RELEASE.listing(items, missing, root, **made)


def _read_instances(file: Path) -> list[_Instance]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        ranked = [(rank, entry["gloss"], raw) for rank, entry in enumerate(entries) for raw in entry["instances"]]
        return [_parse_instance(*instance) for instance in ranked]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RELEASE.error(f"{file} is not a list of glosses with instances ({error!r})") from error


def _parse_instance(rank: int, gloss: str, raw: dict[str, Any]) -> _Instance:
    left, top, right, bottom = (int(value) for value in raw["bbox"])
    signer = int(raw.get("signer_id", -1))
    return _Instance(
        rank=rank,
        gloss=str(gloss),
        video=str(raw["video_id"]),
        split=SPLITS[raw["split"]],
        signer=None if signer < 0 else str(signer),
        first=int(raw["frame_start"]),
        last=int(raw["frame_end"]),
        box=(left, top, right, bottom),
        url=str(raw.get("url", "")),
    )


def _subset_splits(root: Path, subset: int) -> dict[str, str] | None:
    """Return the splits of a subset by video id from the authors' file; None without the file."""
    for file in (root / f"nslt_{subset}.json", root / "code" / "I3D" / "preprocess" / f"nslt_{subset}.json"):
        if file.is_file():
            try:
                rows = json.loads(file.read_text(encoding="utf-8"))
                return {video: SPLITS[row["subset"]] for video, row in rows.items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise RELEASE.error(f"{file} does not map video ids to subsets ({error!r})") from error
    return None


def _find_media(instance: _Instance, cut: dict[str, Path], raw: dict[str, Path]) -> tuple[Path | None, bool]:
    """Return the video of an instance, or None, and whether it must be cut."""
    youtube = "youtube" in instance.url or "youtu.be" in instance.url
    if instance.video in cut:
        return cut[instance.video], not youtube
    return raw.get(instance.url[-11:] if youtube else instance.video), True


def _make_item(instance: _Instance, media: Path, *, uncut: bool, whole_frame: bool) -> Item:
    first, last, (left, top, right, bottom) = instance.first, instance.last, instance.box
    return Item(
        id=f"{RELEASE.name}/{instance.video}",
        media=str(media),
        sign_language=RELEASE.sign_language,
        source=RELEASE.name,
        split=instance.split,
        signer=instance.signer,
        gloss=instance.gloss,
        texts=(("en", instance.gloss),),
        # Both ends half a frame early, so that rounding cannot lose or add a frame.
        seconds=(max(0.0, (first - 1.5) / FPS), (last - 0.5) / FPS) if uncut and last > 0 else None,
        box=None if whole_frame or right <= left or bottom <= top else (max(0, left), max(0, top), right, bottom),
    )
