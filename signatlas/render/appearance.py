"""What a rendered signer looks like: colors, build, background and camera, drawn from a name and a seed."""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

Color = tuple[int, int, int]
Background = Literal["plain", "gradient", "texture"]
BACKGROUNDS: tuple[Background, ...] = ("plain", "gradient", "texture")
# Skin from light to dark; a signer's tone lies anywhere between two of them.
SKIN_TONES = ((250, 220, 196), (232, 190, 158), (200, 148, 112), (155, 104, 74), (108, 72, 52), (74, 48, 38))
HAIR_TONES = ((24, 20, 18), (60, 40, 28), (110, 74, 44), (170, 128, 76), (146, 142, 140), (120, 52, 26))
CONTRAST = 60.0  # least distance in brightness between hands and clothing: signers dress so that hands are seen


@dataclass(frozen=True)
class Appearance:
    """One signer before one camera. Colors are RGB; equal appearances render equal frames.

    ``stoutness`` scales limbs and head; ``gain`` and ``contrast`` are the exposure, ``defocus`` the blur in pixels at
    224, ``grain`` the noise in gray levels; ``texture`` seeds the background's pattern and the grain.
    """

    skin: Color
    hair: Color
    clothing: Color
    long_sleeves: bool
    long_hair: bool
    stoutness: float
    background: Background
    wall: Color
    floor: Color
    gain: float
    contrast: float
    defocus: float
    grain: float
    texture: int


def generator(*names: object) -> np.random.Generator:
    """Random numbers that depend on the names alone, on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], "<u8")))


def appearance_of(signer: str, seed: int = 0) -> Appearance:
    """The look of a signer, by name: the same for every clip, and another for every other name or seed.

    Drawn from continuous ranges, so no two signers share one; see :data:`SKIN_TONES` and the ranges here.
    """
    rng = generator("appearance", seed, signer)
    skin = _between(SKIN_TONES, float(rng.uniform(0, len(SKIN_TONES) - 1)))
    hair = HAIR_TONES[rng.integers(len(HAIR_TONES))]
    clothing = _clothing(rng, skin)
    wall = _hsv(rng.uniform(), rng.uniform(0, 0.4), rng.uniform(0.3, 0.95))
    floor = _hsv(rng.uniform(), rng.uniform(0, 0.4), rng.uniform(0.2, 0.9))
    return Appearance(
        skin=skin,
        hair=_jittered(rng, hair),
        clothing=clothing,
        long_sleeves=bool(rng.random() < 0.6),
        long_hair=bool(rng.random() < 0.5),
        stoutness=float(rng.uniform(0.88, 1.15)),
        background=BACKGROUNDS[rng.integers(len(BACKGROUNDS))],
        wall=wall,
        floor=floor,
        gain=float(rng.uniform(0.8, 1.15)),
        contrast=float(rng.uniform(0.85, 1.15)),
        defocus=float(rng.uniform(0.3, 0.9)),
        grain=float(rng.uniform(1.0, 6.0)),
        texture=int(rng.integers(2**31)),
    )


def brightness(color: Color) -> float:
    """0 to 255, as the eye weighs red, green and blue."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def shaded(color: Color, factor: float) -> Color:
    """Darker (below 1) or lighter (above 1)."""
    if factor <= 1:
        red, green, blue = (round(channel * factor) for channel in color)
    else:
        red, green, blue = (round(channel + (255 - channel) * (factor - 1)) for channel in color)
    return red, green, blue


def _between(tones: tuple[Color, ...], place: float) -> Color:
    first = min(int(place), len(tones) - 2)
    mixed = np.array(tones[first]) + (place - first) * (np.array(tones[first + 1]) - tones[first])
    red, green, blue = mixed.round().astype(int).tolist()
    return red, green, blue


def _clothing(rng: np.random.Generator, skin: Color) -> Color:
    """A color that hands stand out from; after some tries white or black, whichever is further away."""
    for _ in range(20):
        color = _hsv(rng.uniform(), rng.uniform(0.1, 0.8), rng.uniform(0.08, 0.95))
        if abs(brightness(color) - brightness(skin)) >= CONTRAST:
            return color
    return (28, 28, 30) if brightness(skin) > 128 else (236, 236, 232)


def _hsv(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _jittered(rng: np.random.Generator, color: Color) -> Color:
    red, green, blue = np.clip(np.array(color) + rng.integers(-12, 13, 3), 0, 255).tolist()
    return red, green, blue
