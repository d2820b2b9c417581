"""Global batches: W ranks with a slice each have the parameter gradients of one rank with the whole batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainers.gradients import gradients
from trainers.distributed import local_slice


@pytest.fixture(scope="module")
def one_rank(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return gradients(small_recipe, 1, tmp_path_factory.mktemp("one") / "g.pt")


@pytest.mark.parametrize(("ranks", "zero"), [(2, 0), pytest.param(4, 0, marks=pytest.mark.slow), (2, 1)])
def test_parameter_gradients_do_not_depend_on_the_number_of_ranks(one_rank, small_recipe, tmp_path, ranks, zero):
    several = gradients(small_recipe, ranks, tmp_path / "g.pt", zero)
    assert several["loss"] == pytest.approx(one_rank["loss"], rel=1e-5)
    largest = max(float(g.abs().max()) for g in one_rank["gradients"].values())
    assert largest > 1e-3, "gradients before clipping"
    for name, gradient in one_rank["gradients"].items():
        error = float((several["gradients"][name] - gradient).abs().max())
        assert error < 1e-5 * largest, name


@pytest.mark.parametrize("zero", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_gradients_under_zero_2_and_3_in_bf16(one_rank, small_recipe, tmp_path, zero):
    """bf16 has 8 significant bits: gradients have the same direction."""
    several = gradients(small_recipe, 2, tmp_path / "g.pt", zero, "bf16")
    flat, other = (torch.cat([g.flatten() for g in r["gradients"].values()]) for r in (one_rank, several))
    assert float(torch.cosine_similarity(flat, other, dim=0)) > 0.98
    assert float(other.norm() / flat.norm()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_slices_cover_the_batch_in_order(ranks):
    batch = np.arange(12)
    slices = [local_slice(batch, rank, ranks) for rank in range(ranks)]
    assert len({len(s) for s in slices}) == 1, "all ranks have the same number of rows"
    assert np.concatenate(slices)[:12].tolist() == batch.tolist()
