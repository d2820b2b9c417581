"""Cross-entropy of a decoder with label smoothing, as a sum, so that ranks and parts of a batch add up."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def label_smoothed(logits_BTV: Tensor, labels_BT: Tensor, mask_BT: Tensor, smoothing: float) -> Tensor:
    """Sum over valid labels of (1 - e) (-log p_label) + e mean_v (-log p_v), in fp32 (Szegedy et al. 2016, 7).

    ``mask_BT`` is True where a label is. Padding may hold any id.
    """
    chosen = logits_BTV[mask_BT]
    wide = torch.promote_types(chosen.dtype, torch.float32)
    return F.cross_entropy(chosen.to(wide), labels_BT[mask_BT], label_smoothing=smoothing, reduction="sum")
