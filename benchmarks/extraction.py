"""Frames per second of the extraction pipeline and of a plain MediaPipe loop on the same files, with equal points.

The plain loop is the usual one: a new `mediapipe.solutions.holistic.Holistic()` for each clip, PyAV for the frames, one
process. It runs before and after the pipeline, which shows the load of other processes. Both sides exclude start-up:
the loop its imports and a first clip, the pipeline Ray, the workers and their models. Its clock starts when each worker
had the time for one clip; the start-up time is reported separately.

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
from signatlas.corpus.sources.base import Item, Listing

PARTS = (("pose_landmarks", 33), ("left_hand_landmarks", 21), ("right_hand_landmarks", 21))


def plain_clip(path: str) -> np.ndarray:
    """Return the points of one clip, float32 [frames, 75, 3]."""
    import av
    from mediapipe.python.solutions.holistic import Holistic

    rows = []
    with Holistic() as holistic, av.open(path) as container:
        for frame in container.decode(video=0):
            landmarks = holistic.process(frame.to_ndarray(format="rgb24"))
            row: list[tuple[float, float, float]] = []
            for name, number in PARTS:
                part = getattr(landmarks, name)
                row += [(p.x, p.y, p.z) for p in part.landmark] if part else [(np.nan,) * 3] * number
            rows.append(row)
    return np.array(rows, np.float32)


def plain(paths: Sequence[str]) -> tuple[float, list[np.ndarray]]:
    """Return frames per second of the loop over ``paths``, and the points of each clip."""
    started = time.perf_counter()
    clips = [plain_clip(path) for path in paths]
    return sum(map(len, clips)) / (time.perf_counter() - started), clips


def pipeline(paths: Sequence[str], workers: int) -> tuple[float, float, list[np.ndarray]]:
    """Return frames per second after warm-up, the seconds of the warm-up, and the points of each clip."""
    from cluster.connect import connected
    from trainers.pipelines.extract import Progress, run_listing

    items = tuple(Item(f"clip/{number:04d}", path, "mis", "video") for number, path in enumerate(paths))
    listing = Listing(CorpusInfo("benchmark", "1", "unknown", "benchmark", ("mis",)), items)
    samples: list[tuple[float, int]] = []

    def record_progress(state: Progress) -> None:
        samples.append((time.perf_counter(), state.frames))

    with tempfile.TemporaryDirectory() as folder, connected(num_cpus=workers, worker_logs=False):
        started = time.perf_counter()
        extraction = run_listing(listing, Path(folder) / "corpus", workers=workers, progress=record_progress)
        clips = [clip.poses for clip in extraction.corpus]
    warm_frames = workers * extraction.frames // len(paths)
    first = next(sample for sample in samples if sample[1] >= warm_frames)
    last = next(sample for sample in samples if sample[1] == extraction.frames)
    return (last[1] - first[1]) / (last[0] - first[0]), first[0] - started, clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", nargs="+", required=True)
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    paths = [os.path.abspath(video) for video in arguments.videos] * arguments.repeat
    if len(paths) < 2 * arguments.workers:
        sys.exit("too few clips to warm up all workers: raise --repeat")
    plain_clip(paths[0])  # imports, models
    loads = [os.getloadavg()[0]]
    before, expected = plain(paths)
    print(f"plain loop: {before:.1f} frames/s over {sum(map(len, expected))} frames", flush=True)
    rate, startup, points = pipeline(paths, arguments.workers)
    print(f"pipeline, {arguments.workers} workers: {rate:.1f} frames/s, warm after {startup:.1f} s", flush=True)
    after, _ = plain(paths)
    loads.append(os.getloadavg()[0])
    print(f"plain loop again: {after:.1f} frames/s", flush=True)
    same = [np.array_equal(a, b, equal_nan=True) for a, b in zip(expected, points, strict=True)]
    frames = sum(map(len, expected))
    plain_rate = 2 * before * after / (before + after)
    result: dict[str, Any] = {
        "benchmark": "extraction", "clips": len(paths), "frames": frames, "workers": arguments.workers,
        "plain_frames_per_second": round(plain_rate, 2), "plain_before_after": [round(before, 2), round(after, 2)],
        "pipeline_frames_per_second": round(rate, 2), "ratio": round(rate / plain_rate, 3),
        "pipeline_warm_after_seconds": round(startup, 1), "identical_clips": sum(same),
        "cores": os.cpu_count(), "load_before_after": [round(load, 2) for load in loads],
        "python": platform.python_version(),
    }  # fmt: skip
    print(json.dumps(result))
    if not all(same):
        sys.exit("the points of some clips differ from those of the plain loop")


if __name__ == "__main__":
    main()
