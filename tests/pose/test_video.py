"""Frames of videos: exact cuts, thinning, rotation, and files that lie or are broken."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from signatlas.errors import MediaError
from signatlas.pose.media import Limits, frames_per_second
from signatlas.pose.video import Media, begun_within, frames, probe

Film = Callable[..., Path]


def numbers(images: Iterable[np.ndarray]) -> list[int]:
    """Which frames of a film these are."""
    return [round((float(image.mean()) - 16) / 4) for image in images]


def test_a_video_says_what_it_is_and_streams_its_frames(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    assert probe(path) == Media(str(path), 25.0, 64, 48, 30, 1.2, (64, 48))
    reader = frames(path)
    first = next(reader)
    assert (first.shape, first.dtype, reader.read) == ((48, 64, 3), np.uint8, 1)
    assert numbers([first, *reader]) == list(range(30))
    assert reader.read == 30
    assert numbers(frames(path.as_uri())) == list(range(30))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts", "webm"])
def test_every_span_is_exact_in_every_container(film: Film, tmp_path: Path, ending: str) -> None:
    path = film(tmp_path / f"a.{ending}", codec={"avi": "mpeg4", "webm": "libvpx"}.get(ending, "libx264"))
    for first, end in itertools.combinations((0, 1, 9, 10, 11, 19, 25, 30), 2):
        assert numbers(frames(path, span=(first, end))) == list(range(first, end)), (first, end)
    assert numbers(frames(path, span=(25, 99))) == [25, 26, 27, 28, 29]


def test_a_cut_in_seconds_takes_what_begins_inside_it(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", fps=10)
    assert numbers(frames(path, seconds=(0.1, 0.5))) == [1, 2, 3, 4]
    assert numbers(frames(path, seconds=(0.11, 0.51))) == [2, 3, 4, 5]
    assert numbers(frames(path, seconds=(2.5, 100.0))) == [25, 26, 27, 28, 29]


def test_spans_count_frames_where_the_frame_rate_varies(film: Film, tmp_path: Path) -> None:
    times = np.cumsum([1, 1, 3, 1, 7, 2] * 5).tolist()
    path = film(tmp_path / "a.mkv", times=times)
    assert numbers(frames(path)) == list(range(30))
    for span in ((0, 3), (4, 17), (21, 30)):
        assert numbers(frames(path, span=span)) == list(range(*span))


def test_frames_that_an_edit_list_hides_are_not_announced(film: Film, tmp_path: Path) -> None:
    """As `ffmpeg -ss 0.6 -c copy` cuts: from the key frame on, and what lies before the cut is hidden."""
    import av

    whole, cut = film(tmp_path / "a.mp4", 50, g="20"), tmp_path / "cut.mp4"
    for times in (range(50), [*range(20), *range(20, 320, 10)]):  # of constant and of variable rate
        whole = film(tmp_path / "a.mp4", times=list(times), frames=50, g="20")
        with av.open(str(whole)) as held, av.open(str(cut), "w", options={"avoid_negative_ts": "disabled"}) as made:
            stream = made.add_stream_from_template(held.streams.video[0])
            start = round(15 / 25 / held.streams.video[0].time_base)
            for packet in held.demux(video=0):
                if packet.size:
                    packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, stream
                    made.mux(packet)
        with av.open(str(cut)) as container:
            assert container.streams.video[0].frames == 50
        assert numbers(frames(cut)) == list(range(15, 50))
        assert probe(cut).frames == 35


def test_frames_of_a_cut_in_seconds_are_counted_where_the_frame_rate_varies(film: Film, tmp_path: Path) -> None:
    times = [*range(20), *range(20, 120, 10)]
    for ending in ("mp4", "mkv"):
        path = film(tmp_path / f"a.{ending}", times=times)
        for seconds in ((0.0, 0.8), (0.8, 4.4), (0.5, 2.0), (0.0, 4.4)):
            assert begun_within(path, seconds) == len(list(frames(path, seconds=seconds))), seconds
        assert begun_within(path, (0.0, 9.0)) is None
    Image.new("RGB", (32, 24)).save(tmp_path / "1.png")
    assert begun_within(tmp_path, (0.0, 1.0)) is None


def test_a_span_decodes_only_from_its_key_frame_on(film: Film, tmp_path: Path) -> None:
    import av

    path = film(tmp_path / "a.mp4", 56)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for packet in packets[2:48]:  # the first two stay: opening a file looks at them
        content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)
    assert numbers(frames(path, span=(50, 56))) == list(range(50, 56))
    assert numbers(frames(path, seconds=(50 / 25, 56 / 25))) == list(range(50, 56))


def test_thinning_takes_the_nearest_frames_and_invents_none(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", fps=30)
    reader = frames(path, target_fps=15)
    assert numbers(reader) == list(range(0, 30, 2))
    assert reader.read == 30
    assert numbers(frames(path, target_fps=20)) == [n for n in range(30) if n % 3 != 2]
    assert numbers(frames(path, target_fps=60)) == list(range(30))
    assert numbers(frames(path, span=(5, 11), target_fps=10)) == [5, 8]
    assert [frames_per_second(*pair) for pair in ((30.0, 15.0), (30.0, 60.0), (None, 25.0), (24.0, None))] == [
        15.0, 30.0, None, 24.0,
    ]  # fmt: skip


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_video_comes_upright(film: Film, tmp_path: Path, rotation: int) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :16] = 255  # a white corner, at the upper left of what is stored
    path = film(tmp_path / "a.mp4", images=[image] * 3, rotation=rotation)
    media = probe(path)
    found = next(frames(path))
    assert (media.width, media.height) == found.shape[1::-1] == ((64, 48) if rotation == 180 else (48, 64))
    row, column = {90: (-8, 8), 180: (-8, -8), 270: (8, -8)}[rotation]  # counter-clockwise
    assert found[row, column].min() > 200
    assert found.mean() < 40


def test_a_box_crops_and_is_clipped_to_the_picture(film: Film, tmp_path: Path) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[8:24, 32:] = 200
    path = film(tmp_path / "a.mp4", images=[image] * 3)
    found = next(frames(path, box=(32, 8, 1000, 24)))
    assert found.shape == (16, 32, 3)
    assert found[2:-2, 2:].min() > 150
    with pytest.raises(MediaError, match="no pixel of 64x48 lies in the box 64, 0, 90, 10"):
        next(frames(path, box=(64, 0, 90, 10)))


def test_pictures_of_a_folder_are_frames_in_natural_order(tmp_path: Path) -> None:
    for number in range(12):
        ending = "jpg" if number % 2 else "PNG"
        Image.new("RGB", (32, 24), (16 + 4 * number,) * 3).save(tmp_path / f"images{number}.{ending}")
    (tmp_path / "notes.txt").write_text("no picture")
    assert probe(tmp_path) == Media(str(tmp_path), None, 32, 24, 12, None, (32, 24))
    assert probe(tmp_path, fps=25).seconds == 12 / 25
    assert numbers(frames(tmp_path)) == list(range(12))
    assert numbers(frames(tmp_path, span=(9, 20))) == [9, 10, 11]
    assert numbers(frames(tmp_path, seconds=(0.2, 0.5), fps=10)) == [2, 3, 4]
    assert numbers(frames(tmp_path, target_fps=5, fps=10)) == list(range(0, 12, 2))
    with pytest.raises(MediaError, match="give its frame rate"):
        next(frames(tmp_path, target_fps=5))


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    with pytest.raises(MediaError, match=r"2\.png cannot be read"):
        list(frames(tmp_path))


def test_a_huge_picture_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    Image.new("1", (9000, 10)).save(tmp_path / "1.png")
    with pytest.raises(MediaError, match="9000x10 pixels, more than 8192 a side"):
        probe(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"this is not a video\n" * 40, "is not a video that can be read"),
        ("playlist.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n", "is not a video"),
        ("script.mp4", b"ffconcat version 1.0\nfile 'a.mp4'\n", "is not a video that can be read"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=says) as raised:
        probe(tmp_path / name)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_not_there_is_refused(film: Film, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.mp4 is missing"):
        probe(tmp_path / "gone.mp4")
    with pytest.raises(MediaError, match="holds no picture"):
        probe(tmp_path)
    path = film(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="has 30 frames, the span begins at 30"):
        next(frames(path, span=(30, 40)))
    with pytest.raises(MediaError, match="the span 5-5 holds no frame"):
        frames(path, span=(5, 5))
    with pytest.raises(MediaError, match="holds no frame there"):
        next(frames(path, seconds=(50.0, 60.0)))


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux([*stream.encode(sound), *stream.encode(None)])
    with pytest.raises(MediaError, match="has no video stream"):
        probe(tmp_path / "a.mp4")


def test_a_truncated_video_yields_less_than_it_announces_or_is_refused(film: Film, tmp_path: Path) -> None:
    noise = list(np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8))
    whole = film(tmp_path / "whole.mp4", images=noise, container_options={"movflags": "faststart"}).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 3 // 4])
    announced = probe(cut).frames
    reader = frames(cut)
    try:
        seen = len(list(reader))
    except MediaError as error:
        assert "cut.mp4 is damaged" in str(error)
        seen = reader.read
    assert announced == 30
    assert 0 < seen < 28
    # Without its index, which is at the end unless it was moved, a file says nothing at all.
    film(tmp_path / "tail.mp4")
    (tmp_path / "tail.mp4").write_bytes((tmp_path / "tail.mp4").read_bytes()[:-400])
    with pytest.raises(MediaError, match=r"tail\.mp4 is not a video that can be read"):
        probe(tmp_path / "tail.mp4")


def test_a_picture_or_a_time_beyond_the_limits_is_refused(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="64x48 pixels, more than 60 a side"):
        probe(path, limits=Limits(side=60))
    with pytest.raises(MediaError, match=r"longer than 0\.5 s"):
        list(frames(path, limits=Limits(seconds=0.5)))
    assert len(list(frames(path, span=(10, 20), limits=Limits(seconds=0.5)))) == 10


def test_addresses_are_shown_without_their_secrets(tmp_path: Path) -> None:
    with pytest.raises(MediaError) as raised:
        probe("s3://name:secret@bucket/a.mp4?endpoint_override=127.0.0.1:9&scheme=http")
    assert "secret" not in str(raised.value)


def test_the_real_clips_have_the_frames_they_announce(mirror: Path | None) -> None:
    if mirror is None or not (mirror / "video").is_dir():
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    for name, count, size in (("slovo_f17a6060", 112, (720, 1280)), ("posefmt_test_video", 58, (540, 720))):
        path = mirror / "video" / f"{name}.mp4"
        media = probe(path)
        assert (media.frames, media.width, media.height) == (count, *size)
        reader = frames(path, target_fps=10)
        assert sum(1 for _ in reader) == pytest.approx(count / media.fps * 10, abs=1)
        assert reader.read == count
