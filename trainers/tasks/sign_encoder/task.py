"""The task of learning a sign encoder from isolated signs: global P-K batches and SupCon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.corpus.format import Corpus
from signatlas.errors import CorpusError, UserError
from signatlas.evaluation.signs.suites import dev_words, shared_words
from signatlas.losses.metric import grouped_supcon
from signatlas.metrics import retrieval
from signatlas.models.sign_encoder import SignEncoder
from signatlas.pose.augment import Augmenter
from signatlas.pose.prepared_clips import PoseBank
from signatlas.recipe import GroupConfig, SelectConfig, SignEncoderRecipe
from signatlas.sampling.pk_batches import pk_batches
from trainers.card import card
from trainers.distributed import gather_rows, local_slice, world
from trainers.loop import Task

ABOUT = "A sign encoder: poses of one sign to a vector, for search by performing."

Row = dict[str, Any]


def group_labels(rows: list[Row], group: GroupConfig, excluded: set[str]) -> dict[int, str]:
    """Clip position -> class name of the training clips of one group."""
    labels = {}
    for position, row in enumerate(rows):
        mine = group.source is None or row["source"] == group.source
        known = group.all_splits or row["split"] == "train"
        if not (mine and known):
            continue
        if group.label == "id":
            labels[position] = row["id"]
        elif row["gloss"] is not None and row["gloss"] not in excluded:
            labels[position] = row["gloss"]
    return labels


def selection(rows: list[Row], select: SelectConfig) -> tuple[np.ndarray, np.ndarray]:
    """Positions of dev queries and of their gallery. Raises CorpusError when either is empty."""
    queries = [i for i, r in enumerate(rows) if r["split"] == "dev" and select.query_source in (None, r["source"])]
    if select.protocol == "one-shot":
        words = set(dev_words(shared_words(rows)))
        queries = [i for i in queries if rows[i]["gloss"] in words]
        gallery = [i for i, r in enumerate(rows) if r["source"] == select.gallery_source]
    else:
        gallery = [
            i for i, r in enumerate(rows) if r["split"] == "train" and select.gallery_source in (None, r["source"])
        ]
    if not queries or not gallery:
        raise CorpusError(f"nothing to choose a model on: {len(queries)} dev queries, {len(gallery)} gallery clips")
    return np.array(queries), np.array(gallery)


class SignEncoderTask(Task):
    """Clips in memory, batches by (seed, epoch), one global SupCon loss; see :class:`trainers.loop.Task`."""

    def __init__(self, recipe: SignEncoderRecipe):
        self.recipe = recipe
        corpus = Corpus.open(recipe.data.corpus, verify=True)
        self.info, self.rows = corpus.info, corpus.metadata()
        self.corpus_fingerprint = corpus.info.fingerprint
        excluded = set(recipe.data.exclude_glosses)
        if recipe.data.exclude_shared:
            shared = shared_words(self.rows)
            if not shared:
                raise CorpusError(
                    f"{recipe.data.corpus}: no word is in both webcam and dictionary; drop exclude_shared"
                )
            excluded |= set(shared)
        self.excluded = sorted(excluded)
        self.groups = [group_labels(self.rows, group, excluded) for group in recipe.data.groups]
        for group, labels in zip(recipe.data.groups, self.groups, strict=True):
            if not labels:
                raise CorpusError(f"{recipe.data.corpus}: no training clip of source '{group.source}'")
        self.bank = PoseBank.from_clips(corpus, recipe.model.points, recipe.model.aspect)
        self.augment = Augmenter(recipe.augment, recipe.model.points, recipe.model.frames, recipe.seed)
        self.queries, self.gallery = selection(self.rows, recipe.select)
        torch.manual_seed(recipe.seed)
        self.model: nn.Module = SignEncoder(recipe.model, self._record())
        sizes = [g.classes_per_batch * g.samples_per_class for g in recipe.data.groups]
        self.batch_size = sum(sizes)
        passes = [max(1, len(labels) // size) for labels, size in zip(self.groups, sizes, strict=True)]
        self.steps_per_epoch = recipe.optimizer.batches_per_epoch or max(passes)
        self.begin_epoch(0)  # too few classes for P-K shows here, before a worker group is asked for

    def begin_epoch(self, epoch: int) -> None:
        """Positions [steps, batch], their class and group numbers, from (seed, epoch) alone."""
        positions, labels, groups = [], [], []
        for number, (config, members) in enumerate(zip(self.recipe.data.groups, self.groups, strict=True)):
            where = np.array(sorted(members))
            _, classes = np.unique([members[i] for i in where.tolist()], return_inverse=True)
            picks = pk_batches(
                classes,
                config.classes_per_batch,
                config.samples_per_class,
                seed=self.recipe.seed + 7919 * number,
                epoch=epoch,
                batches=self.steps_per_epoch,
            )
            positions.append(where[picks])
            labels.append(classes[picks])
            groups.append(np.full(picks.shape, number))
        self.epoch = epoch
        self.positions = np.concatenate(positions, axis=1)
        self.labels = np.concatenate(labels, axis=1)
        self.batch_groups = np.concatenate(groups, axis=1)

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        rank, ranks = world()
        mine = local_slice(np.arange(self.batch_size), rank, ranks)
        device = next(engine.parameters()).device
        # A view is drawn from (seed, epoch, place in the epoch), whichever rank draws it.
        views = self.augment(self.bank, self.positions[step][mine], self.epoch, step * self.batch_size + mine)
        local = engine(*(torch.from_numpy(view).to(device) for view in views))
        everything = gather_rows(local, self.batch_size)
        labels, groups = (torch.from_numpy(a[step]).to(device) for a in (self.labels, self.batch_groups))
        return grouped_supcon(everything, labels, groups, temperature=self.recipe.loss.temperature)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        select = self.recipe.select
        vectors = self._embed(model, np.concatenate([self.queries, self.gallery]))
        queries, gallery = vectors[: len(self.queries)], vectors[len(self.queries) :]
        glosses = np.array([row["gloss"] or "" for row in self.rows])
        relevant = glosses[self.queries][:, None] == glosses[self.gallery][None]
        found = retrieval.evaluate(queries @ gallery.T, relevant)
        metrics = {f"dev_{name}": float(found[name]) for name in ("R@1", "R@10", "mAP", "MRR")}
        return metrics | {"score": metrics[f"dev_{select.metric}"]}

    def _embed(self, model: nn.Module, positions: np.ndarray) -> np.ndarray:
        """Embeddings of clips, computed in equal parts by all ranks (ZeRO-3 needs equal numbers of calls)."""
        rank, ranks = world()
        encoder: SignEncoder = model  # type: ignore[assignment]
        local = torch.from_numpy(encoder.embed_bank(self.bank, local_slice(positions, rank, ranks)))
        device = next(model.parameters()).device
        return gather_rows(local.to(device), len(positions)).cpu().numpy()

    def training_classes(self) -> list[dict[str, Any]]:
        """The run's own record: in each group, each class and its clips. Two clips are a positive pair only in one."""
        record = []
        for number, labels in enumerate(self.groups):
            classes: dict[str, list[str]] = {}
            for position, name in labels.items():
                classes.setdefault(name, []).append(self.rows[position]["id"])
            record += [{"group": number, "class": name, "clips": clips} for name, clips in sorted(classes.items())]
        return record

    def _record(self) -> dict[str, Any]:
        info = self.info
        return {
            "recipe": self.recipe.name,
            "seed": self.recipe.seed,
            "corpus": info.name,
            "corpus_fingerprint": info.fingerprint,
            "license": info.license,
            "synthetic": info.synthetic,
            "excluded_glosses": self.excluded,
            "queries": sorted({self.rows[i]["gloss"] for i in self.queries.tolist() if self.rows[i]["gloss"]}),
        }

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        config: SignEncoder = SignEncoder(self.recipe.model, self._record())
        config.load_state_dict(state)
        config.save_pretrained(folder, card(self.shown or self.recipe, ABOUT, self.info, metrics))
        classes = json.dumps(self.training_classes(), ensure_ascii=False, indent=0)
        (folder / "training_classes.json").write_text(classes, encoding="utf-8")


def build(recipe: SignEncoderRecipe) -> SignEncoderTask:
    """The task of a recipe. Raises UserError for data that cannot train it."""
    if not isinstance(recipe, SignEncoderRecipe):
        raise UserError(f"recipe '{recipe.name}' is not for the sign encoder")
    return SignEncoderTask(recipe)
