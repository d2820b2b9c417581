"""Time and memory of the fine-grained similarity on a GPU in bf16, forward and backward, against the 4U bound.

U = 2 B^2 L T D operations are one product of all tokens; forward, recomputation and the two gradients are four of them.
Time is the median of --passes after a first pass that compiles; memory is the peak in addition to the inputs.

    python -m benchmarks.gpu.similarity --batch 1024 2048 4096 8192 16384 32768
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import Any

from benchmarks.similarity import inputs, one_pass


def measure(backend: str, B: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return one row: seconds, peak GiB and share of the bound, or why it did not run."""
    import torch

    sizes = arguments.length, arguments.words, arguments.width
    row: dict[str, Any] = {"backend": backend, "batch": B}
    try:
        batch = inputs(B, *sizes, False, device="cuda", dtype=torch.bfloat16)
        one_pass(backend, *batch)
        for tokens in batch[:2]:
            tokens.grad = None
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        seconds = statistics.median([one_pass(backend, *batch) for _ in range(arguments.passes)])
    except torch.cuda.OutOfMemoryError:
        return row | {"failed": "out of memory"}
    finally:
        torch.cuda.empty_cache()
    bound = 8 * B * B * arguments.length * arguments.words * arguments.width / (arguments.tflops * 1e12)
    peak = (torch.cuda.max_memory_allocated() - before) / 2**30
    return row | {"seconds": round(seconds, 4), "peak_gib": round(peak, 2), "share_of_bound": round(bound / seconds, 3)}


def agreement(backend: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the largest differences from the reference in fp64, of scores and of gradients.

    Differences of gradients are relative to their largest entry.
    """
    import torch

    results: list[list[Any]] = []
    for name, dtype in ((backend, torch.bfloat16), ("reference", torch.float64)):
        sizes = arguments.length, arguments.words, arguments.width
        video, text, masks = inputs(16, *sizes, True, device="cuda", dtype=torch.bfloat16)
        video, text = (part.detach().to(dtype).requires_grad_() for part in (video, text))
        from signatlas.similarity import fine_grained

        scores = fine_grained(video, text, *masks, backend=name)  # type: ignore[arg-type]
        torch.stack([part.diagonal().sum() - part.logsumexp(0).sum() for part in scores]).sum().backward()
        results.append([part.detach().double() for part in (*scores, video.grad, text.grad)])
    differences = [float((a - b).abs().max()) for a, b in zip(*results, strict=True)]
    largest = [float(part.abs().max()) for part in results[1]]
    return {
        "scores": max(differences[:2]),
        "gradients": max(a / size for a, size in zip(differences[2:], largest[2:], strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[2**n for n in range(10, 16)])
    parser.add_argument("--length", type=int, default=64, help="clips per video")
    parser.add_argument("--words", type=int, default=32, help="words per text")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--backend", nargs="+", choices=["triton", "tiled", "reference"], default=["triton", "tiled"])
    parser.add_argument("--tflops", type=float, default=790, help="bf16 throughput that the GPU reaches (an H200: 790)")
    arguments = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print(
            "benchmarks.gpu.similarity needs a GPU, and torch finds none; on a CPU run benchmarks.similarity",
            file=sys.stderr,
        )
        sys.exit(2)
    rows, exact = [], {}
    for backend in arguments.backend:
        exact[backend] = agreement(backend, arguments)
        print(json.dumps({"backend": backend, "furthest_from_fp64": exact[backend]}), flush=True)
        for B in arguments.batch:
            rows.append(measure(backend, B, arguments))
            print(json.dumps(rows[-1]), flush=True)
            if "failed" in rows[-1]:
                break
    shape = {"length": arguments.length, "words": arguments.words, "width": arguments.width}
    device = {"device": torch.cuda.get_device_name(), "tflops": arguments.tflops}
    result = {"benchmark": "gpu_similarity", **shape, **device, "rows": rows, "furthest_from_fp64": exact}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
