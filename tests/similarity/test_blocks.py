"""Blocks hold every row once, cut to the longest, and multiply like torch."""

from __future__ import annotations

import pytest
import torch

from signatlas.similarity import blocks
from tests.similarity.compare import ragged


def test_rows_of_similar_length_share_a_block_that_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CPU_TOKENS", (32, 32))
    video, _, mask, _ = ragged(0, 40, 1, 16, 1, 4)
    cut_blocks = blocks.video_blocks(video, mask, cut=True)
    assert sorted(torch.cat([block.rows for block in cut_blocks]).tolist()) == list(range(40))
    lengths = mask.sum(1)
    for block in cut_blocks:
        assert block.length == int(lengths[block.rows].max())
        assert len(block.rows) * block.length <= 32
        assert (block.valid is None) == bool((lengths[block.rows] == block.length).all())
    padded = sum(len(block.tokens) for block in cut_blocks) - int(mask.sum())
    assert padded < 0.2 * int((~mask).sum())


def test_tokens_of_texts_are_ordered_by_position() -> None:
    _, text, _, mask = ragged(1, 1, 5, 1, 6, 4)
    (block,) = blocks.text_blocks(text, mask, cut=True)
    tokens = block.tokens.view(block.length, 5, 4)
    for column, row in enumerate(block.rows.tolist()):
        length = int(mask[row].sum())
        assert torch.equal(tokens[:length, column], text[row, :length])
        assert block.valid is None or block.valid[:, column].sum() == length


def test_without_cutting_all_tokens_stay() -> None:
    video, _, mask, _ = ragged(2, 5, 1, 6, 1, 4)
    (block,) = blocks.video_blocks(video, mask, cut=False, scale=2.0)
    assert torch.equal(block.tokens.view_as(video), video * 2) and block.rows.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_transposed_factors(dtype: torch.dtype) -> None:
    left, right = torch.randn(37, 20, dtype=dtype), torch.randn(20, 11, dtype=dtype)
    expected = left.double() @ right.double()
    assert torch.allclose(blocks.multiply(left, right.T).double(), expected, atol=1e-5)
    assert torch.allclose(blocks.multiply(left.T.contiguous().T, right.T.contiguous()).double(), expected, atol=1e-5)
