"""Masking of text pieces for masked language modeling (Devlin et al. 2019; GFSLT-VLP)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def mask_pieces(
    ids_BT: Tensor, mask_BT: Tensor, fraction: float, mask_id: int, seeds: Sequence[Sequence[int]]
) -> Tensor:
    """Return ``ids_BT`` with a ``fraction`` of each text's pieces, at least one, replaced by ``mask_id``.

    Texts are [language, pieces..., eos]; the first and the last are never masked. Each text draws from its own seed
    and does not depend on the other texts of the batch.
    """
    masked = ids_BT.clone()
    for row, (length, seed) in enumerate(zip(mask_BT.sum(1).tolist(), seeds, strict=True)):
        pieces = length - 2
        if pieces < 1:
            continue
        hidden = np.random.default_rng(list(seed)).permutation(pieces)[: max(1, round(fraction * pieces))]
        masked[row, torch.from_numpy(hidden + 1)] = mask_id
    return masked
