from __future__ import annotations

import numpy as np
import pytest

from signatlas.errors import CorpusError
from signatlas.synthetic.composition.lexicon import Lexicon, build, calibrated, collect
from signatlas.synthetic.composition.motion import LEFT, RIGHT, Motion, from_poses
from signatlas.synthetic.composition.trimming import evened, left_handed, trim, without_idle
from tests.synthetic.conftest import SEVERAL, SINGLE, recording, recordings


def test_two_cameras_look_alike_afterwards(lexicon: Lexicon) -> None:
    """The webcam squeezes x by 0.8 and the dictionary stretches it by 1.2: only what is shared is left."""
    found = lexicon.calibrations
    assert found["webcam"].aspect / found["dictionary"].aspect == pytest.approx(1.2 / 0.8, rel=0.1)
    by_source = {s: [e.motion for e in lexicon.exemplars if e.source == s] for s in found}
    for hand in (LEFT, RIGHT):
        means = {s: np.concatenate([m.wrists[m.seen[:, hand], hand] for m in held]).mean(0)
                 for s, held in by_source.items()}  # fmt: skip
        np.testing.assert_allclose(means["webcam"], means["dictionary"], atol=0.3)
    lengths = {s: np.median([len(m) for m in held]) for s, held in by_source.items()}
    assert lengths["webcam"] == pytest.approx(lengths["dictionary"], abs=2)


def test_a_known_frame_rate_is_taken_at_its_word() -> None:
    from dataclasses import replace

    known = build(replace(clip, fps=25.0) for clip in recordings())
    assert {c.time for c in known.calibrations.values()} == {1.0}


def test_recordings_are_split_where_there_are_enough(lexicon: Lexicon) -> None:
    for word in SEVERAL:
        splits = {split: {e.id for e in lexicon.recordings(word, split)} for split in ("train", "dev", "test")}
        assert not lexicon.shared(word)
        assert all(splits.values()) and len(set.union(*splits.values())) == 9
    for word in SINGLE:
        assert lexicon.shared(word)
        assert lexicon.recordings(word, "train") == lexicon.recordings(word, "test")
    with pytest.raises(CorpusError, match="no recording of 'unheard'"):
        lexicon.recordings("unheard", "train")


def test_a_word_with_several_recordings_is_not_taken_from_the_dictionary() -> None:
    extra = recording("many0", 99, palm=0.06, wide=1.2, source="dictionary", split="train")
    held = build([*recordings(), extra])
    assert {e.source for e in held.recordings("many0", "train")} == {"webcam"}


def test_left_handed_recordings_become_right_handed() -> None:
    motion = from_poses(recording("one1", 0, palm=0.1, wide=1.0, source="s", split="train", two_handed=False).poses)
    assert motion is not None
    assert not left_handed(motion)
    assert left_handed(motion.mirrored())


def test_trimming_takes_the_way_from_rest_and_back() -> None:
    height = np.concatenate([np.linspace(9, 2, 10), np.full(15, 2.0), np.linspace(2, 9, 10)])
    wrists = np.zeros((35, 2, 2))
    wrists[:, RIGHT, 1] = height
    motion = Motion(wrists, np.zeros((35, 2, 21, 2)), np.tile([False, True], (35, 1)))
    kept = trim(motion)
    assert 15 <= len(kept) <= 27
    assert kept.wrists[:, RIGHT, 1].max() < 6


def test_a_sign_without_rest_is_not_trimmed() -> None:
    wrists = np.zeros((20, 2, 2))
    wrists[:, RIGHT, 1] = 3 + 0.3 * np.sin(np.arange(20))
    motion = Motion(wrists, np.zeros((20, 2, 21, 2)), np.tile([False, True], (20, 1)))
    assert len(trim(motion)) == 20


@pytest.mark.parametrize(("lower", "moving", "kept"), [(3.0, 0.0, False), (0.0, 0.0, True), (3.0, 2.0, True)])
def test_a_hand_that_only_hangs_takes_no_part(lower: float, moving: float, kept: bool) -> None:
    wrists = np.zeros((20, 2, 2))
    wrists[:, LEFT, 1] = lower + moving * np.sin(np.arange(20))
    motion = Motion(wrists, np.ones((20, 2, 21, 2)), np.ones((20, 2), bool))
    assert without_idle(motion).has(LEFT) == kept


