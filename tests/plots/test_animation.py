"""Animations and filmstrips: positions and colors of points, video frames, and glosses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.collections import LineCollection

from signatlas.corpus.clips import Clip
from signatlas.plots.animation import ClipView, animate, captioned, clip_view, font, rgb, truncate
from signatlas.plots.figures import BLUE, VERMILION
from signatlas.plots.filmstrip import filmstrip
from signatlas.plots.skeleton import moments, view
from signatlas.pose import skeleton as sk


def two_hands(frames: int = 6) -> np.ndarray:
    """Return poses with a low right hand on the left of the picture and a high left hand on its right."""
    poses = np.full((frames, sk.NUM_POINTS, 3), np.nan, np.float32)
    rng = np.random.default_rng(0)
    poses[:, sk.NOSE, :2] = (0.5, 0.3)
    poses[:, sk.RIGHT_HAND, :2] = rng.uniform(-0.05, 0.05, (sk.NUM_HAND, 2)) + np.array([0.25, 0.8])
    poses[:, sk.LEFT_HAND, :2] = rng.uniform(-0.05, 0.05, (sk.NUM_HAND, 2)) + np.array([0.75, 0.4])
    return poses


def center_of(picture: np.ndarray, color: str) -> np.ndarray | None:
    """Return the center (x, y) of the pixels of a color, or None."""
    pixels = np.argwhere((np.abs(picture.astype(int) - rgb(color)) < 12).all(-1))
    return pixels.mean(0)[::-1] if len(pixels) else None


def test_points_are_drawn_at_their_positions() -> None:
    poses = two_hands()
    poses[3:, sk.LEFT_HAND] = np.nan
    frames = list(animate(ClipView(poses, "a", aspect=4 / 3)))
    assert len(frames) == 6 and all(f.shape == frames[0].shape and f.dtype == np.uint8 for f in frames)
    assert frames[0].shape[0] % 2 == frames[0].shape[1] % 2 == 0
    picture = frames[0][:360]
    right, left = center_of(picture, VERMILION), center_of(picture, BLUE)
    assert right is not None and left is not None and right[0] < left[0] and right[1] > left[1]
    assert center_of(frames[4][:360], BLUE) is None and center_of(frames[4][:360], VERMILION) is not None


def test_the_left_panel_shows_the_picture_with_the_skeleton() -> None:
    clip = ClipView(two_hands(), "a", fps=25, aspect=640 / 480)
    pictures = [np.full((480, 640, 3), 200 + i, np.uint8) for i in range(4)]
    frames = list(animate(clip, pictures))
    assert len(frames) == 6 and frames[0].shape[1] == 2 * 480
    for number, frame in enumerate(frames[:4]):
        assert (frame[2, 2] == 200 + number).all()  # picture and skeleton of the same frame
    for panel in (frames[0][:360, :480], frames[0][:360, 480:]):
        right, left = center_of(panel, VERMILION), center_of(panel, BLUE)
        assert right is not None and left is not None
        np.testing.assert_allclose(right, (0.25 * 480, 0.8 * 360), atol=12)
        np.testing.assert_allclose(left, (0.75 * 480, 0.4 * 360), atol=12)
    assert not (frames[5][:360, :480] >= 200).all() and (frames[5][2, 2] == 243).all()  # "no frame"


def test_clips_without_points_give_empty_panels() -> None:
    frames = list(animate(ClipView(np.full((3, 75, 3), np.nan, np.float32), "nothing")))
    assert len(frames) == 3 and (frames[0][:360] == frames[0][0, 0]).all()


def test_the_view_contains_hands_and_head_and_ignores_outliers() -> None:
    poses = two_hands(200)
    corner, size = view(poses, 2.0)
    points = poses[:, np.isfinite(poses[0, :, 0]), :2] * (2.0, 1.0)
    assert (points >= corner).all() and (points <= corner + size).all()
    poses[17, sk.RIGHT_HAND.start] = (40, 40, 0)
    np.testing.assert_allclose(view(poses, 2.0)[1], size, rtol=1e-3)


def continuous() -> ClipView:
    spans = ((0, 2), (2, 4), (5, 6))
    return ClipView(two_hands(), "s", fps=25.0, glosses=("HAUS", "MÜDE", "HAUS"), spans=spans,
                   kinds=("real", "assigned", "real"))  # fmt: skip


def test_captions_show_the_current_gloss() -> None:
    continuous_clip = continuous()
    assert [continuous_clip.gloss_at(i) for i in range(6)] == [0, 0, 1, 1, None, 2]
    assert continuous_clip.label_of(1) == "MÜDE (assigned)" and continuous_clip.label_of(0) == "HAUS"
    frames = list(animate(continuous_clip))
    captions = [frame[360:] for frame in frames]
    plain = [center_of(caption, BLUE) for caption in captions]
    assert frames[0].shape[0] > next(animate(replace(continuous_clip, spans=(), glosses=())))[0].shape[0]
    signed = [int((np.abs(c.astype(int) - rgb(VERMILION)) < 8).all(-1).sum()) for c in captions]
    assert min(signed[2:4]) > 3 * max(signed[0], signed[1], signed[4], signed[5])  # highlighted while it is signed
    assert all(center is not None for center in plain)


def test_long_texts_are_truncated() -> None:
    assert truncate("kurz", 200, 13) == "kurz"
    cut = truncate("Donaudampfschifffahrtsgesellschaft" * 3, 200, 13)
    assert cut.endswith("…") and font(13).getlength(cut) <= 200


def test_captioned_pictures_keep_their_pixels() -> None:
    pictures = [np.full((224, 224, 3), 10 * i, np.uint8) for i in range(6)]
    frames = list(captioned(continuous(), pictures))
    assert len(frames) == 6 and (frames[3][:224, :224] == 30).all() and frames[3].shape[0] > 224


def test_clip_views_have_title_aspect_and_rate() -> None:
    clip = Clip("a/b", "train", two_hands(), "gsg", "s", glosses=("X",), gloss_spans=((0, 3),), fps=30.0)
    view_of_clip = clip_view(clip, 1.5)
    assert (view_of_clip.title, view_of_clip.aspect, view_of_clip.rate, view_of_clip.spans) == (
        "a/b (gsg)",
        1.5,
        30.0,
        ((0, 3),),
    )
    assert clip_view(replace(clip, gloss="x", signer_kind="synthetic")).title == "x (gsg, synthetic)"
    known = clip_view(replace(clip, width=640, height=320, fps=None), 1.5)
    assert known.aspect == 2.0 and known.fps is None and known.rate == 25.0


def test_filmstrips_have_pictures_above_and_glosses_below() -> None:
    continuous_clip = continuous()
    chosen = moments(continuous_clip.poses, 4)
    pictures = {int(i): np.full((48, 64, 3), 100, np.uint8) for i in chosen[:-1]}
    figure = filmstrip(continuous_clip, frames=4, pictures=pictures)
    above, skeletons, below = figure.axes
    assert len(above.images) == len(chosen) - 1
    assert "no frame" in [text.get_text() for text in above.texts]
    assert any(isinstance(c, LineCollection) and len(c.get_segments()) for c in skeletons.collections)
    assert [bar.get_width() for bar in below.patches] == [2, 2, 1]
    assert [bar.get_hatch() for bar in below.patches] == [None, "////", None]
    assert [t.get_text() for t in below.texts] == ["HAUS", "MÜDE (assigned)", "HAUS"]
    assert len(filmstrip(replace(continuous_clip, spans=(), glosses=()), frames=4).axes) == 1
