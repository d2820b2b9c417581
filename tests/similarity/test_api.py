"""Golden vectors of the released function, what is refused, and the contract that every backend keeps."""

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
        clips, _ = fine_grained(video, text, *masks, **common)
        _, words = fine_grained(video, augmented, *masks, **common)
        expected = torch.from_numpy(golden["i2t"]), torch.from_numpy(golden["t2i"])
        same = [torch.allclose(scale * f, e, atol=1e-9) for f, e in zip((clips, words), expected, strict=True)]
        assert same == [padding == "released" or name == "dense"] * 2


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_one_direction_alone(backend: str) -> None:
    batch = ragged(0, 4, 3, 5, 6, 8)
    both = fine_grained(*batch, backend=backend)
    clips, nothing = fine_grained(*batch, backend=backend, only="video_to_text")
    assert nothing is None and clips is not None and torch.allclose(clips, both[0], atol=1e-6)
    nothing, words = fine_grained(*batch, backend=backend, only="text_to_video")
    assert nothing is None and words is not None and torch.allclose(words, both[1], atol=1e-6)


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_half_precision_is_compared_in_fp32(backend: str) -> None:
    video, text, *masks = ragged(1, 4, 3, 5, 6, 8)
    half = video.bfloat16().requires_grad_()
    clips, words = fine_grained(half, text.bfloat16(), *masks, backend=backend)
    rounded = fine_grained(video.bfloat16().float(), text.bfloat16().float(), *masks, backend="reference")
    assert clips.dtype == words.dtype == torch.float32
    assert torch.allclose(clips, rounded[0], atol=1e-5) and torch.allclose(words, rounded[1], atol=1e-5)
    clips.sum().backward()
    assert half.grad is not None and half.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("backend", ["reference", "tiled"])
def test_autocast_does_not_round_the_cosines(backend: str) -> None:
    batch = ragged(3, 4, 3, 5, 6, 8)
    plain = fine_grained(*batch, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fine_grained(*batch, backend=backend)
    assert torch.equal(found[0], plain[0]) and torch.equal(found[1], plain[1])


def test_triton_by_name_says_why_it_cannot() -> None:
    batch = ragged(4, 3, 3, 4, 4, 8)
    for message, options in (
        ("aggregation 'mean' only, not 'max'", {"aggregation": "max"}),
        ("kernels run on a GPU, the tokens are on cpu", {}),
    ):
        with pytest.raises(ValueError, match=message):
            fine_grained(*batch, backend="triton", **options)
    with pytest.raises(ValueError, match="at most 128 tokens a row, got 129 and 4"):
        fine_grained(*ragged(5, 2, 2, 129, 4, 8), backend="triton")


def test_what_does_not_fit_is_refused() -> None:
    video, text, video_mask, text_mask = ragged(2, 3, 3, 4, 4, 8)
    empty = video_mask.clone()
    empty[1] = False
    with pytest.raises(ValueError, match="video row 1 has no token"):
        fine_grained(video, text, empty, text_mask)
    with pytest.raises(ValueError, match="text row 1 has no token"):
        fine_grained(video, text, video_mask, empty)
    with pytest.raises(ValueError, match="must be bool"):
        fine_grained(video, text, video_mask.float(), text_mask)
    with pytest.raises(ValueError, match="8 wide, text tokens 7"):
        fine_grained(video, text[..., :7], video_mask, text_mask)
    with pytest.raises(ValueError, match="its mask the first two"):
        fine_grained(video, text, video_mask[:2], text_mask)
    with pytest.raises(ValueError, match="tau must be positive"):
        fine_grained(video, text, video_mask, text_mask, tau=0.0)
    with pytest.raises(ValueError, match="aggregation"):
        fine_grained(video, text, video_mask, text_mask, aggregation="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="backend"):
        fine_grained(video, text, video_mask, text_mask, backend="fast")  # type: ignore[arg-type]
