"""The child process that decodes videos: poses of the command, limits while reading, damaged files, deaths."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from serve.video_process import Cancelled, ProcessDied, VideoError, VideoLimits, VideoPoses, VideoProcess
from signatlas.corpus.extraction.recording import Options, extract
from signatlas.corpus.sources.base import Item
from signatlas.pose.holistic import Holistic
from signatlas.pose.video import frames

Film = Callable[..., Path]
LIMITS = VideoLimits(seconds=10, frames=300, pixels=1_000_000)


@pytest.fixture(scope="module")
def process() -> Iterator[VideoProcess]:
    process = VideoProcess()
    process.start()
    yield process
    process.close()
    assert not process.is_running


@pytest.fixture(scope="module")
def person(mirror: Path | None, film: Film, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of a real recording."""
    if mirror is None or not (mirror / "video").is_dir():
        pytest.skip("needs a recording of a person: SIGNATLAS_MIRROR")
    images = list(islice(frames(mirror / "video" / "slovo_f17a6060.mp4", target_fps=6), 3, 8))
    height, width, _ = images[0].shape
    return film(tmp_path_factory.mktemp("person") / "person.mp4", images=images, size=(width, height))


def read(process: VideoProcess, path: Path, limits: VideoLimits = LIMITS) -> VideoPoses:
    process.start()
    return process.extract(path.read_bytes(), path.name, limits, lambda frames, of: None)


def refusal(process: VideoProcess, path: Path, limits: VideoLimits = LIMITS) -> tuple[int, str]:
    with pytest.raises(VideoError) as error:
        read(process, path, limits)
    return error.value.status, error.value.detail


def test_poses_are_those_of_the_command_also_after_other_videos(
    process: VideoProcess, person: Path, film: Film, tmp_path: Path
) -> None:
    clip = extract(Item(id="x", media=str(person), sign_language="", source=""), Options(), Holistic)
    gray = film(tmp_path / "gray.mp4", 5)
    assert refusal(process, gray) == (422, "gray.mp4: no hand detected in 5 frames")
    reported: list[tuple[int, int | None]] = []
    for _ in range(2):
        found = process.extract(person.read_bytes(), "x.mp4", LIMITS, lambda frames, of: reported.append((frames, of)))
        np.testing.assert_array_equal(found.poses, clip.poses)
        assert found.poses.dtype == np.float32 and np.isfinite(found.poses[:, 33:]).any()
        assert (found.width, found.height, found.fps) == (clip.width, clip.height, clip.fps)
    assert reported == [(n, 5) for n in range(1, 6)] * 2


def test_a_video_beyond_a_limit_is_refused_with_413(process: VideoProcess, film: Film, tmp_path: Path) -> None:
    video = film(tmp_path / "v.mp4", 50)
    assert refusal(process, video, LIMITS._replace(seconds=1.5)) == (413, "v.mp4 is 2 s long, more than 1.5 s")
    assert refusal(process, video, LIMITS._replace(frames=49)) == (413, "v.mp4 has 50 frames, more than 49")
    assert refusal(process, video, LIMITS._replace(pixels=64 * 48 - 1)) == (
        413, "v.mp4 has 64x48 pixels, more than 3,071 per frame",
    )  # fmt: skip


def test_limits_hold_while_reading_files_that_announce_nothing(
    process: VideoProcess, film: Film, tmp_path: Path
) -> None:
    # A live WebM, as a browser's recorder writes it, states neither its length nor its frames.
    live = film(tmp_path / "live.webm", 50, codec="libvpx", container_options={"live": "1"})
    seen: list[tuple[int, int | None]] = []
    for limits, detail in (
        (LIMITS._replace(frames=20), "live.webm has more than 20 frames"),
        (LIMITS._replace(seconds=0.6), "live.webm is longer than 0.6 s"),
    ):
        seen.clear()
        with pytest.raises(VideoError) as error:
            process.extract(live.read_bytes(), live.name, limits, lambda frames, of: seen.append((frames, of)))
        assert (error.value.status, error.value.detail) == (413, detail)
        assert 10 < len(seen) <= 20 and all(of is None for _, of in seen)  # the rest was never read
    # Timestamps that hardly advance do not make room for more frames: 1000 fps.
    fast = film(tmp_path / "fast.webm", 40, fps=1000, codec="libvpx", container_options={"live": "1"})
    assert refusal(process, fast, LIMITS._replace(frames=30)) == (413, "fast.webm has more than 30 frames")


def test_files_that_are_no_video_are_refused_and_the_child_lives_on(
    process: VideoProcess, film: Film, tmp_path: Path
) -> None:
    process.start()
    pid = process.pid
    whole = film(tmp_path / "whole.mp4", 30).read_bytes()
    webm = film(tmp_path / "whole.webm", 30, codec="libvpx").read_bytes()
    cases = {
        "empty.mp4": (b"", "is empty"),
        "text.mp4": (b"no video\n" * 99, "is not a readable video"),
        "cut.mp4": (whole[: len(whole) // 2], "cut.mp4"),
        "cut.webm": (webm[: len(webm) // 2], "cut.webm"),
        "unknown.mp4": (whole.replace(b"avc1", b"zzzz"), "in an unknown format"),
        "playlist.m3u8": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "is not a readable video"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        status, detail = refusal(process, tmp_path / name)
        assert status == 422 and reason in detail and "/dev/fd" not in detail, detail
    assert process.pid == pid


def test_a_killed_child_fails_its_video_only(process: VideoProcess, film: Film, tmp_path: Path) -> None:
    video = film(tmp_path / "v.mp4", 40)
    process.start()
    first = process.pid
    assert first is not None

    def kill(frames: int, of: int | None) -> None:
        if frames == 3:
            os.kill(first, signal.SIGSEGV)

    with pytest.raises(ProcessDied) as error:
        process.extract(video.read_bytes(), video.name, LIMITS, kill)
    assert error.value.returncode == -signal.SIGSEGV and process.pid is None
    assert refusal(process, video)[0] == 422  # a new child read it to its end: nobody is in it
    assert process.pid not in (None, first)


def test_a_cancelled_video_stops_at_its_next_frame_and_keeps_the_child(
    process: VideoProcess, film: Film, tmp_path: Path
) -> None:
    video = film(tmp_path / "v.mp4", 50)
    process.start()
    pid, seen = process.pid, []

    def cancel(frames: int, of: int | None) -> None:
        seen.append(frames)
        if frames == 2:
            process.cancel()

    with pytest.raises(Cancelled):
        process.extract(video.read_bytes(), video.name, LIMITS, cancel)
    assert seen[0] == 1 and len(seen) < 10
    process.cancel()  # too late for any video: the next one is not affected
    assert refusal(process, video)[1] == "v.mp4: no hand detected in 50 frames"
    assert process.pid == pid


def test_the_child_inherits_no_key_and_ends_with_its_parent(process: VideoProcess) -> None:
    process.start()
    environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    names = {line.partition(b"=")[0].decode() for line in environment if line}
    assert "PATH" in names and not [name for name in names if "KEY" in name or "TOKEN" in name or "SIGNATLAS" in name]
    other = VideoProcess()
    other.start()
    assert other._process is not None and other._process.stdin is not None
    other._process.stdin.close()  # as when the parent is gone
    deadline = time.monotonic() + 20
    while other.is_running and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not other.is_running
