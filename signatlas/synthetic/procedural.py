"""Procedural signs, given by handshape, location, movement and orientation, and performed by synthetic signers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from signatlas.corpus.format import Clip, CorpusInfo
from signatlas.corpus.splits import RULE, with_splits
from signatlas.errors import CorpusError
from signatlas.pose import skeleton as sk
from signatlas.synthetic import kinematics

FPS, WIDTH, HEIGHT = 25.0, 640, 480
# ISO 639 "mis" (uncoded language): these signs are invented and belong to no sign language.
SIGN_LANGUAGE = "mis"

# Flexion of thumb, index, middle, ring and pinky, and spread.
HANDSHAPES = {
    "flat": (0.5, 0, 0, 0, 0, 0), "five": (0, 0, 0, 0, 0, 1), "fist": (0.9, 1, 1, 1, 1, 0),
    "index": (0.8, 0, 1, 1, 1, 0), "two": (0.9, 0, 0, 1, 1, 1), "y": (0, 1, 1, 1, 0, 0.5),
    "l": (0, 0, 1, 1, 1, 0), "claw": (0.3, 0.5, 0.5, 0.5, 0.5, 1), "ring": (0.8, 0.6, 0, 0, 0, 0.6),
    "i": (0.9, 1, 1, 1, 0, 0),
}  # fmt: skip
# Offset from the middle of the shoulders, in shoulder widths: outward, down, away from the camera.
LOCATIONS = {
    "forehead": (0.15, -0.95, -0.35), "chin": (0.12, -0.45, -0.40), "shoulder": (-0.35, 0.05, -0.35),
    "chest": (0.10, 0.40, -0.35), "space": (0.50, 0.25, -0.60), "belly": (0.20, 0.85, -0.45),
}  # fmt: skip
MOVEMENTS = ("hold", "out", "down", "sideways", "arc", "circle", "shake", "close", "twist")
# Yaw, pitch and roll of the right hand in degrees; zero is palm to the camera, fingers up.
ORIENTATIONS = {
    "palm out": (0, 0, 0), "palm in": (180, 0, 20), "palm aside": (-80, 0, 10), "palm down": (0, 60, 40),
    "fingers across": (170, 0, 75),
}  # fmt: skip
HANGING = (0, 150, 0)  # fingers down, hand beside the body
HANDS = ("one", "two mirrored", "two in turn")
UPPER_ARM, FOREARM = 0.83, 0.70  # in shoulder widths

INFO = CorpusInfo(
    name="procedural",
    version="1",
    license="Apache-2.0",
    source="computed by signatlas, from no recording",
    sign_languages=(SIGN_LANGUAGE,),
    fps=FPS,
    synthetic=True,
    made={"command": "signatlas corpus compose --kind procedural"},
)


@dataclass(frozen=True)
class Sign:
    """Invented sign: keys of the tables of parameters."""

    gloss: str
    handshape: str
    location: str
    movement: str
    orientation: str
    hands: str


@dataclass(frozen=True)
class Signer:
    """Synthetic signer: proportions in image widths, and manner of signing."""

    name: str
    shoulders: float
    neck: float  # from the middle of the shoulders to the nose, in shoulder widths
    torso: float  # to the middle of the hips, in shoulder widths
    palm: float  # in shoulder widths
    speed: float
    amplitude: float
    tilt: np.ndarray  # habitual yaw, pitch and roll of the hand, radians
    noise: float  # image widths
    left_handed: bool
    center: tuple[float, float]


def make_signs(number: int, seed: int) -> list[Sign]:
    """Return signs that differ in at least one parameter. Raises CorpusError if there are not so many."""
    combinations = list(product(HANDSHAPES, LOCATIONS, MOVEMENTS, ORIENTATIONS, HANDS))
    if not 1 <= number <= len(combinations):
        raise CorpusError(f"{number} signs: choose 1 to {len(combinations)}, the number of different procedural signs")
    chosen = np.random.default_rng([seed, 1]).choice(len(combinations), number, replace=False)
    return [Sign(f"sign-{i:03d}", *combinations[c]) for i, c in enumerate(chosen)]


def make_signer(index: int, seed: int) -> Signer:
    """Return the signer of an index; every fifth is left-handed."""
    rng = np.random.default_rng([seed, 2, index])
    return Signer(
        name=f"procedural/{index:02d}",
        shoulders=rng.uniform(0.22, 0.34),
        neck=rng.uniform(0.55, 0.70),
        torso=rng.uniform(1.25, 1.50),
        palm=rng.uniform(0.24, 0.30),
        speed=rng.uniform(0.75, 1.35),
        amplitude=rng.uniform(0.75, 1.30),
        tilt=np.deg2rad(rng.normal(0, 9, 3)),
        noise=rng.uniform(0.0008, 0.0025),
        left_handed=index % 5 == 4,
        center=(rng.uniform(0.45, 0.55), rng.uniform(0.48, 0.58)),
    )


def _movement(kind: str, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return path [frames, 3] in shoulder widths, closing 0..1 and twist in radians at phases ``t`` [frames], 0..1."""
    zeros, path = np.zeros_like(t), np.zeros((len(t), 3))
    ease = 0.5 - 0.5 * np.cos(np.pi * t)
    if kind == "out":
        path[:, 2], path[:, 0] = -0.55 * ease, 0.35 * ease
    elif kind == "down":
        path[:, 1] = 0.60 * ease
    elif kind == "sideways":
        path[:, 0] = 0.65 * ease
    elif kind == "arc":
        path[:, 0], path[:, 1] = 0.55 * ease, -0.35 * np.sin(np.pi * ease)
    elif kind == "circle":
        path[:, 0], path[:, 1] = 0.25 * np.sin(4 * np.pi * t), 0.25 * (1 - np.cos(4 * np.pi * t))
    elif kind == "shake":
        path[:, 0] = 0.18 * np.sin(6 * np.pi * t)
    closing = ease if kind == "close" else zeros
    return path, closing, np.deg2rad(50) * np.sin(4 * np.pi * t) if kind == "twist" else zeros


