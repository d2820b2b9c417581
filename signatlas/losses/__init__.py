"""Training objectives as plain torch functions."""

from signatlas.losses.contrastive import clip_contrastive, contrast, fine_grained_contrastive, one_to_k_contrastive

__all__ = ["clip_contrastive", "contrast", "fine_grained_contrastive", "one_to_k_contrastive"]
