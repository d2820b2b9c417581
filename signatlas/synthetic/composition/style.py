"""Synthetic signers, and random variation of the signs they perform."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from signatlas.corpus.clips import SPLITS
from signatlas.synthetic.composition.motion import Motion

REST = np.array([[1.5, 8.6], [-1.5, 8.6]])  # wrists at rest, in palms relative to the nose
SHARES = {"train": 2 / 3, "dev": 1 / 6, "test": 1 / 6}


def generator(*key: object) -> np.random.Generator:
    """Return a generator whose numbers depend on ``key`` only, not on the order of calls or the machine."""
    digest = hashlib.sha256("\n".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


@dataclass(frozen=True)
class Variation:
    """Variation of signing against the exemplars: standard deviations, except ``lost``.

    ``place`` is in palms, angles are in degrees, the others are ratios. ``view`` stretches and shears the hands, as a
    change of viewpoint does; ``warp`` is for the logarithm of the exponent of the time warp; ``wander`` (slow) and
    ``tremble`` (per frame) are noise in palms; ``lost`` is the largest share of frames without a detected hand.
    """

    place: float = 0.4
    amplitude: float = 0.12
    angle: float = 9.0
    hand_angle: float = 12.0
    finger: float = 0.07
    view: float = 0.12
    warp: float = 0.25
    pace: float = 0.15
    wander: float = 0.08
    tremble: float = 0.03
    lost: float = 0.03

    def scaled(self, factor: float) -> Variation:
        """Return the variation with all values multiplied by ``factor``."""
        return Variation(**{name: value * factor for name, value in vars(self).items()})


@dataclass(frozen=True)
class Signer:
    """Synthetic signer; lengths in palms, ``palm`` as a share of the picture width."""

    name: str
    left_handed: bool
    palm: float
    nose: tuple[float, float]
    reach: tuple[float, float]
    amplitude: float
    fingers: float
    roll: float
    pace: float
    transition: float
    rest: np.ndarray
    tremble: float
    wander: float
    lost: float

    @classmethod
    def make(cls, name: str, seed: int, variation: Variation) -> Signer:
        """Return the signer of a name; it depends on name and seed only."""
        rng = generator(seed, "signer", name)
        return cls(
            name=name,
            left_handed=bool(rng.random() < 0.12),
            palm=float(rng.uniform(0.048, 0.07)),
            nose=(float(rng.uniform(0.44, 0.56)), float(rng.uniform(0.22, 0.32))),
            reach=(float(rng.uniform(0.88, 1.14)), float(rng.uniform(0.88, 1.14))),
            amplitude=float(rng.uniform(0.8, 1.2)),
            fingers=float(rng.uniform(0.92, 1.08)),
            roll=float(np.deg2rad(rng.uniform(-5, 5))),
            pace=float(rng.uniform(0.87, 1.15)),
            transition=float(rng.uniform(0.85, 1.2)),
            rest=REST + rng.normal(0, [[0.3, 0.5], [0.3, 0.5]]),
            tremble=variation.tremble * float(rng.uniform(0.6, 1.4)),
            wander=variation.wander * float(rng.uniform(0.6, 1.4)),
            lost=float(rng.uniform(0, variation.lost)),
        )


def make_signers(count: int, seed: int, variation: Variation) -> dict[str, list[Signer]]:
    """Return ``count`` signers by split: two thirds for train, the rest halved; no signer is in two splits."""
    if count < len(SPLITS):
        raise ValueError(f"{count} signers: at least {len(SPLITS)} are needed, one per split")
    dev = max(1, round(count * SHARES["dev"]))
    numbers = {"train": count - 2 * dev, "dev": dev, "test": dev}
    return {
        split: [Signer.make(f"synthetic-{split}-{i:02d}", seed, variation) for i in range(number)]
        for split, number in numbers.items()
    }


def perform_sign(motion: Motion, signer: Signer, variation: Variation, rng: np.random.Generator) -> Motion:
    """Return a sign as performed by ``signer``, with random position, size, angle and hand shape."""
    wrists = motion.wrists * signer.reach
    center = wrists[motion.seen].mean(0)
    turn_matrix = rotation(np.deg2rad(rng.normal(0, variation.angle)))
    size = signer.amplitude * np.exp(rng.normal(0, variation.amplitude))
    varied = center + size * ((wrists - center) @ turn_matrix) + rng.normal(0, variation.place, 2)
    hands = np.stack([rotation(np.deg2rad(a)) for a in rng.normal(0, variation.hand_angle, 2)])
    hands = hands @ (np.eye(2) + rng.normal(0, variation.view, (2, 2)))
    lengths = signer.fingers * np.exp(rng.normal(0, variation.finger, (2, 21, 1)))
    shapes = np.einsum("thpi,hij->thpj", motion.shapes, hands) * lengths
    return Motion(varied, shapes, motion.seen)


def rotation(angle: float) -> np.ndarray:
    """Return a rotation matrix [2, 2] for multiplication from the right."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s], [-s, c]])


def time_warp(length: int, variation: Variation, rng: np.random.Generator) -> np.ndarray:
    """Return ``length`` phases in 0..1 with random uneven spacing."""
    power = np.exp(rng.normal(0, variation.warp))
    return np.linspace(0, 1, length) ** power


def motion_noise(frames: int, signer: Signer, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return noise for wrists [frames, 2, 2] and hand points [frames, 2, 21, 2]: slow wander and tremble."""
    from scipy.ndimage import gaussian_filter1d

    def slow(shape: tuple[int, ...], sigma: float) -> np.ndarray:
        # Filtered noise has a standard deviation of (2 sigma sqrt(pi))^-1/2; this scales it to 1.
        padded = gaussian_filter1d(rng.standard_normal(shape), sigma, axis=0, mode="wrap")
        return padded * np.sqrt(2 * sigma * np.sqrt(np.pi))

    wrists = signer.wander * slow((frames, 2, 2), 6.0) + signer.tremble * rng.standard_normal((frames, 2, 2))
    shapes = 0.3 * signer.wander * slow((frames, 2, 21, 2), 4.0)
    return wrists, shapes + signer.tremble * rng.standard_normal((frames, 2, 21, 2))


def head_motion(frames: int, signer: Signer, rng: np.random.Generator) -> np.ndarray:
    """Return slow random motion of the nose, [frames, 2], in palms; its distribution is the same for all signers."""
    from scipy.ndimage import gaussian_filter1d

    sigma = 10.0
    slow = gaussian_filter1d(rng.standard_normal((frames, 2)), sigma, axis=0, mode="wrap")
    return slow * np.sqrt(2 * sigma * np.sqrt(np.pi)) * np.array([0.15, 0.12])


def detected_hands(frames: int, signer: Signer, rng: np.random.Generator) -> np.ndarray:
    """Return bool [frames, 2], whether each hand is detected; each gap is one to three frames long."""
    detected = np.ones((frames, 2), bool)
    for hand in (0, 1):
        for start in np.flatnonzero(rng.random(frames) < signer.lost / 2):
            detected[start : start + rng.integers(1, 4), hand] = False
    return detected
