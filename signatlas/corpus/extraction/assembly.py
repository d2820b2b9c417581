"""Put a corpus together from the work folder of an extraction, a clip at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from signatlas.corpus.extraction.extraction_store import AGAIN, ExtractionStore
from signatlas.corpus.extraction.recording import Options, labeled
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
    """A recording that gave no clip, and why."""

    id: str
    media: str
    reason: str


def assemble_corpus(
    listing: Listing,
    keys: Sequence[str],
    out: str | os.PathLike[str],
    work: ExtractionStore,
    options: Options,
    *,
    command: str,
    overwrite: bool,
    make_splits: bool,
    seed: int,
) -> tuple[Corpus, tuple[Quarantined, ...]]:
    """Write the corpus of all finished items, in the order of the listing; ``keys`` are their identities.

    Beside corpus.json lie quarantine.jsonl (id, media, reason of what is not in the corpus) and media.jsonl (where each
    clip comes from). Raises CorpusError when nothing is finished, or when ``out`` cannot be written.
    """
    finished = work.finished()
    pairs = list(zip(listing, keys, strict=True))
    quarantined = tuple(Quarantined(i.id, i.media, work.reason(k)) for i, k in pairs if k not in finished)
    kept = [(item, key) for item, key in pairs if key in finished]
    if not kept:
        raise CorpusError(
            f"not one of {len(pairs)} recordings can be used; the first: {quarantined[0].reason}; "
            f"the reasons are kept in {display_name(work.root)}: delete it to try all again"
        )
    made: dict[str, Any] = {"command": command, "detector": DETECTOR, "options": asdict(options)}
    if make_splits:
        made |= {"splits": RULE, "seed": seed}
        kept = _divided(kept, work, seed)
    made |= {"quarantine": [asdict(q) for q in quarantined], "missing": [asdict(m) for m in listing.missing]}
    info = replace(listing.info, made=listing.info.made | made)
    media = [_media(item) for item, _ in kept]
    lost = [asdict(q) for q in quarantined] + [{"id": m.id, "media": None, "reason": m.reason} for m in listing.missing]
    beside = {MEDIA: _lines(media), QUARANTINE: _lines(lost)}
    try:
        corpus = write_corpus(out, info, _clips(kept, work), overwrite=overwrite, beside=beside)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise CorpusError(f"{os.fspath(out)} cannot be written ({reason}): {AGAIN}") from error
    return corpus, quarantined


def _clips(kept: Sequence[tuple[Item, str]], work: ExtractionStore) -> Iterator[Clip]:
    for item, key in kept:
        yield labeled(work.clip(key), item)


def _divided(kept: Sequence[tuple[Item, str]], work: ExtractionStore, seed: int) -> list[tuple[Item, str]]:
    items = [item for item, _ in kept]
    splits = assign_splits(
        [item.id for item in items],
        [f"{item.source}\n{item.gloss}" for item in items],
        [item.signer for item in items],
        [work.digest(key) for _, key in kept],
        seed=seed,
    )
    return [(replace(item, split=split), key) for (item, key), split in zip(kept, splits, strict=True)]


def _media(item: Item) -> dict[str, Any]:
    """Where a clip comes from, for those who want its pictures again."""
    # From another folder, a relative path would be another file.
    item = replace(item, media=absolute(item.media))
    told = {name: getattr(item, name) for name in ("id", "media", "span", "seconds", "box", "frames", "fps", "sha256")}
    return {name: value for name, value in told.items() if value is not None}


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
