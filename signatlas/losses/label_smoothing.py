"""Cross-entropies with label smoothing of classifiers and decoders (Szegedy et al. 2016, 7)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def classification_loss(scores_BC: Tensor, labels_B: Tensor, smoothing: float) -> Tensor:
    """Return the mean cross-entropy of a batch of C classes, a scalar."""
    return F.cross_entropy(scores_BC, labels_B, label_smoothing=smoothing)


def label_smoothed(logits_BTV: Tensor, labels_BT: Tensor, mask_BT: Tensor, smoothing: float) -> Tensor:
    """Return the sum over valid labels of (1 - e) (-log p_label) + e mean_v (-log p_v), in fp32 or wider.

    A sum, so that ranks and parts of a batch add up. ``mask_BT`` is True where a label is valid; padding may have any
    id.
    """
    valid = logits_BTV[mask_BT]
    dtype = torch.promote_types(valid.dtype, torch.float32)
    return F.cross_entropy(valid.to(dtype), labels_BT[mask_BT], label_smoothing=smoothing, reduction="sum")


def denoising_loss(logits_BTV: Tensor, labels_BT: Tensor, pad: int, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy summed over pieces in fp32, and the number of pieces predicted correctly (mBART).

    Labels equal to ``pad`` do not count.
    """
    loss = F.cross_entropy(
        logits_BTV.float().flatten(0, 1), labels_BT.flatten(), ignore_index=pad, reduction="sum",
        label_smoothing=smoothing,
    )  # fmt: skip
    correct = (logits_BTV.argmax(-1) == labels_BT) & (labels_BT != pad)
    return loss, correct.sum()
