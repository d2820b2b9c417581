"""Hands, movement and location of procedural signs, whose parameters are known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from signatlas.pose import skeleton as sk
from signatlas.pose.attributes import LOCATIONS, MOVEMENTS, UNKNOWN, attributes
from signatlas.synthetic.procedural import HEIGHT, WIDTH, Sign, make_signer, make_signs, perform

MOVEMENT_OF = {
    "hold": "none", "out": "straight", "down": "straight", "sideways": "straight", "arc": "arc", "circle": "circle",
    "shake": "back_and_forth", "close": "none", "twist": "none",
}  # fmt: skip
LOCATION_OF = {
    "forehead": "head", "chin": "head", "shoulder": "chest", "chest": "chest", "space": "chest", "belly": "waist",
}  # fmt: skip


@cache
def performances() -> list[tuple[Sign, np.ndarray]]:
    """300 signs, each by one of ten signers, two of them left-handed."""
    signers = [make_signer(n, 1) for n in range(10)]
    return [(sign, perform(sign, signers[n % 10], np.random.default_rng([1, n])))
            for n, sign in enumerate(make_signs(300, 1))]  # fmt: skip


def truth(sign: Sign) -> tuple[int, str, str]:
    return 1 if sign.hands == "one" else 2, MOVEMENT_OF[sign.movement], LOCATION_OF[sign.location]


def accuracy(change=lambda poses: poses) -> np.ndarray:
    """Return the accuracy of hands, movement and location."""
    right = [np.equal(np.array(attributes(change(poses), WIDTH, HEIGHT), object), np.array(truth(sign), object))
             for sign, poses in performances()]  # fmt: skip
    return np.mean(right, axis=0)


def test_the_parameters_of_procedural_signs_are_recognized() -> None:
    hands, movement, location = accuracy()
    assert hands >= 0.99 and movement >= 0.97 and location >= 0.96
    values = {tuple(attributes(poses, WIDTH, HEIGHT)) for _, poses in performances()}
    assert {v[1] for v in values} == set(MOVEMENTS) and {v[2] for v in values} == set(LOCATIONS)


def test_missing_points_cost_little_accuracy() -> None:
    rng = np.random.default_rng(0)

    def drop(poses: np.ndarray) -> np.ndarray:
        poses = poses.copy()
        for hand in (sk.LEFT_HAND, sk.RIGHT_HAND):
            poses[rng.random(len(poses)) < 0.25, hand] = np.nan
        poses[:, [sk.LEFT_HIP, sk.RIGHT_HIP]] = np.nan
        poses[rng.random(len(poses)) < 0.25, : sk.RIGHT_SHOULDER + 1] = np.nan
        poses[..., 2] = np.nan
        return poses

    hands, movement, location = accuracy(drop)
    assert hands >= 0.97 and movement >= 0.93 and location >= 0.93


def test_position_scale_and_side_do_not_matter() -> None:
    """Powers of two and a mirror at zero change no bit of the rest of the computation but by rounding."""
    for sign, poses in performances()[::6]:
        expected = attributes(poses, WIDTH, HEIGHT)
        shifted = poses * np.float32([0.5, 0.5, 0.5]) + np.float32([0.13, -0.05, 0])
        mirrored = poses[:, sk.MIRROR] * np.float32([-1, 1, 1]) + np.float32([1, 0, 0])
        assert attributes(shifted, WIDTH, HEIGHT) == expected, sign
        assert attributes(mirrored, WIDTH, HEIGHT) == expected, sign
        assert attributes(poses.copy(), WIDTH, HEIGHT) == expected


def test_one_hand_without_a_body_has_attributes_and_nothing_has_none() -> None:
    sign, poses = next((s, p) for s, p in performances() if s.hands == "one" and s.movement == "circle")
    bodiless = poses.copy()
    bodiless[:, 1 : sk.NUM_BODY] = np.nan
    found = attributes(bodiless, WIDTH, HEIGHT)
    assert found.movement == "circle" and found.hands == truth(sign)[0]
    nothing = np.full((9, 75, 3), np.nan, np.float32)
    assert attributes(nothing) == attributes(nothing[:0]) == UNKNOWN
    nothing[:, sk.NOSE] = 0.5
    assert attributes(nothing) == UNKNOWN, "a face alone"


@pytest.mark.parametrize("frames", [1, 2, 3, 5000])
def test_any_number_of_frames_has_attributes(frames: int) -> None:
    poses = np.resize(performances()[0][1], (frames, 75, 3))
    found = attributes(poses, WIDTH, HEIGHT)
    assert found.hands in (1, 2) and found.movement in MOVEMENTS and found.location in LOCATIONS
