"""Masked pieces: how many, which never, and from what they are drawn."""

from __future__ import annotations

import torch

from signatlas.text.masking import mask_pieces

MASK = 99


def batch():
    ids = torch.arange(40).reshape(2, 20) + 1
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[1, 12:] = False
    return ids, mask


def test_a_share_of_the_pieces_is_masked_and_never_a_mark():
    ids, mask = batch()
    found = mask_pieces(ids, mask, 0.15, MASK, [(0, 0), (0, 1)])
    assert (found == MASK).sum(1).tolist() == [round(0.15 * 18), round(0.15 * 10)]
    assert found[0, 0] == ids[0, 0]
    assert found[0, 19] == ids[0, 19]
    assert found[1, 11] == ids[1, 11]
    assert torch.equal(found[1, 12:], ids[1, 12:])
    assert torch.equal(found[found != MASK], ids[found != MASK])


def test_a_text_draws_from_its_own_seed():
    ids, mask = batch()
    both = mask_pieces(ids, mask, 0.3, MASK, [(1, 5), (1, 6)])
    alone = mask_pieces(ids[1:], mask[1:], 0.3, MASK, [(1, 6)])
    assert torch.equal(both[1:], alone)
    assert not torch.equal(both, mask_pieces(ids, mask, 0.3, MASK, [(2, 5), (2, 6)]))


def test_of_one_piece_it_is_that_one():
    ids = torch.tensor([[7, 8, 9]])
    found = mask_pieces(ids, torch.ones(1, 3, dtype=torch.bool), 0.15, MASK, [(0,)])
    assert found.tolist() == [[7, MASK, 9]]
