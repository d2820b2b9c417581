"""One global loss: one rank with a whole batch has the parameter gradients of W ranks with a slice each."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.distributed import local_slice

SCRIPT = Path(__file__).with_name("ranks.py")


def gradients(recipe: Path, ranks: int, out: Path, zero: int = 0, precision: str = "fp32") -> dict:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [str(port), str(out), str(zero), precision]
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(recipe), str(rank), str(ranks), *arguments],
            cwd=SCRIPT.parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    output = [process.communicate(timeout=240)[0] for process in processes]
    failed = [text for process, text in zip(processes, output, strict=True) if process.returncode]
    assert not failed, failed[0][-3000:]
    return torch.load(out)


@pytest.fixture(scope="module")
def alone(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return gradients(small_recipe, 1, tmp_path_factory.mktemp("one") / "g.pt")


@pytest.mark.parametrize(("ranks", "zero"), [(2, 0), (4, 0), (2, 1)])
def test_parameter_gradients_do_not_depend_on_the_number_of_ranks(alone, small_recipe, tmp_path, ranks, zero):
    several = gradients(small_recipe, ranks, tmp_path / "g.pt", zero)
    assert several["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    largest = max(float(g.abs().max()) for g in alone["gradients"].values())
    assert largest > 1e-3, "gradients before clipping"
    for name, gradient in alone["gradients"].items():
        error = float((several["gradients"][name] - gradient).abs().max())
        assert error < 1e-5 * largest, name


@pytest.mark.parametrize("zero", [2, 3])
def test_the_same_under_zero_2_and_3_in_bf16(alone, small_recipe, tmp_path, zero):
    """bf16 keeps 8 bits: gradients point the same way."""
    several = gradients(small_recipe, 2, tmp_path / "g.pt", zero, "bf16")
    flat, other = (torch.cat([g.flatten() for g in r["gradients"].values()]) for r in (alone, several))
    assert float(torch.cosine_similarity(flat, other, dim=0)) > 0.98
    assert float(other.norm() / flat.norm()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_slices_cover_the_batch_in_order(ranks):
    batch = np.arange(12)
    slices = [local_slice(batch, rank, ranks) for rank in range(ranks)]
    assert len({len(s) for s in slices}) == 1, "all ranks have equally many rows"
    assert np.concatenate(slices)[:12].tolist() == batch.tolist()
