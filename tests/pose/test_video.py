"""Frames of videos and folders of images: exact spans, resampling, rotation, damaged files."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from signatlas.errors import MediaError
from signatlas.pose.media import Limits, TooLargeError, frames_per_second
from signatlas.pose.video import Media, count_frames, frames, probe

Film = Callable[..., Path]


def numbers(images: Iterable[np.ndarray]) -> list[int]:
    """Return the numbers of the frames of a test video, from their gray levels."""
    return [round((float(image.mean()) - 16) / 4) for image in images]


def test_metadata_and_frames_of_a_video(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    assert probe(path) == Media(str(path), 25.0, 64, 48, 30, 1.2, (64, 48))
    reader = frames(path)
    first = next(reader)
    assert (first.shape, first.dtype, reader.read) == ((48, 64, 3), np.uint8, 1)
    assert numbers([first, *reader]) == list(range(30))
    assert reader.read == 30
    assert numbers(frames(path.as_uri())) == list(range(30))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts", "webm"])
def test_spans_are_exact_in_every_container(film: Film, tmp_path: Path, ending: str) -> None:
    path = film(tmp_path / f"a.{ending}", codec={"avi": "mpeg4", "webm": "libvpx"}.get(ending, "libx264"))
    for first, end in itertools.combinations((0, 1, 9, 10, 11, 19, 25, 30), 2):
        assert numbers(frames(path, span=(first, end))) == list(range(first, end)), (first, end)
    assert numbers(frames(path, span=(25, 99))) == [25, 26, 27, 28, 29]


def test_a_span_in_seconds_has_the_frames_that_begin_in_it(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", fps=10)
    assert numbers(frames(path, seconds=(0.1, 0.5))) == [1, 2, 3, 4]
    assert numbers(frames(path, seconds=(0.11, 0.51))) == [2, 3, 4, 5]
    assert numbers(frames(path, seconds=(2.5, 100.0))) == [25, 26, 27, 28, 29]


def test_spans_with_a_variable_frame_rate(film: Film, tmp_path: Path) -> None:
    times = np.cumsum([1, 1, 3, 1, 7, 2] * 5).tolist()
    path = film(tmp_path / "a.mkv", times=times)
    assert numbers(frames(path)) == list(range(30))
    for span in ((0, 3), (4, 17), (21, 30)):
        assert numbers(frames(path, span=span)) == list(range(*span))


def test_frames_hidden_by_an_edit_list_are_not_announced(film: Film, tmp_path: Path) -> None:
    """Like `ffmpeg -ss 0.6 -c copy`: the cut starts at a key frame, and frames before 0.6 s are hidden."""
    import av

    whole, cut = film(tmp_path / "a.mp4", 50, g="20"), tmp_path / "cut.mp4"
    for times in (range(50), [*range(20), *range(20, 320, 10)]):  # of constant and of variable rate
        whole = film(tmp_path / "a.mp4", times=list(times), frames=50, g="20")
        with av.open(str(whole)) as source, av.open(str(cut), "w", options={"avoid_negative_ts": "disabled"}) as output:
            stream = output.add_stream_from_template(source.streams.video[0])
            start = round(15 / 25 / source.streams.video[0].time_base)
            for packet in source.demux(video=0):
                if packet.size:
                    packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, stream
                    output.mux(packet)
        with av.open(str(cut)) as container:
            assert container.streams.video[0].frames == 50
        assert numbers(frames(cut)) == list(range(15, 50))
        assert probe(cut).frames == 35


def test_frames_of_a_span_in_seconds_are_counted_with_a_variable_frame_rate(film: Film, tmp_path: Path) -> None:
    times = [*range(20), *range(20, 120, 10)]
    for ending in ("mp4", "mkv"):
        path = film(tmp_path / f"a.{ending}", times=times)
        for seconds in ((0.0, 0.8), (0.8, 4.4), (0.5, 2.0), (0.0, 4.4)):
            assert count_frames(path, seconds) == len(list(frames(path, seconds=seconds))), seconds
        assert count_frames(path, (0.0, 9.0)) is None
    Image.new("RGB", (32, 24)).save(tmp_path / "1.png")
    assert count_frames(tmp_path, (0.0, 1.0)) is None


def test_a_span_is_decoded_from_its_key_frame(film: Film, tmp_path: Path) -> None:
    import av

    path = film(tmp_path / "a.mp4", 56)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for packet in packets[2:48]:  # not the first two, which opening the file reads
        content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)
    assert numbers(frames(path, span=(50, 56))) == list(range(50, 56))
    assert numbers(frames(path, seconds=(50 / 25, 56 / 25))) == list(range(50, 56))


def test_resampling_takes_the_nearest_frames(film: Film, tmp_path: Path) -> None:
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
def test_a_rotated_video_is_upright(film: Film, tmp_path: Path, rotation: int) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :16] = 255  # a white corner, at the upper left of what is stored
    path = film(tmp_path / "a.mp4", images=[image] * 3, rotation=rotation)
    media = probe(path)
    frame = next(frames(path))
    assert (media.width, media.height) == frame.shape[1::-1] == ((64, 48) if rotation == 180 else (48, 64))
    row, column = {90: (-8, 8), 180: (-8, -8), 270: (8, -8)}[rotation]  # counter-clockwise
    assert frame[row, column].min() > 200
    assert frame.mean() < 40


def test_a_box_is_clipped_to_the_image(film: Film, tmp_path: Path) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[8:24, 32:] = 200
    path = film(tmp_path / "a.mp4", images=[image] * 3)
    frame = next(frames(path, box=(32, 8, 1000, 24)))
    assert frame.shape == (16, 32, 3)
    assert frame[2:-2, 2:].min() > 150
    with pytest.raises(MediaError, match="the box 64, 0, 90, 10 lies outside the 64x48 image"):
        next(frames(path, box=(64, 0, 90, 10)))


def test_images_of_a_folder_are_frames_in_natural_order(tmp_path: Path) -> None:
    for number in range(12):
        ending = "jpg" if number % 2 else "PNG"
        Image.new("RGB", (32, 24), (16 + 4 * number,) * 3).save(tmp_path / f"images{number}.{ending}")
    (tmp_path / "notes.txt").write_text("not an image")
    assert probe(tmp_path) == Media(str(tmp_path), None, 32, 24, 12, None, (32, 24))
    assert probe(tmp_path, fps=25).seconds == 12 / 25
    assert numbers(frames(tmp_path)) == list(range(12))
    assert numbers(frames(tmp_path, span=(9, 20))) == [9, 10, 11]
    assert numbers(frames(tmp_path, seconds=(0.2, 0.5), fps=10)) == [2, 3, 4]
    assert numbers(frames(tmp_path, target_fps=5, fps=10)) == list(range(0, 12, 2))
    with pytest.raises(MediaError, match="without a frame rate: give fps"):
        next(frames(tmp_path, target_fps=5))


def test_a_damaged_image_is_one_line(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    with pytest.raises(MediaError, match=r"2\.png cannot be read"):
        list(frames(tmp_path))


def test_a_huge_image_is_rejected_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (9000, 10)).save(tmp_path / "1.png")
    with pytest.raises(MediaError, match="9000x10 pixels, more than 8192 per side"):
        probe(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"this is not a video\n" * 40, "is not a readable video"),
        (
            "playlist.mp4",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n",
            "is not a readable video",
        ),
        ("script.mp4", b"ffconcat version 1.0\nfile 'a.mp4'\n", "is not a readable video"),
    ],
)
def test_files_that_are_not_videos_are_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=message) as raised:
        probe(tmp_path / name)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_files_and_empty_spans_are_one_line(film: Film, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.mp4 is missing"):
        probe(tmp_path / "gone.mp4")
    with pytest.raises(MediaError, match="is a folder without images"):
        probe(tmp_path)
    path = film(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="has 30 frames, but the span starts at 30"):
        next(frames(path, span=(30, 40)))
    with pytest.raises(MediaError, match="the span 5-5 is empty"):
        frames(path, span=(5, 5))
    with pytest.raises(MediaError, match="contains no decodable frame in this span"):
        next(frames(path, seconds=(50.0, 60.0)))


def test_a_file_without_video_is_one_line(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux([*stream.encode(sound), *stream.encode(None)])
    with pytest.raises(MediaError, match="has no video stream"):
        probe(tmp_path / "a.mp4")


def test_a_video_stream_without_a_decoder_is_refused(film: Film, tmp_path: Path) -> None:
    path = tmp_path / "unknown.mp4"
    path.write_bytes(film(tmp_path / "known.mp4", 3).read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(MediaError, match=r"unknown\.mp4 has a video stream in an unknown format: convert it"):
        probe(path)


def test_frames_and_pixels_are_limited_while_reading(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "v.mp4", 20)
    reader = frames(path, limits=Limits(frames=7))
    with pytest.raises(TooLargeError, match=r"v\.mp4 has more than 7 frames: cut it"):
        list(reader)
    assert reader.read == 7
    assert len(list(frames(path, limits=Limits(frames=20, pixels=64 * 48)))) == 20
    with pytest.raises(TooLargeError, match=r"has 64x48 pixels, more than 3,071 per frame") as error:
        probe(path, limits=Limits(pixels=64 * 48 - 1))
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_a_truncated_video_has_fewer_frames_than_announced_or_is_one_line(film: Film, tmp_path: Path) -> None:
    noise = list(np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8))
    whole = film(tmp_path / "whole.mp4", images=noise, container_options={"movflags": "faststart"}).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 3 // 4])
    announced = probe(cut).frames
    reader = frames(cut)
    try:
        num_frames = len(list(reader))
    except MediaError as error:
        assert "cut.mp4 is damaged" in str(error)
        num_frames = reader.read
    assert announced == 30
    assert 0 < num_frames < 28
    # Without its index, which is at the end by default, a file cannot be read.
    film(tmp_path / "tail.mp4")
    (tmp_path / "tail.mp4").write_bytes((tmp_path / "tail.mp4").read_bytes()[:-400])
    with pytest.raises(MediaError, match=r"tail\.mp4 is not a readable video"):
        probe(tmp_path / "tail.mp4")


def test_sizes_and_lengths_beyond_the_limits_are_one_line(film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="64x48 pixels, more than 60 per side"):
        probe(path, limits=Limits(side=60))
    with pytest.raises(MediaError, match=r"longer than 0\.5 s"):
        list(frames(path, limits=Limits(seconds=0.5)))
    assert len(list(frames(path, span=(10, 20), limits=Limits(seconds=0.5)))) == 10


def test_messages_show_uris_without_credentials(tmp_path: Path) -> None:
    with pytest.raises(MediaError) as raised:
        probe("s3://name:secret@bucket/a.mp4?endpoint_override=127.0.0.1:9&scheme=http")
    assert "secret" not in str(raised.value)


def test_the_clips_of_the_mirror_have_the_announced_frames(mirror: Path | None) -> None:
    if mirror is None or not (mirror / "video").is_dir():
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    for name, count, size in (("slovo_f17a6060", 112, (720, 1280)), ("posefmt_test_video", 58, (540, 720))):
        path = mirror / "video" / f"{name}.mp4"
        media = probe(path)
        assert (media.frames, media.width, media.height) == (count, *size)
        reader = frames(path, target_fps=10)
        assert sum(1 for _ in reader) == pytest.approx(count / media.fps * 10, abs=1)
        assert reader.read == count
