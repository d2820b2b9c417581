"""Similarity of signed videos and texts: token by token (CiCo) or by one vector each (CLIP)."""

from signatlas.similarity.api import Aggregation, Backend, Direction, Padding, fine_grained
from signatlas.similarity.tokens import (
    Kind,
    SimilaritySettings,
    Tokens,
    concatenate,
    directed_scores,
    mean_pooled,
    pooled,
    ranking_scores,
)

__all__ = [
    "Aggregation",
    "Backend",
    "Direction",
    "Kind",
    "Padding",
    "SimilaritySettings",
    "Tokens",
    "concatenate",
    "directed_scores",
    "fine_grained",
    "mean_pooled",
    "pooled",
    "ranking_scores",
]