def test_holds_become_shorter() -> None:
    wrists = np.zeros((40, 2, 2))
    wrists[:, RIGHT, 0] = np.concatenate([np.zeros(15), np.linspace(0, 5, 10), np.full(15, 5.0)])
    motion = Motion(wrists, np.zeros((40, 2, 21, 2)), np.tile([False, True], (40, 1)))
    even = evened(motion).wrists[:, RIGHT, 0]
    still = (np.abs(np.diff(wrists[:, RIGHT, 0])) < 0.05).mean()
    assert (np.abs(np.diff(even)) < 0.05).mean() < still
    assert even[0] == pytest.approx(0) and even[-1] == pytest.approx(5)


def test_unusable_recordings_are_named_and_an_empty_lexicon_is_refused() -> None:
    from dataclasses import replace

    blank = replace(next(recordings()), id="blank", poses=np.full((9, 75, 3), np.nan, np.float32))
    nameless = replace(next(recordings()), id="nameless", gloss=None)
    held = build([*recordings(), blank, nameless])
    assert held.skipped == {"blank": "no face or no hand in three frames", "nameless": "no gloss"}
    with pytest.raises(CorpusError, match="no recording of the lexicon"):
        build([blank])


def test_sources_are_brought_together_as_often_as_their_words_are_signed() -> None:
    """Weighted by use the means agree; unweighted they would not, as one word is signed far more than others."""
    counts = {**dict.fromkeys(SINGLE, 1), SINGLE[0]: 200, **dict.fromkeys(SEVERAL, 10)}
    for weighted in (True, False):
        held = calibrated(collect(recordings()), counts if weighted else None)
        means = []
        for source in ("webcam", "dictionary"):
            parts = [(e.motion, counts[e.word] / held.words[e.word]) for e in held.exemplars if e.source == source]
            places = np.stack([m.wrists[m.seen[:, RIGHT], RIGHT].mean(0) for m, _ in parts])
            means.append(np.average(places, axis=0, weights=[w for _, w in parts]))
        assert (np.abs(means[0] - means[1]).max() < 0.4) == weighted


def test_words_that_are_not_signed_are_left_out() -> None:
    held = calibrated(collect(recordings()), dict.fromkeys(SINGLE[:3], 1))
    assert set(held.words) == set(SINGLE[:3])


def test_a_hand_that_reaches_for_the_camera_is_no_part_of_the_sign() -> None:
    """Webcam users stop a recording with the hand that signs: it comes near, and looks large."""
    wrists = np.full((30, 2, 2), 3.0)
    shapes = np.zeros((30, 2, 21, 2))
    shapes[:, RIGHT, 9, 1] = -1.0
    motion = Motion(wrists, shapes, np.tile([False, True], (30, 1)))
    assert len(trim(motion)) == 30
    shapes[22:, RIGHT, 9, 1] = -2.2
    assert len(trim(motion)) == 22


@pytest.mark.parametrize("words", [["many0"], ["one0"], ["one1"], ["one2", "one3"]])
def test_hands_rest_the_same_however_few_words_are_signed(lexicon: Lexicon, words: list[str]) -> None:
    held = calibrated(collect(recordings()), dict.fromkeys(words, 1))
    np.testing.assert_array_equal(held.relaxed, lexicon.relaxed)
    assert np.linalg.norm(held.relaxed[:, 9], axis=-1).min() > 0.5


def test_a_hand_that_no_recording_shows_is_the_other_mirrored() -> None:
    one_handed = [recording(w, 0, palm=0.1, wide=1.0, source="s", split="train", two_handed=False) for w in SINGLE[:3]]
    relaxed = build(one_handed).relaxed
    np.testing.assert_allclose(relaxed[LEFT], relaxed[RIGHT] * np.array([-1, 1]))


def test_a_split_with_recordings_of_its_own_never_takes_those_of_another() -> None:
    """With none for dev, dev borrows and the word is marked; test still has its own alone."""
    few = [recording("tea", n, palm=0.1, wide=1.0, source="s", split="train" if n < 8 else "test") for n in range(10)]
    held = build(few)
    assert held.shared("tea")
    assert {e.split for e in held.recordings("tea", "test")} == {"test"}
    assert {e.split for e in held.recordings("tea", "train")} == {"train"}
    assert len(held.recordings("tea", "dev")) == 10


def test_a_source_without_a_hand_has_no_say_in_where_it_is() -> None:
    both = [recording(w, n, palm=0.1, wide=1.0, source="two", split="train") for w in SEVERAL for n in range(9)]
    alone = [recording(w, 0, palm=0.1, wide=1.0, source="one", split="train", two_handed=False) for w in SINGLE]
    found = build([*both, *alone]).calibrations
    np.testing.assert_allclose(found["two"].gain[LEFT], 1.0)
    np.testing.assert_allclose(found["two"].shift[LEFT], 0.0, atol=1e-9)
    assert np.isfinite(found["one"].gain).all() and np.isfinite(found["one"].shift).all()
