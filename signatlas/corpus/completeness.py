"""What of a corpus was lost on its way here: frames without a point, recordings left out or not even told of."""

from __future__ import annotations

from typing import Any

import numpy as np

from signatlas.corpus.clips import Clip
from signatlas.corpus.format import Corpus

GAP_SECONDS, GAP_FRAMES = 0.5, 12  # half a second; where the frame rate is unknown, that at 25 frames a second
NAMED = 3  # of many alike, so many are named


def gap(clip: Clip) -> tuple[int, int] | None:
    """The longest run of frames without a single point (first frame, frame after the last), if it is long enough.

    Long enough is half a second, or 12 frames where the frame rate is unknown: a blink of the detector is shorter.
    """
    there = np.isfinite(clip.poses[..., 0]).any(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[True], there, [True]]).astype(np.int8)))
    if len(edges) == 0:
        return None
    first, end = max(edges.reshape(-1, 2).tolist(), key=lambda run: run[1] - run[0])
    least = GAP_SECONDS * clip.fps if clip.fps else GAP_FRAMES
    return (first, end) if end - first >= least else None


def gap_line(gaps: dict[str, tuple[int, int]]) -> list[str]:
    """One line for all clips with a gap, by id; none without."""
    if not gaps:
        return []
    worst = sorted(gaps, key=lambda id: gaps[id][0] - gaps[id][1])
    named = ", ".join(f"{id} (frames {gaps[id][0]}-{gaps[id][1] - 1})" for id in worst[:NAMED])
    more = f" and {len(worst) - NAMED} more" if len(worst) > NAMED else ""
    return [f"missing frames: half a second or more without a single point in {named}{more}"]


def untold(made: dict[str, Any], clips: int) -> list[str]:
    """A line when recordings the source names are neither clips nor told of as missing or in quarantine."""
    named = made.get("named")
    if not isinstance(named, int):
        return []
    told = clips + len(made.get("missing") or ()) + len(made.get("quarantine") or ())
    return [f"{named} recordings were named, {told} are clips, missing or in quarantine"] if told < named else []


def notes(corpus: Corpus) -> list[str]:
    """What the making of a corpus left out, and why: nothing is wrong with what is there, but it is not all."""
    found = []
    for kind, text in (("quarantine", "in quarantine"), ("missing", "missing at the source")):
        rows = corpus.info.made.get(kind)
        if not isinstance(rows, list) or not rows:
            continue
        named = "; ".join(f"{row['id']}: {row['reason']}" for row in rows[:NAMED])
        more = f"; and {len(rows) - NAMED} more in corpus.json" if len(rows) > NAMED else ""
        found.append(f"{len(rows)} {text}: {named}{more}")
    return found
