"""Who signs in a corpus, and for how long: clips a signer, signers that splits share, lengths by split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from signatlas.corpus.clips import SPLITS


def describe(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Clips a signer and signers by split; None where none is known. ``rows`` are those of ``Corpus.metadata``."""
    known = [row for row in rows if row["signer"] is not None]
    if not known:
        return None
    clips = Counter(row["signer"] for row in known)
    who: dict[str, set[str]] = defaultdict(set)
    for row in known:
        who[row["split"]].add(row["signer"])
    return {
        "clips": {"min": min(clips.values()), "median": median(clips.values()), "max": max(clips.values())},
        "splits": {
            split: {"signers": len(who[split]), "in_train": len(who[split] & who["train"])}
            for split in SPLITS
            if who[split]
        },
    }


def lengths(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By split the frames of its clips, and their seconds where every frame rate is known."""
    found = {}
    for split in SPLITS:
        part = [row for row in rows if row["split"] == split]
        if part:
            frames = [row["num_frames"] for row in part]
            seconds = sum(row["num_frames"] / row["fps"] for row in part) if all(row["fps"] for row in part) else None
            found[split] = {
                "min": min(frames),
                "median": median(frames),
                "max": max(frames),
                "frames": sum(frames),
                "seconds": None if seconds is None else round(seconds, 1),
            }
    return found


def as_lines(signers: dict[str, Any] | None, by_split: dict[str, Any]) -> list[str]:
    """What the two found, for people."""
    lines = []
    if signers:
        clips = signers["clips"]
        by = {split: f"{split} {part['signers']}" for split, part in signers["splits"].items()}
        by |= {
            split: f"{by[split]} ({signers['splits'][split]['in_train']} in train)" for split in by if split != "train"
        }
        lines.append(
            f"  clips a signer {clips['min']}-{clips['max']}, median {clips['median']:g}; "
            f"signers: {', '.join(by.values())}"
        )
    for split, part in by_split.items():
        lasting = "" if part["seconds"] is None else f", {_duration(part['seconds'])}"
        lines.append(
            f"  {split:<12} {part['min']}-{part['max']} frames, median {part['median']:g}; "
            f"{part['frames']} in all{lasting}"
        )
    return lines


def _duration(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 7200
        else f"{seconds / 60:.1f} min"
        if seconds >= 120
        else f"{seconds:g} s"
    )
