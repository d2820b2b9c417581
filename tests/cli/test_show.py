"""signatlas corpus show, as it is typed."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.corpus.show import _video
from cli.main import main
from signatlas.corpus import Corpus
from signatlas.corpus.format import write_corpus
from signatlas.plots.movie import write_movie
from signatlas.pose.serialization import write_pose

ID = "small/webcam/wört 1/001"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["corpus", "show", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: Image.open(path).size for path in folder.iterdir()}


def test_a_strip_and_an_animation_of_each_clip(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "small/dictionary/wört 0/000"
    code, said, err = run(capsys, small_corpus, ID, other, "--out", tmp_path / "o")
    assert code == 0, err
    names = ["small-dictionary-wört-0-000", "small-webcam-wört-1-001"]
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [f"{n}.{e}" for n in names for e in ("gif", "png")]
    assert f"{ID}: wort 1, gsg, 9 frames, 25 fps; credit: made in the test (Apache-2.0)" in said
    assert said.count("; synthetic, not for learning to sign") == 2
    with Image.open(tmp_path / "o" / f"{names[1]}.gif") as movie:
        assert movie.n_frames == 9 and movie.info["duration"] == 40
    code, said, _ = run(capsys, small_corpus, "--clip", ID, "--out", tmp_path / "only.png", "--frames", 3)
    assert code == 0 and (tmp_path / "only.png").is_file() and not (tmp_path / "only.gif").exists()
    code, _, _ = run(capsys, small_corpus, ID, "--out", tmp_path / "q", "--format", "mp4", "--no-strip")
    assert code == 0 and [p.name for p in (tmp_path / "q").iterdir()] == [f"{names[1]}.mp4"]


def test_the_frames_of_a_video_stand_beside(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "v.mp4"
    write_movie(video, [np.full((120, 160, 3), 20 * i, np.uint8) for i in range(9)], 25)
    assert run(capsys, small_corpus, ID, "--out", tmp_path / "alone.gif")[0] == 0
    code, said, err = run(capsys, small_corpus, ID, "--video", video, "--out", tmp_path / "beside.gif")
    assert code == 0 and f"frames of {video}" in said, err
    with Image.open(tmp_path / "beside.gif") as movie:
        assert movie.width == 2 * 480
        for number in (0, 4, 8):
            movie.seek(number)
            assert abs(movie.convert("RGB").getpixel((3, 3))[0] - 20 * number) <= 12  # type: ignore[index]
    # A corpus that says which recording a clip was made of needs no --video.
    corpus = Corpus.open(small_corpus)
    line = f'{{"id": "{ID}", "media": "{video}"}}\n'
    again = write_corpus(tmp_path / "extracted", corpus.info, [corpus.clip(ID)], beside={"media.jsonl": line})
    code, said, err = run(capsys, again.path, ID, "--out", tmp_path / "found")
    assert code == 0 and f"frames of {video}" in said, err
    assert sizes(tmp_path / "found")["small-webcam-wört-1-001.gif"][0] == 2 * 480 and not err
    video.unlink()
    code, said, err = run(capsys, again.path, ID, "--rgb", "--out", tmp_path / "gone.png")
    assert code == 0 and "frames of" not in said
    assert err == f"{ID}: its video {video} is not there, so no real frames are shown; give --video\n"


def test_pose_files_videos_and_the_models_view(
    small_corpus: Path, tmp_path: Path, mirror: Path | None, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = Corpus.open(small_corpus).clip(ID)
    write_pose(tmp_path / "q.pose", clip.poses, 30.0, 640, 480)
    code, said, err = run(capsys, tmp_path / "q.pose", "--out", tmp_path / "o")
    assert code == 0 and "q: no gloss, 9 frames, 30 fps" in said and {*sizes(tmp_path / "o")} == {"q.gif", "q.png"}, err
    code, said, err = run(capsys, tmp_path / "q.pose", "--rgb", "--out", tmp_path / "r")
    assert code == 0 and {*sizes(tmp_path / "r")} == {"q-rgb.gif", "q-rgb.png"}, err
    if mirror is not None:
        video = mirror / "video" / "posefmt_test_video.mp4"
        code, said, err = run(capsys, video, "--out", tmp_path / "v.png")
        assert code == 0 and "58 frames, 29.92 fps" in said, err
        assert Image.open(tmp_path / "v.png").height > 300  # two rows


def test_pixels_that_are_not_square_keep_their_proportions(tmp_path: Path) -> None:
    """The same as in extraction: 64 x 48 pixels, each twice as wide as high."""
    import av

    video = tmp_path / "wide.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    clip = _video(str(video)).clip
    assert (clip.width, clip.height) == (128, 48)


def test_composed_signing_says_what_is_signed(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = Corpus.open(small_corpus)
    held = corpus.clip(ID)
    spans, kinds = ((0, 4), (5, 9)), ("real", "assigned")
    sentence = replace(held, gloss=None, glosses=("HAUS", "MÜDE"), gloss_spans=spans, gloss_kinds=kinds)
    write_corpus(tmp_path / "c", corpus.info, [sentence])
    for name in ("s.png", "s.gif"):
        code, said, err = run(capsys, tmp_path / "c", ID, "--out", tmp_path / name)
        assert code == 0 and "HAUS MÜDE" in said, err


def test_a_missing_package_is_named(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert run(capsys, small_corpus, ID, "--out", tmp_path / "plain.gif")[0] == 0  # skeletons need no OpenCV
    code, _, err = run(capsys, small_corpus, ID, "--rgb", "--out", tmp_path / "o")
    assert code == 2 and "cv2 is not installed: pip install 'signatlas[pose]'" in err and err.count("\n") == 1


def test_mistakes_are_one_line(small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pose(tmp_path / "q.pose", np.full((2, 75, 3), 0.5), 25, 640, 480)
    (tmp_path / "text.mp4").write_text("no video")
    out = ("--out", tmp_path / "o")
    for arguments, expected in (
        ((small_corpus, *out), f"which clip of {small_corpus}? Name one or more by id, for instance 'small/"),
        ((small_corpus, "none", *out), "no clip 'none'"),
        ((tmp_path / "q.pose", "a", *out), "is no corpus, so it has no clip 'a'"),
        ((tmp_path / "nowhere", "a", *out), "no corpus at"),
        ((tmp_path / "nowhere.mp4", *out), "missing"),
        ((tmp_path / "text.mp4", *out), "text.mp4"),
        ((small_corpus, ID, "--out", tmp_path / "a.jpg"), "neither a folder nor a .png"),
        ((small_corpus, ID, "small/dictionary/wört 0/000", "--out", tmp_path / "a.gif"), "for 2 clips"),
        ((small_corpus, ID, "--out", "/proc/nope/x.png"), "/proc/nope/x.png cannot be written (No such file"),
        ((small_corpus, ID, "--out", "/proc/nope/x.gif"), "/proc/nope/x.gif cannot be written (No such file"),
        ((small_corpus, ID, "--no-strip", "--no-animation", *out), "neither strip nor animation"),
    ):
        code, said, err = run(capsys, *arguments)
        assert code == 2 and not said and err.count("\n") == 1 and expected in err, (arguments, err)
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").iterdir())
