"""What a listing holds, printed for people and programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from json import dumps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatlas.corpus.sources.base import Item, Listing


def print_listing(listing: Listing, as_json: bool) -> None:
    """Every item and everything missing; as one JSON object, or a line each and the numbers last."""
    if as_json:
        print(dumps(as_object(listing), indent=2, ensure_ascii=False))
        return
    for item in listing:
        print(_line(item))
    for missing in listing.missing:
        print(f"missing {missing.id}: {missing.reason}")
    print(f"{listing.info.name}: {len(listing)} recordings, {len(listing.missing)} missing; {listing.info.license}")


def as_object(listing: Listing) -> dict[str, Any]:
    """Plain values, fit for JSON: an end without end is null."""
    items = [asdict(item) for item in listing]
    for item in items:
        if item["seconds"]:
            item["seconds"] = [None if math.isinf(at) else at for at in item["seconds"]]
    info = listing.info
    kept = {"name": info.name, "license": info.license, "source": info.source, "sign_languages": info.sign_languages}
    return kept | {"items": items, "missing": [asdict(missing) for missing in listing.missing]}


def _line(item: Item) -> str:
    words = item.gloss or " ".join(item.glosses or ()) or "no gloss"
    parts = [item.id, item.split, item.sign_language, words]
    parts += [f"signer {item.signer}"] if item.signer else []
    parts += [f"frames {item.span[0]}-{item.span[1]}"] if item.span else []
    if item.seconds:
        parts.append(f"{item.seconds[0]:g}-{'end' if math.isinf(item.seconds[1]) else f'{item.seconds[1]:g}'} s")
    return f"{', '.join(parts)}: {item.media}"
