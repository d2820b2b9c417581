"""Procedural signs: deterministic, distinct, anatomically sound, with signers disjoint between splits."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from signatlas.errors import CorpusError
from signatlas.pose import skeleton as sk
from signatlas.synthetic import kinematics, procedural


def test_deterministic_by_seed() -> None:
    (_, first), (_, again), (_, other) = (procedural.compose(3, 3, 2, seed) for seed in (0, 0, 1))
    assert [c.id for c in first] == [c.id for c in again]
    assert all(np.array_equal(a.poses, b.poses, equal_nan=True) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.poses, b.poses, equal_nan=True) for a, b in zip(first, other, strict=True))


def test_procedural_corpora_are_labeled_as_synthetic() -> None:
    info, clips = procedural.compose(4, 6, 2)
    assert info.synthetic and info.name == "procedural" and info.license == "Apache-2.0"
    assert {(c.source, c.signer_kind, c.sign_language, c.fps) for c in clips} == {
        ("procedural", "synthetic", "mis", 25.0)
    }
    assert len(clips) == 48 and len({c.gloss for c in clips}) == 4 and len({c.id for c in clips}) == 48
    splits_of = defaultdict(set)
    for clip in clips:
        splits_of[clip.signer].add(clip.split)
    assert all(len(s) == 1 for s in splits_of.values()) and set.union(*splits_of.values()) == {"train", "dev", "test"}


def test_signs_are_distinct_and_their_number_is_limited() -> None:
    signs = procedural.make_signs(200, 0)
    assert len({(s.handshape, s.location, s.movement, s.orientation, s.hands) for s in signs}) == 200
    for number in (0, 10**6):
        with pytest.raises(CorpusError, match="signs"):
            procedural.make_signs(number, 0)


def test_bones_of_a_hand_keep_their_length() -> None:
    rng = np.random.default_rng(0)
    points = kinematics.hand(rng.uniform(0, 1, (50, 5)), rng.uniform(0, 1, 50))
    bones = np.linalg.norm(points[:, 1:] - points[:, list(sk.HAND_PARENTS[1:])], axis=-1)
    np.testing.assert_allclose(bones.std(axis=0), 0, atol=1e-9)
    assert np.linalg.norm(points[:, sk.HAND_MIDDLE_MCP], axis=-1) == pytest.approx(1.0)


def test_a_fist_is_smaller_than_a_flat_hand_and_closes_to_the_palm() -> None:
    flat, fist = kinematics.hand(np.array([[0.0] * 5, [1.0] * 5]), np.zeros(2))
    tips = [8, 12, 16, 20]
    assert (np.linalg.norm(fist[tips], axis=-1) < 0.6 * np.linalg.norm(flat[tips], axis=-1)).all()
    assert (fist[[6, 10, 14, 18], 2] > 0).all()  # fingers bend out of the palm's side, never backwards


def test_hands_hang_on_their_wrists_and_arms_keep_their_length() -> None:
    sign = procedural.make_signs(1, 3)[0]
    for index in (0, 4):
        signer = procedural.make_signer(index, 0)
        quiet = procedural.Signer(**{**vars(signer), "noise": 0.0})
        poses = procedural.perform(sign, quiet, np.random.default_rng(0)).astype(np.float64)
        metric = poses / [1.0, procedural.WIDTH / procedural.HEIGHT, 1.0] / signer.shoulders
        for wrist, elbow, shoulder, hand in (
            (sk.LEFT_WRIST, sk.LEFT_ELBOW, sk.LEFT_SHOULDER, sk.LEFT_HAND),
            (sk.RIGHT_WRIST, sk.RIGHT_ELBOW, sk.RIGHT_SHOULDER, sk.RIGHT_HAND),
        ):
            present = np.isfinite(poses[:, hand.start, 0])
            np.testing.assert_allclose(poses[present, hand.start, :2], poses[present, wrist, :2], atol=1e-6)
            lower = np.linalg.norm(metric[:, wrist] - metric[:, elbow], axis=-1)
            upper = np.linalg.norm(metric[:, elbow] - metric[:, shoulder], axis=-1)
            np.testing.assert_allclose(lower, procedural.FOREARM, atol=1e-3)
            np.testing.assert_allclose(upper, procedural.UPPER_ARM, atol=1e-3)
        assert (poses[:, sk.RIGHT_SHOULDER, 0] < poses[:, sk.LEFT_SHOULDER, 0]).all()  # the image is not mirrored


def test_a_left_handed_signer_signs_with_the_left_hand() -> None:
    sign = procedural.Sign("s", "flat", "forehead", "hold", "palm out", "one")
    for index, hand in ((0, sk.RIGHT_WRIST), (4, sk.LEFT_WRIST)):
        signer = procedural.make_signer(index, 0)
        assert signer.left_handed == (index == 4)
        poses = procedural.perform(sign, signer, np.random.default_rng(1))
        middle = poses[len(poses) // 2]
        other = sk.LEFT_WRIST if hand == sk.RIGHT_WRIST else sk.RIGHT_WRIST
        assert middle[hand, 1] < middle[sk.LEFT_SHOULDER, 1] < middle[other, 1]
