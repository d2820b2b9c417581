"""Signing as a moving picture: the skeleton, the video it was found in beside it, and the glosses as they pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from signatlas.plots.figures import BLACK, BLUE, CYCLE, GRAY, GREEN, ORANGE, PURPLE, VERMILION
from signatlas.plots.skeleton import PANEL, PARTS, view
from signatlas.pose import skeleton as sk

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    from signatlas.corpus.clips import Clip

UNKNOWN_FPS = 25.0
UNDETERMINED = "und"  # ISO 639's code for a language nobody named
FINER = 2  # skeletons are drawn this much larger and reduced: Pillow's lines have no soft edges
LINE, MARGIN = 20, 8  # pixels of a line of text, and around it
NARROWEST = 320  # pixels: a caption needs room
GRAY_SPAN = "#C9C9C9"
FACE_LINES = ((8, 6, 5, 4, 0, 1, 2, 3, 7), (9, 10))  # ear, eye, nose, eye, ear; mouth


def rgb(color: str) -> tuple[int, int, int]:
    """'#0072B2' -> (0, 114, 178)."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


GLOSS_COLORS = tuple(c for c in CYCLE if c != BLACK)
SWATCHES = tuple(map(rgb, (BLACK, BLUE, VERMILION, GREEN, ORANGE, PURPLE, GRAY, GRAY_SPAN, PANEL, "#FFFFFF")))