def _hand_motion(
    sign: Sign | None, signer: Signer, t: np.ndarray, rng: np.random.Generator, *, delay: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the wrist [frames, 3] of a right hand and its points [frames, 21, 3] relative to it, in shoulder widths.

    x points right in the image, y down, z away from the camera; the origin is the middle of the shoulders. ``delay``
    shifts the phase of the movement. The hand rests if ``sign`` is None.
    """
    rest = np.array([0.45, 1.35, -0.15])
    shape, wrist, spread, twist = (
        np.full((len(t), 5), 0.35),
        np.tile(rest, (len(t), 1)),
        np.zeros(len(t)),
        np.zeros(len(t)),
    )
    angles = np.tile(np.deg2rad(HANGING), (len(t), 1))
    if sign is not None:
        path, closing, twist = _movement(sign.movement, np.clip((t - 0.2) / 0.6 - delay, 0.0, 1.0))
        raise_weight = 0.5 - 0.5 * np.cos(np.pi * np.clip(np.minimum(t, 1 - t) / 0.2, 0.0, 1.0))
        target = np.array(LOCATIONS[sign.location]) + rng.normal(0, 0.04, 3)
        wrist = rest + raise_weight[:, None] * (target + signer.amplitude * path - rest)
        *flexion, target_spread = np.array(HANDSHAPES[sign.handshape], float) + rng.normal(0, 0.04, 6)
        opposite = np.where(np.array(flexion) > 0.5, 0.0, 1.0)  # a closed finger opens, an open one closes
        shape = shape + raise_weight[:, None] * (flexion + closing[:, None] * (opposite - flexion) - shape)
        spread = spread + target_spread
        target_angles = np.deg2rad(np.array(ORIENTATIONS[sign.orientation]) + rng.normal(0, 5, 3)) + signer.tilt
        angles = angles + raise_weight[:, None] * (target_angles - angles)
    points = kinematics.hand(shape.clip(0.0, 1.0), spread.clip(0.0, 1.0)) * [1.0, -1.0, -1.0]
    axes = kinematics.rotation(angles[:, 0] + twist, angles[:, 1], angles[:, 2])
    return wrist * [-1.0, 1.0, 1.0], signer.palm * np.einsum("tij,tpj->tpi", axes, points)


def perform(sign: Sign, signer: Signer, rng: np.random.Generator) -> np.ndarray:
    """Return one take, float32 [frames, 75, 3] in image units: nose, shoulders, elbows, wrists, hips and hands."""
    t = np.linspace(0.0, 1.0, max(12, round(FPS * 1.6 * rng.normal(1.0, 0.08) / signer.speed)))
    poses = np.full((len(t), sk.NUM_POINTS, 3), np.nan)
    poses[:, sk.NOSE] = 0.0, -signer.neck, -0.35
    second = None if sign.hands == "one" else sign
    delay = 0.35 if sign.hands == "two in turn" else 0.0
    mirror = np.array([-1.0, 1.0, 1.0])
    right = _hand_motion(sign, signer, t, rng)
    left = [part * mirror for part in _hand_motion(second, signer, t, rng, delay=delay)]
    hands = []
    for (wrist, points), side, arm in (
        (right, -1, (sk.RIGHT_SHOULDER, sk.RIGHT_ELBOW, sk.RIGHT_WRIST, sk.RIGHT_HIP)),
        (left, 1, (sk.LEFT_SHOULDER, sk.LEFT_ELBOW, sk.LEFT_WRIST, sk.LEFT_HIP)),
    ):
        shoulder = np.array([0.5 * side, 0.0, 0.0])
        elbow, hand_wrist = kinematics.elbow(shoulder, wrist, UPPER_ARM, FOREARM, np.array([0.8 * side, 1.0, 0.2]))
        for point, position in zip(arm, (shoulder, elbow, hand_wrist, (0.3 * side, signer.torso, 0.0)), strict=True):
            poses[:, point] = position
        hands.append((hand_wrist, points))
    poses = poses * signer.shoulders * [1.0, WIDTH / HEIGHT, 1.0]
    for (hand_wrist, points), hand_slice in zip(hands, (sk.RIGHT_HAND, sk.LEFT_HAND), strict=True):
        # As in MediaPipe, the depth of a hand is relative to its wrist.
        poses[:, hand_slice] = (
            (points + hand_wrist[:, None] * [1.0, 1.0, 0.0]) * signer.shoulders * [1.0, WIDTH / HEIGHT, 1.0]
        )
    if signer.left_handed:
        poses = poses[:, sk.MIRROR] * mirror
    poses += np.array([*signer.center, 0.0]) + rng.normal(0.0, signer.noise, poses.shape)
    return _drop_hands(poses, one_handed=second is None, left_handed=signer.left_handed, rng=rng).astype(np.float32)


def _drop_hands(poses: np.ndarray, *, one_handed: bool, left_handed: bool, rng: np.random.Generator) -> np.ndarray:
    """Remove hands as a detector misses them: single frames of either hand, and often all frames of a resting hand."""
    resting = sk.RIGHT_HAND if left_handed else sk.LEFT_HAND
    for hand in (sk.LEFT_HAND, sk.RIGHT_HAND):
        poses[rng.random(len(poses)) < 0.03, hand] = np.nan
    if one_handed and rng.random() < 0.6:
        poses[:, resting] = np.nan
    return poses


def compose(signs: int = 30, signers: int = 6, takes: int = 3, seed: int = 0) -> tuple[CorpusInfo, list[Clip]]:
    """Return a procedural corpus in which every signer performs every sign ``takes`` times, split by signer.

    The same arguments give the same clips. Raises CorpusError for impossible numbers.
    """
    if signers < 1 or takes < 1:
        raise CorpusError(f"{signers} signers and {takes} takes: choose at least one of each")
    all_signers = [make_signer(i, seed) for i in range(signers)]
    options = {"signs": signs, "signers": signers, "takes": takes, "seed": seed}
    info = replace(INFO, made={**INFO.made, **options, "splits": RULE})
    return info, with_splits(_clips(make_signs(signs, seed), all_signers, takes, seed), seed=seed)


def _clips(signs: list[Sign], signers: list[Signer], takes: int, seed: int) -> Iterator[Clip]:
    for (i, sign), (j, signer), take in product(enumerate(signs), enumerate(signers), range(takes)):
        description = f"{sign.handshape}, {sign.location}, {sign.movement}, {sign.orientation}, {sign.hands}"
        yield Clip(
            id=f"procedural/{sign.gloss}/{j:02d}-{take}",
            split="train",
            poses=perform(sign, signer, np.random.default_rng([seed, 3, i, j, take])),
            sign_language=SIGN_LANGUAGE,
            source="procedural",
            signer=signer.name,
            signer_kind="synthetic",
            gloss=sign.gloss,
            texts=(("en", description),),
            fps=FPS,
            width=WIDTH,
            height=HEIGHT,
        )
