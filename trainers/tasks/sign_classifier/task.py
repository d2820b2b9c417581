"""The task of learning a sign classifier from isolated signs: global batches of windows and cross-entropy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from signatlas.corpus.format import Corpus, CorpusInfo
from signatlas.errors import CorpusError, UserError
from signatlas.features.views import WindowViews
from signatlas.models.sign_classifier import SignClassifier
from signatlas.pose.prepared_clips import PoseBank
from signatlas.recipe import SignClassifierRecipe
from signatlas.recipe.sign_classifier import ClassGroupConfig
from trainers.card import card
from trainers.distributed import gather_rows, local_slice, world
from trainers.loop import Task

ABOUT = "A sign classifier: a window of signing to a vector and a score a known sign."

Row = dict[str, Any]
NOTHING = -1  # a window of no known class


def class_names(rows: list[Row], group: ClassGroupConfig) -> dict[int, str]:
    """Clip position -> class of the *training* clips of one group."""
    names = {}
    for position, row in enumerate(rows):
        name = row["id"] if group.label == "id" else row["gloss"]
        if row["split"] == "train" and group.source in (None, row["source"]) and name is not None:
            names[position] = name
    return names


def shuffled(size: int, per_batch: int, batches: int, seed: int, epoch: int, pool: int) -> np.ndarray:
    """Numbers below ``size``, int [batches, per_batch]: all come round in random order, again and again."""
    rng = np.random.default_rng([seed, epoch, pool])
    rounds = -(-batches * per_batch // size)
    order = np.concatenate([rng.permutation(size) for _ in range(rounds)])
    return order[: batches * per_batch].reshape(batches, per_batch)


def cross_entropy(local: Tensor, labels: np.ndarray, smoothing: float) -> Tensor:
    """Mean cross-entropy of a global batch from this rank's scores and the whole batch's labels [B]."""
    everything = gather_rows(local, len(labels))
    return F.cross_entropy(everything, torch.from_numpy(labels).to(local.device), label_smoothing=smoothing)


def accuracies(model: nn.Module, points: np.ndarray, present: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Share of windows [N, F, P, 3] whose class leads, or is among five; computed in equal parts by all ranks."""
    rank, ranks = world()
    mine = local_slice(np.arange(len(labels)), rank, ranks)
    device = next(model.parameters()).device
    parts = []
    with torch.no_grad():
        for chunk in np.array_split(mine, -(-len(mine) // 512)):
            scores = model(torch.from_numpy(points[chunk]).to(device), torch.from_numpy(present[chunk]).to(device))
            parts.append(scores.topk(min(5, scores.shape[1])).indices)
    best = gather_rows(torch.cat(parts), len(labels)).cpu().numpy()
    hits = best == labels[:, None]
    return {"dev_accuracy": float(hits[:, 0].mean()), "dev_top5": float(hits.any(1).mean())}


class SignClassifierTask(Task):
    """Clips in memory, a random window of each, one global cross-entropy; see :class:`trainers.loop.Task`."""

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
        self.labels = np.full(len(self.rows), NOTHING)
        for names in named:
            for position, name in names.items():
                self.labels[position] = number[name]
        self.bank = PoseBank.from_clips(corpus, recipe.model.points, recipe.model.aspect)
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
        self.model: nn.Module = SignClassifier(recipe.model, self.classes, self._record())
        self.batch_size = sum(group.per_batch for group in recipe.data.groups)
        passes = [-(-len(p) // g.per_batch) for p, g in zip(self.pools, recipe.data.groups, strict=True)]
        self.steps_per_epoch = recipe.optimizer.batches_per_epoch or max(passes)

    def begin_epoch(self, epoch: int) -> None:
        """Clip positions [steps, batch] from (seed, epoch) alone."""
        self.epoch = epoch
        groups = self.recipe.data.groups
        self.positions = np.concatenate(
            [
                pool[shuffled(len(pool), group.per_batch, self.steps_per_epoch, self.recipe.seed, epoch, n)]
                for n, (pool, group) in enumerate(zip(self.pools, groups, strict=True))
            ],
            axis=1,
        )

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        mine = local_slice(np.arange(self.batch_size), *world())
        device = next(engine.parameters()).device
        clips = self.positions[step]
        # A view is drawn from (seed, epoch, place in the epoch), whichever rank draws it.
        views = self.views(self.bank, clips[mine], self.epoch, step * self.batch_size + mine)
        scores = engine(*(torch.from_numpy(view).to(device) for view in views))
        return cross_entropy(scores, self.labels[clips], self.recipe.smoothing)

    def _dev_windows(self, number: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fixed windows of dev clips of known classes: points, presence, labels. Raises CorpusError for none."""
        select = self.recipe.select
        chosen = [
            i
            for i, row in enumerate(self.rows)
            if row["split"] == "dev" and select.source in (None, row["source"]) and row["gloss"] in number
        ]
        if not chosen:
            raise CorpusError(f"{self.recipe.data.corpus}: no dev clip of a trained class to choose a model on")
        drawn = [self.views.still(self.bank, i, n) for i in chosen for n in range(select.windows)]
        labels = np.repeat([number[self.rows[i]["gloss"]] for i in chosen], select.windows)
        return np.stack([x for x, _ in drawn]), np.stack([p for _, p in drawn]), labels

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        metrics = accuracies(model, *self.dev)
        return metrics | {"score": metrics[f"dev_{self.recipe.select.metric}"]}

    def _record(self) -> dict[str, Any]:
        return provenance(self.recipe.name, self.recipe.seed, self.info)

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        model = SignClassifier(self.recipe.model, self.classes, self._record())
        model.load_state_dict(state)
        model.save_pretrained(folder, card(self.shown or self.recipe, ABOUT, self.info, metrics))


def provenance(name: str, seed: int, info: CorpusInfo) -> dict[str, Any]:
    """What a model says of the run that made it."""
    return {
        "recipe": name,
        "seed": seed,
        "corpus": info.name,
        "corpus_fingerprint": info.fingerprint,
        "license": info.license,
        "synthetic": info.synthetic,
    }


def build(recipe: SignClassifierRecipe) -> SignClassifierTask:
    """The task of a recipe. Raises UserError for data that cannot train it."""
    if not isinstance(recipe, SignClassifierRecipe):
        raise UserError(f"recipe '{recipe.name}' is not for the sign classifier")
    return SignClassifierTask(recipe)
