"""AUTSL: 226 isolated signs of Turkish Sign Language by 43 signers; splits by signer.

The release: `train_labels.csv`, `validation_labels.csv` and `test_labels.csv` (lines signerX_sampleY,CLASS without a
header), `SignList_ClassId_TR_EN.csv` (ClassId,TR,EN), and `train/`, `val/` and `test/` with
signerX_sampleY_color.mp4. The depth videos in the same folders are not read.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from signatlas.corpus.sources.base import Item, Listing, Missing, Release, find_videos, parse_int, read_table
from signatlas.errors import CorpusError

RELEASE = Release(
    name="autsl",
    title="AUTSL",
    version="1",
    sign_language="tsm",
    license="academic research only, on signing the authors' agreement; cite Sincan and Keles, IEEE Access 2020",
    url="https://cvml.ankara.edu.tr/datasets/",
    layout="{train,validation,test}_labels.csv, SignList_ClassId_TR_EN.csv and train/, val/, test/ with *_color.mp4",
)
SIGNS = "SignList_ClassId_TR_EN.csv"
# names of the label file and of the folder, by split
FILES = {"train": ("train",), "dev": ("validation", "val"), "test": ("test",)}
NAME = re.compile(r"(signer\d+)_sample\d+")
GALLERY = 4
RULE = (
    "a subset of ours, not the authors': per label, in the order of sha256 of (seed, id), the first recording that "
    f"leaves {GALLERY} of other signers is the query, the first {GALLERY} of those the gallery"
)


@dataclass(frozen=True)
class GalleryQuery:
    """Ids of the gallery and the queries, and the labels with too few recordings or signers for a query."""

    gallery: tuple[str, ...]
    query: tuple[str, ...]
    left_out: tuple[str, ...]


def read(path: Path, *, subset: bool = False, seed: int = 0) -> Listing:
    """Return the recordings of a release. The gloss is the Turkish name of the sign; texts are Turkish and English.

    ``subset`` keeps only the gallery and the queries of :func:`gallery_query`, as the sources "gallery" and "query".
    Raises CorpusError when a label file, the sign list or every video is missing.
    """
    root = RELEASE.root(path, SIGNS)
    signs = _read_signs(root / SIGNS)
    items, missing = [], []
    for split, names in FILES.items():
        files = [root / f"{name}_labels.csv" for name in names]
        labels = next((file for file in files if file.is_file()), files[0])
        videos = {stem: video for name in names for stem, video in find_videos(root / name).items()}
        for location, row in read_table(RELEASE.require(labels), ",", ("name", "label")):
            match = NAME.fullmatch(row["name"])
            label = parse_int(location, row, "label")
            if not match or label not in signs:
                raise RELEASE.error(f"{location}: '{row['name']},{row['label']}' is not signerX_sampleY,CLASS")
            id = f"{RELEASE.name}/{split}/{row['name']}"
            video = videos.get(f"{row['name']}_color")
            if video is None:
                missing.append(Missing(id, f"no {row['name']}_color.mp4 in {root / names[-1]}"))
                continue
            gloss, texts = signs[label]
            items.append(
                Item(id, str(video), RELEASE.sign_language, RELEASE.name, split, match.group(1), gloss, texts=texts)
            )
    listing = RELEASE.listing(items, missing, root)
    return _select(listing, gallery_query(listing, seed), seed) if subset else listing


def _read_signs(file: Path) -> dict[int, tuple[str, tuple[tuple[str, str], ...]]]:
    """Return gloss and texts by class. The gloss is the Turkish name, followed by the class if classes share it."""
    rows = [(parse_int(location, row, "ClassId"), row["TR"].strip(), row["EN"].strip())
            for location, row in read_table(file, ",", quoted=True) if _has_columns(location, row)]  # fmt: skip
    name_counts = Counter(turkish for _, turkish, _ in rows)
    return {
        number: (
            turkish if name_counts[turkish] == 1 else f"{turkish}-{number}",
            (("tr", turkish.replace("_", " ")), ("en", english.replace("_", " "))),
        )
        for number, turkish, english in rows
    }


def _has_columns(location: str, row: dict[str, str]) -> bool:
    if not {"ClassId", "TR", "EN"} <= row.keys():
        raise RELEASE.error(f"{location}: columns {', '.join(row)}, expected ClassId, TR and EN")
    return True


def gallery_query(items: Iterable[Item], seed: int = 0) -> GalleryQuery:
    """Return four gallery recordings of each label and one query by a signer who recorded none of the four.

    The result does not depend on the order of ``items``. This subset is ours, not the authors'.
    """
    by_label: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.gloss is None or item.signer is None:
            raise CorpusError(f"{item.id} has no gloss or no signer; gallery and query need both")
        by_label[item.gloss].append(item)
    gallery, query, left_out = [], [], []
    for label in sorted(by_label):
        ranked = sorted(by_label[label], key=lambda item: _hash(seed, item.id))
        for candidate in ranked:
            others = [item.id for item in ranked if item.signer != candidate.signer]
            if len(others) >= GALLERY:
                gallery += others[:GALLERY]
                query.append(candidate.id)
                break
        else:
            left_out.append(label)
    return GalleryQuery(tuple(gallery), tuple(query), tuple(left_out))


def _hash(seed: int, id: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{id}".encode()).digest()


def _select(listing: Listing, subset: GalleryQuery, seed: int) -> Listing:
    source = dict.fromkeys(subset.gallery, "gallery") | dict.fromkeys(subset.query, "query")
    if not source:
        raise CorpusError(f"no label has {GALLERY + 1} recordings by enough signers for gallery and query")
    made = listing.info.made | {"subset": RULE, "seed": seed, "labels_left_out": list(subset.left_out)}
    items = tuple(replace(item, source=source[item.id]) for item in listing if item.id in source)
    made["named"] = len(items) + len(listing.missing)
    return replace(listing, info=replace(listing.info, name="autsl-gallery-query", made=made), items=items)
