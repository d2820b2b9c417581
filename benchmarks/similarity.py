"""Time and memory of the fine-grained similarity, forward and backward: the tiled backend against the reference.

Each measurement runs in a new process. Memory is the peak resident memory minus that with the inputs only; time is that
of further passes, in wall-clock and CPU seconds (the latter are more stable under load, with --threads 1). The backends
alternate. The reference is skipped where it would need more than --memory.

    python -m benchmarks.similarity --batch 64 128 256 512 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MIB = 2**20
BACKENDS = ("reference", "tiled")


def one_pass(backend: Any, video: Any, text: Any, masks: tuple[Any, Any]) -> float:
    """Return the seconds of both score matrices, a contrastive loss of them and its gradients."""
    import torch
    from torch.nn import functional as F

    from signatlas.similarity import fine_grained

    started = time.perf_counter()
    pairs = torch.arange(len(video), device=video.device)
    scores = fine_grained(video, text, *masks, backend=backend)
    torch.stack([F.cross_entropy(part * 20, pairs) for part in scores]).sum().backward()
    if video.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def inputs(B: int, length: int, words: int, width: int, ragged: bool, **kind: Any) -> tuple[Any, Any, tuple[Any, Any]]:
    """Return random tokens with gradients, and masks of full or ``ragged`` rows.

    Ragged lengths are uniform between a quarter of the longest and the longest.
    """
    import torch

    torch.manual_seed(0)
    tokens, masks = [], []
    for longest in (length, words):
        tokens.append(torch.randn(B, longest, width, **kind).requires_grad_())
        lengths = torch.randint(max(1, longest // 4), longest + 1, (B, 1)) if ragged else torch.tensor([[longest]])
        masks.append((torch.arange(longest) < lengths).expand(B, -1).to(tokens[-1].device))
    return tokens[0], tokens[1], (masks[0], masks[1])


def resident(field: str) -> int:
    """Return VmRSS (current) or VmHWM (peak) resident memory of this process in bytes. Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: this benchmark needs Linux")


def measure(arguments: argparse.Namespace) -> None:
    """Print the shortest wall-clock and CPU seconds of a pass and the peak extra bytes of the first."""
    import torch

    torch.set_num_threads(arguments.threads)
    sizes = arguments.length, arguments.words, arguments.width
    # The first call starts threads and compiles kernels.
    one_pass(arguments.backend, *inputs(4, *sizes, arguments.ragged))
    batch = inputs(arguments.batch[0], *sizes, arguments.ragged)
    baseline = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    seconds, cpu_seconds = [one_pass(arguments.backend, *batch)], []
    peak = resident("VmHWM") - baseline
    for tokens in batch[:2]:
        tokens.grad = None
    for _ in range(arguments.passes):
        started = time.process_time()
        seconds.append(one_pass(arguments.backend, *batch))
        cpu_seconds.append(time.process_time() - started)
    print(json.dumps({"seconds": min(seconds), "cpu": min(cpu_seconds), "peak": peak}))


def required_bytes(backend: str, B: int, arguments: argparse.Namespace) -> int:
    """Return the bytes that the algorithm needs in addition to its inputs, counted at its peak."""
    tokens = 4 * B * (arguments.length + arguments.words) * arguments.width
    if backend == "reference":
        # S, masked logits, two softmaxes, their products with S, and two gradients, each [B, B, L, T].
        return 8 * 4 * B * B * arguments.length * arguments.words + tokens
    # Unpadded tokens, unit tokens, blocks, and the gradients of blocks, unit tokens and tokens; scores and gradients.
    return 6 * tokens + 8 * 4 * B * B


def largest_batch(backend: str, peak: int | None, B: int, arguments: argparse.Namespace) -> dict[str, int]:
    """Return the largest batch that fits in --memory: by the counted bytes, and scaled to the measured peak."""
    budget = arguments.memory * 2**30

    def largest(bytes_at: Any) -> int:
        size = 1
        while bytes_at(2 * size) <= budget:
            size *= 2
        low, high = size, 2 * size
        while high - low > max(1, size // 64):
            middle = (low + high) // 2
            low, high = (middle, high) if bytes_at(middle) <= budget else (low, middle)
        return low

    sizes = {"counted": largest(lambda size: required_bytes(backend, size, arguments))}
    if peak is not None:
        factor = peak / required_bytes(backend, B, arguments)
        sizes["measured"] = largest(lambda size: factor * required_bytes(backend, size, arguments))
    return sizes


def child(backend: str, B: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run :func:`measure` in a new process and return its result."""
    sizes = ("--length", "--words", "--width", "--threads", "--passes")
    options = [text for name in sizes for text in (name, str(getattr(arguments, name[2:])))]
    command = [sys.executable, "-m", "benchmarks.similarity", "--backend", backend, "--batch", str(B), *options]
    command += ["--ragged"] if arguments.ragged else []
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(B: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure both backends alternately at one batch size; return median times, largest peaks and ratios."""
    skipped = required_bytes("reference", B, arguments) > arguments.memory * 2**30
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in BACKENDS if not (skipped and name == "reference")}
    for _ in range(arguments.rounds):
        for backend, results in runs.items():
            results.append(child(backend, B, arguments))
    row: dict[str, Any] = {"batch": B}
    for backend, results in runs.items():
        row[f"{backend}_seconds"] = round(statistics.median(run["seconds"] for run in results), 4)
        row[f"{backend}_cpu_seconds"] = round(statistics.median(run["cpu"] for run in results), 4)
        row[f"{backend}_mib"] = round(max(run["peak"] for run in results) / MIB, 1)
    operations = 8 * B * B * arguments.length * arguments.words * arguments.width
    row["tiled_gflops"] = round(operations / row["tiled_seconds"] / 1e9)
    if skipped:
        gib = required_bytes("reference", B, arguments) / 2**30
        row["reference_left_out"] = f"would need {gib:.1f} GiB, more than --memory {arguments.memory:g}"
    else:
        row["time_ratio"] = round(row["tiled_seconds"] / row["reference_seconds"], 3)
        row["cpu_ratio"] = round(row["tiled_cpu_seconds"] / row["reference_cpu_seconds"], 3)
        row["memory_ratio"] = round(row["tiled_mib"] / row["reference_mib"], 4)
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--length", type=int, default=64, help="clips per video")
    parser.add_argument("--words", type=int, default=32, help="words per text")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--ragged", action="store_true", help="random lengths, at least a quarter of the longest")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each backend and size")
    parser.add_argument("--passes", type=int, default=2, help="timed passes of a process, after the first")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory", type=float, default=8, help="GiB in addition to the inputs")
    parser.add_argument("--backend", choices=BACKENDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.backend:
        measure(arguments)
        return
    rows = [compare(B, arguments) for B in arguments.batch]
    largest = {}
    for backend in BACKENDS:
        measured = [row for row in rows if f"{backend}_mib" in row]
        last = measured[-1] if measured else {"batch": 1}
        peak = int(last[f"{backend}_mib"] * MIB) if measured else None
        largest[backend] = largest_batch(backend, peak, last["batch"], arguments)
    shape = {"length": arguments.length, "words": arguments.words, "width": arguments.width}
    settings = {"ragged": arguments.ragged, "threads": arguments.threads, "rounds": arguments.rounds}
    result = {"benchmark": "similarity", **shape, **settings, "rows": rows}
    print(json.dumps(result | {"memory_gib": arguments.memory, "largest_batch": largest, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
