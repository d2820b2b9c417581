"""Assemble a corpus from the finished clips of an extraction store, one clip at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from signatlas.corpus.extraction.extraction_store import RETRY_HINT, ExtractionStore
from signatlas.corpus.extraction.recording import Options, with_labels
from signatlas.corpus.format import Clip, Corpus, write_corpus
from signatlas.corpus.sources.base import Item, Listing
from signatlas.corpus.splits import RULE, assign_splits
from signatlas.errors import CorpusError
from signatlas.files import absolute
from signatlas.pose.holistic import DETECTOR
from signatlas.pose.media import display_name

QUARANTINE, MEDIA = "quarantine.jsonl", "media.jsonl"


@dataclass(frozen=True)
class Quarantined:
    """A recording that could not be extracted, and why."""

    id: str
    media: str
    reason: str


def assemble_corpus(
    listing: Listing,
    keys: Sequence[str],
    out: str | os.PathLike[str],
    store: ExtractionStore,
    options: Options,
    *,
    command: str,
    overwrite: bool,
    make_splits: bool,
    seed: int,
) -> tuple[Corpus, tuple[Quarantined, ...]]:
    """Write a corpus of all finished items, in the order of the listing; ``keys`` are their extraction keys.

    quarantine.jsonl (id, media and reason of each recording that is not in the corpus) and media.jsonl (the recording
    of each clip) are written next to corpus.json. Raises CorpusError when no item is finished, or when ``out`` cannot
    be written.
    """
    finished = store.finished()
    pairs = list(zip(listing, keys, strict=True))
    quarantined = tuple(Quarantined(i.id, i.media, store.reason(k)) for i, k in pairs if k not in finished)
    extracted = [(item, key) for item, key in pairs if key in finished]
    if not extracted:
        raise CorpusError(
            f"none of {len(pairs)} recordings can be used; first: {quarantined[0].reason}; "
            f"the reasons are stored in {display_name(store.root)}: delete it to try all of them again"
        )
    made: dict[str, Any] = {"command": command, "detector": DETECTOR, "options": asdict(options)}
    if make_splits:
        made |= {"splits": RULE, "seed": seed}
        extracted = _assign_splits(extracted, store, seed)
    made |= {"quarantine": [asdict(q) for q in quarantined], "missing": [asdict(m) for m in listing.missing]}
    info = replace(listing.info, made=listing.info.made | made)
    media = [_media(item) for item, _ in extracted]
    not_extracted = [asdict(q) for q in quarantined] + [
        {"id": m.id, "media": None, "reason": m.reason} for m in listing.missing
    ]
    extra_files = {MEDIA: _json_lines(media), QUARANTINE: _json_lines(not_extracted)}
    try:
        corpus = write_corpus(out, info, _clips(extracted, store), overwrite=overwrite, extra_files=extra_files)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise CorpusError(f"{os.fspath(out)} cannot be written ({reason}): {RETRY_HINT}") from error
    return corpus, quarantined


def _clips(extracted: Sequence[tuple[Item, str]], store: ExtractionStore) -> Iterator[Clip]:
    for item, key in extracted:
        yield with_labels(store.clip(key), item)


def _assign_splits(extracted: Sequence[tuple[Item, str]], store: ExtractionStore, seed: int) -> list[tuple[Item, str]]:
    items = [item for item, _ in extracted]
    splits = assign_splits(
        [item.id for item in items],
        [f"{item.source}\n{item.gloss}" for item in items],
        [item.signer for item in items],
        [store.digest(key) for _, key in extracted],
        seed=seed,
    )
    return [(replace(item, split=split), key) for (item, key), split in zip(extracted, splits, strict=True)]


def _media(item: Item) -> dict[str, Any]:
    """Return the row of media.jsonl: the recording, and the part of it, that a clip was extracted from."""
    # Absolute, because the file is read from any working directory.
    item = replace(item, media=absolute(item.media))
    row = {name: getattr(item, name) for name in ("id", "media", "span", "seconds", "box", "frames", "fps", "sha256")}
    return {name: value for name, value in row.items() if value is not None}


def _json_lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
