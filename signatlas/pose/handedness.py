"""Assign detected hands to left or right, by their position relative to the face and continuity over frames."""

from __future__ import annotations

import numpy as np

from signatlas.pose.skeleton import HAND_MIDDLE_MCP, HAND_WRIST

PALM = (0, 5, 9, 13, 17)  # wrist and the knuckles of the four fingers
SLOPE = 1.0  # log-odds of a side per palm length of horizontal distance from the face
# Prior log-odds that the hand of one-handed signing is the right one: nine signers in ten are right-handed.
LONE_RIGHT = 2.2
ONE_HANDED = 1 / 4  # a recording is one-handed if both hands are detected in less than this share of its frames
SWITCH = 1.0  # cost of a hand that appears or disappears; moving by a palm length costs 1


def assign_sides(hands: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Order detected hands as (left, right) of the signer.

    ``hands`` is [frames, 2, 21, dims] in image units in any order, NaN for a missing hand; ``face`` is [frames, 2].
    Returns the same hands, [frames, 2, 21, dims], as left and right.

    The image is assumed not to be mirrored: the signer's right hand is usually left of the face. Each frame has two
    assignments (the first hand is the right one, or the left one). The cost of a sequence of assignments is

        sum_t sum_side softplus(+-(SLOPE * u_t - LONE_RIGHT * a_t))  +  sum_t sum_side min(d_t, 2 * SWITCH)

    where u is the horizontal distance of the hand from the face, a = 1 for the only hand of a frame of one-handed
    signing, and d the mean distance of the 21 points from those of the same side one frame before. Distances are in
    palm lengths of the clip, so the size of the signer in the image does not matter. A hand that appears or disappears
    costs SWITCH. Viterbi's algorithm finds the cheapest sequence exactly.

    For two-handed signing the rule is symmetric: a mirrored recording gets mirrored sides. In one-handed signing a
    hand in front of the body is assigned to the right; without this prior, one sign would be left in some recordings
    and right in others. The lone hand of a left-handed signer is left if it stays well to the left; otherwise search
    with a mirrored query finds it.
    """
    planar = hands[..., :2].astype(np.float64)
    palm = palm_length(planar)
    assignment = _cheapest_path(_position_cost(planar, face, palm), _movement_cost(planar, palm))
    right = assignment[:, None, None, None] == 1
    first, second = hands[:, :1], hands[:, 1:]
    return np.concatenate([np.where(right, second, first), np.where(right, first, second)], axis=1)


def palm_length(hands: np.ndarray) -> float:
    """Return the median distance from wrist to middle knuckle over the detected hands [..., 21, 2], in image units."""
    lengths = np.linalg.norm(hands[..., HAND_MIDDLE_MCP, :] - hands[..., HAND_WRIST, :], axis=-1)
    valid = lengths[np.isfinite(lengths) & (lengths > 0)]
    return float(np.median(valid)) if len(valid) else 1.0


def _position_cost(hands: np.ndarray, face: np.ndarray, palm: float) -> np.ndarray:
    """Return [frames, 2]: the cost of assignment 0 (the first hand is the left one) and 1 (it is the right one)."""
    offset = (hands[:, :, PALM, 0].mean(axis=2) - face[:, None, 0]) / palm
    present = np.isfinite(offset)
    num_hands = present.sum(axis=1, keepdims=True)
    alone = (num_hands == 1) & ((num_hands == 2).sum() < ONE_HANDED * (num_hands > 0).sum())
    log_odds_left = np.where(present, SLOPE * offset - LONE_RIGHT * alone, 0.0)
    as_right = np.where(present, np.logaddexp(0.0, log_odds_left), 0.0)
    as_left = np.where(present, np.logaddexp(0.0, -log_odds_left), 0.0)
    return np.stack([as_left[:, 0] + as_right[:, 1], as_right[:, 0] + as_left[:, 1]], axis=1)


def _movement_cost(hands: np.ndarray, palm: float) -> np.ndarray:
    """Return [frames - 1, 2, 2]: the cost of each assignment in a frame followed by each in the next frame."""
    moved = np.linalg.norm(hands[:-1, :, None] - hands[1:, None], axis=-1).mean(axis=-1) / palm
    present = np.isfinite(hands[:, :, 0, 0])
    before, after = present[:-1, :, None], present[1:, None, :]
    cost = np.where(before & after, np.minimum(moved, 2 * SWITCH), np.where(before | after, SWITCH, 0.0))
    same = cost[:, 0, 0] + cost[:, 1, 1]
    swapped = cost[:, 0, 1] + cost[:, 1, 0]
    return np.stack([np.stack([same, swapped], axis=1), np.stack([swapped, same], axis=1)], axis=1)


def _cheapest_path(position: np.ndarray, movement: np.ndarray) -> np.ndarray:
    """Return the cheapest assignment of each frame, [frames] of 0 and 1, by Viterbi over two states."""
    costs = position.tolist()
    (left, right), came_from = costs[0], []
    for (cost_left, cost_right), step in zip(costs[1:], movement.tolist(), strict=True):
        to_left = (left + step[0][0], right + step[1][0])
        to_right = (left + step[0][1], right + step[1][1])
        came_from.append((int(to_left[1] < to_left[0]), int(to_right[1] <= to_right[0])))
        left, right = min(to_left) + cost_left, min(to_right) + cost_right
    path = [int(right <= left)]
    for previous in reversed(came_from):
        path.append(previous[path[-1]])
    return np.array(path[::-1])
