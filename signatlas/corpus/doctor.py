"""Check a corpus: files, fingerprint, splits, missing frames, and recordings that are not in it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from signatlas.corpus.clips import Clip, clip_digest
from signatlas.corpus.extraction.recording import SHORT_FRAMES, SHORT_SHARE
from signatlas.corpus.format import Corpus, fingerprint
from signatlas.corpus.splits import MIN_SIGNERS, poses_digest
from signatlas.errors import CorpusError
from signatlas.files import read_bytes

GAP_SECONDS, GAP_FRAMES = 0.5, 12  # frames: for clips of unknown frame rate, at 25 fps
NUM_EXAMPLES = 3  # clips listed per problem


def examine(corpus: Corpus) -> list[str]:
    """Return one line per problem: files, fingerprint, empty clips, missing frames, splits that share recordings."""
    problems = list(corpus.damage())
    if problems:
        return problems
    splits_by_digest: dict[bytes, dict[str, str]] = defaultdict(dict)
    splits_by_signer: dict[str, set[str]] = defaultdict(set)
    gaps: dict[str, tuple[int, int]] = {}
    lengths: dict[str, int] = {}
    digests: dict[str, str] = {}
    counts: Counter[str] = Counter()
    try:
        for clip in corpus:
            if clip.id in digests:
                problems.append(f"duplicate clip id '{clip.id}'")
            digests[clip.id] = clip_digest(clip)
            counts[clip.split] += 1
            lengths[clip.id] = clip.num_frames
            if clip.num_frames == 0:
                problems.append(f"{clip.id} has no frames")
            elif np.isnan(clip.poses).all():
                problems.append(f"{clip.id} has no detected point in any frame")
            elif np.isinf(clip.poses).any():
                problems.append(f"{clip.id} has infinite coordinates")
            elif gap := longest_gap(clip):
                gaps[clip.id] = gap
            splits_by_digest[poses_digest(clip.poses)].setdefault(clip.split, clip.id)
            if clip.signer is not None:
                splits_by_signer[clip.signer].add(clip.split)
    except CorpusError as error:
        return [*problems, str(error)]
    problems += [
        f"the same recording in the splits {', '.join(ids)}: {' = '.join(ids.values())}"
        for ids in splits_by_digest.values()
        if len(ids) > 1
    ]
    problems += describe_gaps(gaps) + short_extractions(corpus, lengths)
    if len(splits_by_signer) >= MIN_SIGNERS:
        problems += [
            f"signer {signer} in the splits {', '.join(sorted(splits))}"
            for signer, splits in sorted(splits_by_signer.items())
            if len(splits) > 1
        ]
    problems += unaccounted_recordings(corpus.info.made, len(digests))
    if dict(counts) != corpus.info.counts:
        problems.append(f"corpus.json counts {corpus.info.counts}, the files contain {dict(counts)}")
    if fingerprint(digests) != corpus.info.fingerprint:
        problems.append("the fingerprint in corpus.json does not match the clips")
    return problems


def notes(corpus: Corpus) -> list[str]:
    """Return a line for recordings in quarantine and one for those missing at the source, with examples and reasons."""
    lines = []
    for key, label in (("quarantine", "in quarantine"), ("missing", "missing at the source")):
        rows = corpus.info.made.get(key)
        if not isinstance(rows, list) or not rows:
            continue
        examples = "; ".join(f"{row['id']}: {row['reason']}" for row in rows[:NUM_EXAMPLES])
        more = f"; and {len(rows) - NUM_EXAMPLES} more in corpus.json" if len(rows) > NUM_EXAMPLES else ""
        lines.append(f"{len(rows)} {label}: {examples}{more}")
    return lines


def longest_gap(clip: Clip) -> tuple[int, int] | None:
    """Return the longest run of frames without a point as (first frame, frame after the last).

    None if it is shorter than half a second (12 frames where the frame rate is unknown): detectors miss single frames.
    """
    detected = np.isfinite(clip.poses[..., 0]).any(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[True], detected, [True]]).astype(np.int8)))
    if len(edges) == 0:
        return None
    first, end = max(edges.reshape(-1, 2).tolist(), key=lambda run: run[1] - run[0])
    min_frames = GAP_SECONDS * clip.fps if clip.fps else GAP_FRAMES
    return (first, end) if end - first >= min_frames else None


def describe_gaps(gaps: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return one line for all clips with a gap, given by id, the longest first; no line without gaps."""
    if not gaps:
        return []
    ids = sorted(gaps, key=lambda id: gaps[id][0] - gaps[id][1])
    examples = ", ".join(f"{id} (frames {gaps[id][0]}-{gaps[id][1] - 1})" for id in ids[:NUM_EXAMPLES])
    more = f" and {len(ids) - NUM_EXAMPLES} more" if len(ids) > NUM_EXAMPLES else ""
    return [f"missing frames: no detected point for half a second or longer in {examples}{more}"]


def short_extractions(corpus: Corpus, lengths: Mapping[str, int]) -> list[str]:
    """Return a line for clips with fewer frames than media.jsonl announces; ``lengths`` are frames by id.

    No line for a corpus without media.jsonl, or one resampled to a frame rate.
    """
    if (corpus.info.made.get("options") or {}).get("target_fps"):
        return []
    try:
        rows = [json.loads(line) for line in read_bytes(f"{corpus.path}/media.jsonl").splitlines() if line.strip()]
        announced = {row["id"]: _announced_frames(row) for row in rows if row["id"] in lengths}
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, KeyError, TypeError) as error:
        return [f"{corpus.path}/media.jsonl is damaged ({error!r})"]
    lost = {id: frames - lengths[id] for id, frames in announced.items() if frames}
    ids = [id for id, frames in lost.items() if frames > max(SHORT_FRAMES, SHORT_SHARE * announced[id])]
    if not ids:
        return []
    ids.sort(key=lambda id: -lost[id])
    examples = ", ".join(f"{id} ({lengths[id]} of {announced[id]} frames)" for id in ids[:NUM_EXAMPLES])
    more = f" and {len(ids) - NUM_EXAMPLES} more" if len(ids) > NUM_EXAMPLES else ""
    return [f"short extraction: fewer frames than announced in {examples}{more}"]


def _announced_frames(row: dict[str, Any]) -> int:
    """Return the frames that the source or the span in frames announces, 0 without either.

    A span in seconds has no fixed number of frames if the frame rate varies; extraction checks it against the
    recording.
    """
    if row.get("frames"):
        return int(row["frames"])
    return int(row["span"][1]) - int(row["span"][0]) if row.get("span") else 0


def unaccounted_recordings(made: Mapping[str, Any], clips: int) -> list[str]:
    """Return a line if the source lists recordings that are neither clips, nor missing, nor in quarantine."""
    named = made.get("named")
    accounted = clips + len(made.get("missing") or ()) + len(made.get("quarantine") or ())
    if not isinstance(named, int) or accounted >= named:
        return []
    return [f"{named} recordings are listed, but only {accounted} are clips, missing or in quarantine"]
