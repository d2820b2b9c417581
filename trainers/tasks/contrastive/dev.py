"""Dev evaluation of sentence retrieval."""

from __future__ import annotations

import numpy as np
import torch

from signatlas.corpus.texts import text_in
from signatlas.evaluation.sentences.protocol import both_directions
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.recipe import ContrastiveRecipe
from trainers.tasks.contrastive.data import RetrievalData

METRICS = ("R@1", "R@5", "R@10", "MRR")
DIRECTIONS = ("T2V", "V2T")


def evaluate(model: DualEncoder, data: RetrievalData, recipe: ContrastiveRecipe) -> dict[str, float]:
    """Return ``dev_*`` metrics, means over both directions and all languages; every rank computes all of them."""
    sign = recipe.model.sign
    positions = data.store.positions(row["id"] for row in data.dev)
    videos = model.embed_features(
        data.store.batch(positions[i : i + 256], alpha=sign.alpha, limit=sign.max_windows)
        for i in range(0, len(positions), 256)
    )
    pairs = np.arange(len(data.dev))  # text i belongs to video i
    scores: list[dict[str, dict[str, float]]] = []  # language -> direction -> metric
    for language in recipe.data.languages:
        texts = model.embed_texts([text_in(row, language) for row in data.dev])
        with torch.no_grad():
            scores.append(both_directions(model.score(videos, texts).numpy(), pairs, pairs))
    means = {n: float(np.mean([s[d][n] for s in scores for d in DIRECTIONS])) for n in METRICS}
    directions = {f"dev_{d}_R@1": float(np.mean([s[d]["R@1"] for s in scores])) for d in DIRECTIONS}
    return {f"dev_{name}": value for name, value in means.items()} | directions
