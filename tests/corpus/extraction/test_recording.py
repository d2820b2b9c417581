"""One recording to one clip: what is taken, what is refused, and what counts as the same work."""

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

from signatlas.corpus.extraction.recording import Options, extract, identity, labeled
from signatlas.corpus.sources.base import Item
from signatlas.errors import MediaError, UserError
from signatlas.pose.holistic import Holistic
from signatlas.pose.serialization import write_pose

Film = Callable[..., Path]


def unwanted() -> NoReturn:
    raise AssertionError("no detector is needed here")


@pytest.fixture(scope="module")
def holistic() -> Holistic:
    return Holistic()


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    """30 frames at 30 a second in which the right hand moves."""
    poses = np.full((30, 75, 3), np.nan, np.float32)
    poses[:, 54:] = np.linspace(0.1, 0.9, 30, dtype=np.float32)[:, None, None]
    write_pose(tmp_path / "a.pose", poses, 30.0, 640, 480)
    return tmp_path / "a.pose"


def item(media: Path | str, **more: object) -> Item:
    return Item("x/a", str(media), "ase", "video", **more)  # type: ignore[arg-type]


def test_a_pose_file_is_cut_and_thinned_like_a_video(pose: Path) -> None:
    whole = extract(item(pose), Options(), unwanted)
    assert (whole.num_frames, whole.fps, whole.width, whole.height) == (30, 30.0, 640, 480)
    assert whole.visibility is None
    x = whole.poses[:, 60, 0]
    span = extract(item(pose, span=(4, 10)), Options(), unwanted)
    np.testing.assert_array_equal(span.poses[:, 60, 0], x[4:10])
    seconds = extract(item(pose, seconds=(0.1, 0.2)), Options(), unwanted)
    np.testing.assert_array_equal(seconds.poses[:, 60, 0], x[3:6])
    thin = extract(item(pose), Options(target_fps=10), unwanted)
    np.testing.assert_array_equal(thin.poses[:, 60, 0], x[::3])
    assert thin.fps == 10.0
    squeezed = extract(item(pose, shown_as=(400, 300)), Options(), unwanted)
    assert (squeezed.width, squeezed.height) == (400, 300)


def test_labels_come_from_the_item(pose: Path) -> None:
    clip = extract(item(pose), Options(), unwanted)
    assert (clip.id, clip.sign_language, clip.source, clip.gloss) == ("x/a", "ase", "video", None)
    named = item(pose, gloss="HOUSE", signer="p1", split="test", texts=(("en", "A house."),))
    again = labeled(clip, named)
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


REFUSED = {
    "gone": ({}, Options(), "is missing"),
    "plain": ({}, Options(), "not one hand was found in 30 frames"),
    "short": ({"frames": 40}, Options(), "yields 30 frames, 40 are announced"),
    "cut": ({"span": (10, 90)}, Options(), "yields 20 frames, 80 are announced"),
    "late": ({"seconds": (1.0, 9.0)}, Options(), "yields 5 frames, 200 are announced"),
    "long": ({}, Options(max_seconds=1.0), r"lasts 1 s, more than 1|longer than 1 s"),
    "large": ({}, Options(max_side=60), "more than 60 a side"),
    "other": ({"sha256": "0" * 64}, Options(), "its source says 000000000000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(film: Film, holistic: Holistic, tmp_path: Path, case: str) -> None:
    more, options, says = REFUSED[case]
    path = tmp_path / f"{case}.mp4"
    if case != "gone":
        film(path)
    with pytest.raises(UserError, match=says) as raised:
        extract(item(path, **more), options, lambda: holistic)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_cut_in_seconds_where_the_frame_rate_varies(film: Film, holistic: Holistic, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", times=[*range(20), *range(20, 120, 10)])
    with pytest.raises(MediaError, match="not one hand was found in 9 frames"):  # 6 a second by the average
        extract(item(path, seconds=(0.8, 4.4)), Options(), lambda: holistic)
    noise = list(np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8))
    whole = film(tmp_path / "b.mp4", images=noise, container_options={"movflags": "faststart"})
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    with pytest.raises(MediaError, match=r"are announced|is damaged"):
        extract(item(whole, seconds=(0.4, 1.2)), Options(), lambda: holistic)


def test_a_frame_or_two_may_be_lacking(pose: Path) -> None:
    assert extract(item(pose, frames=32), Options(), unwanted).num_frames == 30
    with pytest.raises(MediaError, match="yields 30 frames, 33 are announced"):
        extract(item(pose, frames=33), Options(), unwanted)


def test_pose_files_are_refused_like_videos(pose: Path, tmp_path: Path) -> None:
    for more, options, says in (
        ({"box": (0, 0, 9, 9)}, Options(), "cannot be cropped"),
        ({"span": (40, 50)}, Options(), "has 30 frames, none of them in 40-50"),
        ({}, Options(max_seconds=0.5), r"longer than 0\.5 s"),
    ):
        with pytest.raises(MediaError, match=says):
            extract(item(pose, **more), options, unwanted)
    with pytest.raises(MediaError, match="cannot be read"):
        extract(item(tmp_path / "gone.pose"), Options(), unwanted)
    with pytest.raises(UserError, match="truncated or damaged"):
        (tmp_path / "cut.pose").write_bytes(pose.read_bytes()[:500])
        extract(item(tmp_path / "cut.pose"), Options(), unwanted)


def test_the_right_sha256_passes(pose: Path) -> None:
    digest = hashlib.sha256(pose.read_bytes()).hexdigest()
    assert extract(item(pose, sha256=digest), Options(), unwanted).num_frames == 30


def test_progress_tells_every_frame(film: Film, holistic: Holistic, tmp_path: Path) -> None:
    told: list[int] = []
    with pytest.raises(MediaError, match="not one hand"):
        extract(item(film(tmp_path / "a.mp4", 5)), Options(), lambda: holistic, told.append)
    assert told == [1, 2, 3, 4, 5]


def test_the_work_is_another_when_file_cut_or_options_change_but_not_for_labels(pose: Path, tmp_path: Path) -> None:
    same = identity(item(pose), Options())
    assert same == identity(item(pose, gloss="HOUSE", split="dev", signer="p1"), Options())
    others = [
        identity(replace(item(pose), id="x/b"), Options()),
        identity(item(pose, span=(0, 9)), Options()),
        identity(item(pose), Options(face=True)),
        identity(item(pose), Options(target_fps=25)),
        identity(item(tmp_path / "gone.pose"), Options()),
    ]
    os.utime(pose, ns=(1, 1))
    others.append(identity(item(pose), Options()))
    pose.write_bytes(pose.read_bytes() + b"x")
    os.utime(pose, ns=(1, 1))
    others.append(identity(item(pose), Options()))
    assert len({same, *others}) == 1 + len(others)


def test_a_folder_of_pictures_changes_with_its_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    before = identity(item(tmp_path), Options())
    Image.new("RGB", (8, 8)).save(tmp_path / "2.png")
    assert identity(item(tmp_path), Options()) != before
