"""Dev metrics of a translation stage: translation, and retrieval between clips and texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist

from signatlas.evaluation.sentences.protocol import both_directions
from signatlas.losses import ContrastiveLoss, Ranks, SingleProcess
from signatlas.metrics import translation as metrics
from signatlas.models.translator.translator import Translator
from signatlas.recipe import StageRecipe
from signatlas.similarity import Tokens, concatenate, ranking_scores
from signatlas.text.duplicate_groups import groups
from trainers.distributed import full_parameter, world
from trainers.tasks.translation.data import TranslationData

METRICS = ("BLEU-1", "BLEU-4", "ROUGE-L", "chrF")
LOWER_IS_BETTER = ("loss", "contrast")


def evaluate(recipe: StageRecipe, data: TranslationData, translator: Translator) -> dict[str, float]:
    """Return the ``dev_*`` metrics of a stage and the ``score`` to maximize; called on all ranks, the same on each.

    A stage with a contrastive loss has dev_contrast, dev_R@1 and dev_MRR; one with a translation loss has dev_loss,
    BLEU, ROUGE-L and chrF.
    """
    results: dict[str, float] = {}
    if recipe.alignment is not None and recipe.alignment.contrast != "none":
        results |= alignment_metrics(recipe, data, translator)
    if recipe.alignment is None or recipe.alignment.translation_weight:
        results |= translation_metrics(recipe, data, translator)
    chosen = results[f"dev_{recipe.checkpoint_selection.metric}"]
    return results | {"score": -chosen if recipe.checkpoint_selection.metric in LOWER_IS_BETTER else chosen}


def translation_metrics(recipe: StageRecipe, data: TranslationData, translator: Translator) -> dict[str, float]:
    """Translate dev, each rank a part of it, and score all translations together."""
    selection, (rank, ranks) = recipe.checkpoint_selection, world()
    if recipe.optimizer.zero_stage == 3:
        rank, ranks = 0, 1  # weights are gathered layer by layer: all ranks must make the same steps
    local = np.argsort(data.dev_lengths, kind="stable")[rank::ranks]
    chunks = [local[i : i + 32] for i in range(0, len(local), 32)]
    results = {"dev_loss": _loss(recipe, data, translator, chunks, ranks)}
    texts = translator.translate(
        (data.inputs.batch([data.dev_ids[i] for i in chunk]) for chunk in chunks),
        beams=selection.beams, max_new_tokens=selection.max_new_tokens,
    )  # fmt: skip
    by_clip = dict(zip(local.tolist(), texts, strict=True))
    if ranks > 1:
        parts: list[dict[int, str]] = [{} for _ in range(ranks)]
        dist.all_gather_object(parts, by_clip)
        by_clip = {clip: text for part in parts for clip, text in part.items()}
    hypotheses = [by_clip[clip] for clip in range(len(data.dev_ids))]
    scores = metrics.score(hypotheses, data.dev_texts, recipe.data.language)
    return results | {f"dev_{name}": float(scores[name]) for name in METRICS}


@torch.no_grad()
def _loss(
    recipe: StageRecipe, data: TranslationData, translator: Translator, chunks: Sequence[np.ndarray], ranks: int
) -> float:
    """Return the mean cross-entropy per token on dev, without label smoothing."""
    device, total = translator.device, torch.zeros(2, dtype=torch.float64)
    for chunk in chunks:
        x, mask = data.inputs.batch([data.dev_ids[i] for i in chunk])
        texts = [data.dev_texts[i] for i in chunk]
        ids, text_mask = translator.vocabulary.encode(texts, recipe.data.language, translator.max_text_tokens)
        tensors = (torch.from_numpy(x), torch.from_numpy(mask), ids, text_mask)
        output = translator(*(t.to(device) for t in tensors))
        total += torch.tensor([float(output.translation), float(text_mask.sum())], dtype=torch.float64)
    if ranks > 1:
        total = total.to(device)
        dist.all_reduce(total)
    return float(total[0] / total[1])


def alignment_metrics(recipe: StageRecipe, data: TranslationData, translator: Translator) -> dict[str, float]:
    """Return the contrastive loss on dev batches of the training size, and retrieval as mean of both directions."""
    ids, texts, chunk = data.dev_ids, data.dev_texts, 64
    starts = range(0, len(ids), chunk)
    videos = concatenate([translator.visual_tokens(*data.inputs.batch(ids[i : i + chunk])) for i in starts])
    text_tokens = concatenate([translator.text_tokens(texts[i : i + chunk]) for i in starts])
    pairs = np.arange(len(ids))  # text i belongs to video i
    scores = both_directions(ranking_scores(videos, text_tokens, recipe.model.similarity).numpy(), pairs, pairs)
    retrieval = {f"dev_{name}": float(np.mean([scores[d][name] for d in ("T2V", "V2T")])) for name in ("R@1", "MRR")}
    return {"dev_contrast": _dev_contrast(recipe, videos, text_tokens, translator, groups(texts))} | retrieval


@torch.no_grad()
def _dev_contrast(
    recipe: StageRecipe, videos: Tokens, texts: Tokens, translator: Translator, text_groups: np.ndarray
) -> float:
    """Return the mean loss per clip; without gathering a batch has the size of one rank's."""
    assert recipe.alignment is not None
    size = recipe.batch_size if recipe.alignment.gather else recipe.batch_size // recipe.scaling.workers
    loss = contrastive_loss(recipe, SingleProcess())  # every rank has all of dev
    scale, total = full_parameter(translator.log_scale).float().exp().cpu(), 0.0
    for first in range(0, len(text_groups), size):
        rows = slice(first, first + size)
        batch_groups = torch.from_numpy(text_groups[rows])
        value = loss(videos.rows(rows), texts.rows(rows), logit_scale=scale, groups=batch_groups)
        total += float(value) * len(text_groups[rows])
    return total / len(text_groups)


def contrastive_loss(recipe: StageRecipe, ranks: Ranks) -> ContrastiveLoss:
    """Return the contrastive loss of stage 1 (SCL-SLT; CLIP's where vectors are compared)."""
    assert recipe.alignment is not None
    return ContrastiveLoss(
        **recipe.model.similarity.model_dump(), identical=recipe.alignment.identical_texts,
        gather=recipe.alignment.gather, ranks=ranks,
    )  # fmt: skip
