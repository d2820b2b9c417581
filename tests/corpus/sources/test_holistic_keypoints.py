"""The 258-value layout: conversion, folders, and the two public corpora that use it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.clips import sign_language_code
from signatlas.corpus.sources import asl33, holistic_keypoints, signwish11
from signatlas.corpus.sources.holistic_keypoints import to_poses
from signatlas.errors import CorpusError, PoseError, UserError
from signatlas.pose.skeleton import LEFT_HAND, RIGHT_HAND


def recording(frames: int, seed: int) -> np.ndarray:
    """Return [frames, 258] with the left hand missing, and the right one missing in the first frame."""
    values = np.random.default_rng(seed).uniform(0.1, 0.9, (frames, 258))
    values[:, 132:195] = 0
    values[0, 195:] = 0
    return values


def mp_data(root: Path, labels: tuple[str, ...], number: int = 10, frames: int = 12) -> dict[str, np.ndarray]:
    """Write a checkout in the layout of the authors; return [frames, 258] by "label/n"."""
    recordings = {}
    for i, label in enumerate(labels):
        for n in range(number):
            recordings[f"{label}/{n}"] = recording(frames, 100 * i + n)
            folder = root / "MP_Data" / label / str(n)
            folder.mkdir(parents=True)
            for frame, values in enumerate(recordings[f"{label}/{n}"]):
                np.save(folder / f"{frame}.npy", values)
    return recordings


def test_conversion() -> None:
    values = recording(4, 0)
    poses, visibility = to_poses(values)
    assert poses.shape == (4, 75, 3) and poses.dtype == np.float32 and visibility.dtype == np.float16
    np.testing.assert_allclose(poses[2, 7], values[2, 28:31], rtol=1e-6)
    np.testing.assert_allclose(visibility[2, 7], values[2, 31], rtol=1e-3)
    np.testing.assert_allclose(poses[2, 54 + 20], values[2, 255:258], rtol=1e-6)
    assert np.isnan(poses[:, LEFT_HAND]).all() and np.isnan(visibility[:, LEFT_HAND]).all()
    assert np.isnan(poses[0, RIGHT_HAND]).all() and (visibility[1:, RIGHT_HAND] == 1).all()
    values[1, 195:198] = [0.0, 0.4, 0.0]  # a point with one nonzero coordinate was detected
    assert to_poses(values)[0][1, 54].tolist() == pytest.approx([0.0, 0.4, 0.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((4, 1662)), r"shape \(4, 1662\), expected \[frames, 258\]"),
        (np.ones((0, 258)), "no frames"),
        (np.zeros((4, 258)), "no detected point"),
        (np.full((4, 258), np.nan), "no detected point"),
        (np.full((4, 258), np.inf), "infinite"),
    ],
)
def test_unusable_values_are_rejected(values: np.ndarray, message: str) -> None:
    with pytest.raises(PoseError, match=message):
        to_poses(values)


def test_a_checkout_and_an_npz_give_the_same_corpus(tmp_path: Path) -> None:
    recordings = mp_data(tmp_path / "checkouts" / "traduttore-model", ("muffin", "a", "-"))
    recordings["-/3"][:] = 0
    for file in (tmp_path / "checkouts/traduttore-model/MP_Data/-/3").iterdir():
        np.save(file, np.zeros(258))
    names = sorted(recordings)
    (tmp_path / "mirror" / "asl33").mkdir(parents=True)
    np.savez(
        tmp_path / "mirror" / "asl33" / "asl33.npz",
        X=np.array([recordings[n] for n in names]).astype(np.float16),
        Y=np.array([n.split("/")[0] for n in names]),
        S=np.array([n.split("/")[1] for n in names]),
    )
    sources = [asl33.find_mirror(tmp_path / "checkouts"), asl33.find_mirror(tmp_path / "mirror")]
    assert all(sources)
    from_checkout, from_npz = (asl33.read(s) for s in sources if s)
    checkout, packed = from_checkout.clips, from_npz.clips
    assert from_checkout.digest == from_npz.digest and [c.id for c in checkout] == [c.id for c in packed]
    assert [c.split for c in checkout] == [c.split for c in packed]
    for a, b in zip(checkout, packed, strict=True):
        np.testing.assert_array_equal(a.poses, b.poses)
    by_id = {c.id: c for c in checkout}
    assert "asl33/-/3" not in by_id and len(by_id) == 29  # nobody in view
    assert by_id["asl33/-/2"].gloss is None and by_id["asl33/-/2"].texts == ()
    assert by_id["asl33/a/2"].gloss == "a" and by_id["asl33/a/2"].sign_language == "ase"
    np.testing.assert_allclose(by_id["asl33/a/2"].poses[11, 0], recordings["a/2"][11, :3], atol=5e-4)


def test_the_published_files_of_a_mirror(mirror: Path | None) -> None:
    for source, clips, duplicates in ((asl33, 4633, 0), (signwish11, 880, 0)):
        path = mirror and source.find_mirror(mirror)
        if not path:
            continue
        poses, download = source.read(path), source.RELEASE.download
        assert download is not None and poses.digest == download.digest and len(poses.clips) == clips
        assert clips - len({c.poses.tobytes() for c in poses.clips}) == duplicates
        shares = [sum(c.split == s for c in poses.clips) / clips for s in ("train", "dev", "test")]
        assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.01)


def write(folder: Path, name: str, values: np.ndarray) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, values)


def clips_of(folder: Path, labels: Path | None = None, **options: object) -> list:
    recordings = holistic_keypoints.list_recordings(folder, labels)
    return list(holistic_keypoints.clips(recordings, name="mine", sign_language="bfi", **options))  # type: ignore[arg-type]


def test_a_file_per_recording_or_per_frame(tmp_path: Path) -> None:
    write(tmp_path, "tea/one.npy", recording(5, 0))
    (tmp_path / "tea").mkdir(exist_ok=True)
    np.savez(tmp_path / "tea" / "two.npz", recording(6, 1))
    for frame, values in enumerate(recording(11, 2)):
        write(tmp_path, f"milk/0/{frame}.npy", values)
    clips = {c.id: c for c in clips_of(tmp_path, text_language="en", fps=30.0, size=(640, 480))}
    assert {i: (c.num_frames, c.gloss) for i, c in clips.items()} == {
        "mine/milk/0": (11, "milk"), "mine/tea/one": (5, "tea"), "mine/tea/two": (6, "tea"),
    }  # fmt: skip
    expected = to_poses(recording(11, 2))[0]
    np.testing.assert_array_equal(clips["mine/milk/0"].poses, expected)  # frame 10 after frame 9
    assert clips["mine/tea/one"].texts == (("en", "tea"),) and clips["mine/tea/one"].width == 640


def test_labels_and_signers_from_a_csv(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path, f"raw/{i}.npy", recording(5, i))
    table = tmp_path / "labels.csv"
    table.write_text("path,label,signer\n" + "".join(f"raw/{i}.npy,tea,s{i % 2}\n" for i in range(4)))
    clips = clips_of(tmp_path, table)
    assert [(c.id, c.gloss, c.signer) for c in clips] == [(f"mine/raw/{i}", "tea", f"s{i % 2}") for i in range(4)]
    table.write_text("path,label\nraw/9.npy,tea\n")
    with pytest.raises(CorpusError, match=r"labels.csv line 2: no keypoints at .*raw/9.npy"):
        clips_of(tmp_path, table)
    table.write_text("file,word\nraw/1.npy,tea\n")
    with pytest.raises(CorpusError, match="first line must be path,label"):
        clips_of(tmp_path, table)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((4, 1662)), "258"),
        (np.ones((0, 258)), "no frames"),
        (np.zeros((4, 258)), "no detected point"),
        (np.full((4, 258), np.inf), "infinite"),
        (np.array(["a", "b"]), "258|shapes"),
    ],
)
def test_unusable_recordings_are_one_line_with_the_file(tmp_path: Path, values: np.ndarray, message: str) -> None:
    write(tmp_path, "tea/good.npy", recording(4, 0))
    write(tmp_path, "tea/bad.npy", values)
    with pytest.raises(CorpusError, match=f"bad.npy: .*({message})") as caught:
        clips_of(tmp_path)
    assert "\n" not in str(caught.value)


def test_empty_recordings_can_be_skipped(tmp_path: Path) -> None:
    write(tmp_path, "tea/good.npy", recording(4, 0))
    write(tmp_path, "tea/empty.npy", np.zeros((4, 258)))
    left_out: list[str] = []
    clips = clips_of(tmp_path, on_empty=lambda r: left_out.append(r.name))
    assert [c.id for c in clips] == ["mine/tea/good"] and left_out == ["tea/empty"]


def test_folders_without_recordings_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is empty"):
        clips_of(tmp_path)
    with pytest.raises(CorpusError, match="no folder"):
        clips_of(tmp_path / "nowhere")
    (tmp_path / "tea").mkdir()
    (tmp_path / "tea" / "x.npy").write_bytes(b"not numpy")
    with pytest.raises(CorpusError, match=r"x.npy: is not a readable numpy file"):
        clips_of(tmp_path)


def test_codes_of_sign_languages() -> None:
    assert [sign_language_code(n) for n in ("ase", "sgn-DE", "sgn-ch-de")] == ["ase", "gsg", "sgg"]
    with pytest.raises(UserError, match="ISO 639-3"):
        sign_language_code("ASL")
