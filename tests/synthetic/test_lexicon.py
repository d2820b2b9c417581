"""The lexicon of isolated recordings: calibration, splits, trimming and hands at rest."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.errors import CorpusError
from signatlas.synthetic.composition.lexicon import Lexicon, build_lexicon, calibrate_lexicon, collect
from signatlas.synthetic.composition.motion import LEFT, RIGHT, Motion, from_poses
from signatlas.synthetic.composition.trimming import is_left_handed, remove_idle_hand, shorten_holds, trim
from tests.synthetic.conftest import SEVERAL, SINGLE, recording, recordings


def test_calibration_aligns_two_cameras(lexicon: Lexicon) -> None:
    """The webcam scales x by 0.8, the dictionary by 1.2."""
    calibrations = lexicon.calibrations
    assert calibrations["webcam"].aspect / calibrations["dictionary"].aspect == pytest.approx(1.2 / 0.8, rel=0.1)
    by_source = {s: [e.motion for e in lexicon.exemplars if e.source == s] for s in calibrations}
    for hand in (LEFT, RIGHT):
        means = {s: np.concatenate([m.wrists[m.seen[:, hand], hand] for m in motions]).mean(0)
                 for s, motions in by_source.items()}  # fmt: skip
        np.testing.assert_allclose(means["webcam"], means["dictionary"], atol=0.3)
    lengths = {s: np.median([len(m) for m in motions]) for s, motions in by_source.items()}
    assert lengths["webcam"] == pytest.approx(lengths["dictionary"], abs=2)


def test_known_frame_rates_are_not_calibrated() -> None:
    from dataclasses import replace

    built = build_lexicon(replace(clip, fps=25.0) for clip in recordings())
    assert {c.time for c in built.calibrations.values()} == {1.0}


def test_words_with_several_recordings_have_some_in_each_split(lexicon: Lexicon) -> None:
    for word in SEVERAL:
        splits = {split: {e.id for e in lexicon.recordings(word, split)} for split in ("train", "dev", "test")}
        assert not lexicon.shared(word)
        assert all(splits.values()) and len(set.union(*splits.values())) == 9
    for word in SINGLE:
        assert lexicon.shared(word)
        assert lexicon.recordings(word, "train") == lexicon.recordings(word, "test")
    with pytest.raises(CorpusError, match="no recording of 'unheard'"):
        lexicon.recordings("unheard", "train")


def test_words_with_several_webcam_recordings_use_no_dictionary_recording() -> None:
    extra = recording("many0", 99, palm=0.06, wide=1.2, source="dictionary", split="train")
    built = build_lexicon([*recordings(), extra])
    assert {e.source for e in built.recordings("many0", "train")} == {"webcam"}


def test_left_handed_recordings_become_right_handed() -> None:
    motion = from_poses(recording("one1", 0, palm=0.1, wide=1.0, source="s", split="train", two_handed=False).poses)
    assert motion is not None
    assert not is_left_handed(motion)
    assert is_left_handed(motion.mirrored())


def test_trimming_removes_rise_and_return() -> None:
    height = np.concatenate([np.linspace(9, 2, 10), np.full(15, 2.0), np.linspace(2, 9, 10)])
    wrists = np.zeros((35, 2, 2))
    wrists[:, RIGHT, 1] = height
    motion = Motion(wrists, np.zeros((35, 2, 21, 2)), np.tile([False, True], (35, 1)))
    kept = trim(motion)
    assert 15 <= len(kept) <= 27
    assert kept.wrists[:, RIGHT, 1].max() < 6


def test_signs_without_rest_are_not_trimmed() -> None:
    wrists = np.zeros((20, 2, 2))
    wrists[:, RIGHT, 1] = 3 + 0.3 * np.sin(np.arange(20))
    motion = Motion(wrists, np.zeros((20, 2, 21, 2)), np.tile([False, True], (20, 1)))
    assert len(trim(motion)) == 20


@pytest.mark.parametrize(("lower", "moving", "kept"), [(3.0, 0.0, False), (0.0, 0.0, True), (3.0, 2.0, True)])
def test_idle_hands_are_removed(lower: float, moving: float, kept: bool) -> None:
    wrists = np.zeros((20, 2, 2))
    wrists[:, LEFT, 1] = lower + moving * np.sin(np.arange(20))
    motion = Motion(wrists, np.ones((20, 2, 21, 2)), np.ones((20, 2), bool))
    assert remove_idle_hand(motion).has(LEFT) == kept


def test_holds_become_shorter() -> None:
    wrists = np.zeros((40, 2, 2))
    wrists[:, RIGHT, 0] = np.concatenate([np.zeros(15), np.linspace(0, 5, 10), np.full(15, 5.0)])
    motion = Motion(wrists, np.zeros((40, 2, 21, 2)), np.tile([False, True], (40, 1)))
    even = shorten_holds(motion).wrists[:, RIGHT, 0]
    still = (np.abs(np.diff(wrists[:, RIGHT, 0])) < 0.05).mean()
    assert (np.abs(np.diff(even)) < 0.05).mean() < still
    assert even[0] == pytest.approx(0) and even[-1] == pytest.approx(5)


def test_unusable_recordings_are_listed_and_empty_lexicons_refused() -> None:
    from dataclasses import replace

    blank = replace(next(recordings()), id="blank", poses=np.full((9, 75, 3), np.nan, np.float32))
    nameless = replace(next(recordings()), id="nameless", gloss=None)
    built = build_lexicon([*recordings(), blank, nameless])
    assert built.skipped == {"blank": "fewer than three frames, no face or no hand", "nameless": "no gloss"}
    with pytest.raises(CorpusError, match="no recording of the lexicon"):
        build_lexicon([blank])


def test_calibration_weights_recordings_by_word_counts() -> None:
    """Means agree only if weighted, because one word is much more frequent than the others."""
    counts = {**dict.fromkeys(SINGLE, 1), SINGLE[0]: 200, **dict.fromkeys(SEVERAL, 10)}
    for weighted in (True, False):
        built = calibrate_lexicon(collect(recordings()), counts if weighted else None)
        means = []
        for source in ("webcam", "dictionary"):
            parts = [(e.motion, counts[e.word] / built.words[e.word]) for e in built.exemplars if e.source == source]
            places = np.stack([m.wrists[m.seen[:, RIGHT], RIGHT].mean(0) for m, _ in parts])
            means.append(np.average(places, axis=0, weights=[w for _, w in parts]))
        assert (np.abs(means[0] - means[1]).max() < 0.4) == weighted


def test_words_without_a_count_are_left_out() -> None:
    built = calibrate_lexicon(collect(recordings()), dict.fromkeys(SINGLE[:3], 1))
    assert set(built.words) == set(SINGLE[:3])


def test_a_hand_reaching_for_the_camera_is_cut_off() -> None:
    """Webcam users stop a recording with the signing hand, which then looks large."""
    wrists = np.full((30, 2, 2), 3.0)
    shapes = np.zeros((30, 2, 21, 2))
    shapes[:, RIGHT, 9, 1] = -1.0
    motion = Motion(wrists, shapes, np.tile([False, True], (30, 1)))
    assert len(trim(motion)) == 30
    shapes[22:, RIGHT, 9, 1] = -2.2
    assert len(trim(motion)) == 22


@pytest.mark.parametrize("words", [["many0"], ["one0"], ["one1"], ["one2", "one3"]])
def test_hands_at_rest_do_not_depend_on_word_counts(lexicon: Lexicon, words: list[str]) -> None:
    built = calibrate_lexicon(collect(recordings()), dict.fromkeys(words, 1))
    np.testing.assert_array_equal(built.relaxed, lexicon.relaxed)
    assert np.linalg.norm(built.relaxed[:, 9], axis=-1).min() > 0.5


def test_the_rest_shape_of_an_unseen_hand_is_mirrored() -> None:
    one_handed = [recording(w, 0, palm=0.1, wide=1.0, source="s", split="train", two_handed=False) for w in SINGLE[:3]]
    relaxed = build_lexicon(one_handed).relaxed
    np.testing.assert_allclose(relaxed[LEFT], relaxed[RIGHT] * np.array([-1, 1]))


def test_splits_with_recordings_use_only_those() -> None:
    """Dev has none and uses all, so the word is marked as shared; test uses only its own."""
    few = [recording("tea", n, palm=0.1, wide=1.0, source="s", split="train" if n < 8 else "test") for n in range(10)]
    built = build_lexicon(few)
    assert built.shared("tea")
    assert {e.split for e in built.recordings("tea", "test")} == {"test"}
    assert {e.split for e in built.recordings("tea", "train")} == {"train"}
    assert len(built.recordings("tea", "dev")) == 10


def test_sources_without_a_hand_do_not_affect_its_calibration() -> None:
    both = [recording(w, n, palm=0.1, wide=1.0, source="two", split="train") for w in SEVERAL for n in range(9)]
    alone = [recording(w, 0, palm=0.1, wide=1.0, source="one", split="train", two_handed=False) for w in SINGLE]
    calibrations = build_lexicon([*both, *alone]).calibrations
    np.testing.assert_allclose(calibrations["two"].gain[LEFT], 1.0)
    np.testing.assert_allclose(calibrations["two"].shift[LEFT], 0.0, atol=1e-9)
    assert np.isfinite(calibrations["one"].gain).all() and np.isfinite(calibrations["one"].shift).all()
