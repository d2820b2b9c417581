"""Maps of one pair, and where in time the clips are."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.evaluation.sign_to_word.maps import clip_frames, sign_to_word_map
from signatlas.features.store import FeatureInfo, subsample
from signatlas.features.windows import centers
from signatlas.retrieval.tokens import unit


def info(**changes: object) -> FeatureInfo:
    fields = {"kind": "windows", "streams": ("agnostic",), "width": 4, "corpus": "c", "corpus_fingerprint": "f",
            "window": 16, "stride": 1, "limit": 64}  # fmt: skip
    return FeatureInfo.model_validate({**fields, **changes})


def test_each_word_matches_its_clip() -> None:
    clips = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    words = np.eye(4, dtype=np.float32)[[2, 0, 1]]
    maps = sign_to_word_map(clips, words, [("c", [0]), ("ab", [1, 2])], tau=0.07)
    assert maps.words == ("c", "ab")
    np.testing.assert_allclose(maps.cosines, [[0, 0.5], [0, 0.5], [0, 0.5], [1, 0]])
    assert maps.word_attention[:, 0].argmax() == 3 and maps.word_attention[3, 0] > 0.99
    np.testing.assert_allclose(maps.word_attention[:, 1], [0.25, 0.25, 0.5, 0], atol=1e-4)  # two tokens, averaged
    np.testing.assert_allclose(maps.clip_attention, [[0, 1], [0, 1], [0, 1], [1, 0]], atol=1e-4)


def test_attention_sums_to_one_and_words_need_not_cover_all_tokens() -> None:
    rng = np.random.default_rng(0)
    clips, words = unit(rng.normal(0, 1, (7, 5))), unit(rng.normal(0, 1, (4, 5)))
    whole = sign_to_word_map(clips, words, [("a", [0, 1]), ("b", [2]), ("c", [3])], tau=0.1)
    np.testing.assert_allclose(whole.clip_attention.sum(1), 1)
    np.testing.assert_allclose(whole.word_attention.sum(0), 1)
    part = sign_to_word_map(clips, words, [("b", [2])], tau=0.1)
    np.testing.assert_allclose(part.clip_attention[:, 0], whole.clip_attention[:, 1])
    with pytest.raises(ValueError, match="no map"):
        sign_to_word_map(clips, words, [], tau=0.1)


def test_clips_are_at_the_middles_of_their_windows() -> None:
    middles = centers(200, 16, 1, 64)
    np.testing.assert_array_equal(clip_frames(info(), 200, 64, 64), middles)
    np.testing.assert_array_equal(clip_frames(info(), 200, 64, 10), middles[subsample(64, 10)])
    assert clip_frames(info(), 5, 1, 64).tolist() == centers(5, 16, 1, 64).tolist()


def test_the_oracle_has_a_clip_per_gloss_and_unknown_windows_are_evenly_spaced() -> None:
    oracle = info(kind="glosses", window=None, stride=None, limit=None)
    assert clip_frames(oracle, 50, 2, 8, [[0, 11], [20, 41]]).tolist() == [5, 30]
    assert clip_frames(info(window=None, kind="precomputed"), 100, 4, 8).tolist() == [12.5, 37.5, 62.5, 87.5]
