"""Describe a corpus: splits, sources, signers, lengths, texts, quality of the poses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np

from signatlas.corpus import composed, texts
from signatlas.corpus.format import SPLITS, Corpus
from signatlas.corpus.splits import poses_digest
from signatlas.pose import quality
from signatlas.pose.skeleton import LEFT_HAND, NOSE, RIGHT_HAND

INFO_FIELDS = ("name", "version", "license", "source", "sign_languages", "synthetic", "fps", "fingerprint", "made")


def describe(corpus: Corpus, clip_qualities: list[quality.ClipQuality] | None = None) -> dict[str, Any]:
    """Return counts by split and source, signers, glosses, texts, lengths, hands, duplicates, as JSON-ready values.

    Shares of frames are 0..1, lengths are frames. Reads every clip once. The quality of each clip is appended to
    ``clip_qualities``.
    """
    clip_qualities = [] if clip_qualities is None else clip_qualities
    rows = corpus.metadata()
    hand_counts: dict[str, Counter[str]] = defaultdict(Counter)
    digests: Counter[bytes] = Counter()
    for clip in corpus:
        left, right = (np.isfinite(clip.poses[:, hand, 0]).any(1) for hand in (LEFT_HAND, RIGHT_HAND))
        counts = hand_counts[clip.source]
        counts["frames"] += clip.num_frames
        counts["left"] += int((left & ~right).sum())
        counts["right"] += int((right & ~left).sum())
        counts["both"] += int((left & right).sum())
        counts["face"] += int(np.isfinite(clip.poses[:, NOSE, 0]).sum())
        counts["clips with depth"] += bool(np.isfinite(clip.poses[..., 2]).any())
        digests[poses_digest(clip.poses)] += 1
        aspect = clip.width / clip.height if clip.width and clip.height else None
        measured = quality.measure(clip.poses, aspect=aspect, fps=clip.fps)
        clip_qualities.append(quality.ClipQuality(clip.id, clip.source, measured))
    info = asdict(corpus.info)
    by_source = {source: [r for r in rows if r["source"] == source] for source in sorted({r["source"] for r in rows})}
    return {name: info[name] for name in INFO_FIELDS} | {
        "path": corpus.path,
        "clips": len(rows),
        "splits": corpus.info.counts,
        "signers": len({r["signer"] for r in rows if r["signer"] is not None}),
        "clips_of_unknown_signers": sum(r["signer"] is None for r in rows),
        "signs": len({r["gloss"] for r in rows if r["gloss"] is not None}),
        "duplicates": sum(digests.values()) - len(digests),
        "by_signer": describe_signers(rows),
        "lengths": describe_lengths(rows),
        "texts": texts.describe_texts(rows),
        "glosses": texts.describe_glosses(rows),
        "probes": composed.load_probes(corpus),
        "quality": quality.summarize(clip_qualities),
        "sources": {
            source: _describe_source(part) | {"hands": _hand_shares(hand_counts[source])}
            for source, part in by_source.items()
        },
    }


def _describe_source(rows: list[dict[str, Any]]) -> dict[str, Any]:
    lengths = np.array([r["num_frames"] for r in rows])
    per_gloss = Counter(r["gloss"] for r in rows if r["gloss"] is not None)
    return {
        "clips": len(rows),
        "splits": {split: sum(r["split"] == split for r in rows) for split in SPLITS},
        "signs": len(per_gloss),
        "clips_a_sign": [min(per_gloss.values()), max(per_gloss.values())] if per_gloss else None,
        "texts": sorted({text["language"] for r in rows for text in r["texts"] or ()}),
        "frames": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
    }


def _hand_shares(counts: Counter[str]) -> dict[str, Any]:
    frames = counts["frames"]
    shares = {name: round(counts[name] / frames, 4) for name in ("left", "right", "both", "face")}
    return {"frames": frames, **shares, "clips_with_depth": counts["clips with depth"]}


def describe_signers(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return clips per signer and signers by split, from rows of ``Corpus.metadata``; None if no signer is known."""
    known = [row for row in rows if row["signer"] is not None]
    if not known:
        return None
    clips = Counter(row["signer"] for row in known)
    by_split: dict[str, set[str]] = defaultdict(set)
    for row in known:
        by_split[row["split"]].add(row["signer"])
    return {
        "clips": {"min": min(clips.values()), "median": median(clips.values()), "max": max(clips.values())},
        "splits": {
            split: {"signers": len(by_split[split]), "in_train": len(by_split[split] & by_split["train"])}
            for split in SPLITS
            if by_split[split]
        },
    }


