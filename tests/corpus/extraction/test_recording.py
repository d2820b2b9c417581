"""Extraction of one recording: time spans, frame rates, rejected recordings, extraction keys."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from signatlas.corpus.extraction.recording import Options, extract, extraction_key, with_labels
from signatlas.corpus.sources.base import Item
from signatlas.errors import MediaError, UserError
from signatlas.pose.holistic import Holistic
from signatlas.pose.serialization import write_pose

Film = Callable[..., Path]


def no_detector() -> NoReturn:
    raise AssertionError("no detector is needed")


@pytest.fixture(scope="module")
def holistic() -> Holistic:
    return Holistic()


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    """A .pose file of 30 frames at 30 fps in which the right hand moves."""
    poses = np.full((30, 75, 3), np.nan, np.float32)
    poses[:, 54:] = np.linspace(0.1, 0.9, 30, dtype=np.float32)[:, None, None]
    write_pose(tmp_path / "a.pose", poses, 30.0, 640, 480)
    return tmp_path / "a.pose"


def item(media: Path | str, **more: object) -> Item:
    return Item("x/a", str(media), "ase", "video", **more)  # type: ignore[arg-type]


def test_a_pose_file_is_cut_and_resampled_like_a_video(pose: Path) -> None:
    whole = extract(item(pose), Options(), no_detector)
    assert (whole.num_frames, whole.fps, whole.width, whole.height) == (30, 30.0, 640, 480)
    assert whole.visibility is None
    x = whole.poses[:, 60, 0]
    span = extract(item(pose, span=(4, 10)), Options(), no_detector)
    np.testing.assert_array_equal(span.poses[:, 60, 0], x[4:10])
    seconds = extract(item(pose, seconds=(0.1, 0.2)), Options(), no_detector)
    np.testing.assert_array_equal(seconds.poses[:, 60, 0], x[3:6])
    thin = extract(item(pose), Options(target_fps=10), no_detector)
    np.testing.assert_array_equal(thin.poses[:, 60, 0], x[::3])
    assert thin.fps == 10.0
    squeezed = extract(item(pose, shown_as=(400, 300)), Options(), no_detector)
    assert (squeezed.width, squeezed.height) == (400, 300)


def test_the_clip_has_the_labels_of_its_item(pose: Path) -> None:
    clip = extract(item(pose), Options(), no_detector)
    assert (clip.id, clip.sign_language, clip.source, clip.gloss) == ("x/a", "ase", "video", None)
    named = item(pose, gloss="HOUSE", signer="p1", split="test", texts=(("en", "A house."),))
    again = with_labels(clip, named)
    assert (again.gloss, again.signer, again.split, again.texts) == ("HOUSE", "p1", "test", (("en", "A house."),))


def test_a_video_keeps_its_rate_and_size(holistic: Holistic, mirror: Path | None) -> None:
    if mirror is None or not (mirror / "video").is_dir():
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    path = mirror / "video" / "posefmt_test_video.mp4"
    clip = extract(item(path, span=(20, 40)), Options(), lambda: holistic)
    assert (clip.num_frames, clip.width, clip.height) == (20, 540, 720)
    assert clip.fps == pytest.approx(359 / 12)
    assert clip.visibility is not None and clip.visibility.shape == (20, 75)
    boxed = extract(item(path, span=(20, 40), box=(0, 0, 600, 700)), Options(target_fps=15), lambda: holistic)
    assert (boxed.num_frames, boxed.width, boxed.height, boxed.fps) == (10, 540, 700, 15.0)


REJECTED = {
    "gone": ({}, Options(), "is missing"),
    "plain": ({}, Options(), "no hand detected in 30 frames"),
    "short": ({"frames": 40}, Options(), "has 30 frames, but 40 are announced"),
    "cut": ({"span": (10, 90)}, Options(), "has 20 frames, but 80 are announced"),
    "late": ({"seconds": (1.0, 9.0)}, Options(), "has 5 frames, but 200 are announced"),
    "long": ({}, Options(max_seconds=1.0), r"is 1 s long, more than 1 s|longer than 1 s"),
    "large": ({}, Options(max_side=60), "more than 60 per side"),
    "other": ({"sha256": "0" * 64}, Options(), "expected 000000000000"),
}


@pytest.mark.parametrize("case", REJECTED)
def test_unusable_recordings_are_rejected_in_one_line(
    film: Film, holistic: Holistic, tmp_path: Path, case: str
) -> None:
    fields, options, message = REJECTED[case]
    path = tmp_path / f"{case}.mp4"
    if case != "gone":
        film(path)
    with pytest.raises(UserError, match=message) as raised:
        extract(item(path, **fields), options, lambda: holistic)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_span_in_seconds_with_a_variable_frame_rate(film: Film, holistic: Holistic, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", times=[*range(20), *range(20, 120, 10)])
    with pytest.raises(MediaError, match="no hand detected in 9 frames"):  # the average rate would announce fewer
        extract(item(path, seconds=(0.8, 4.4)), Options(), lambda: holistic)
    noise = list(np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8))
    whole = film(tmp_path / "b.mp4", images=noise, container_options={"movflags": "faststart"})
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    with pytest.raises(MediaError, match=r"are announced|is damaged"):
        extract(item(whole, seconds=(0.4, 1.2)), Options(), lambda: holistic)


def test_two_missing_frames_are_tolerated(pose: Path) -> None:
    assert extract(item(pose, frames=32), Options(), no_detector).num_frames == 30
    with pytest.raises(MediaError, match="has 30 frames, but 33 are announced"):
        extract(item(pose, frames=33), Options(), no_detector)


def test_unusable_pose_files_are_rejected_in_one_line(pose: Path, tmp_path: Path) -> None:
    for fields, options, message in (
        ({"box": (0, 0, 9, 9)}, Options(), "cannot be cropped"),
        ({"span": (40, 50)}, Options(), "has 30 frames, none of them in 40-50"),
        ({}, Options(max_seconds=0.5), r"longer than 0\.5 s"),
    ):
        with pytest.raises(MediaError, match=message):
            extract(item(pose, **fields), options, no_detector)
    with pytest.raises(MediaError, match="cannot be read"):
        extract(item(tmp_path / "gone.pose"), Options(), no_detector)
    with pytest.raises(UserError, match="truncated or damaged"):
        (tmp_path / "cut.pose").write_bytes(pose.read_bytes()[:500])
        extract(item(tmp_path / "cut.pose"), Options(), no_detector)


def test_a_matching_sha256_is_accepted(pose: Path) -> None:
    digest = hashlib.sha256(pose.read_bytes()).hexdigest()
    assert extract(item(pose, sha256=digest), Options(), no_detector).num_frames == 30


def test_progress_is_reported_for_every_frame(film: Film, holistic: Holistic, tmp_path: Path) -> None:
    numbers: list[int] = []
    with pytest.raises(MediaError, match="no hand detected"):
        extract(item(film(tmp_path / "a.mp4", 5)), Options(), lambda: holistic, numbers.append)
    assert numbers == [1, 2, 3, 4, 5]


def test_the_key_depends_on_file_span_and_options_but_not_on_labels(pose: Path, tmp_path: Path) -> None:
    same = extraction_key(item(pose), Options())
    assert same == extraction_key(item(pose, gloss="HOUSE", split="dev", signer="p1"), Options())
    others = [
        extraction_key(replace(item(pose), id="x/b"), Options()),
        extraction_key(item(pose, span=(0, 9)), Options()),
        extraction_key(item(pose), Options(face=True)),
        extraction_key(item(pose), Options(target_fps=25)),
        extraction_key(item(tmp_path / "gone.pose"), Options()),
    ]
    os.utime(pose, ns=(1, 1))
    others.append(extraction_key(item(pose), Options()))
    pose.write_bytes(pose.read_bytes() + b"x")
    os.utime(pose, ns=(1, 1))
    others.append(extraction_key(item(pose), Options()))
    assert len({same, *others}) == 1 + len(others)


def test_the_key_of_a_folder_depends_on_its_images(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    before = extraction_key(item(tmp_path), Options())
    Image.new("RGB", (8, 8)).save(tmp_path / "2.png")
    assert extraction_key(item(tmp_path), Options()) != before


def test_keys_are_those_of_earlier_versions() -> None:
    """Otherwise stores of interrupted extractions could not be resumed."""
    key = extraction_key(Item("x/a", "/nowhere/a.mp4", "ase", "video", span=(0, 9), fps=25.0), Options(target_fps=12.5))
    assert key == "76291fa0c23be9031ba6c26e2fdfbb40f287ed57"
