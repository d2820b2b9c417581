"""Frames a second of the extraction pipeline against a plain MediaPipe loop over the same files, and are points equal.

The plain loop is the one everybody writes: a fresh `mediapipe.solutions.holistic.Holistic()` for each clip, PyAV for
the frames, one process. It runs before and after the pipeline, so that a machine that others use shows. Start-up is
left out on both sides: imports and a first clip of the loop; Ray, its workers and their models for the pipeline, whose
clock starts when every worker has had time for a clip. What start-up cost is reported beside.

    python -m benchmarks.extraction --videos a.mp4 b.mp4 --repeat 4
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from signatlas.corpus.format import CorpusInfo
from signatlas.corpus.sources.listing import Item, Listing

PARTS = (("pose_landmarks", 33), ("left_hand_landmarks", 21), ("right_hand_landmarks", 21))


def plain_clip(path: str) -> np.ndarray:
    """float32 [frames, 75, 3] of one clip, the way everybody writes it."""
    import av
    from mediapipe.python.solutions.holistic import Holistic

    rows = []
    with Holistic() as holistic, av.open(path) as container:
        for frame in container.decode(video=0):
            found = holistic.process(frame.to_ndarray(format="rgb24"))
            row: list[tuple[float, float, float]] = []
            for name, number in PARTS:
                held = getattr(found, name)
                row += [(p.x, p.y, p.z) for p in held.landmark] if held else [(np.nan,) * 3] * number
            rows.append(row)
    return np.array(rows, np.float32)


def plain(paths: Sequence[str]) -> tuple[float, list[np.ndarray]]:
    """Frames a second of the loop over ``paths``, and its points clip by clip."""
    started = time.perf_counter()
    clips = [plain_clip(path) for path in paths]
    return sum(map(len, clips)) / (time.perf_counter() - started), clips


def pipeline(paths: Sequence[str], workers: int) -> tuple[float, float, list[np.ndarray]]:
    """Frames a second once all workers are warm, seconds before that, and the points clip by clip."""
    from cluster.connect import connected
    from trainers.pipelines.extract import Progress, run_listing

    items = tuple(Item(f"clip/{number:04d}", path, "mis", "video") for number, path in enumerate(paths))
    listing = Listing(CorpusInfo("benchmark", "1", "unknown", "benchmark", ("mis",)), items)
    seen: list[tuple[float, int]] = []

    def note(state: Progress) -> None:
        seen.append((time.perf_counter(), state.frames))

    with tempfile.TemporaryDirectory() as folder, connected(num_cpus=workers, worker_logs=False):
        started = time.perf_counter()
        made = run_listing(listing, Path(folder) / "corpus", workers=workers, progress=note)
        clips = [clip.poses for clip in made.corpus]
    warm = workers * made.frames // len(paths)
    first = next(sample for sample in seen if sample[1] >= warm)
    last = next(sample for sample in seen if sample[1] == made.frames)
    return (last[1] - first[1]) / (last[0] - first[0]), first[0] - started, clips


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--videos", nargs="+", required=True)
    options.add_argument("--repeat", type=int, default=4)
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    chosen = options.parse_args()
    paths = [os.path.abspath(video) for video in chosen.videos] * chosen.repeat
    if len(paths) < 2 * chosen.workers:
        sys.exit("too few clips for workers to be warm: give a higher --repeat")
    plain_clip(paths[0])  # imports, models
    loads = [os.getloadavg()[0]]
    before, expected = plain(paths)
    print(f"plain loop: {before:.1f} frames/s over {sum(map(len, expected))} frames", flush=True)
    rate, startup, found = pipeline(paths, chosen.workers)
    print(f"pipeline, {chosen.workers} workers: {rate:.1f} frames/s, warm after {startup:.1f} s", flush=True)
    after, _ = plain(paths)
    loads.append(os.getloadavg()[0])
    print(f"plain loop again: {after:.1f} frames/s", flush=True)
    same = [np.array_equal(a, b, equal_nan=True) for a, b in zip(expected, found, strict=True)]
    frames = sum(map(len, expected))
    plain_rate = 2 * before * after / (before + after)
    result: dict[str, Any] = {
        "benchmark": "extraction", "clips": len(paths), "frames": frames, "workers": chosen.workers,
        "plain_frames_per_second": round(plain_rate, 2), "plain_before_after": [round(before, 2), round(after, 2)],
        "pipeline_frames_per_second": round(rate, 2), "ratio": round(rate / plain_rate, 3),
        "pipeline_warm_after_seconds": round(startup, 1), "identical_clips": sum(same),
        "cores": os.cpu_count(), "load_before_after": [round(load, 2) for load in loads],
        "python": platform.python_version(),
    }  # fmt: skip
    print(json.dumps(result))
    if not all(same):
        sys.exit("the points of some clips differ")


if __name__ == "__main__":
    main()