def describe_lengths(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the clip lengths in frames by split, and the total seconds if every frame rate is known."""
    by_split = {}
    for split in SPLITS:
        part = [row for row in rows if row["split"] == split]
        if part:
            frames = [row["num_frames"] for row in part]
            seconds = sum(row["num_frames"] / row["fps"] for row in part) if all(row["fps"] for row in part) else None
            by_split[split] = {
                "min": min(frames),
                "median": median(frames),
                "max": max(frames),
                "frames": sum(frames),
                "seconds": None if seconds is None else round(seconds, 1),
            }
    return by_split


def as_text(description: dict[str, Any]) -> str:
    """Return the result of :func:`describe` as lines of text."""
    notice = (
        f": {description['made'].get('notice', 'PROCEDURAL, not real signing')}" if description["synthetic"] else ""
    )
    lines = [
        f"{description['name']} {description['version']}: {', '.join(description['sign_languages'])}{notice}",
        f"  clips        {description['clips']} ({_join_counts(description['splits'])}), "
        f"{description['duplicates']} duplicates",
        f"  signs        {description['signs']}",
        f"  signers      {description['signers']} known; "
        f"{description['clips_of_unknown_signers']} clips without a signer",
        f"  license      {description['license']}",
        f"  source       {description['source']}",
        f"  fingerprint  {description['fingerprint']}",
        *signer_lines(description["by_signer"]),
        *length_lines(description["lengths"]),
    ]
    for source, part in description["sources"].items():
        frames, hands = part["frames"], part["hands"]
        lines += [
            f"{source}: {part['clips']} clips ({_join_counts(part['splits'])}) of {part['signs']} signs",
            f"  clips/sign   {'-'.join(map(str, part['clips_a_sign'] or ['none']))}",
            f"  frames       {frames['min']}-{frames['max']}, median {frames['median']:g}",
            f"  hands        left {hands['left']:.1%}, right {hands['right']:.1%}, both {hands['both']:.1%} of frames",
            f"  face         {hands['face']:.1%} of frames; depth in {hands['clips_with_depth']} clips",
            f"  texts        {', '.join(part['texts']) or 'none'}",
        ]
    lines += quality.as_lines(description["quality"])
    lines += texts.as_lines(description["texts"], description["glosses"])
    return "\n".join(lines + composed.as_lines(description))


def signer_lines(signers: dict[str, Any] | None) -> list[str]:
    """Return the result of :func:`describe_signers` as one line, or none."""
    if not signers:
        return []
    clips = signers["clips"]
    parts = [
        f"{split} {part['signers']}" + ("" if split == "train" else f" ({part['in_train']} in train)")
        for split, part in signers["splits"].items()
    ]
    return [f"  clips/signer {clips['min']}-{clips['max']}, median {clips['median']:g}; signers: {', '.join(parts)}"]


def length_lines(by_split: dict[str, Any]) -> list[str]:
    """Return the result of :func:`describe_lengths` as a line per split."""
    return [
        f"  {split:<12} {part['min']}-{part['max']} frames, median {part['median']:g}; {part['frames']} in total"
        + ("" if part["seconds"] is None else f", {_format_duration(part['seconds'])}")
        for split, part in by_split.items()
    ]


def _format_duration(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:g} s"


def _join_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
