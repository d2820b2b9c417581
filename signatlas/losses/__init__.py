"""Training losses as plain torch functions and classes."""

from signatlas.losses.contrastive import (
    ContrastiveLoss,
    Weighting,
    clip_contrastive,
    fine_grained_contrastive,
    one_to_k_contrastive,
)
from signatlas.losses.label_smoothing import classification_loss, denoising_loss, label_smoothed
from signatlas.losses.queue import TextQueue
from signatlas.losses.ranks import DistributedRanks, Ranks, SingleProcess, sum_over_ranks
from signatlas.losses.supcon import grouped_supcon, supcon
from signatlas.losses.targets import Identical, Targets, pair_targets

__all__ = [
    "ContrastiveLoss",
    "DistributedRanks",
    "Identical",
    "Ranks",
    "SingleProcess",
    "Targets",
    "TextQueue",
    "Weighting",
    "classification_loss",
    "clip_contrastive",
    "denoising_loss",
    "fine_grained_contrastive",
    "grouped_supcon",
    "label_smoothed",
    "one_to_k_contrastive",
    "pair_targets",
    "sum_over_ranks",
    "supcon",
]
