"""The similarity benchmarks run, or report in one line why they cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_tiled_needs_less_memory_and_the_reference_is_skipped_where_it_is_too_large() -> None:
    sizes = ["--batch", "64", "160", "--length", "32", "--words", "16", "--width", "16"]
    done = run("benchmarks.similarity", *sizes, "--rounds", "1", "--passes", "1", "--threads", "1", "--memory", "0.2")
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    small, large = result["rows"]
    assert small["memory_ratio"] < 0.3
    assert "reference_left_out" in large and large["tiled_seconds"] > 0
    assert result["largest_batch"]["tiled"]["counted"] > 4 * result["largest_batch"]["reference"]["counted"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests the error without a GPU")
def test_without_a_gpu_the_benchmark_exits_with_one_line() -> None:
    done = run("benchmarks.gpu.similarity")
    assert done.returncode == 2 and "needs a GPU" in done.stderr and len(done.stderr.splitlines()) == 1
