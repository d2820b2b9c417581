"""The Triton kernels in Triton's interpreter and compiled for a GPU, each in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="needs triton")

REPOSITORY = Path(__file__).parents[2]

INTERPRETED = """
import torch
from signatlas.similarity import fused, tiled
from tests.similarity.compare import largest_differences, ragged, run

fused.TILES = {"scores": (32, 32), "gradients": (16, 32)}
fused.CHUNK = (18, 28)
# bf16 and fp16 round the normalized tokens (2**-9 and 2**-12 of a coordinate) and the gradient of the cosines.
limits = {torch.float32: (1e-5, 1e-5), torch.float16: (1e-3, 5e-3), torch.bfloat16: (4e-3, 2e-2)}
cases = [((3, 5, 9, 7, 24), torch.float32, padding, tau) for padding in ("masked", "released") for tau in (7e-4, 7e-2)]
cases += [((2, 3, 1, 1, 8), torch.float32, "masked", 7e-2), ((2, 2, 17, 4, 40), torch.float32, "masked", 7e-3)]
cases += [((2, 3, 9, 7, 24), dtype, "masked", tau) for dtype in (torch.float16, torch.bfloat16) for tau in (7e-3, 7e-2)]
for shape, dtype, padding, tau in cases:
    batch = tuple(part.to(dtype) if part.is_floating_point() else part for part in ragged(3, *shape))
    expected = run(batch, "reference", torch.float64, tau=tau, padding=padding)
    scores, gradients = largest_differences(run(batch, "triton", dtype, tau=tau, padding=padding), expected)
    # For small tau tokens stay in fp32; only the returned gradient is rounded.
    allowed = (1e-5 if tau < 7e-2 else limits[dtype][0]), max(limits[dtype][1], 2e-4 if tau < 7e-3 else 0)
    assert scores <= allowed[0] and gradients <= allowed[1], (shape, dtype, padding, tau, scores, gradients)

# Gradients far below the range of fp16 keep their precision.
video, text, *masks = ragged(4, 2, 3, 5, 4, 8)
video, text = (torch.nn.functional.normalize(part, dim=-1).requires_grad_() for part in (video, text))
video_gradients = []
for backend, dtype in ((fused.fine_grained, (torch.float16,)), (tiled.fine_grained, ())):
    to_text, to_video = backend(video, text, *masks, tiled.Settings(0.07, "mean", "masked"), *dtype)
    loss = ((to_text + 2 * to_video) * torch.tensor([[1.0, -2, 3], [0.5, 1, -1]])).sum() * 1e-9
    video_gradients.append(torch.autograd.grad(loss, video)[0])
assert float((video_gradients[0] - video_gradients[1]).abs().max() / video_gradients[1].abs().max()) < 5e-3
print("equal")
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from signatlas.similarity import fused, triton_kernels

numbers = dict(A="i32", B="i32", L="i32", T="i32", D="i32", tau="fp32")
pointers = ("to_text_out", "to_video_out", "to_text_gradient", "to_video_gradient", "video_share", "text_share")
for kernel, tile in fused.TILES.items():
    function = getattr(triton_kernels, kernel)
    fixed = dict(GA=tile[0] // 64, GB=tile[1] // 32, LP=64, TP=32, BD=64, GROUP=8, MASKED=True, SHARED=True,
                 PRECISION="ieee", WIDEN=False)
    types = numbers | dict.fromkeys(fixed, "constexpr") | dict.fromkeys(pointers, "*fp32")
    signature = {name: types.get(name, "*bf16") for name in function.arg_names}
    built = triton.compile(ASTSource(function, signature, fixed), target=GPUTarget("cuda", 90, 32),
                           options=dict(num_warps=8, num_stages=3))
    assert "wgmma.mma_async" in built.asm["ptx"] and len(built.asm["cubin"]) > 1000
print("built")
"""


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_interpreted_kernels_equal_the_definition() -> None:
    assert python(INTERPRETED, TRITON_INTERPRET="1", OMP_NUM_THREADS="1") == "equal\n"


@pytest.mark.slow
def test_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    """In bf16 for sm_90; needs no GPU and does not run them."""
    assert python(COMPILED, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path)) == "built\n"
