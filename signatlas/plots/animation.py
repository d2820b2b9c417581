"""Animation of a clip: skeleton, video with overlay, and a caption with the current gloss."""

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
UNDETERMINED = "und"  # ISO 639 code of an undetermined language
SUPERSAMPLING = 2  # supersampling factor: Pillow draws lines without anti-aliasing
LINE, MARGIN = 20, 8  # pixels
MIN_WIDTH = 320  # pixels, for the caption
GRAY_SPAN = "#C9C9C9"
FACE_LINES = ((8, 6, 5, 4, 0, 1, 2, 3, 7), (9, 10))  # ear, eye, nose, eye, ear; mouth


def rgb(color: str) -> tuple[int, int, int]:
    """Return the RGB values of a color: '#0072B2' -> (0, 114, 178)."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


GLOSS_COLORS = tuple(c for c in CYCLE if c != BLACK)
SWATCHES = tuple(map(rgb, (BLACK, BLUE, VERMILION, GREEN, ORANGE, PURPLE, GRAY, GRAY_SPAN, PANEL, "#FFFFFF")))


@dataclass(frozen=True)
class ClipView:
    """Clip to draw: poses [T, 75, 3] in image units, with title, frame rate and glosses.

    ``aspect`` is width/height of the picture, None if unknown (drawn as 1); ``spans`` are (first, end) frames of
    ``glosses``; ``kinds`` are real or assigned; ``face`` is [T, 478, 3] or None.
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
        """Frames per second of the animation."""
        return self.fps or UNKNOWN_FPS

    def label_of(self, index: int) -> str:
        """Return the label of a gloss, marked if its sign is an assigned one."""
        assigned = index < len(self.kinds) and self.kinds[index] == "assigned"
        return f"{self.glosses[index]} (assigned)" if assigned else self.glosses[index]

    def gloss_at(self, frame: int) -> int | None:
        """Return the index of the gloss in ``frame``; None between glosses."""
        return next((i for i, (first, end) in enumerate(self.spans) if first <= frame < end), None)


def clip_view(clip: Clip, aspect: float | None = None) -> ClipView:
    """Return the view of a clip; ``aspect`` is used if the clip has no picture size."""
    known_aspect = clip.width / clip.height if clip.width and clip.height else aspect
    spans = clip.gloss_spans or ()
    annotations = [clip.sign_language] if clip.sign_language != UNDETERMINED else []
    annotations += ["synthetic"] if clip.signer_kind == "synthetic" else []
    return ClipView(
        clip.poses,
        (clip.gloss or clip.id) + (f" ({', '.join(annotations)})" if annotations else ""),
        clip.fps,
        known_aspect,
        (clip.glosses or ()) if spans else (),
        spans,
        clip.gloss_kinds or (),
        clip.face,
    )


def animate(clip: ClipView, pictures: Iterable[np.ndarray] | None = None, height: int = 360) -> Iterator[np.ndarray]:
    """Yield the frames of the animation, uint8 RGB [H, W, 3] with even sides, one per frame of the clip.

    Without ``pictures`` the view is fitted to the signer. With ``pictures`` (the frames of the clip, of any size), the
    left panel shows the picture with the skeleton, the right panel the skeleton alone, both for the whole picture; if
    the pictures end early, the left panel shows "no frame".
    """
    from PIL import Image, ImageDraw

    source = None if pictures is None else iter(pictures)
    size = _panel_size(clip, height, whole=source is not None)
    points = _scaled(clip.poses, clip, size, whole=source is not None)
    face = None if clip.face is None else _scaled(clip.face, clip, size, whole=source is not None)
    panels = 1 if source is None else 2
    caption = _caption_height(clip)
    for number in range(len(clip.poses)):
        canvas = Image.new("RGB", (panels * size[0], size[1] + caption), "#FFFFFF")
        skeleton = draw_skeleton(points[number], size, None if face is None else face[number])
        for panel in range(panels):
            picture = next(source, None) if source is not None and panel == 0 else None
            left = panel * size[0]
            canvas.paste(_background(picture, size, expected=source is not None and panel == 0), (left, 0))
            canvas.paste(skeleton, (left, 0), skeleton)
        _caption(ImageDraw.Draw(canvas), clip, number, canvas.width, size[1])
        yield np.asarray(canvas)


