"""The square of the picture that a model sees: around the signer, the same for a whole clip."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from signatlas.render.body import SHOULDER_WIDTH, SHOULDERS_BELOW_NOSE, Figure

HEADROOM, BELOW_SHOULDERS = 1.9, 2.6  # palms above the nose, and at least below the shoulders
LOWEST = 4.3  # palms below the shoulders; hands further down count only where the signing itself is there
SIGNING = 85  # percentile of the frames by how low the higher hand is: more than a moment of rest
MARGIN = 0.45  # palms around what was found


class Square(NamedTuple):
    """Middle and side, in shares of the picture's height (x is x times aspect)."""

    x: float
    y: float
    side: float


def around(person: Figure | None, aspect: float) -> Square:
    """Head, shoulders and hands of the clip with a margin, in the middle; the whole height when nobody is there."""
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
        high[1] = min(high[1], max(lowest, _signing(person.hands) + MARGIN * unit))
    middle = (low + high) / 2
    return Square(float(middle[0]), float(middle[1]), float(max(high - low)))


def _signing(hands: np.ndarray) -> float:
    """How far down signing goes: the lowest point of the higher hand, in most frames that show one."""
    low = np.where(np.isfinite(hands[..., 1]).all(-1), hands[..., 1].max(-1), np.inf).min(-1)
    whole = low[np.isfinite(low)]
    return float(np.percentile(whole, SIGNING)) if len(whole) else -np.inf


def inside(square: Square, aspect: float) -> Square:
    """The square moved into a picture of width/height ``aspect`` as far as it fits; a larger one is centered."""
    half = square.side / 2
    x = min(max(square.x, half), aspect - half) if square.side <= aspect else aspect / 2
    y = min(max(square.y, half), 1 - half) if square.side <= 1 else 0.5
    return Square(x, y, square.side)


def cut(picture: np.ndarray, square: Square, aspect: float, size: int) -> np.ndarray:
    """``square`` of a picture uint8 [H, W, 3] as uint8 [size, size, 3]; edges are continued beyond the border.

    ``aspect`` is the true width/height: pictures with other pixels than square come out undistorted.
    """
    import cv2

    height, width = picture.shape[:2]
    scale = np.array([width / aspect, height])  # pixels a share of the height, across and down
    corner, far = (np.array([square.x, square.y]) + sign * square.side / 2 for sign in (-1, 1))
    left, top = np.rint(corner * scale).astype(int).tolist()
    right, bottom = np.maximum(np.rint(far * scale).astype(int), (left + 1, top + 1)).tolist()
    pads = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if any(pads):
        picture = cv2.copyMakeBorder(picture, *pads, borderType=cv2.BORDER_REPLICATE)
    kept = picture[top + pads[0] : bottom + pads[0], left + pads[2] : right + pads[2]]
    way = cv2.INTER_AREA if len(kept) >= size else cv2.INTER_LINEAR
    return cv2.resize(kept, (size, size), interpolation=way)
