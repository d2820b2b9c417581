"""Train two projections with CiCo's contrastive loss in a plain torch loop, without Ray.

The data are random pairs: each video and its text are noisy views of one hidden sequence of vectors, in spaces that
have nothing in common. The loss brings the tokens of a pair together; recall at 1 is measured on pairs that were not
trained on. In your own loop, replace ``draw_pairs`` with your encoders and data.

    python examples/contrastive_loss.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from signatlas.losses import ContrastiveLoss
from signatlas.metrics import retrieval_metrics
from signatlas.similarity import Tokens, ranking_scores

PAIRS, TRAINING_PAIRS, WORDS, WINDOWS, HIDDEN, WIDTH = 160, 96, 4, 8, 12, 32
STEPS, BATCH, LOGIT_SCALE, NOISE = 60, 32, 20.0, 2.0


def draw_pairs(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return videos [PAIRS, WINDOWS, WIDTH], two windows a word, and texts [PAIRS, WORDS, WIDTH]."""
    words = torch.randn(PAIRS, WORDS, HIDDEN, generator=generator)
    to_video, to_text = (torch.randn(HIDDEN, WIDTH, generator=generator) for _ in range(2))
    videos = words.repeat_interleave(WINDOWS // WORDS, dim=1) @ to_video
    texts = words @ to_text
    return (
        videos + NOISE * torch.randn(videos.shape, generator=generator),
        texts + NOISE * torch.randn(texts.shape, generator=generator),
    )


def encode(project: nn.Module, vectors: Tensor) -> Tokens:
    """Return tokens without padding: every position of the mask is True."""
    return Tokens(project(vectors), torch.ones(vectors.shape[:2], dtype=torch.bool))


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    videos, texts = draw_pairs(generator)
    project_video, project_text = nn.Linear(WIDTH, 16), nn.Linear(WIDTH, 16)
    contrastive_loss = ContrastiveLoss(kind="fine_grained", tau=0.07)
    optimizer = torch.optim.AdamW([*project_video.parameters(), *project_text.parameters()], lr=1e-2)

    @torch.no_grad()
    def recall_at_1() -> float:
        """Return text-to-video R@1 of the pairs that were not trained on."""
        held_out = slice(TRAINING_PAIRS, None)
        video, text = encode(project_video, videos[held_out]), encode(project_text, texts[held_out])
        scores = ranking_scores(video, text, contrastive_loss).T.numpy()  # [texts, videos]
        return retrieval_metrics(scores, torch.eye(len(scores), dtype=torch.bool).numpy())["R@1"]

    before = recall_at_1()
    losses = []
    for _ in range(STEPS):
        batch = torch.randperm(TRAINING_PAIRS, generator=generator)[:BATCH]
        loss = contrastive_loss(
            encode(project_video, videos[batch]), encode(project_text, texts[batch]), logit_scale=LOGIT_SCALE
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"loss: {losses[0]:.3f} -> {losses[-1]:.3f}")
    print(f"held-out text-to-video R@1: {before:.3f} -> {recall_at_1():.3f}")


if __name__ == "__main__":
    main()
