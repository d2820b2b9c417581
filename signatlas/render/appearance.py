"""Appearance of rendered signers: colors, build, background and camera, drawn from a name and a seed."""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

Color = tuple[int, int, int]
Background = Literal["plain", "gradient", "texture"]
BACKGROUNDS: tuple[Background, ...] = ("plain", "gradient", "texture")
# From light to dark; a signer's tone lies anywhere between two of them.
SKIN_TONES = ((250, 220, 196), (232, 190, 158), (200, 148, 112), (155, 104, 74), (108, 72, 52), (74, 48, 38))
HAIR_TONES = ((24, 20, 18), (60, 40, 28), (110, 74, 44), (170, 128, 76), (146, 142, 140), (120, 52, 26))
MIN_CONTRAST = 60.0  # difference in brightness of hands and clothing: signers dress so that their hands are visible


@dataclass(frozen=True)
class Appearance:
    """Appearance of one signer in front of one camera. Colors are RGB; equal appearances render equal frames.

    ``stoutness`` scales limbs and head. ``gain`` and ``contrast`` are the exposure, ``defocus`` the blur in pixels of
    a 224-pixel frame, ``grain`` the noise in gray levels. ``texture`` seeds the background pattern and the grain.
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
    """Return a random generator seeded by ``names`` alone, equal on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], "<u8")))


def appearance_of(signer: str, seed: int = 0) -> Appearance:
    """Return the appearance of a signer: one per name and seed, the same in every clip.

    Values come from continuous ranges, so that no two signers look the same.
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
    """Return the luma of an RGB color, 0 to 255 (ITU-R BT.601)."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def shaded(color: Color, factor: float) -> Color:
    """Return a darker (``factor`` below 1) or lighter (above 1) color."""
    if factor <= 1:
        red, green, blue = (round(channel * factor) for channel in color)
    else:
        red, green, blue = (round(channel + (255 - channel) * (factor - 1)) for channel in color)
    return red, green, blue


def _between(tones: tuple[Color, ...], position: float) -> Color:
    """Interpolate linearly between the tones at a fractional index."""
    first = min(int(position), len(tones) - 2)
    mixed = np.array(tones[first]) + (position - first) * (np.array(tones[first + 1]) - tones[first])
    red, green, blue = mixed.round().astype(int).tolist()
    return red, green, blue


def _clothing(rng: np.random.Generator, skin: Color) -> Color:
    """Draw a color that contrasts with the skin; after 20 tries return black or white, whichever contrasts more."""
    for _ in range(20):
        color = _hsv(rng.uniform(), rng.uniform(0.1, 0.8), rng.uniform(0.08, 0.95))
        if abs(brightness(color) - brightness(skin)) >= MIN_CONTRAST:
            return color
    return (28, 28, 30) if brightness(skin) > 128 else (236, 236, 232)


def _hsv(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _jittered(rng: np.random.Generator, color: Color) -> Color:
    red, green, blue = np.clip(np.array(color) + rng.integers(-12, 13, 3), 0, 255).tolist()
    return red, green, blue
