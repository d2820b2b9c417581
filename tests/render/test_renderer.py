"""Rendered frames: hands visible at their positions, deterministic, robust to missing points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from signatlas.errors import PoseError, UserError
from signatlas.pose import skeleton as sk
from signatlas.render.appearance import MIN_CONTRAST, Appearance, appearance_of, brightness
from signatlas.render.body import estimate_body
from signatlas.render.crop import around, crop, inside
from signatlas.render.renderer import RenderConfig, Renderer
from tests.render.sample_poses import HAND, nose_and_hands

QUIET = RenderConfig(shutter=0, defocus=0, grain=0, flicker=0)
LOOK = replace(appearance_of("someone"), skin=(220, 170, 140), clothing=(20, 40, 120), wall=(90, 160, 90),
               hair=(20, 20, 20), background="plain", gain=1.0, contrast=1.0, long_sleeves=True,
               long_hair=False)  # fmt: skip


def skin(frame: np.ndarray) -> np.ndarray:
    """Return the mask of skin pixels, bool [S, S]."""
    hue = frame.astype(int)
    return (hue[..., 0] > hue[..., 1] + 20) & (hue[..., 1] > hue[..., 2]) & (hue[..., 0] > 90)


def test_rendering_is_deterministic() -> None:
    poses = nose_and_hands(7)
    poses[:, sk.RIGHT_HAND, 0] += np.linspace(0, 0.3, 7)[:, None]
    renderer = Renderer()
    frames = renderer.render(poses, 4 / 3, renderer.appearance("anna"))
    assert frames.shape == (7, 224, 224, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, np.stack(list(Renderer().iter_render(poses, 4 / 3, appearance_of("anna")))))
    other_seed = Renderer(RenderConfig(seed=1))
    assert (other_seed.render(poses, 4 / 3, other_seed.appearance("anna")) != frames).mean() > 0.5
    assert Renderer(RenderConfig(size=64)).render(poses).shape == (7, 64, 64, 3)
    assert len({frame.tobytes() for frame in frames}) == 7  # hand and grain differ in every frame


def test_appearances_differ_between_signers() -> None:
    looks = [appearance_of(f"signer {i}") for i in range(300)]
    assert len(set(looks)) == 300 and len({(look.skin, look.clothing, look.wall) for look in looks}) == 300
    assert appearance_of("signer 7") == looks[7] != appearance_of("signer 7", seed=1)
    assert {look.background for look in looks} == {"plain", "gradient", "texture"}
    assert min(abs(brightness(look.skin) - brightness(look.clothing)) for look in looks) >= MIN_CONTRAST
    frames = [Renderer().render(nose_and_hands(1), 1.0, look)[0].astype(int) for look in looks[:6]]
    assert min(np.abs(a - b).mean() for i, a in enumerate(frames) for b in frames[:i]) > 5


@pytest.mark.parametrize(("side", "wrist"), [(sk.RIGHT_HAND, (0.3, 0.8)), (sk.LEFT_HAND, (0.7, 0.8))])
def test_hands_are_visible_at_their_points(side: slice, wrist: tuple[float, float]) -> None:
    poses = nose_and_hands(3)
    poses[:, sk.RIGHT_HAND] = np.nan
    poses[:, side, :2] = HAND * (1 if side == sk.RIGHT_HAND else -1, 1) + wrist
    frame = Renderer(QUIET).render(poses, 1.0, LOOK)[1]
    person = estimate_body(poses, 1.0)
    square = around(person, 1.0)
    pixels = (poses[1, side, :2] - (square.x, square.y)) / square.side * 224 + 112
    seen = skin(frame)
    assert seen[pixels[:, 1].astype(int), pixels[:, 0].astype(int)].mean() > 0.9
    left_half, right_half = seen[120:, :100].sum(), seen[120:, 124:].sum()
    assert (left_half > right_half) == (side == sk.RIGHT_HAND)  # not mirrored


def test_fingers_are_separated_by_lines() -> None:
    """An open hand and a fist give different pictures."""
    poses = nose_and_hands(1)
    open_hand = Renderer(QUIET).render(poses, 1.0, LOOK)[0].astype(int)
    folded = poses.copy()
    for finger in (5, 9, 13, 17):
        start = sk.RIGHT_HAND.start + finger
        folded[:, start + 1 : start + 4, 1] = folded[:, start, 1][:, None] + (-0.01, 0.02, 0.03)
    fist = Renderer(QUIET).render(folded, 1.0, LOOK)[0].astype(int)
    assert (np.abs(open_hand - fist).max(-1) > 40).sum() > 200


def test_missing_points_are_tolerated_and_no_points_give_the_background() -> None:
    rng = np.random.default_rng(0)
    poses = nose_and_hands(12)
    poses[:, sk.BODY, :2] = rng.uniform(0.2, 0.8, (12, 33, 2))
    poses[rng.random(poses.shape) < 0.3] = np.nan
    assert Renderer(QUIET).render(poses).shape == (12, 224, 224, 3)
    without_points = Renderer(QUIET).render(np.full((3, 75, 3), np.nan, np.float32), 1.0, LOOK)
    assert (without_points == without_points[0, 0, 0]).all()
    assert Renderer().render(np.zeros((0, 75, 3), np.float32)).shape == (0, 224, 224, 3)
    with pytest.raises(PoseError, match=r"shape \[3, 33, 3\]"):
        Renderer().render(np.zeros((3, 33, 3)))
    with pytest.raises(PoseError, match="infinite"):
        Renderer().render(np.full((3, 75, 3), np.inf))
    with pytest.raises(UserError, match="render size"):
        RenderConfig(size=4)


def test_estimated_arms_are_drawn_and_poses_unchanged() -> None:
    poses = nose_and_hands(2)
    before = poses.copy()
    frame = Renderer(QUIET).render(poses, 1.0, LOOK)[0].astype(int)
    np.testing.assert_array_equal(poses, before)
    clothed = np.abs(frame - LOOK.clothing).max(-1) < 40
    person = estimate_body(poses, 1.0)
    assert person is not None
    square = around(person, 1.0)
    middle = (person.elbows[0, 1] + person.wrists[0, 1]) / 2  # right forearm
    x, y = ((middle - (square.x, square.y)) / square.side * 224 + 112).astype(int)
    assert clothed[y - 2 : y + 3, x - 2 : x + 3].any() and clothed.mean() > 0.1


def test_fast_hands_blur() -> None:
    poses = nose_and_hands(3)
    poses[1:, sk.RIGHT_HAND, 0] += 0.25
    sharp, blurred = (Renderer(replace(QUIET, shutter=s)).render(poses, 1.0, LOOK) for s in (0.0, 0.5))
    assert (sharp[0] != blurred[0]).sum() > 500
    np.testing.assert_array_equal(sharp[1], blurred[1])  # the hand does not move


def test_the_face_mesh_changes_the_face() -> None:
    rng = np.random.default_rng(1)
    face = np.zeros((1, 478, 3), np.float32)
    face[..., :2] = rng.uniform(0.46, 0.54, (1, 478, 2)) * (1, 0.5) + (0, 0.15)
    poses = nose_and_hands(1)
    assert (Renderer(QUIET).render(poses, 1.0, LOOK, face=face) != Renderer(QUIET).render(poses, 1.0, LOOK)).any()
    no_face = np.full_like(face, np.nan)
    np.testing.assert_array_equal(
        Renderer(QUIET).render(poses, 1.0, LOOK, face=no_face), Renderer(QUIET).render(poses, 1.0, LOOK)
    )


def test_squares_stay_in_the_picture_where_they_fit() -> None:
    square = around(estimate_body(nose_and_hands(), 1.0), 1.0)
    assert square.side > 0.5
    moved = inside(square._replace(x=0.05, side=0.6), 1.0)
    assert moved.x == pytest.approx(0.3)
    assert inside(square._replace(side=1.4), 1.5)[1:] == (0.5, 1.4)
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, 100:] = 255
    whole = crop(picture, square._replace(x=1.0, y=0.5, side=1.0), 2.0, 50)
    assert whole.shape == (50, 50, 3) and (whole[:, :20] == 0).all() and (whole[:, 30:] == 255).all()
    squeezed = crop(picture, square._replace(x=0.5, y=0.5, side=1.0), 1.0, 50)  # 2:1 pixels of a square picture
    assert (squeezed[:, :20] == 0).all() and (squeezed[:, 30:] == 255).all()
    beyond = crop(picture, square._replace(x=0.0, y=0.0, side=3.0), 2.0, 30)
    assert (beyond[:10, :10] == 0).all() and (beyond[-1, -1] == 255).all()


def test_crops_contain_low_signing_but_not_rest() -> None:
    poses = nose_and_hands(40)
    high = around(estimate_body(poses, 1.0), 1.0)
    rest = poses.copy()
    rest[:4, sk.RIGHT_HAND, 1] += 0.4
    low = poses.copy()
    low[:, sk.RIGHT_HAND, 1] += 0.4
    bottoms = [
        s.y + s.side / 2 for s in (high, around(estimate_body(rest, 1.0), 1.0), around(estimate_body(low, 1.0), 1.0))
    ]
    assert np.nanmax(low[..., 1]) < bottoms[2] and bottoms[1] < np.nanmax(rest[:, sk.RIGHT_HAND, 1])


def test_appearances_are_hashable() -> None:
    assert isinstance(hash(appearance_of("x")), int) and isinstance(appearance_of("x"), Appearance)
