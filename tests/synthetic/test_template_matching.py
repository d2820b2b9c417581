"""Template matching against a plain implementation, on exact copies, and with missing hands."""

from __future__ import annotations

import time
from functools import cache
from itertools import product

import numpy as np
import pytest

from signatlas.pose import skeleton as sk
from signatlas.synthetic.probes.template_matching import (
    MAX_STEP,
    Recognizer,
    TuningResult,
    hand_features,
    missed_shares,
    recognize,
    wer,
)


def plain_distance(a: np.ndarray, b: np.ndarray, absent: float) -> float:
    total, either = 0.0, 0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        if np.isfinite(x) and np.isfinite(y):
            total, either = total + (x - y) ** 2, either + 1
        elif np.isfinite(x) or np.isfinite(y):
            total, either = total + absent, either + 1
    return total / max(either, 1)


def plain_search(distance: np.ndarray, lengths: list[int], penalty: float, filler: float) -> list[int]:
    """Return the words of the cheapest path through ``distance`` [T, all template frames], by recursion."""
    firsts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).tolist()

    @cache
    def at(t: int, word: int, frame: int) -> tuple[float, tuple[int, ...]]:
        paths = [at(t - 1, word, frame - step) for step in range(min(frame, MAX_STEP) + 1)] if t else []
        if frame == 0:
            before, words = between(t - 1)
            paths.append((before + penalty, (*words, word)))
        cost, words = min(paths, default=(float("inf"), ()))
        return cost + float(distance[t, firsts[word] + frame]), words

    @cache
    def between(t: int) -> tuple[float, tuple[int, ...]]:
        if t < 0:
            return 0.0, ()
        idle_cost, words = between(t - 1)
        return min((idle_cost + filler, words), *(at(t, word, n - 1) for word, n in enumerate(lengths)))

    cost, words = between(len(distance) - 1)
    return list(words) if np.isfinite(cost) else []


def with_gaps(rng: np.random.Generator, frames: int) -> np.ndarray:
    values = rng.normal(size=(frames, 6)).astype(np.float32)
    values[rng.random(frames) < 0.3, :3] = np.nan
    values[rng.random(frames) < 0.2, 3:] = np.nan
    return values


@pytest.mark.parametrize("seed", range(25))
def test_results_equal_those_of_a_plain_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    templates = [with_gaps(rng, int(n)) for n in rng.integers(1, 7, 4)]
    clip = with_gaps(rng, int(rng.integers(1, 14)))
    model = Recognizer(tuple(templates), ("0", "1", "2", "3"))
    frames = np.concatenate(templates)
    expected = np.array([[plain_distance(a, b, model._absent) for b in frames] for a in clip])
    np.testing.assert_allclose(model.distances(clip), expected, rtol=1e-4, atol=1e-5)
    for penalty, filler in product((0.0, 0.3, 2.0), (0.0, 0.4, 0.8, float("inf"))):
        words = plain_search(expected, [len(t) for t in templates], penalty * model.scale, filler * model.scale)
        assert model.recognize(clip, penalty, filler) == [str(w) for w in words]


def smooth(rng: np.random.Generator, frames: int) -> np.ndarray:
    return np.cumsum(rng.normal(size=(frames, 8)), axis=0).astype(np.float32)


def test_concatenated_templates_are_recognized_without_error() -> None:
    rng = np.random.default_rng(0)
    templates = [smooth(rng, int(n)) for n in rng.integers(6, 20, 12)]
    labels = [f"sign {n}" for n in range(12)]
    references, clips = [], []
    for _ in range(10):
        chosen = rng.integers(0, 12, 5)
        references.append([labels[n] for n in chosen])
        clips.append(np.concatenate([templates[n] for n in chosen]))
    hypotheses = [recognize(clip, templates, labels, 0.5) for clip in clips]
    assert hypotheses == references
    assert wer(references, hypotheses) == 0
    fast = [recognize(clip[::2], templates, labels, 0.5) for clip in clips]
    assert wer(references, fast) < 0.2


