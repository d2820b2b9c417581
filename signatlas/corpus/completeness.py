"""What of a corpus was lost on its way here: frames without a point, recordings left out or not even told of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from signatlas.corpus.clips import Clip
from signatlas.corpus.extraction.recording import SHORT_FRAMES, SHORT_SHARE
from signatlas.corpus.format import Corpus
from signatlas.files import read_bytes

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


def short(corpus: Corpus, lengths: Mapping[str, tuple[int, float | None]]) -> list[str]:
    """A line for the clips with fewer frames than media.jsonl, beside corpus.json, says they were to have.

    ``lengths`` are frames and frame rate by id. Nothing is said of a corpus without that file, or one that was thinned
    to a frame rate.
    """
    if (corpus.info.made.get("options") or {}).get("target_fps"):
        return []
    try:
        rows = [json.loads(line) for line in read_bytes(f"{corpus.path}/media.jsonl").splitlines() if line.strip()]
        announced = {row["id"]: _announced(row) for row in rows if row["id"] in lengths}
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, KeyError, TypeError) as error:
        return [f"{corpus.path}/media.jsonl is damaged ({error!r})"]
    lacking = {id: wanted - lengths[id][0] for id, wanted in announced.items() if wanted}
    found = [id for id, number in lacking.items() if number > max(SHORT_FRAMES, SHORT_SHARE * announced[id])]
    if not found:
        return []
    found.sort(key=lambda id: -lacking[id])
    named = ", ".join(f"{id} ({lengths[id][0]} of {announced[id]} frames)" for id in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return [f"short extraction: fewer frames than announced in {named}{more}"]


def _announced(row: dict[str, Any]) -> int:
    """What the source says, or the cut; 0 where neither does.

    A cut in seconds says nothing: where the frame rate varies, only the recording knows how many frames it holds, and
    extraction has counted them there.
    """
    if row.get("frames"):
        return int(row["frames"])
    return int(row["span"][1]) - int(row["span"][0]) if row.get("span") else 0


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
