"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import numpy as np

# Processes of one test run must not find each other's Ray: each has its own folder of sessions. It is short because
# the paths of Unix sockets are.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["RAY_TMPDIR"] = f"/tmp/ray-{worker}-{os.getuid()}"
    os.makedirs(os.environ["RAY_TMPDIR"], exist_ok=True)


@pytest.fixture(scope="session")
def mirror() -> Path | None:
    """The local mirror of the public corpora, or None on a machine without it."""
    named = os.environ.get("SIGNATLAS_MIRROR")
    found = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return found if found.is_dir() else None


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for the whole test session."""
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    if started:
        ray.shutdown()


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny sign encoder with random weights, as a model folder."""
    import torch

    from signatlas.models.sign_encoder import SignEncoder, SignEncoderConfig

    torch.manual_seed(0)
    config = SignEncoderConfig(
        points="nose_hands", dims=2, frames=16, width=32, depth=1, heads=2, feedforward=32, embedding=32
    )
    folder = tmp_path_factory.mktemp("models") / "small"
    SignEncoder(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 clips of 12 words in two sources, two of the clips the same; ids hold slashes and umlauts."""
    import numpy as np

    from signatlas.corpus.format import Clip, CorpusInfo, write_corpus
    from signatlas.pose import skeleton as sk

    clips = []
    for number in range(120):
        rng = np.random.default_rng(number if number != 119 else 107)
        word, frames = number % 12, 8 + number % 7
        start, end = np.random.default_rng(1000 + word).uniform(0.2, 0.8, (2, 2))
        path = start + np.linspace(0, 1, frames)[:, None] * (end - start)
        poses = np.full((frames, sk.NUM_POINTS, 3), np.nan, np.float32)
        poses[:, sk.NOSE, :2] = (0.5, 0.2)
        poses[:, sk.RIGHT_HAND, :2] = path[:, None] + rng.normal(0, 0.05, (sk.NUM_HAND, 2))
        part = "webcam" if number % 3 else "dictionary"
        id = f"small/{part}/wört {word}/{number:03d}" + ("/poses" if number == 5 else "")
        texts = (("de", f"Wört {word}"), ("en", f"word {word}"))
        split = ("train", "train", "train", "dev", "test")[number // 12 % 5]
        clips.append(Clip(id, split, poses, "gsg", part, gloss=f"wort {word}", texts=texts, fps=25.0,
                          width=640, height=480))  # fmt: skip
    info = CorpusInfo("small", "1", "Apache-2.0", "made in the test", ("gsg",), synthetic=True)
    folder = tmp_path_factory.mktemp("corpora") / "small"
    write_corpus(folder, info, clips, clips_per_file=50, rows_per_group=16)
    return folder


@pytest.fixture(scope="session")
def film() -> Callable[..., Path]:
    """Writes a small video whose frame n is a plain gray of level 16 + 4n (n < 56)."""
    import av
    import numpy as np

    def write(
        path: Path,
        frames: int = 30,
        *,
        fps: int = 25,
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
        times: Sequence[int] | None = None,
        rotation: int = 0,
        images: Sequence[np.ndarray] | None = None,
        container_options: dict[str, str] | None = None,
        **options: str,
    ) -> Path:
        exact = {"libx264": {"g": "10", "bf": "2"}, "mpeg4": {"g": "10", "qmin": "1", "qmax": "1"}}
        options = exact.get(codec, {"g": "10", "b": "4M", "qmax": "4"}) | options
        with av.open(str(path), "w", options=container_options or {}) as container:
            stream = container.add_stream(codec, rate=fps, options=options)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            if rotation:
                stream.set_display_rotation(rotation)
            for number in range(len(images) if images is not None else frames):
                level = np.full((size[1], size[0], 3), 16 + 4 * number, np.uint8)
                frame = av.VideoFrame.from_ndarray(level if images is None else images[number], format="rgb24")
                frame.pts, frame.time_base = number if times is None else times[number], Fraction(1, fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def small_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny sign classifier of five words with random weights, as a model folder; it is sure of what it says."""
    import torch

    from signatlas.models.sign_classifier import SignClassifier
    from signatlas.models.sign_encoder import SignEncoderConfig

    torch.manual_seed(0)
    config = SignEncoderConfig(points="nose_hands", dims=2, streams=("position", "shape"), frames=16, width=16,
                               depth=1, heads=2, feedforward=16)  # fmt: skip
    model = SignClassifier(config, tuple(f"word {n}" for n in range(5)), {"recipe": "made in the test"})
    with torch.no_grad():
        model.head.weight.mul_(10)
    folder = tmp_path_factory.mktemp("models") / "classifier"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def continuous_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips of continuous movement, 10 to 60 frames, each with true glosses and their spans; all splits."""
    import numpy as np

    from signatlas.corpus.format import Clip, CorpusInfo, write_corpus
    from signatlas.pose import skeleton as sk

    clips = []
    for number in range(24):
        rng = np.random.default_rng(number)
        frames = (10, 16, 17, 40, 60)[number % 5]
        glosses = tuple(f"WORD-{w}" for w in rng.integers(0, 6, 2))
        spans = ((0, frames // 2), (frames // 2, frames))
        poses = np.full((frames, sk.NUM_POINTS, 3), np.nan, np.float32)
        poses[:, sk.NOSE, :2] = (0.5, 0.2)
        for gloss, (first, end) in zip(glosses, spans, strict=True):
            start, stop = np.random.default_rng(int(gloss[-1])).uniform(0.2, 0.8, (2, 2))
            path = start + np.linspace(0, 1, end - first)[:, None] * (stop - start)
            shape = np.random.default_rng(int(gloss[-1]) + 50).normal(0, 0.05, (sk.NUM_HAND, 2))
            poses[first:end, sk.RIGHT_HAND, :2] = path[:, None] + shape + rng.normal(0, 0.003, (sk.NUM_HAND, 2))
        split = ("train", "train", "dev", "test")[number // 5 % 4]
        texts = (("de", f"Satz {number}"), ("en", f"sentence {number}"))
        clips.append(Clip(f"made/{split}/{number:02d}", split, poses, "gsg", "made", glosses=glosses, texts=texts,
                          gloss_spans=spans, fps=25.0, width=512, height=512))  # fmt: skip
    signs = {f"WORD-{n}": {"word": f"word {n}"} for n in range(6)}
    info = CorpusInfo("made", "1", "Apache-2.0", "made in the test", ("gsg",), synthetic=True, made={"signs": signs})
    folder = tmp_path_factory.mktemp("corpora") / "continuous"
    write_corpus(folder, info, clips, clips_per_file=10, rows_per_group=4)
    return folder
