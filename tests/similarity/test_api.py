"""Golden vectors of the released function, invalid inputs, and the contract of every backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from signatlas.similarity import fine_grained
from tests.similarity.compare import ragged


@pytest.mark.parametrize("backend", ["reference", "tiled", "auto"])
@pytest.mark.parametrize("name", ["dense", "padded"])
def test_golden_vectors(mirror: Path | None, name: str, backend: str) -> None:
    if mirror is None:
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    golden = np.load(mirror.parent / "golden" / f"cico_{name}_a.npz")
    video, text, augmented = (torch.from_numpy(golden[key]) for key in ("video", "text", "text_aug"))
    masks = torch.from_numpy(golden["video_mask"]).bool(), torch.from_numpy(golden["text_mask"]).bool()
    scale, tau = float(golden["logit_scale"]), float(golden["tau"])
    for padding in ("released", "masked"):
        common = {"tau": tau, "padding": padding, "backend": backend}
        video_to_text, _ = fine_grained(video, text, *masks, **common)
        _, text_to_video = fine_grained(video, augmented, *masks, **common)
        expected = torch.from_numpy(golden["i2t"]), torch.from_numpy(golden["t2i"])
        scores = video_to_text, text_to_video
        equal = [torch.allclose(scale * s, e, atol=1e-9) for s, e in zip(scores, expected, strict=True)]
        assert equal == [padding == "released" or name == "dense"] * 2


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_one_direction_alone(backend: str) -> None:
    batch = ragged(0, 4, 3, 5, 6, 8)
    both = fine_grained(*batch, backend=backend)
    video_to_text, other = fine_grained(*batch, backend=backend, only="video_to_text")
    assert other is None and video_to_text is not None and torch.allclose(video_to_text, both[0], atol=1e-6)
    other, text_to_video = fine_grained(*batch, backend=backend, only="text_to_video")
    assert other is None and text_to_video is not None and torch.allclose(text_to_video, both[1], atol=1e-6)


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_half_precision_is_compared_in_fp32(backend: str) -> None:
    video, text, *masks = ragged(1, 4, 3, 5, 6, 8)
    half = video.bfloat16().requires_grad_()
    scores = fine_grained(half, text.bfloat16(), *masks, backend=backend)
    rounded = fine_grained(video.bfloat16().float(), text.bfloat16().float(), *masks, backend="reference")
    assert scores[0].dtype == scores[1].dtype == torch.float32
    assert all(torch.allclose(s, r, atol=1e-5) for s, r in zip(scores, rounded, strict=True))
    scores[0].sum().backward()
    assert half.grad is not None and half.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_autocast_does_not_round_the_cosines(backend: str) -> None:
    batch = ragged(3, 4, 3, 5, 6, 8)
    plain = fine_grained(*batch, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = fine_grained(*batch, backend=backend)
    assert torch.equal(scores[0], plain[0]) and torch.equal(scores[1], plain[1])


def test_triton_where_it_cannot_be_used_is_refused_with_the_reason() -> None:
    batch = ragged(4, 3, 3, 4, 4, 8)
    for message, options in (
        ("aggregation 'mean' only, not 'max'", {"aggregation": "max"}),
        ("kernels run on a GPU, the tokens are on cpu", {}),
    ):
        with pytest.raises(ValueError, match=message):
            fine_grained(*batch, backend="triton", **options)
    with pytest.raises(ValueError, match="at most 128 tokens a row, got 129 and 4"):
        fine_grained(*ragged(5, 2, 2, 129, 4, 8), backend="triton")


def test_invalid_inputs_are_refused() -> None:
    video, text, video_mask, text_mask = ragged(2, 3, 3, 4, 4, 8)
    empty = video_mask.clone()
    empty[1] = False
    with pytest.raises(ValueError, match="video row 1 has no token"):
        fine_grained(video, text, empty, text_mask)
    with pytest.raises(ValueError, match="text row 1 has no token"):
        fine_grained(video, text, video_mask, empty)
    with pytest.raises(ValueError, match="must be bool"):
        fine_grained(video, text, video_mask.float(), text_mask)
    with pytest.raises(ValueError, match="width 8, text tokens 7"):
        fine_grained(video, text[..., :7], video_mask, text_mask)
    with pytest.raises(ValueError, match=r"its mask \[rows, tokens\]"):
        fine_grained(video, text, video_mask[:2], text_mask)
    with pytest.raises(ValueError, match="tau must be positive"):
        fine_grained(video, text, video_mask, text_mask, tau=0.0)
    with pytest.raises(ValueError, match="aggregation"):
        fine_grained(video, text, video_mask, text_mask, aggregation="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="backend"):
        fine_grained(video, text, video_mask, text_mask, backend="fast")  # type: ignore[arg-type]
