"""Train a sign encoder with a loss of your own and evaluate it with recall and mean average precision, without Ray.

The loss is the batch-hard triplet loss (Hermans et al. 2017, https://arxiv.org/abs/1703.07737). P-K batches, the
encoder and the metrics are those of signatlas. The corpus is procedural: invented signs, computed.

    python examples/custom_loss.py

To train with a loss of your own on Ray, see docs/how-to/add_a_loss.md.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from signatlas.metrics import retrieval_metrics
from signatlas.models import SignEncoder, SignEncoderConfig
from signatlas.pose import PreparedClips
from signatlas.sampling import pk_batches
from signatlas.synthetic import compose_procedural

EPOCHS, LEARNING_RATE = 10, 2e-3


def batch_hard_triplet(embeddings: Tensor, labels: Tensor, *, margin: float = 0.2) -> Tensor:
    """Return the mean over unit embeddings [B, E] of max(0, margin + hardest negative - hardest positive), cosines."""
    scores = embeddings @ embeddings.T
    same = labels[:, None] == labels[None]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    hardest_positive = scores.masked_fill(~same | itself, torch.inf).amin(1)
    hardest_negative = scores.masked_fill(same, -torch.inf).amax(1)
    return F.relu(margin + hardest_negative - hardest_positive).mean()


def main() -> None:
    torch.manual_seed(0)
    _, clips = compose_procedural(signs=20, signers=8, takes=1, seed=0)
    config = SignEncoderConfig(frames=16, width=32, depth=1, heads=2, feedforward=64, dropout=0.0, embedding=32)
    model = SignEncoder(config)
    prepared = PreparedClips.from_clips(clips, config.points, config.aspect)
    glosses = np.array([clip.gloss for clip in clips])
    _, labels = np.unique(glosses, return_inverse=True)
    # compose_procedural assigns splits by signer: nobody who signs a query is in the training set.
    train = np.array([i for i, clip in enumerate(clips) if clip.split == "train"])
    queries = np.array([i for i, clip in enumerate(clips) if clip.split != "train"])

    def metrics() -> dict[str, float]:
        """Return metrics of the queries against the training clips; a clip of the same gloss is relevant."""
        scores = model.embed_prepared(prepared, queries) @ model.embed_prepared(prepared, train).T
        return retrieval_metrics(scores, glosses[queries][:, None] == glosses[train][None])

    before = metrics()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for epoch in range(EPOCHS):
        for batch in train[pk_batches(labels[train], 10, 3, seed=0, epoch=epoch, batches=5)]:
            points, present = prepared.at(batch, prepared.even_times(batch, config.frames))
            embeddings = model(torch.from_numpy(points), torch.from_numpy(present))
            loss = batch_hard_triplet(embeddings, torch.from_numpy(labels[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    after = metrics()
    print(f"{len(train)} training clips, {len(queries)} queries of other signers")
    print(f"loss: {losses[0]:.3f} -> {losses[-1]:.3f}")
    for name in ("R@1", "mAP"):
        print(f"{name}: {before[name]:.3f} -> {after[name]:.3f}")


if __name__ == "__main__":
    main()
