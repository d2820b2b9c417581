"""Left or right: give detected hands a side, by their place against the face and by continuity over frames."""

from __future__ import annotations

import numpy as np

from signatlas.pose.skeleton import HAND_MIDDLE_MCP, HAND_WRIST

PALM = (0, 5, 9, 13, 17)  # wrist and the knuckles of the four fingers
SLOPE = 1.0  # log-odds of a side per palm length of distance from the face's vertical
# Log-odds that the hand of one-handed signing is the right one, before its place is looked at: nine signers in ten.
LONE_RIGHT = 2.2
ONE_HANDED = 1 / 4  # a recording is one-handed when both hands are seen in less than this share of its frames
SWITCH = 1.0  # cost of one hand vanishing or appearing; a palm length of movement costs 1


def assign_sides(hands: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Order detected hands as (left, right) of the signer.

    ``hands`` is [frames, 2, 21, dims] in image units, NaN for a hand that is not there, in any order; ``face``
    is [frames, 2]. Returns the same hands, [frames, 2, 21, dims], as left and right.

    The image is taken as not mirrored: the signer's right hand is, more often than not, left of the face. In each
    frame there are two readings (the first hand is the right one, or the left one). Their cost is

        sum_t sum_side softplus(+-(SLOPE * u_t - LONE_RIGHT * a_t))  +  sum_t sum_side min(d_t, 2 * SWITCH)

    with u the hand's horizontal distance from the face, a = 1 for the only hand of a frame of one-handed signing, and
    d the mean distance of its 21 points from where the same side was one frame before, both in the clip's palm
    length, so that near and far signers are treated alike; a side that vanishes or appears costs SWITCH. Viterbi's
    algorithm finds the cheapest sequence exactly. For two-handed signing the rule is symmetric: a mirrored recording
    gets mirrored sides. In one-handed signing a hand in front of the body counts as the right one: without that, the
    same sign came out left in one recording and right in the next. A left-handed signer's lone hand is left if it
    stays well to the left; else search by a mirrored query finds it.
    """
    planar = hands[..., :2].astype(np.float64)
    palm = palm_length(planar)
    reading = _cheapest_path(_place_cost(planar, face, palm), _movement_cost(planar, palm))
    right = reading[:, None, None, None] == 1
    first, second = hands[:, :1], hands[:, 1:]
    return np.concatenate([np.where(right, second, first), np.where(right, first, second)], axis=1)


def palm_length(hands: np.ndarray) -> float:
    """Median distance from wrist to middle knuckle over all detected hands of a clip; [..., 21, 2] -> image units."""
    lengths = np.linalg.norm(hands[..., HAND_MIDDLE_MCP, :] - hands[..., HAND_WRIST, :], axis=-1)
    found = lengths[np.isfinite(lengths) & (lengths > 0)]
    return float(np.median(found)) if len(found) else 1.0


def _place_cost(hands: np.ndarray, face: np.ndarray, palm: float) -> np.ndarray:
    """[frames, 2]: cost of reading 0 (the first hand is the left one) and reading 1 (it is the right one)."""
    offset = (hands[:, :, PALM, 0].mean(axis=2) - face[:, None, 0]) / palm
    there = np.isfinite(offset)
    seen = there.sum(axis=1, keepdims=True)
    alone = (seen == 1) & ((seen == 2).sum() < ONE_HANDED * (seen > 0).sum())
    odds = np.where(there, SLOPE * offset - LONE_RIGHT * alone, 0.0)  # of being the left one
    as_right = np.where(there, np.logaddexp(0.0, odds), 0.0)
    as_left = np.where(there, np.logaddexp(0.0, -odds), 0.0)
    return np.stack([as_left[:, 0] + as_right[:, 1], as_right[:, 0] + as_left[:, 1]], axis=1)


def _movement_cost(hands: np.ndarray, palm: float) -> np.ndarray:
    """[frames - 1, 2, 2]: cost of going from a reading in one frame to a reading in the next."""
    moved = np.linalg.norm(hands[:-1, :, None] - hands[1:, None], axis=-1).mean(axis=-1) / palm
    there = np.isfinite(hands[:, :, 0, 0])
    before, after = there[:-1, :, None], there[1:, None, :]
    cost = np.where(before & after, np.minimum(moved, 2 * SWITCH), np.where(before | after, SWITCH, 0.0))
    same = cost[:, 0, 0] + cost[:, 1, 1]
    swapped = cost[:, 0, 1] + cost[:, 1, 0]
    return np.stack([np.stack([same, swapped], axis=1), np.stack([swapped, same], axis=1)], axis=1)


def _cheapest_path(place: np.ndarray, movement: np.ndarray) -> np.ndarray:
    """Viterbi over two states: the state of each frame, [frames] of 0 and 1."""
    costs = place.tolist()
    (left, right), came_from = costs[0], []
    for (place_left, place_right), step in zip(costs[1:], movement.tolist(), strict=True):
        to_left = (left + step[0][0], right + step[1][0])
        to_right = (left + step[0][1], right + step[1][1])
        came_from.append((int(to_left[1] < to_left[0]), int(to_right[1] <= to_right[0])))
        left, right = min(to_left) + place_left, min(to_right) + place_right
    path = [int(right <= left)]
    for previous in reversed(came_from):
        path.append(previous[path[-1]])
    return np.array(path[::-1])
