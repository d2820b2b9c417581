"""RGB frames of clips: from the video if available, otherwise rendered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from signatlas.corpus.clips import Clip
from signatlas.corpus.format import CorpusInfo, write_corpus
from signatlas.errors import CorpusError, MediaError
from signatlas.plots.movie import write_movie
from signatlas.render.footage import Footage, of_clip, recorded
from signatlas.render.frames import iter_rgb_frames, normalized, rgb_frames, to_tensor
from signatlas.render.renderer import RenderConfig, Renderer
from tests.render.sample_poses import nose_and_hands

CLIP = Clip("c/1", "train", nose_and_hands(6), "gsg", "c", signer="anna", fps=25.0, width=320, height=240)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Video of 8 frames of 320 x 240, increasing in brightness, with a red bar at the left edge."""
    frames = [np.full((240, 320, 3), 60 + 15 * i, np.uint8) for i in range(8)]
    for frame in frames:
        frame[:, :30] = (250, 0, 0)
    write_movie(tmp_path / "v.mp4", frames, 25)
    return tmp_path / "v.mp4"


def test_rendered_frames_depend_on_the_signer() -> None:
    frames = rgb_frames(CLIP)
    assert frames.shape == (6, 224, 224, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, rgb_frames(CLIP))
    assert (rgb_frames(replace(CLIP, signer="berta")) != frames).mean() > 0.5
    nameless = replace(CLIP, signer=None)  # every clip has its own appearance
    assert (rgb_frames(replace(nameless, id="c/2")) != rgb_frames(nameless)).mean() > 0.5


def test_recorded_frames_are_those_of_the_video_in_order(video: Path) -> None:
    frames = rgb_frames(CLIP, Footage(str(video)))
    assert frames.shape == (6, 224, 224, 3)
    np.testing.assert_allclose(frames[:, 112, 150].mean(-1), 60 + 15 * np.arange(6), atol=3)
    cut = rgb_frames(replace(CLIP, poses=CLIP.poses[:3]), Footage(str(video), span=(4, 7)))
    np.testing.assert_allclose(cut[:, 112, 150].mean(-1), 60 + 15 * np.arange(4, 7), atol=3)
    # The signer's right hand is left of the middle, so the crop extends to the red bar.
    left = rgb_frames(replace(CLIP, poses=CLIP.poses - np.array([0.3, 0, 0], np.float32)), Footage(str(video)))
    assert (left[0, 112, :5, 0] > 200).all() and (left[0, 112, :5, 1] < 60).all()


def test_videos_that_end_early_are_an_error(video: Path) -> None:
    long = replace(CLIP, poses=nose_and_hands(11))
    with pytest.raises(MediaError, match="has 8 frames, clip c/1 needs 11"):
        rgb_frames(long, Footage(str(video)))
    with pytest.raises(MediaError, match="missing"):
        rgb_frames(CLIP, Footage(str(video.parent / "gone.mp4")))
    assert next(iter_rgb_frames(long, Footage(str(video)), renderer=Renderer(RenderConfig(size=32)))).shape == (
        32,
        32,
        3,
    )


def test_the_video_of_an_extracted_clip_is_found(tmp_path: Path, video: Path) -> None:
    row = {"id": "c/1", "media": str(video), "span": [1, 7]}
    rows = [{"id": "c/0", "media": str(tmp_path / "gone.mp4")}, row, {"id": "c/3", "media": "x.pose"}]
    info = CorpusInfo("c", "1", "MIT", "x", ("gsg",), made={"options": {"target_fps": 25.0}})
    clips = [replace(CLIP, id=f"c/{i}") for i in range(4)]
    lines = "".join(json.dumps(row_) + "\n" for row_ in rows)
    corpus = write_corpus(tmp_path / "corpus", info, clips, extra_files={"media.jsonl": lines})
    assert of_clip(clips[1], corpus) == Footage(str(video), span=(1, 7), target_fps=25.0)
    assert [of_clip(clips[i], corpus) for i in (0, 2, 3)] == [None, None, None]
    assert recorded(clips[0], corpus) == Footage(str(tmp_path / "gone.mp4"), target_fps=25.0)
    (tmp_path / "corpus" / "media.jsonl").unlink()
    assert of_clip(clips[1], corpus) is None and recorded(clips[1], corpus) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 1 is damaged"),
        (b"[1]", "not a JSON object"),
        (b'{"id": "c/1", "media": "\xe4.mp4"}', "utf-8"),
        (b'{"id": "c/1", "media": "a.mp4", "span": 3}', "not iterable"),
        (b'{"id": "c/1", "media": "a.mp4", "span": [3]}', "expected 2 numbers"),
        (b'{"id": "c/1", "media": "a.mp4", "fps": "fast"}', "could not convert"),
    ],
)
def test_damaged_media_lists_are_an_error(tmp_path: Path, line: bytes, message: str) -> None:
    info = CorpusInfo("c", "1", "MIT", "x", ("gsg",))
    corpus = write_corpus(tmp_path / "corpus", info, [CLIP], extra_files={"media.jsonl": "{}"})
    (tmp_path / "corpus" / "media.jsonl").write_bytes(line)
    with pytest.raises(CorpusError, match=message) as raised:
        of_clip(CLIP, corpus)
    assert "media.jsonl line 1" in str(raised.value) and "\n" not in str(raised.value)


def test_tensors_have_imagenet_normalization() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), np.uint8)
    tensor = to_tensor(frames)
    assert tensor.shape == (2, 3, 8, 9) and tensor.dtype == torch.float32
    expected = (frames[1, 3, 4] / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(tensor[1, :, 3, 4].numpy(), expected, rtol=1e-5)
    np.testing.assert_array_equal(tensor.numpy(), normalized(frames))


def test_a_convolutional_stem_takes_recorded_and_rendered_frames(video: Path) -> None:
    """The first layers of ResNet-18: 7 x 7 convolution of stride 2, pooling; 224 becomes 56."""
    torch.manual_seed(0)
    stem = torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 7, 2, 3, bias=False), torch.nn.BatchNorm2d(64), torch.nn.ReLU(),
        torch.nn.MaxPool2d(3, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
    )  # fmt: skip
    features = [stem(to_tensor(rgb_frames(CLIP, footage))) for footage in (None, Footage(str(video)))]
    assert [f.shape for f in features] == [(6, 64), (6, 64)]
    assert all(torch.isfinite(f).all() and f.std() > 0 for f in features)
