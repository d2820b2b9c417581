"""What a corpus holds, and what is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict
from typing import Any

import numpy as np

from signatlas.corpus import completeness, composed, signers
from signatlas.corpus.format import SPLITS, Corpus, clip_digest, fingerprint
from signatlas.corpus.splits import MIN_SIGNERS, poses_digest
from signatlas.corpus.texts import as_lines, describe_glosses, describe_texts
from signatlas.errors import CorpusError
from signatlas.pose import quality
from signatlas.pose.skeleton import LEFT_HAND, NOSE, RIGHT_HAND


def describe(corpus: Corpus, judged: list[quality.Named] | None = None) -> dict[str, Any]:
    """Counts by split and source, signers, words, lengths, hands, duplicates; plain values, fit for JSON.

    Shares of frames are 0..1, lengths are frames. Reads every clip once. ``judged`` gets the quality of each clip.
    """
    judged = [] if judged is None else judged
    rows = corpus.metadata()
    hands: dict[str, Counter[str]] = defaultdict(Counter)
    seen: Counter[bytes] = Counter()
    for clip in corpus:
        left, right = (np.isfinite(clip.poses[:, hand, 0]).any(1) for hand in (LEFT_HAND, RIGHT_HAND))
        found = hands[clip.source]
        found["frames"] += clip.num_frames
        found["left"] += int((left & ~right).sum())
        found["right"] += int((right & ~left).sum())
        found["both"] += int((left & right).sum())
        found["face"] += int(np.isfinite(clip.poses[:, NOSE, 0]).sum())
        found["clips with depth"] += bool(np.isfinite(clip.poses[..., 2]).any())
        seen[poses_digest(clip.poses)] += 1
        aspect = clip.width / clip.height if clip.width and clip.height else None
        judged.append(quality.Named(clip.id, clip.source, quality.quality(clip.poses, aspect=aspect, fps=clip.fps)))
    info = asdict(corpus.info)
    by_source = {source: [r for r in rows if r["source"] == source] for source in sorted({r["source"] for r in rows})}
    keep = ("name", "version", "license", "source", "sign_languages", "synthetic", "fps", "fingerprint", "made")
    return {name: info[name] for name in keep} | {
        "path": corpus.path,
        "clips": len(rows),
        "splits": corpus.info.counts,
        "signers": len({r["signer"] for r in rows if r["signer"] is not None}),
        "clips_of_unknown_signers": sum(r["signer"] is None for r in rows),
        "signs": len({r["gloss"] for r in rows if r["gloss"] is not None}),
        "duplicates": sum(seen.values()) - len(seen),
        "by_signer": signers.describe(rows),
        "lengths": signers.lengths(rows),
        "texts": describe_texts(rows),
        "glosses": describe_glosses(rows),
        "probes": composed.probes(corpus),
        "quality": quality.summary(judged),
        "sources": {source: _part(held) | {"hands": _shares(hands[source])} for source, held in by_source.items()},
    }


def _part(rows: list[dict[str, Any]]) -> dict[str, Any]:
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


def _shares(counts: Counter[str]) -> dict[str, Any]:
    frames = counts["frames"]
    shares = {name: round(counts[name] / frames, 4) for name in ("left", "right", "both", "face")}
    return {"frames": frames, **shares, "clips_with_depth": counts["clips with depth"]}


def examine(corpus: Corpus) -> list[str]:
    """One line for everything wrong with a corpus: files, fingerprint, empty clips, splits that share recordings."""
    findings = list(corpus.damage())
    if findings:
        return findings
    held: dict[bytes, dict[str, str]] = defaultdict(dict)
    by_signer: dict[str, set[str]] = defaultdict(set)
    gaps: dict[str, tuple[int, int]] = {}
    lengths: dict[str, tuple[int, float | None]] = {}
    digests: dict[str, str] = {}
    counts: Counter[str] = Counter()
    try:
        for clip in corpus:
            if clip.id in digests:
                findings.append(f"{clip.id} occurs twice")
            digests[clip.id] = clip_digest(clip)
            counts[clip.split] += 1
            lengths[clip.id] = (clip.num_frames, clip.fps)
            if clip.num_frames == 0:
                findings.append(f"{clip.id} has no frames")
            elif np.isnan(clip.poses).all():
                findings.append(f"{clip.id} has not a single point")
            elif np.isinf(clip.poses).any():
                findings.append(f"{clip.id} has infinite coordinates")
            elif gap := completeness.gap(clip):
                gaps[clip.id] = gap
            held[poses_digest(clip.poses)].setdefault(clip.split, clip.id)
            if clip.signer is not None:
                by_signer[clip.signer].add(clip.split)
    except CorpusError as error:
        return [*findings, str(error)]
    findings += [
        f"one recording in the splits {', '.join(by)}: {' = '.join(by.values())}" for by in held.values() if len(by) > 1
    ]
    findings += completeness.gap_line(gaps) + completeness.short(corpus, lengths)
    if len(by_signer) >= MIN_SIGNERS:
        findings += [
            f"signer {signer} in the splits {', '.join(sorted(s))}"
            for signer, s in sorted(by_signer.items())
            if len(s) > 1
        ]
    findings += completeness.untold(corpus.info.made, len(digests))
    if dict(counts) != corpus.info.counts:
        findings.append(f"corpus.json counts {corpus.info.counts}, the files hold {dict(counts)}")
    if fingerprint(digests) != corpus.info.fingerprint:
        findings.append("the fingerprint in corpus.json is not that of the clips")
    return findings


def as_text(described: dict[str, Any]) -> str:
    """What :func:`describe` found, for people."""
    lines = [
        f"{described['name']} {described['version']}: {', '.join(described['sign_languages'])}"
        + (f": {described['made'].get('notice', 'PROCEDURAL, not real signing')}" if described["synthetic"] else ""),
        f"  clips        {described['clips']} ({_pairs(described['splits'])}), {described['duplicates']} duplicates",
        f"  signs        {described['signs']}",
        f"  signers      {described['signers']} known, {described['clips_of_unknown_signers']} clips of unknown ones",
        f"  license      {described['license']}",
        f"  source       {described['source']}",
        f"  fingerprint  {described['fingerprint']}",
        *signers.as_lines(described["by_signer"], described["lengths"]),
    ]
    for source, part in described["sources"].items():
        frames, hands = part["frames"], part["hands"]
        lines += [
            f"{source}: {part['clips']} clips ({_pairs(part['splits'])}) of {part['signs']} signs",
            f"  clips a sign {'-'.join(map(str, part['clips_a_sign'] or ['none']))}",
            f"  frames       {frames['min']}-{frames['max']}, median {frames['median']:g}",
            f"  hands        left {hands['left']:.1%}, right {hands['right']:.1%}, both {hands['both']:.1%} of frames",
            f"  face         {hands['face']:.1%} of frames; depth in {hands['clips_with_depth']} clips",
            f"  texts        {', '.join(part['texts']) or 'none'}",
        ]
    lines += quality.as_lines(described["quality"])
    return "\n".join(lines + as_lines(described["texts"], described["glosses"]) + composed.as_lines(described))


def _pairs(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
