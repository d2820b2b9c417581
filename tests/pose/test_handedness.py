"""Sides of detected hands, on synthetic sequences and on recordings with sides from another detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.sources import dgs
from signatlas.corpus.sources.archive import Archive
from signatlas.pose.handedness import assign_sides
from signatlas.synthetic.kinematics import hand

PALM = 0.1


def two_hands(frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return hands [frames, 2 (left, right), 21, 2] that circle on their sides and cross the middle slightly."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 2 * np.pi, frames)
    face = np.tile([0.5, 0.25], (frames, 1)) + rng.normal(0, 0.003, (frames, 2))
    shape = hand(np.full((frames, 5), 0.2), np.ones(frames))[:, :, :2] * PALM * [1, -1]
    center = 0.5 + 0.13 * np.stack([np.cos(t + rng.uniform(0, 6)), np.sin(t)], -1)
    right = shape + (center - [0.10, 0])[:, None]
    left = shape * [-1, 1] + (center[:, ::-1] + [0.10, 0])[:, None]
    return np.stack([left, right], axis=1) + rng.normal(0, 0.002, (frames, 2, 21, 2)), face


def shuffle(hands: np.ndarray, seed: int, drop: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the output of a detector without sides (random order, missing hands, a lone hand first), and the truth."""
    rng = np.random.default_rng(seed)
    truth = hands.copy()
    truth[rng.random(hands.shape[:2]) < drop] = np.nan
    flip = (rng.random(len(hands)) < 0.5)[:, None, None, None]
    detected = np.where(flip, truth[:, ::-1], truth)
    lone_second = np.isnan(detected[:, 0, 0, 0])
    detected[lone_second] = detected[lone_second][:, ::-1]
    return detected, truth


@pytest.mark.parametrize(("drop", "floor"), [(0.0, 0.995), (0.15, 0.975), (0.4, 0.92)])
@pytest.mark.parametrize("zoom", [1.0, 0.4])
def test_known_sides_are_recovered(drop: float, floor: float, zoom: float) -> None:
    right = total = 0
    for seed in range(20):
        hands, face = two_hands(40, seed)
        detected, truth = shuffle(hands * zoom, seed, drop)
        same = ((assign_sides(detected, face * zoom) == truth) | np.isnan(truth)).all(axis=(1, 2, 3))
        right, total = right + int(same.sum()), total + len(same)
    assert right / total > floor


def test_mirrored_two_handed_signing_gets_mirrored_sides() -> None:
    hands, face = two_hands(40, 3)
    detected, _ = shuffle(hands, 3, 0.0)
    sided = assign_sides(detected, face)
    mirrored = assign_sides(
        np.stack([1 - detected[..., 0], detected[..., 1]], -1), np.stack([1 - face[:, 0], face[:, 1]], -1)
    )
    np.testing.assert_allclose(1 - mirrored[:, ::-1, :, 0], sided[..., 0])


def test_a_lone_hand_that_crosses_the_middle_keeps_its_side() -> None:
    hands, face = two_hands(30, 0)
    t = np.linspace(-0.5, 0.5, 30)
    lone = np.full_like(hands, np.nan)
    lone[:, 0] = hands[:, 1] - hands[:, 1].mean(axis=1, keepdims=True) + [0.5, 0.5]
    lone[:, 0, :, 0] += (-0.12 + 0.20 * np.exp(-((t / 0.12) ** 2)))[:, None]  # right hand, a moment on the left side
    sided = assign_sides(lone, face)
    assert np.isfinite(sided[:, 1]).all() and np.isnan(sided[:, 0]).all()


@pytest.mark.parametrize(("offset", "right"), [(-0.15, True), (0.0, True), (0.1, True), (0.4, False)])
def test_a_lone_hand_in_front_of_the_body_is_the_right_one(offset: float, right: bool) -> None:
    hands, face = two_hands(30, 0)
    lone = np.full_like(hands, np.nan)
    lone[:, 0] = hands[:, 1] - hands[:, 1].mean(axis=1, keepdims=True) + [0.5 + offset, 0.5]
    sided = assign_sides(lone, face)
    assert np.isfinite(sided[:, 1]).all() == right
    assert np.isfinite(sided[:, 0]).all() != right


def test_all_points_and_their_depth_are_kept() -> None:
    hands, face = two_hands(25, 1)
    detected, _ = shuffle(np.concatenate([hands, hands[..., :1] * 7], axis=-1), 1, 0.3)
    sided = assign_sides(detected, face)
    assert sided.shape == detected.shape
    np.testing.assert_array_equal(np.sort(sided, axis=1), np.sort(detected, axis=1))
    empty = assign_sides(np.full((4, 2, 21, 3), np.nan), face[:4])
    assert np.isnan(empty).all()


def swaps(hands: np.ndarray) -> tuple[int, int]:
    """Return the steps with both hands in which each is nearer to the previous other hand, and all steps with both."""
    both = np.isfinite(hands[:, :, 0, 0]).all(axis=1)
    steps = both[1:] & both[:-1]
    moved = np.linalg.norm(hands[:-1, :, None, :, :2] - hands[1:, None, :, :, :2], axis=-1).mean(axis=-1)
    swapped = moved[:, 0, 1] + moved[:, 1, 0] < moved[:, 0, 0] + moved[:, 1, 1]
    return int((swapped & steps).sum()), int(steps.sum())


def test_sides_do_not_swap_between_frames(mirror: Path | None) -> None:
    """On recordings of the dictionary, or on synthetic ones without the mirror."""
    recordings = [(shuffle(hands, s, 0.2)[0], face) for s in range(20) for hands, face in [two_hands(40, s)]]
    if mirror and (path := dgs.find_mirror(mirror)):
        archive = Archive(path)
        names = [name for below, name in dgs.csv_files(archive).items() if below.startswith("2D_unknown")][::4]
        recordings = [(hands, face) for face, hands in (dgs.parse(archive.read(name)) for name in names)]
    before = np.sum([swaps(hands) for hands, _ in recordings], axis=0)
    after = np.sum([swaps(assign_sides(hands, face)) for hands, face in recordings], axis=0)
    assert before[0] > 0.01 * before[1]
    assert after[0] < 0.25 * before[0] and after[0] < 0.005 * after[1]


def test_sides_agree_with_those_of_mediapipe(mirror: Path | None) -> None:
    """Remove the sides from recordings of MediaPipe Holistic (or synthetic ones) and compare."""
    sequences = [(hands, face) for hands, face in (two_hands(20, s) for s in range(20))]
    if mirror:
        values = np.load(mirror / "asl33" / "asl33.npz")["X"][::10].astype(np.float64)
        hands = values[..., 132:].reshape(*values.shape[:2], 2, 21, 3)[..., :2]
        hands = np.where((hands == 0).all(axis=(-1, -2), keepdims=True), np.nan, hands)
        faces = values[..., :2]
        kept = [np.isfinite(h[:, :, 0, 0]).any(axis=1) & (f[:, 0] != 0) for h, f in zip(hands, faces, strict=True)]
        sequences = [(h[k], f[k]) for h, f, k in zip(hands, faces, kept, strict=True) if k.any()]
    right = total = 0
    for number, (sides, face) in enumerate(sequences):
        detected, truth = shuffle(sides, number, 0.0)
        same = ((assign_sides(detected, face) == truth) | np.isnan(truth)).all(axis=(1, 2, 3))
        right, total = right + int(same.sum()), total + len(same)
    assert right / total > 0.98
