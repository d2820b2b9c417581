"""What an RGB model gets of a clip: frames of the real video where there is one, rendered ones otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from signatlas.errors import MediaError
from signatlas.render.body import figure
from signatlas.render.crop import around, cut, inside
from signatlas.render.footage import Footage
from signatlas.render.renderer import UNKNOWN_ASPECT, Renderer

if TYPE_CHECKING:
    import torch

    from signatlas.corpus.clips import Clip

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def rgb_frames(
    clip: Clip, footage: Footage | None = None, *, renderer: Renderer | None = None, aspect: float | None = None
) -> np.ndarray:
    """All frames of a clip: uint8 [T, size, size, 3], whether filmed or rendered. See :func:`iter_rgb_frames`."""
    return np.stack(list(iter_rgb_frames(clip, footage, renderer=renderer, aspect=aspect)))


def iter_rgb_frames(
    clip: Clip, footage: Footage | None = None, *, renderer: Renderer | None = None, aspect: float | None = None
) -> Iterator[np.ndarray]:
    """Frames uint8 RGB [size, size, 3] in order, one in memory at a time; ``size`` is the renderer's (224).

    With ``footage`` they are its frames, cut to a square around the signer that stays in the picture where it fits.
    Without, they are rendered with the look of the clip's signer, or of the clip where the signer is unknown.
    ``aspect`` is width/height for a corpus that does not know it. Raises MediaError when the video cannot be read or
    ends before the clip does.
    """
    renderer = renderer or Renderer()
    known = clip.width / clip.height if clip.width and clip.height else aspect
    if footage is not None:
        return _filmed(clip, footage, known, renderer.config.size)
    look = renderer.appearance(clip.signer or clip.id)
    return renderer.iter_render(clip.poses, known, look, face=clip.face)


def _filmed(clip: Clip, footage: Footage, aspect: float | None, size: int) -> Iterator[np.ndarray]:
    square, number = None, 0
    for picture in footage.frames():
        if number == clip.num_frames:
            break
        if square is None:
            aspect = aspect or picture.shape[1] / picture.shape[0]
            square = inside(around(figure(clip.poses, aspect), aspect), aspect)
        number += 1
        yield cut(picture, square, aspect or UNKNOWN_ASPECT, size)
    if number < clip.num_frames:
        raise MediaError(f"{footage.media} yields {number} frames for the {clip.num_frames} of clip {clip.id}: "
                         "give the video that the clip was extracted from")  # fmt: skip


def normalized(frames: np.ndarray) -> np.ndarray:
    """uint8 [T, H, W, 3] -> float32 [T, 3, H, W] with ImageNet's mean and standard deviation."""
    scale = np.float32(1) / (255 * np.array(IMAGENET_STD, np.float32))
    shift = np.array(IMAGENET_MEAN, np.float32) / np.array(IMAGENET_STD, np.float32)
    return np.ascontiguousarray((frames.astype(np.float32) * scale - shift).transpose(0, 3, 1, 2))


def to_tensor(frames: np.ndarray) -> torch.Tensor:
    """:func:`normalized` frames as a torch tensor, float32 [T, 3, H, W]."""
    import torch

    return torch.from_numpy(normalized(frames))
