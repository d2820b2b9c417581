"""signatlas corpus show: strips and animations of clips, .pose files and videos."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.corpus.show import _video
from signatlas.corpus import Corpus
from signatlas.corpus.format import write_corpus
from signatlas.plots.movie import write_movie
from signatlas.pose.serialization import write_pose
from tests.cli.conftest import Run

ID = "small/webcam/wört 1/001"


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: Image.open(path).size for path in folder.iterdir()}


def test_a_strip_and_an_animation_of_each_clip(small_corpus: Path, tmp_path: Path, run: Run) -> None:
    other = "small/dictionary/wört 0/000"
    code, out, err = run("corpus", "show", small_corpus, ID, other, "--out", tmp_path / "o")
    assert code == 0, err
    names = ["small-dictionary-wört-0-000", "small-webcam-wört-1-001"]
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [f"{n}.{e}" for n in names for e in ("gif", "png")]
    assert f"{ID}: wort 1, gsg, 9 frames, 25 fps; credit: made in the test (Apache-2.0)" in out
    assert out.count("; synthetic, not for learning to sign") == 2
    with Image.open(tmp_path / "o" / f"{names[1]}.gif") as movie:
        assert movie.n_frames == 9 and movie.info["duration"] == 40
    code, out, _ = run("corpus", "show", small_corpus, "--clip", ID, "--out", tmp_path / "only.png", "--frames", 3)
    assert code == 0 and (tmp_path / "only.png").is_file() and not (tmp_path / "only.gif").exists()
    code, _, _ = run("corpus", "show", small_corpus, ID, "--out", tmp_path / "q", "--format", "mp4", "--no-strip")
    assert code == 0 and [p.name for p in (tmp_path / "q").iterdir()] == [f"{names[1]}.mp4"]


def test_the_frames_of_a_video_stand_beside(small_corpus: Path, tmp_path: Path, run: Run) -> None:
    video = tmp_path / "v.mp4"
    write_movie(video, [np.full((120, 160, 3), 20 * i, np.uint8) for i in range(9)], 25)
    assert run("corpus", "show", small_corpus, ID, "--out", tmp_path / "alone.gif")[0] == 0
    code, out, err = run("corpus", "show", small_corpus, ID, "--video", video, "--out", tmp_path / "beside.gif")
    assert code == 0 and f"frames of {video}" in out, err
    with Image.open(tmp_path / "beside.gif") as movie:
        assert movie.width == 2 * 480
        for number in (0, 4, 8):
            movie.seek(number)
            assert abs(movie.convert("RGB").getpixel((3, 3))[0] - 20 * number) <= 12  # type: ignore[index]
    # A corpus that says which recording a clip was made of needs no --video.
    corpus = Corpus.open(small_corpus)
    line = f'{{"id": "{ID}", "media": "{video}"}}\n'
    again = write_corpus(tmp_path / "extracted", corpus.info, [corpus.clip(ID)], extra_files={"media.jsonl": line})
    code, out, err = run("corpus", "show", again.path, ID, "--out", tmp_path / "found")
    assert code == 0 and f"frames of {video}" in out, err
    assert sizes(tmp_path / "found")["small-webcam-wört-1-001.gif"][0] == 2 * 480 and not err
    video.unlink()
    code, out, err = run("corpus", "show", again.path, ID, "--rgb", "--out", tmp_path / "gone.png")
    assert code == 0 and "frames of" not in out
    assert err == f"{ID}: its video {video} is missing, so no video frames are shown; give --video\n"


def test_pose_files_videos_and_the_models_view(
    small_corpus: Path, tmp_path: Path, mirror: Path | None, run: Run
) -> None:
    clip = Corpus.open(small_corpus).clip(ID)
    write_pose(tmp_path / "q.pose", clip.poses, 30.0, 640, 480)
    code, out, err = run("corpus", "show", tmp_path / "q.pose", "--out", tmp_path / "o")
    assert code == 0 and "q: no gloss, 9 frames, 30 fps" in out and {*sizes(tmp_path / "o")} == {"q.gif", "q.png"}, err
    code, out, err = run("corpus", "show", tmp_path / "q.pose", "--rgb", "--out", tmp_path / "r")
    assert code == 0 and {*sizes(tmp_path / "r")} == {"q-rgb.gif", "q-rgb.png"}, err
    if mirror is not None:
        video = mirror / "video" / "posefmt_test_video.mp4"
        code, out, err = run("corpus", "show", video, "--out", tmp_path / "v.png")
        assert code == 0 and "58 frames, 29.92 fps" in out, err
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


def test_composed_signing_says_what_is_signed(small_corpus: Path, tmp_path: Path, run: Run) -> None:
    corpus = Corpus.open(small_corpus)
    held = corpus.clip(ID)
    spans, kinds = ((0, 4), (5, 9)), ("real", "assigned")
    sentence = replace(held, gloss=None, glosses=("HAUS", "MÜDE"), gloss_spans=spans, gloss_kinds=kinds)
    write_corpus(tmp_path / "c", corpus.info, [sentence])
    for name in ("s.png", "s.gif"):
        code, out, err = run("corpus", "show", tmp_path / "c", ID, "--out", tmp_path / name)
        assert code == 0 and "HAUS MÜDE" in out, err


def test_a_missing_package_is_named(
    small_corpus: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert run("corpus", "show", small_corpus, ID, "--out", tmp_path / "plain.gif")[0] == 0  # skeletons need no OpenCV
    code, _, err = run("corpus", "show", small_corpus, ID, "--rgb", "--out", tmp_path / "o")
    assert code == 2 and "cv2 is not installed: run pip install 'signatlas[pose]'" in err and err.count("\n") == 1


def test_mistakes_are_one_line(small_corpus: Path, tmp_path: Path, run: Run) -> None:
    write_pose(tmp_path / "q.pose", np.full((2, 75, 3), 0.5), 25, 640, 480)
    (tmp_path / "text.mp4").write_text("no video")
    out = ("--out", tmp_path / "o")
    for arguments, expected in (
        ((small_corpus, *out), f"no clip given: add one or more ids of {small_corpus}, such as 'small/"),
        ((small_corpus, "none", *out), "no clip 'none'"),
        ((tmp_path / "q.pose", "a", *out), "is not a corpus, so it has no clip 'a'"),
        ((tmp_path / "nowhere", "a", *out), "no corpus at"),
        ((tmp_path / "nowhere.mp4", *out), "missing"),
        ((tmp_path / "text.mp4", *out), "text.mp4"),
        ((small_corpus, ID, "--out", tmp_path / "a.jpg"), "is neither a folder nor a .png"),
        ((small_corpus, ID, "small/dictionary/wört 0/000", "--out", tmp_path / "a.gif"), "for 2 clips"),
        ((small_corpus, ID, "--out", "/proc/nope/x.png"), "/proc/nope/x.png cannot be written (No such file"),
        ((small_corpus, ID, "--out", "/proc/nope/x.gif"), "/proc/nope/x.gif cannot be written (No such file"),
        ((small_corpus, ID, "--no-strip", "--no-animation", *out), "neither strip nor animation: leave out"),
    ):
        code, out, err = run("corpus", "show", *arguments)
        assert code == 2 and not out and err.count("\n") == 1 and expected in err, (arguments, err)
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").iterdir())
