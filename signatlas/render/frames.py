"""RGB frames of a clip for image models: from its video if there is one, rendered from poses otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from signatlas.errors import MediaError
from signatlas.render.body import estimate_body
from signatlas.render.crop import around, crop, inside
from signatlas.render.footage import Footage
from signatlas.render.renderer import UNKNOWN_ASPECT, Renderer

if TYPE_CHECKING:
    import torch

    from signatlas.corpus.clips import Clip

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def rgb_frames(
    clip: Clip, footage: Footage | None = None, *, renderer: Renderer | None = None, aspect: float | None = None
) -> np.ndarray:
    """Return all frames of a clip, uint8 [T, size, size, 3]. See :func:`iter_rgb_frames`."""
    return np.stack(list(iter_rgb_frames(clip, footage, renderer=renderer, aspect=aspect)))


def iter_rgb_frames(
    clip: Clip, footage: Footage | None = None, *, renderer: Renderer | None = None, aspect: float | None = None
) -> Iterator[np.ndarray]:
    """Yield frames uint8 RGB [size, size, 3], one in memory at a time; ``size`` is the renderer's (default 224).

    With ``footage`` they are video frames, cropped to a square around the signer. Without, they are rendered with the
    appearance of the clip's signer, or of the clip if the signer is unknown. ``aspect`` is width/height for clips
    without an image size. Raises MediaError if the video cannot be read or ends before the clip.
    """
    renderer = renderer or Renderer()
    aspect = clip.width / clip.height if clip.width and clip.height else aspect
    if footage is not None:
        return _video_frames(clip, footage, aspect, renderer.config.size)
    appearance = renderer.appearance(clip.signer or clip.id)
    return renderer.iter_render(clip.poses, aspect, appearance, face=clip.face)


def _video_frames(clip: Clip, footage: Footage, aspect: float | None, size: int) -> Iterator[np.ndarray]:
    square, number = None, 0
    for image in footage.frames():
        if number == clip.num_frames:
            break
        if square is None:
            aspect = aspect or image.shape[1] / image.shape[0]
            square = inside(around(estimate_body(clip.poses, aspect), aspect), aspect)
        number += 1
        yield crop(image, square, aspect or UNKNOWN_ASPECT, size)
    if number < clip.num_frames:
        raise MediaError(f"{footage.media} has {number} frames, clip {clip.id} needs {clip.num_frames}: "
                         "pass the video the clip was extracted from")  # fmt: skip


def normalized(frames: np.ndarray) -> np.ndarray:
    """Normalize frames uint8 [T, H, W, 3] to float32 [T, 3, H, W] by ImageNet's mean and standard deviation."""
    scale = np.float32(1) / (255 * np.array(IMAGENET_STD, np.float32))
    shift = np.array(IMAGENET_MEAN, np.float32) / np.array(IMAGENET_STD, np.float32)
    return np.ascontiguousarray((frames.astype(np.float32) * scale - shift).transpose(0, 3, 1, 2))


def to_tensor(frames: np.ndarray) -> torch.Tensor:
    """Return :func:`normalized` frames as a torch tensor, float32 [T, 3, H, W]."""
    import torch

    return torch.from_numpy(normalized(frames))