def captioned(clip: ClipView, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield ``pictures`` of the clip with the caption below."""
    from PIL import Image, ImageDraw

    caption = _caption_height(clip)
    for number, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        canvas = Image.new("RGB", (max(MIN_WIDTH, width + width % 2), height + caption + height % 2), "#FFFFFF")
        canvas.paste(Image.fromarray(picture), (0, 0))
        _caption(ImageDraw.Draw(canvas), clip, number, canvas.width, height)
        yield np.asarray(canvas)


def _panel_size(clip: ClipView, height: int, *, whole: bool) -> tuple[int, int]:
    if whole:
        width = height * (clip.aspect or 1.0)
    else:
        _, box = view(clip.poses, clip.aspect)
        width = height * box[0] / box[1]
    return 2 * max(MIN_WIDTH // 2, round(width / 2)), height + height % 2


def _scaled(points: np.ndarray, clip: ClipView, size: tuple[int, int], *, whole: bool) -> np.ndarray:
    """Return points [T, points, 2] in pixels of a panel with the whole picture, or a view fitted to the signer."""
    flat = points[..., :2].astype(np.float64)
    if whole:
        return flat * np.array(size)
    flat[..., 0] *= clip.aspect or 1.0
    corner, box = view(clip.poses, clip.aspect)
    center = corner + box / 2
    return (flat - center) * (size[1] / box[1]) + np.array(size) / 2


def _background(picture: np.ndarray | None, size: tuple[int, int], *, expected: bool) -> Image:
    """Return the background of a skeleton: the picture, or an empty panel, with "no frame" if one was expected."""
    from PIL import Image, ImageDraw

    if picture is not None:
        return Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    empty = Image.new("RGB", size, PANEL)
    if expected:
        ImageDraw.Draw(empty).text((size[0] / 2, size[1] / 2), "no frame", fill=GRAY, font=font(14), anchor="mm")
    return empty


def draw_skeleton(points: np.ndarray, size: tuple[int, int], face: np.ndarray | None = None) -> Image:
    """Draw a skeleton [75, 2] in pixels on a transparent image of ``size``; missing points are skipped."""
    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING))
    draw = ImageDraw.Draw(image)
    unit, points = SUPERSAMPLING * size[1] / 360, points * SUPERSAMPLING
    present = np.isfinite(points).all(-1)
    if face is not None:
        dot_radius = 0.7 * unit
        for x, y in face[np.isfinite(face).all(-1)] * SUPERSAMPLING:
            draw.ellipse((x - dot_radius, y - dot_radius, x + dot_radius, y + dot_radius), fill=GRAY)
    _draw_face(draw, points, present, unit)
    for limbs, color, width in PARTS:
        thickness = max(2, round(2.4 * width * unit))
        for a, b in limbs:
            if present[a] and present[b]:
                draw.line((*points[a], *points[b]), fill=color, width=thickness)
        for joint in np.unique(limbs):
            if present[joint]:
                _dot(draw, points[joint], thickness / 2, color)  # round ends
    return image.reduce(SUPERSAMPLING)


def _draw_face(draw: ImageDraw, points: np.ndarray, present: np.ndarray, unit: float) -> None:
    for line in FACE_LINES:
        for a, b in pairwise(line):
            if present[a] and present[b]:
                draw.line((*points[a], *points[b]), fill=GRAY, width=max(2, round(1.6 * unit)))
    if present[sk.NOSE]:
        _dot(draw, points[sk.NOSE], 5 * unit, BLACK)


def _dot(draw: ImageDraw, position: np.ndarray, radius: float, color: str) -> None:
    x, y = position
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _caption_height(clip: ClipView) -> int:
    return 2 * LINE + MARGIN + (2 * LINE + MARGIN // 2 if clip.spans else 0)


def _caption(draw: ImageDraw, clip: ClipView, number: int, width: int, top: int) -> None:
    """Draw title and frame number and, for continuous signing, the current gloss and a timeline."""
    fps = f"{clip.fps:.4g} fps" if clip.fps else f"fps unknown, shown at {UNKNOWN_FPS:.0f}"
    top += MARGIN // 2
    _draw_text(draw, (MARGIN, top), clip.title, width - 2 * MARGIN, 13, BLACK)
    _draw_text(
        draw, (MARGIN, top + LINE), f"frame {number} / {len(clip.poses) - 1}, {fps}", width - 2 * MARGIN, 11, GRAY
    )
    if clip.spans:
        _gloss_line(draw, clip, number, width, top + 2 * LINE)
        _timeline(draw, clip, number, width, top + 3 * LINE + MARGIN // 2)


def _gloss_line(draw: ImageDraw, clip: ClipView, number: int, width: int, top: int) -> None:
    """Draw the current gloss in its color."""
    current_index = clip.gloss_at(number)
    if current_index is not None:
        name = truncate(clip.label_of(current_index), width - 2 * MARGIN, 14, bold=True)
        draw.text((MARGIN, top), name, fill=gloss_color(clip, current_index), font=font(14, bold=True))


def _timeline(draw: ImageDraw, clip: ClipView, number: int, width: int, top: int) -> None:
    scale, bottom = (width - 2 * MARGIN) / len(clip.poses), top + LINE - 6
    current_index = clip.gloss_at(number)
    for index, (first, end) in enumerate(clip.spans):
        left, right = MARGIN + first * scale, MARGIN + end * scale - 1
        color = gloss_color(clip, index)
        is_current = index == current_index
        draw.rectangle((left, top, max(left, right), bottom), fill=color if is_current else GRAY_SPAN)
        draw.rectangle((left, bottom - 2, max(left, right), bottom), fill=color)
    x = MARGIN + (number + 0.5) * scale
    draw.line((x, top - 3, x, bottom + 3), fill=BLACK, width=2)


def gloss_color(clip: ClipView, index: int) -> str:
    """Return the color of a gloss; equal glosses of a clip have equal colors."""
    order = list(dict.fromkeys(clip.glosses))
    return GLOSS_COLORS[order.index(clip.glosses[index]) % len(GLOSS_COLORS)]


def _draw_text(draw: ImageDraw, position: tuple[int, int], text: str, width: int, size: int, color: str) -> None:
    draw.text(position, truncate(text, width, size), fill=color, font=font(size))


def truncate(text: str, width: float, size: int, bold: bool = False) -> str:
    """Return ``text``, truncated to ``width`` pixels."""
    while len(text) > 1 and font(size, bold).getlength(text) > width:
        text = text[:-2].rstrip() + "…"
    return text


@lru_cache
def font(size: int, bold: bool = False) -> FreeTypeFont:
    """Return DejaVu Sans as shipped with Matplotlib, the same on every machine."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)