@dataclass(frozen=True)
class Showing:
    """Something to look at: poses [T, 75, 3] in image units and what is known of them.

    ``aspect`` is width/height of the picture, None where unknown (then 1 is drawn); ``spans`` are (first frame, frame
    after the last) of ``glosses``, ``kinds`` real or assigned; ``face`` is [T, 478, 3] or None.
    """

    poses: np.ndarray
    title: str
    fps: float | None = None
    aspect: float | None = None
    glosses: tuple[str, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    kinds: tuple[str, ...] = ()
    face: np.ndarray | None = None

    @property
    def rate(self) -> float:
        """Frames per second to show it at."""
        return self.fps or UNKNOWN_FPS

    def named(self, place: int) -> str:
        """Gloss ``place``, marked where another sign stands for it."""
        assigned = place < len(self.kinds) and self.kinds[place] == "assigned"
        return f"{self.glosses[place]} (assigned)" if assigned else self.glosses[place]

    def gloss_at(self, frame: int) -> int | None:
        """Which gloss is signed in ``frame``, None between two."""
        return next((i for i, (first, end) in enumerate(self.spans) if first <= frame < end), None)


def showing(clip: Clip, aspect: float | None = None) -> Showing:
    """A clip of a corpus, ready to be looked at; ``aspect`` is for corpora that do not know it."""
    known = clip.width / clip.height if clip.width and clip.height else aspect
    spans = clip.gloss_spans or ()
    notes = [clip.sign_language] if clip.sign_language != UNDETERMINED else []
    notes += ["synthetic"] if clip.signer_kind == "synthetic" else []
    return Showing(
        clip.poses,
        (clip.gloss or clip.id) + (f" ({', '.join(notes)})" if notes else ""),
        clip.fps,
        known,
        (clip.glosses or ()) if spans else (),
        spans,
        clip.gloss_kinds or (),
        clip.face,
    )


def animate(shown: Showing, pictures: Iterable[np.ndarray] | None = None, height: int = 360) -> Iterator[np.ndarray]:
    """Frames of the animation, uint8 RGB [H, W, 3] with even sides, one for each frame of the clip.

    Without ``pictures`` the view is fitted to the signer. With them (the clip's frames, any size, in order) the
    picture with the skeleton on it stands left, the skeleton alone right, both in the picture's own frame; where the
    pictures end early the left side says so.
    """
    from PIL import Image, ImageDraw

    source = None if pictures is None else iter(pictures)
    size = _panel_size(shown, height, whole=source is not None)
    points = _scaled(shown.poses, shown, size, whole=source is not None)
    face = None if shown.face is None else _scaled(shown.face, shown, size, whole=source is not None)
    panels = 1 if source is None else 2
    caption = _caption_height(shown)
    for number in range(len(shown.poses)):
        canvas = Image.new("RGB", (panels * size[0], size[1] + caption), "#FFFFFF")
        skeleton = layer(points[number], size, None if face is None else face[number])
        for panel in range(panels):
            picture = next(source, None) if source is not None and panel == 0 else None
            left = panel * size[0]
            canvas.paste(_under(picture, size, expected=source is not None and panel == 0), (left, 0))
            canvas.paste(skeleton, (left, 0), skeleton)
        _caption(ImageDraw.Draw(canvas), shown, number, canvas.width, size[1])
        yield np.asarray(canvas)


def labeled(shown: Showing, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """``pictures`` of the clip with the caption below: the model's view, or a video alone."""
    from PIL import Image, ImageDraw

    caption = _caption_height(shown)
    for number, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        canvas = Image.new("RGB", (max(NARROWEST, width + width % 2), height + caption + height % 2), "#FFFFFF")
        canvas.paste(Image.fromarray(picture), (0, 0))
        _caption(ImageDraw.Draw(canvas), shown, number, canvas.width, height)
        yield np.asarray(canvas)


def _panel_size(shown: Showing, height: int, *, whole: bool) -> tuple[int, int]:
    if whole:
        width = height * (shown.aspect or 1.0)
    else:
        _, box = view(shown.poses, shown.aspect)
        width = height * box[0] / box[1]
    return 2 * max(NARROWEST // 2, round(width / 2)), height + height % 2


def _scaled(points: np.ndarray, shown: Showing, size: tuple[int, int], *, whole: bool) -> np.ndarray:
    """[T, points, 2] in pixels of a panel: of the whole picture, or of the view that fits the signer."""
    flat = points[..., :2].astype(np.float64)
    if whole:
        return flat * np.array(size)
    flat[..., 0] *= shown.aspect or 1.0
    corner, box = view(shown.poses, shown.aspect)
    center = corner + box / 2
    return (flat - center) * (size[1] / box[1]) + np.array(size) / 2


def _under(picture: np.ndarray | None, size: tuple[int, int], *, expected: bool) -> Image:
    """What lies under a skeleton: the picture, an empty panel, or the news that there is no picture any more."""
    from PIL import Image, ImageDraw

    if picture is not None:
        return Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    empty = Image.new("RGB", size, PANEL)
    if expected:
        ImageDraw.Draw(empty).text((size[0] / 2, size[1] / 2), "no frame", fill=GRAY, font=font(14), anchor="mm")
    return empty


def layer(points: np.ndarray, size: tuple[int, int], face: np.ndarray | None = None) -> Image:
    """One skeleton [75, 2] in pixels on a transparent picture of ``size``; what is missing is not drawn."""
    from PIL import Image, ImageDraw

    drawn = Image.new("RGBA", (size[0] * FINER, size[1] * FINER))
    draw = ImageDraw.Draw(drawn)
    unit, points = FINER * size[1] / 360, points * FINER
    seen = np.isfinite(points).all(-1)
    if face is not None:
        speck = 0.7 * unit
        for x, y in face[np.isfinite(face).all(-1)] * FINER:
            draw.ellipse((x - speck, y - speck, x + speck, y + speck), fill=GRAY)
    _draw_face(draw, points, seen, unit)
    for limbs, color, width in PARTS:
        thick = max(2, round(2.4 * width * unit))
        for a, b in limbs:
            if seen[a] and seen[b]:
                draw.line((*points[a], *points[b]), fill=color, width=thick)
        for joint in np.unique(limbs):
            if seen[joint]:
                _dot(draw, points[joint], thick / 2, color)  # round ends
    return drawn.reduce(FINER)


def _draw_face(draw: ImageDraw, points: np.ndarray, seen: np.ndarray, unit: float) -> None:
    for line in FACE_LINES:
        for a, b in pairwise(line):
            if seen[a] and seen[b]:
                draw.line((*points[a], *points[b]), fill=GRAY, width=max(2, round(1.6 * unit)))
    if seen[sk.NOSE]:
        _dot(draw, points[sk.NOSE], 5 * unit, BLACK)


def _dot(draw: ImageDraw, place: np.ndarray, radius: float, color: str) -> None:
    x, y = place
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _caption_height(shown: Showing) -> int:
    return 2 * LINE + MARGIN + (2 * LINE + MARGIN // 2 if shown.spans else 0)


def _caption(draw: ImageDraw, shown: Showing, number: int, width: int, top: int) -> None:
    """Name and frame number; below, for continuous signing, the glosses with the one being signed in color."""
    fps = f"{shown.fps:.4g} fps" if shown.fps else f"fps unknown, shown at {UNKNOWN_FPS:.0f}"
    top += MARGIN // 2
    _fitted(draw, (MARGIN, top), shown.title, width - 2 * MARGIN, 13, BLACK)
    _fitted(draw, (MARGIN, top + LINE), f"frame {number} / {len(shown.poses) - 1}, {fps}", width - 2 * MARGIN, 11, GRAY)
    if shown.spans:
        _gloss_line(draw, shown, number, width, top + 2 * LINE)
        _timeline(draw, shown, number, width, top + 3 * LINE + MARGIN // 2)


def _gloss_line(draw: ImageDraw, shown: Showing, number: int, width: int, top: int) -> None:
    """The gloss of this moment, in its color."""
    now = shown.gloss_at(number)
    if now is not None:
        name = shortened(shown.named(now), width - 2 * MARGIN, 14, bold=True)
        draw.text((MARGIN, top), name, fill=gloss_color(shown, now), font=font(14, bold=True))


def _timeline(draw: ImageDraw, shown: Showing, number: int, width: int, top: int) -> None:
    scale, bottom = (width - 2 * MARGIN) / len(shown.poses), top + LINE - 6
    now = shown.gloss_at(number)
    for place, (first, end) in enumerate(shown.spans):
        left, right = MARGIN + first * scale, MARGIN + end * scale - 1
        color = gloss_color(shown, place)
        current = place == now
        draw.rectangle((left, top, max(left, right), bottom), fill=color if current else GRAY_SPAN)
        draw.rectangle((left, bottom - 2, max(left, right), bottom), fill=color)
    x = MARGIN + (number + 0.5) * scale
    draw.line((x, top - 3, x, bottom + 3), fill=BLACK, width=2)


def gloss_color(shown: Showing, place: int) -> str:
    """Equal glosses have equal colors within a clip."""
    order = list(dict.fromkeys(shown.glosses))
    return GLOSS_COLORS[order.index(shown.glosses[place]) % len(GLOSS_COLORS)]


def _fitted(draw: ImageDraw, place: tuple[int, int], text: str, width: int, size: int, color: str) -> None:
    draw.text(place, shortened(text, width, size), fill=color, font=font(size))


def shortened(text: str, width: float, size: int, bold: bool = False) -> str:
    """``text``, with its end cut off where it is wider than ``width`` pixels."""
    while len(text) > 1 and font(size, bold).getlength(text) > width:
        text = text[:-2].rstrip() + "…"
    return text


@lru_cache
def font(size: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings: letters of most alphabets, the same on every machine."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)