def test_penalties_are_tuned_on_development_clips() -> None:
    rng = np.random.default_rng(1)
    templates = tuple(smooth(rng, 10) for _ in range(6))
    model = Recognizer(templates, tuple("abcdef"))
    references = [["a", "b", "c"], ["d", "e", "f"]]
    clips = [np.concatenate(templates[:3]), np.concatenate(templates[3:])]
    noisy = [clip + rng.normal(0, 0.5, clip.shape).astype(np.float32) for clip in clips]
    assert model.tune(noisy, references, (0.5, 1000.0)) == TuningResult(0.5, 0.2, 0.0)
    assert wer(references, [model.recognize(clip, 1000.0) for clip in noisy]) > 0.5


def test_frames_between_signs_give_no_label() -> None:
    rng = np.random.default_rng(5)
    templates = [smooth(rng, 10) for _ in range(4)]
    away = np.full((12, 8), 60, np.float32)
    clip = np.concatenate([away, templates[2], away, templates[0], away])
    model = Recognizer(tuple(templates), tuple("abcd"))
    assert model.recognize(clip, 0.5, 0.4) == ["c", "a"]
    assert model.recognize(away, 0.5, 0.4) == []


def test_clips_shorter_than_every_template_give_no_label() -> None:
    template = smooth(np.random.default_rng(2), 20)
    assert recognize(template[:3], [template], ["a"], 0.0) == []


def test_missing_hands_cost_and_give_no_nan() -> None:
    one, other = np.zeros((4, 6), np.float32), np.ones((4, 6), np.float32)
    one[:, 3:] = np.nan
    model = Recognizer((one, other), ("one", "other"))
    assert np.isfinite(model.distances(np.full((2, 6), np.nan, np.float32))).all()
    assert model.recognize(one, 0.1) == ["one"]
    assert model.recognize(other, 0.1) == ["other"]


def test_word_error_rate() -> None:
    assert wer([["a b", "c"], ["d"]], [["a b"], ["d"]]) == pytest.approx(1 / 3)
    assert wer([["a"]], [["b", "c"]]) == 2
    assert wer([["a"]], [[]]) == 1
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        wer([["a"], ["b"]], [["a"]])


def test_missed_signs_are_counted_by_kind_of_word() -> None:
    references, hypotheses = [["a", "b", "c"], ["a", "a"]], [["a", "x", "c", "d"], ["a"]]
    shares = missed_shares(references, hypotheses, shared={"b"})
    assert shares == {"own": pytest.approx(1 / 4), "shared": pytest.approx(1.0)}
    assert missed_shares([["golden goal", "ich"]], [["ich"]], {"ich"}) == {"own": 1.0, "shared": 0.0}


def test_missing_and_empty_templates_are_refused() -> None:
    with pytest.raises(ValueError, match="0 templates"):
        Recognizer((), ())
    with pytest.raises(ValueError, match="without frames"):
        Recognizer((np.zeros((0, 4)),), ("a",))


def test_features_do_not_depend_on_where_the_signer_stands() -> None:
    rng = np.random.default_rng(3)
    poses = np.full((5, sk.NUM_POINTS, 3), np.nan, np.float32)
    poses[:, sk.NOSE, :2] = (0.5, 0.2)
    poses[:, sk.RIGHT_HAND, :2] = rng.uniform(0.3, 0.6, (5, 21, 2))
    features = hand_features(poses)
    assert features.shape == (5, 88)
    assert np.isnan(features[:, :44]).all()
    assert np.isfinite(features[:, 44:]).all()
    moved = poses * 0.5 + 0.1
    np.testing.assert_allclose(hand_features(moved), features, atol=1e-3)
    assert hand_features(poses[:1]).shape == (1, 88)


def test_recognition_is_fast_for_a_large_lexicon() -> None:
    rng = np.random.default_rng(4)
    model = Recognizer(tuple(smooth(rng, 20) for _ in range(1100)), tuple(map(str, range(1100))))
    clip = smooth(rng, 150)
    model.recognize(clip[:2], 1.0)
    started = time.perf_counter()
    assert model.recognize(clip, 1.0)
    assert time.perf_counter() - started < 3  # about 0.1 s on a free machine
