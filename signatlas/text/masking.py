"""Masked language modeling of texts: which pieces are hidden (Devlin et al. 2019; GFSLT-VLP)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def mask_pieces(ids_BT: Tensor, mask_BT: Tensor, share: float, mask_id: int, seeds: Sequence[Sequence[int]]) -> Tensor:
    """``ids_BT`` with ``share`` of each text's pieces, at least one, replaced by ``mask_id``.

    Texts are [language, pieces..., eos], of which first and last are never masked. Each text draws from its own seed,
    so that the others of a batch change nothing.
    """
    masked = ids_BT.clone()
    for row, (length, seed) in enumerate(zip(mask_BT.sum(1).tolist(), seeds, strict=True)):
        pieces = length - 2
        if pieces < 1:
            continue
        hidden = np.random.default_rng(list(seed)).permutation(pieces)[: max(1, round(share * pieces))]
        masked[row, torch.from_numpy(hidden + 1)] = mask_id
    return masked
