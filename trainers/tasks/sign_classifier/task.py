"""The task of the sign classifier: windows of isolated signs, cross-entropy over global batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.corpus.format import Corpus
from signatlas.errors import CorpusError
from signatlas.features.views import WindowViews
from signatlas.losses import classification_loss
from signatlas.metrics.classification import top_k_accuracy
from signatlas.models.sign_classifier import SignClassifier
from signatlas.pose.prepared_clips import PreparedClips
from signatlas.recipe import SignClassifierRecipe
from signatlas.recipe.sign_classifier import ClassGroupConfig
from trainers.distributed import gather_rows, local_slice, world
from trainers.loop import Task
from trainers.model_card import model_card, training_record

ABOUT = "A sign classifier: a window of signing to a vector and a score for each known sign."

Row = dict[str, Any]
NO_CLASS = -1


def class_names(rows: list[Row], group: ClassGroupConfig) -> dict[int, str]:
    """Return {clip index: class name} of the training clips of one group."""
    names = {}
    for index, row in enumerate(rows):
        name = row["id"] if group.label == "id" else row["gloss"]
        if row["split"] == "train" and group.source in (None, row["source"]) and name is not None:
            names[index] = name
    return names


def shuffled(size: int, per_batch: int, batches: int, seed: int, epoch: int, pool: int) -> np.ndarray:
    """Return numbers below ``size`` in random order, int [batches, per_batch]; each once before any repeats."""
    rng = np.random.default_rng([seed, epoch, pool])
    rounds = -(-batches * per_batch // size)
    order = np.concatenate([rng.permutation(size) for _ in range(rounds)])
    return order[: batches * per_batch].reshape(batches, per_batch)


def cross_entropy(local: Tensor, labels: np.ndarray, smoothing: float) -> Tensor:
    """Return the mean cross-entropy of a global batch from this rank's logits and the labels [B] of the whole batch."""
    logits = gather_rows(local, len(labels))
    return classification_loss(logits, torch.from_numpy(labels).to(local.device), smoothing)


def accuracies(model: nn.Module, points: np.ndarray, present: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return top-1 and top-5 accuracy on windows [N, F, P, 3], computed in equal parts by all ranks."""
    rank, ranks = world()
    local = local_slice(np.arange(len(labels)), rank, ranks)
    device = next(model.parameters()).device
    parts = []
    with torch.no_grad():
        for chunk in np.array_split(local, -(-len(local) // 512)):
            logits = model(torch.from_numpy(points[chunk]).to(device), torch.from_numpy(present[chunk]).to(device))
            parts.append(logits.topk(min(5, logits.shape[1])).indices)
    top5 = gather_rows(torch.cat(parts), len(labels)).cpu().numpy()
    return {"dev_accuracy": top_k_accuracy(top5, labels, 1), "dev_top5": top_k_accuracy(top5, labels, 5)}


class SignClassifierTask(Task):
    """Training of a sign classifier; clips are in memory. See :class:`trainers.loop.Task`."""

    def __init__(self, recipe: SignClassifierRecipe):
        self.recipe = recipe
        corpus = Corpus.open(recipe.data.corpus, verify=True)
        self.info, self.rows = corpus.info, corpus.metadata()
        self.corpus_fingerprint = corpus.info.fingerprint
        named = [class_names(self.rows, group) for group in recipe.data.groups]
        for group, names in zip(recipe.data.groups, named, strict=True):
            if not names:
                raise CorpusError(f"{recipe.data.corpus}: no training clip of source '{group.source}' has a class")
        self.classes = tuple(sorted({name for names in named for name in names.values()}))
        number = {name: i for i, name in enumerate(self.classes)}
        self.pools = [np.array(sorted(names)) for names in named]
        self.labels = np.full(len(self.rows), NO_CLASS)
        for names in named:
            for index, name in names.items():
                self.labels[index] = number[name]
        self.clips = PreparedClips.from_clips(corpus, recipe.model.points, recipe.model.aspect)
        self.views = WindowViews(
            recipe.views,
            recipe.augment,
            recipe.model.points,
            recipe.model.frames,
            recipe.seed,
            np.unique(np.concatenate(self.pools)),
        )
        self.dev = self._dev_windows(number)
        torch.manual_seed(recipe.seed)
        self.model: nn.Module = SignClassifier(recipe.model, self.classes, training_record(recipe, self.info))
        self.batch_size = sum(group.per_batch for group in recipe.data.groups)
        passes = [-(-len(p) // g.per_batch) for p, g in zip(self.pools, recipe.data.groups, strict=True)]
        self.steps_per_epoch = recipe.optimizer.batches_per_epoch or max(passes)

    def begin_epoch(self, epoch: int) -> None:
        """Plan clip indices [steps, batch] from (seed, epoch)."""
        self.epoch = epoch
        groups = self.recipe.data.groups
        self.indices = np.concatenate(
            [
                pool[shuffled(len(pool), group.per_batch, self.steps_per_epoch, self.recipe.seed, epoch, n)]
                for n, (pool, group) in enumerate(zip(self.pools, groups, strict=True))
            ],
            axis=1,
        )

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        rows = local_slice(np.arange(self.batch_size), *world())
        device = next(engine.parameters()).device
        indices = self.indices[step]
        # A view is drawn from (seed, epoch, row in the epoch), so it does not depend on the number of ranks.
        views = self.views(self.clips, indices[rows], self.epoch, step * self.batch_size + rows)
        logits = engine(*(torch.from_numpy(view).to(device) for view in views))
        return cross_entropy(logits, self.labels[indices], self.recipe.label_smoothing)

    def _dev_windows(self, number: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return fixed windows of dev clips of known classes: points, presence, labels. Raises CorpusError if none."""
        selection = self.recipe.checkpoint_selection
        indices = [
            i
            for i, row in enumerate(self.rows)
            if row["split"] == "dev" and selection.source in (None, row["source"]) and row["gloss"] in number
        ]
        if not indices:
            raise CorpusError(f"{self.recipe.data.corpus}: no dev clip of a trained class: no dev evaluation")
        drawn = [self.views.still(self.clips, i, n) for i in indices for n in range(selection.windows)]
        labels = np.repeat([number[self.rows[i]["gloss"]] for i in indices], selection.windows)
        return np.stack([x for x, _ in drawn]), np.stack([p for _, p in drawn]), labels

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        metrics = accuracies(model, *self.dev)
        return metrics | {"score": metrics[f"dev_{self.recipe.checkpoint_selection.metric}"]}

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        model = SignClassifier(self.recipe.model, self.classes, training_record(self.recipe, self.info))
        model.load_state_dict(state)
        model.save_pretrained(folder, model_card(self.user_recipe or self.recipe, ABOUT, self.info, metrics))
