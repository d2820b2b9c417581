"""What a stage of translation is judged by on dev: its translations, and how well clips and texts find each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from signatlas.evaluation.sentences.protocol import both_directions
from signatlas.losses import contrast
from signatlas.losses.targets import pair_targets
from signatlas.metrics import translation as metrics
from signatlas.models.translator.translator import Translator
from signatlas.recipe import StageRecipe
from signatlas.similarity import Tokens, concatenate, directed_scores, ranking_scores
from signatlas.text.duplicate_groups import groups
from trainers.distributed import whole, world
from trainers.tasks.translation.data import Translations

TOLD = ("BLEU-1", "BLEU-4", "ROUGE-L", "chrF")
LESS_IS_BETTER = ("loss", "contrast")


def evaluate(recipe: StageRecipe, data: Translations, translator: Translator) -> dict[str, float]:
    """Figures ``dev_*`` of a stage and the ``score`` to maximize; called on every rank at once, the same on each.

    A stage with a contrast has dev_contrast, dev_R@1 and dev_MRR; one that learns to translate dev_loss, BLEU,
    ROUGE-L and chrF.
    """
    figures: dict[str, float] = {}
    if recipe.alignment is not None and recipe.alignment.contrast != "none":
        figures |= alignment_figures(recipe, data, translator)
    if recipe.alignment is None or recipe.alignment.translation:
        figures |= translation_figures(recipe, data, translator)
    chosen = figures[f"dev_{recipe.select.metric}"]
    return figures | {"score": -chosen if recipe.select.metric in LESS_IS_BETTER else chosen}


def translation_figures(recipe: StageRecipe, data: Translations, translator: Translator) -> dict[str, float]:
    """Each rank translates a part of dev; scored once over all."""
    select, (rank, ranks) = recipe.select, world()
    if recipe.optimizer.zero == 3:
        rank, ranks = 0, 1  # weights are gathered layer by layer: all ranks must do the same steps
    mine = np.argsort(data.dev_lengths, kind="stable")[rank::ranks]
    chunks = [mine[i : i + 32] for i in range(0, len(mine), 32)]
    figures = {"dev_loss": _loss(recipe, data, translator, chunks, ranks)}
    texts = translator.translate(
        (data.inputs.batch([data.dev_ids[i] for i in chunk]) for chunk in chunks),
        beams=select.beams, max_new_tokens=select.max_new_tokens,
    )  # fmt: skip
    found = dict(zip(mine.tolist(), texts, strict=True))
    if ranks > 1:
        parts: list[dict[int, str]] = [{} for _ in range(ranks)]
        dist.all_gather_object(parts, found)
        found = {place: text for part in parts for place, text in part.items()}
    hypotheses = [found[place] for place in range(len(data.dev_ids))]
    scores = metrics.score(hypotheses, data.dev_texts, recipe.data.language)
    return figures | {f"dev_{name}": float(scores[name]) for name in TOLD}


@torch.no_grad()
def _loss(
    recipe: StageRecipe, data: Translations, translator: Translator, chunks: Sequence[np.ndarray], ranks: int
) -> float:
    """Cross-entropy a token, without smoothing, over all of dev."""
    device, total = translator.device, torch.zeros(2, dtype=torch.float64)
    for chunk in chunks:
        x, mask = data.inputs.batch([data.dev_ids[i] for i in chunk])
        texts = [data.dev_texts[i] for i in chunk]
        ids, text_mask = translator.vocabulary.encode(texts, recipe.data.language, translator.longest_text)
        tensors = (torch.from_numpy(x), torch.from_numpy(mask), ids, text_mask)
        outcome = translator(*(t.to(device) for t in tensors))
        total += torch.tensor([float(outcome.translation), float(text_mask.sum())], dtype=torch.float64)
    if ranks > 1:
        total = total.to(device)
        dist.all_reduce(total)
    return float(total[0] / total[1])


def alignment_figures(recipe: StageRecipe, data: Translations, translator: Translator) -> dict[str, float]:
    """The contrast over batches of dev as large as those of training, and retrieval, mean of both directions."""
    ids, texts, chunk = data.dev_ids, data.dev_texts, 64
    starts = range(0, len(ids), chunk)
    videos = concatenate([translator.visual_tokens(*data.inputs.batch(ids[i : i + chunk])) for i in starts])
    words = concatenate([translator.text_tokens(texts[i : i + chunk]) for i in starts])
    own = np.arange(len(ids))
    found = both_directions(ranking_scores(videos, words, recipe.model.similarity).numpy(), own, own)
    figures = {f"dev_{name}": float(np.mean([found[d][name] for d in ("T2V", "V2T")])) for name in ("R@1", "MRR")}
    return {"dev_contrast": _dev_contrast(recipe, videos, words, translator, groups(texts))} | figures


@torch.no_grad()
def _dev_contrast(
    recipe: StageRecipe, videos: Tokens, words: Tokens, translator: Translator, numbers: np.ndarray
) -> float:
    """Mean over clips; without gathering a batch is what one rank compares."""
    assert recipe.alignment is not None
    size = recipe.batch_size if recipe.alignment.gather else recipe.batch_size // recipe.scaling.workers
    scale, total = whole(translator.log_scale).float().exp().cpu(), 0.0
    for first in range(0, len(numbers), size):
        rows = slice(first, first + size)
        video, text = (Tokens(*(part[rows] for part in side)) for side in (videos, words))
        value = contrast_of(video, text, scale, numbers[rows], recipe, first=0, count=len(numbers[rows]), alone=True)
        total += float(value) * len(numbers[rows])
    return total / len(numbers)


def contrast_of(
    video: Tokens, text: Tokens, scale: Tensor, numbers: np.ndarray, recipe: StageRecipe, *, first: int, count: int,
    alone: bool,
) -> Tensor:  # fmt: skip
    """The loss of SCL-SLT's stage 1 (that of CiCo; of CLIP where vectors are compared).

    ``video`` holds clips ``first`` to ``first + count`` of a batch, ``text`` all its texts, ``numbers`` [N] their
    groups of identical ones. ``alone``: over this rank's pairs only, whatever others do.
    """
    assert recipe.alignment is not None
    settings, device = recipe.model.similarity, scale.device
    targets = pair_targets(
        torch.arange(len(numbers), device=device), torch.from_numpy(numbers).to(device), len(numbers), first=first,
        count=count, identical=recipe.alignment.identical,
    )  # fmt: skip
    to_text, to_video = directed_scores(video, text, settings)
    scaled = to_text.float() * scale.float()
    other = scaled if to_video is to_text else to_video.float() * scale.float()
    return contrast(scaled, other, targets, beta=settings.beta, alone=alone)
