"""SignLanguageRecognition: the layout of its archive, words, hands and depth."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.sources import dgs
from signatlas.corpus.sources.archive import Archive
from signatlas.errors import CorpusError
from signatlas.pose.skeleton import LEFT_HAND, NOSE, RIGHT_HAND


def test_glosses_are_folded_words() -> None:
    words = {"Fußball": "fussball", "Fussball": "fussball", "Mücke": "muecke", "Mu\u0308cke": "muecke", "Café": "cafe"}
    assert {w: dgs.fold_gloss(w) for w in words} == words


def test_zip_and_folder_give_the_same_clips(dgs_zip: Path, dgs_folder: Path) -> None:
    from_zip = dgs.read(dgs.find_mirror(dgs_zip.parent) or dgs_zip)
    from_folder = dgs.read(dgs.find_mirror(dgs_folder) or dgs_folder)
    assert from_zip.digest == from_folder.digest and len(from_zip.clips) == len(from_folder.clips) == 28
    for a, b in zip(from_zip.clips, from_folder.clips, strict=True):
        np.testing.assert_array_equal(a.poses, b.poses)
        assert dataclasses.replace(a, poses=b.poses) == b


def test_words_ids_and_texts(dgs_zip: Path) -> None:
    clips = {c.id: c for c in dgs.read(dgs_zip).clips}
    webcam, dictionary = clips["dgs/webcam/fussball/F003"], clips["dgs/dictionary/Fussball"]
    assert webcam.gloss == dictionary.gloss == "fussball"
    assert webcam.texts == (("de", "Fußball"), ("en", "Soccer")) and dictionary.texts == (("de", "Fussball"),)
    assert (webcam.source, dictionary.source, webcam.sign_language) == ("webcam", "dictionary", "gsg")
    assert clips["dgs/dictionary/Mücke"].gloss == clips["dgs/dictionary/Muecke"].gloss == "muecke"
    assert clips["dgs/dictionary/16:9"].text("de") == "16:9"
    assert clips["dgs/dictionary/Golden_Goal"].text("de") == "Golden Goal"
    assert clips["dgs/webcam/essen/copy"].split == clips["dgs/webcam/essen/e000"].split


def test_points(dgs_zip: Path) -> None:
    clips = {c.id: c for c in dgs.read(dgs_zip).clips}
    webcam, dictionary = clips["dgs/webcam/fussball/F003"].poses, clips["dgs/dictionary/Fussball"].poses
    face, hands = dgs.parse(
        Archive(dgs_zip).read("SignLanguageRecognition-d6358d5/lab/data/absolute/3D_full/Fußball/F003.csv")
    )
    np.testing.assert_allclose(webcam[:, NOSE, :2], face)
    assert np.isnan(webcam[:, NOSE, 2]).all() and np.isnan(webcam[:, 1:33]).all()
    # In these files the first hand is left of the face in the image: the signer's right hand.
    np.testing.assert_allclose(webcam[:, RIGHT_HAND], hands[:, 0], rtol=1e-6)
    np.testing.assert_allclose(webcam[:, LEFT_HAND], hands[:, 1], rtol=1e-6)
    assert np.isfinite(dictionary[:, RIGHT_HAND, :2]).all() and np.isnan(dictionary[..., 2]).all()


def test_other_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(CorpusError, match="give an archive of SignLanguageRecognition"):
        dgs.read(tmp_path)
    bad = tmp_path / "lab/data/absolute/2D_unknown/unknown/Haus.csv"
    bad.parent.mkdir(parents=True)
    bad.write_text("face_x;face_y\n0.5;0.3;0.1\n")
    with pytest.raises(CorpusError, match=r"Haus.csv is not a CSV of this corpus \(a row of 3 values"):
        dgs.read(tmp_path)
    bad.rename(tmp_path / "broken.zip")
    with pytest.raises(CorpusError, match="not a readable zip"):
        dgs.read(tmp_path / "broken.zip")


def test_the_whole_corpus_of_a_mirror(mirror: Path | None) -> None:
    if mirror is None or dgs.find_mirror(mirror) is None:
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    poses = dgs.read(dgs.find_mirror(mirror))  # type: ignore[arg-type]
    clips = poses.clips
    assert dgs.RELEASE.download is not None and poses.digest == dgs.RELEASE.download.digest
    assert Counter(c.source for c in clips) == {"webcam": 1755, "dictionary": 3012}
    words = {source: {c.gloss for c in clips if c.source == source} for source in ("webcam", "dictionary")}
    assert len(words["webcam"]) == 30 and len(words["webcam"] | words["dictionary"]) == 3026
    assert " ".join(sorted(words["webcam"] & words["dictionary"])) == (
        "du essen foto fussball gestern haben heute hunger land lernen lieben rennen trinken wetter"
    )
    assert len({c.id for c in clips}) == 4767 and all(c.text("en") for c in clips if c.source == "webcam")
    by_word = Counter((c.gloss, c.split) for c in clips if c.source == "webcam")
    for word in words["webcam"]:
        number = sum(by_word[word, s] for s in ("train", "dev", "test"))
        assert abs(by_word[word, "test"] - 0.2 * number) <= 1 and abs(by_word[word, "dev"] - 0.1 * number) <= 1


def test_false_detections_are_removed() -> None:
    hand = np.linspace(0.3, 0.4, 42).reshape(21, 2)
    unset = np.full((21, 2), 1e-39)
    rows = [(hand, hand + 0.2), (hand, unset), (hand, hand + 1e-3), (unset, hand)]
    header = ";".join(["face_x", "face_y"] + [f"landmark_{a}_{i}" for i in range(1, 43) for a in "xy"])
    lines = [";".join(map(str, [0.5, 0.2, *a.ravel(), *b.ravel()])) for a, b in rows]
    _, hands = dgs.parse("\n".join([header, *lines]).encode())
    detected = np.isfinite(hands[:, :, 0, 0])
    assert detected.tolist() == [[True, True], [True, False], [True, False], [False, True]]
