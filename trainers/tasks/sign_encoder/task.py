"""The task of the sign encoder: isolated signs, global P-K batches, SupCon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.corpus.format import Corpus
from signatlas.errors import CorpusError
from signatlas.evaluation.signs.protocols import dev_words, shared_words
from signatlas.losses import grouped_supcon
from signatlas.metrics import retrieval
from signatlas.models.sign_encoder import SignEncoder
from signatlas.pose.augment import Augmenter
from signatlas.pose.prepared_clips import PreparedClips
from signatlas.recipe import GroupConfig, SignEncoderRecipe, SignSelectionConfig
from signatlas.sampling.pk_batches import pk_batches
from trainers.distributed import gather_rows, local_slice, world
from trainers.loop import Task
from trainers.model_card import model_card, training_record

ABOUT = "A sign encoder: poses of one sign to a vector, for search by performing."

Row = dict[str, Any]


def group_labels(rows: list[Row], group: GroupConfig, excluded: set[str]) -> dict[int, str]:
    """Return {clip index: class name} of the training clips of one group."""
    labels = {}
    for index, row in enumerate(rows):
        in_source = group.source is None or row["source"] == group.source
        in_split = group.all_splits or row["split"] == "train"
        if not (in_source and in_split):
            continue
        if group.label == "id":
            labels[index] = row["id"]
        elif row["gloss"] is not None and row["gloss"] not in excluded:
            labels[index] = row["gloss"]
    return labels


def dev_split(rows: list[Row], selection: SignSelectionConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of dev queries and of gallery clips. Raises CorpusError if either is empty."""
    queries = [i for i, r in enumerate(rows) if r["split"] == "dev" and selection.query_source in (None, r["source"])]
    if selection.protocol == "one-shot":
        words = set(dev_words(shared_words(rows)))
        queries = [i for i in queries if rows[i]["gloss"] in words]
        gallery = [i for i, r in enumerate(rows) if r["source"] == selection.gallery_source]
    else:
        gallery = [
            i for i, r in enumerate(rows) if r["split"] == "train" and selection.gallery_source in (None, r["source"])
        ]
    if not queries or not gallery:
        raise CorpusError(f"no dev evaluation: {len(queries)} dev queries, {len(gallery)} gallery clips")
    return np.array(queries), np.array(gallery)


class SignEncoderTask(Task):
    """Training of a sign encoder; clips are in memory. See :class:`trainers.loop.Task`."""

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
                    f"{recipe.data.corpus}: no word is in both webcam and dictionary: remove data.exclude_shared"
                )
            excluded |= set(shared)
        self.excluded = sorted(excluded)
        self.groups = [group_labels(self.rows, group, excluded) for group in recipe.data.groups]
        for group, labels in zip(recipe.data.groups, self.groups, strict=True):
            if not labels:
                raise CorpusError(f"{recipe.data.corpus}: no training clip of source '{group.source}'")
        self.clips = PreparedClips.from_clips(corpus, recipe.model.points, recipe.model.aspect)
        self.augment = Augmenter(recipe.augment, recipe.model.points, recipe.model.frames, recipe.seed)
        self.queries, self.gallery = dev_split(self.rows, recipe.checkpoint_selection)
        torch.manual_seed(recipe.seed)
        self.model: nn.Module = SignEncoder(recipe.model, self._record())
        sizes = [g.classes_per_batch * g.samples_per_class for g in recipe.data.groups]
        self.batch_size = sum(sizes)
        passes = [max(1, len(labels) // size) for labels, size in zip(self.groups, sizes, strict=True)]
        self.steps_per_epoch = recipe.optimizer.batches_per_epoch or max(passes)
        self.begin_epoch(0)  # raises here, before workers start, for too few classes

    def begin_epoch(self, epoch: int) -> None:
        """Plan clip indices [steps, batch], their class and group numbers, from (seed, epoch)."""
        indices, labels, groups = [], [], []
        for number, (config, members) in enumerate(zip(self.recipe.data.groups, self.groups, strict=True)):
            clips = np.array(sorted(members))
            _, classes = np.unique([members[i] for i in clips.tolist()], return_inverse=True)
            picks = pk_batches(
                classes,
                config.classes_per_batch,
                config.samples_per_class,
                seed=self.recipe.seed + 7919 * number,
                epoch=epoch,
                batches=self.steps_per_epoch,
            )
            indices.append(clips[picks])
            labels.append(classes[picks])
            groups.append(np.full(picks.shape, number))
        self.epoch = epoch
        self.indices = np.concatenate(indices, axis=1)
        self.labels = np.concatenate(labels, axis=1)
        self.batch_groups = np.concatenate(groups, axis=1)

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        rank, ranks = world()
        rows = local_slice(np.arange(self.batch_size), rank, ranks)
        device = next(engine.parameters()).device
        # Augmentation is drawn from (seed, epoch, row in the epoch), so it does not depend on the number of ranks.
        views = self.augment(self.clips, self.indices[step][rows], self.epoch, step * self.batch_size + rows)
        local = engine(*(torch.from_numpy(view).to(device) for view in views))
        embeddings = gather_rows(local, self.batch_size)
        labels, groups = (torch.from_numpy(a[step]).to(device) for a in (self.labels, self.batch_groups))
        return grouped_supcon(embeddings, labels, groups, temperature=self.recipe.loss.temperature)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        vectors = self._embed(model, np.concatenate([self.queries, self.gallery]))
        queries, gallery = vectors[: len(self.queries)], vectors[len(self.queries) :]
        glosses = np.array([row["gloss"] or "" for row in self.rows])
        relevant = glosses[self.queries][:, None] == glosses[self.gallery][None]
        scores = retrieval.evaluate(queries @ gallery.T, relevant)
        metrics = {f"dev_{name}": float(scores[name]) for name in ("R@1", "R@10", "mAP", "MRR")}
        return metrics | {"score": metrics[f"dev_{self.recipe.checkpoint_selection.metric}"]}

    def _embed(self, model: nn.Module, indices: np.ndarray) -> np.ndarray:
        """Return embeddings of clips, computed in equal parts by all ranks: ZeRO-3 needs equal numbers of calls."""
        rank, ranks = world()
        encoder: SignEncoder = model  # type: ignore[assignment]
        local = torch.from_numpy(encoder.embed_prepared(self.clips, local_slice(indices, rank, ranks)))
        device = next(model.parameters()).device
        return gather_rows(local.to(device), len(indices)).cpu().numpy()

    def training_classes(self) -> list[dict[str, Any]]:
        """Return the classes of each group and their clips; two clips of one class are a positive pair."""
        entries = []
        for number, labels in enumerate(self.groups):
            classes: dict[str, list[str]] = {}
            for index, name in labels.items():
                classes.setdefault(name, []).append(self.rows[index]["id"])
            entries += [{"group": number, "class": name, "clips": clips} for name, clips in sorted(classes.items())]
        return entries

    def _record(self) -> dict[str, Any]:
        return training_record(self.recipe, self.info) | {
            "excluded_glosses": self.excluded,
            "queries": sorted({self.rows[i]["gloss"] for i in self.queries.tolist() if self.rows[i]["gloss"]}),
        }

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        model = SignEncoder(self.recipe.model, self._record())
        model.load_state_dict(state)
        model.save_pretrained(folder, model_card(self.user_recipe or self.recipe, ABOUT, self.info, metrics))
        classes = json.dumps(self.training_classes(), ensure_ascii=False, indent=0)
        (folder / "training_classes.json").write_text(classes, encoding="utf-8")
