"""Movies: atomic writes, durations and colors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from signatlas.errors import MediaError
from signatlas.plots.animation import rgb
from signatlas.plots.figures import BLUE, VERMILION
from signatlas.plots.movie import write_movie


def counted(number: int, height: int = 40, width: int = 60) -> list[np.ndarray]:
    """Return white frames with a growing blue bar, and an orange-red square in all but the first."""
    frames = np.full((number, height, width, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        frame[5:15, : 2 + i] = rgb(BLUE)
        if i:
            frame[25:35, 10:20] = rgb(VERMILION)
    return list(frames)


@pytest.mark.parametrize(("fps", "total"), [(25.0, 800), (29.97, 670), (7.5, 2670)])
def test_gifs_have_the_duration_of_the_clip(tmp_path: Path, fps: float, total: int) -> None:
    assert write_movie(tmp_path / "deep" / "a.gif", counted(20), fps) == 20
    with Image.open(tmp_path / "deep" / "a.gif") as movie:
        lengths = []
        for number in range(movie.n_frames):
            movie.seek(number)
            lengths.append(movie.info["duration"])
        assert movie.info["loop"] == 0 and len(lengths) == 20 and sum(lengths) == total
        assert max(lengths) - min(lengths) <= 10
        last = np.asarray(movie.convert("RGB")).astype(int)
    # The palette is made for the first frame, and knows the color that comes later.
    assert np.abs(last[30, 15] - rgb(VERMILION)).max() <= 4 and np.abs(last[10, 3] - rgb(BLUE)).max() <= 4
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a.gif"]


def test_gifs_above_50_fps_drop_frames(tmp_path: Path) -> None:
    assert write_movie(tmp_path / "a.gif", counted(24), 120.0) == 8
    with Image.open(tmp_path / "a.gif") as movie:
        assert movie.n_frames == 8 and movie.info["duration"] in (20, 30)


def test_mp4_files_have_all_frames_and_the_frame_rate(tmp_path: Path) -> None:
    import av

    assert write_movie(tmp_path / "a.mp4", iter(counted(12, 41, 61)), 30000 / 1001) == 12
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(stream)]
        assert float(stream.average_rate or 0) == pytest.approx(29.97, abs=0.01)
    assert len(frames) == 12 and frames[0].shape == (42, 62, 3)  # odd sides grow by one
    assert np.abs(frames[11][30, 15] - rgb(VERMILION)).max() < 30 and np.abs(frames[0][30, 15] - 255).max() < 10


def test_failed_writes_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"ends in \.gif or \.mp4"):
        write_movie(tmp_path / "a.webm", counted(2), 25)
    with pytest.raises(MediaError, match="not a valid frame rate"):
        write_movie(tmp_path / "a.gif", counted(2), 0)
    for name in ("a.gif", "a.mp4"):
        with pytest.raises(MediaError, match="no frames"):
            write_movie(tmp_path / name, [], 25)

    def broken() -> object:
        yield from counted(2)
        raise RuntimeError("in the middle")

    for name in ("a.gif", "a.mp4"):
        with pytest.raises(RuntimeError, match="in the middle"):
            write_movie(tmp_path / name, broken(), 25)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
