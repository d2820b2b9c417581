"""Square crop around the signer, constant over a clip."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from signatlas.render.body import SHOULDER_WIDTH, SHOULDERS_BELOW_NOSE, UpperBody

# Lengths in palm lengths.
HEADROOM, BELOW_SHOULDERS = 1.9, 2.6  # above the nose; at least this much below the shoulders
LOWEST = 4.3  # below the shoulders; lower hands count only if the signing itself is that low
SIGNING_PERCENTILE = 85  # of the frames, by the height of the higher hand: excludes resting hands
MARGIN = 0.45  # around the detected points


class Square(NamedTuple):
    """Center and side length as fractions of the image height (x is multiplied by the aspect)."""

    x: float
    y: float
    side: float


def around(person: UpperBody | None, aspect: float) -> Square:
    """Return the square around head, shoulders and hands with a margin; the full height if nobody is detected."""
    if person is None:
        return Square(aspect / 2, 0.5, 1.0)
    unit, nose = person.unit, np.median(person.nose, axis=0)
    hands = person.hands[..., :2].reshape(-1, 2)
    hands = hands[np.isfinite(hands).all(-1)]
    half = (SHOULDER_WIDTH / 2 + 0.6) * unit
    low = np.array([nose[0] - half, np.percentile(person.nose[:, 1], 2) - HEADROOM * unit])
    high = np.array([nose[0] + half, nose[1] + (SHOULDERS_BELOW_NOSE + BELOW_SHOULDERS) * unit])
    if len(hands):
        low = np.minimum(low, np.percentile(hands, 0.5, axis=0) - MARGIN * unit)
        high = np.maximum(high, np.percentile(hands, 99.5, axis=0) + MARGIN * unit)
        lowest = nose[1] + (SHOULDERS_BELOW_NOSE + LOWEST) * unit
        high[1] = min(high[1], max(lowest, _lowest_signing(person.hands) + MARGIN * unit))
    middle = (low + high) / 2
    return Square(float(middle[0]), float(middle[1]), float(max(high - low)))


def _lowest_signing(hands: np.ndarray) -> float:
    """Return y of the lowest point of the higher hand, a percentile over the frames that show a hand."""
    low = np.where(np.isfinite(hands[..., 1]).all(-1), hands[..., 1].max(-1), np.inf).min(-1)
    detected = low[np.isfinite(low)]
    return float(np.percentile(detected, SIGNING_PERCENTILE)) if len(detected) else -np.inf


def inside(square: Square, aspect: float) -> Square:
    """Shift the square into an image of width/height ``aspect``; center it along a side where it is too large."""
    half = square.side / 2
    x = min(max(square.x, half), aspect - half) if square.side <= aspect else aspect / 2
    y = min(max(square.y, half), 1 - half) if square.side <= 1 else 0.5
    return Square(x, y, square.side)


def crop(image: np.ndarray, square: Square, aspect: float, size: int) -> np.ndarray:
    """Crop ``square`` from an image uint8 [H, W, 3] and resize it to uint8 [size, size, 3]; borders are replicated.

    ``aspect`` is the display width/height, so that images with non-square pixels come out undistorted.
    """
    import cv2

    height, width = image.shape[:2]
    scale = np.array([width / aspect, height])  # pixels per image height, in x and y
    corner, far = (np.array([square.x, square.y]) + sign * square.side / 2 for sign in (-1, 1))
    left, top = np.rint(corner * scale).astype(int).tolist()
    right, bottom = np.maximum(np.rint(far * scale).astype(int), (left + 1, top + 1)).tolist()
    pads = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if any(pads):
        image = cv2.copyMakeBorder(image, *pads, borderType=cv2.BORDER_REPLICATE)
    patch = image[top + pads[0] : bottom + pads[0], left + pads[2] : right + pads[2]]
    interpolation = cv2.INTER_AREA if len(patch) >= size else cv2.INTER_LINEAR
    return cv2.resize(patch, (size, size), interpolation=interpolation)
