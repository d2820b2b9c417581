"""Frames per second that several threads read for an image backbone, against one thread, with equal images.

Frames are read as in training: resized, augmented and cropped to 224 pixels, at most 300 per clip. One thread is timed
before and after, which shows the load of other processes.

    python -m benchmarks.picture_reading --videos a.mp4 b.mp4 --repeat 4 --readers 2
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from signatlas.models.translator.config import BackboneConfig
from signatlas.models.translator.images import read_images

BACKBONE = BackboneConfig(kind="resnet", pretrained="microsoft/resnet-18", size=224, max_frames=300)


def read(paths: list[str], readers: int) -> tuple[float, list[np.ndarray]]:
    """Return frames per second, and the images of each clip."""

    def read_clip(job: tuple[int, str]) -> np.ndarray:
        seed, path = job
        return read_images(path, BACKBONE, np.random.default_rng(seed))

    started = time.perf_counter()
    with ThreadPoolExecutor(readers) as pool:
        images = list(pool.map(read_clip, enumerate(paths)))
    return sum(map(len, images)) / (time.perf_counter() - started), images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", nargs="+", required=True, help="videos or folders of images")
    parser.add_argument("--repeat", type=int, default=1, help="how often each is read")
    parser.add_argument("--readers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    paths = arguments.videos * arguments.repeat
    read(paths[:1], 1)  # imports
    first, expected = read(paths, 1)
    several, images = read(paths, arguments.readers)
    last, _ = read(paths, 1)
    one = (first + last) / 2
    equal = all(np.array_equal(a, b) for a, b in zip(expected, images, strict=True))
    print(json.dumps({
        "benchmark": "picture_reading", "clips": len(paths), "frames": sum(map(len, images)), "cores": os.cpu_count(),
        "readers": arguments.readers, "one_fps": [round(first), round(last)], "fps": round(several),
        "ratio": round(several / one, 2), "equal": equal,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
