"""The task of sentence retrieval: global batches of videos and texts, a contrastive loss over all ranks (CiCo)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.losses import ContrastiveLoss, DistributedRanks, TextQueue
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.recipe import ContrastiveRecipe
from trainers.distributed import limit_logit_scale, world
from trainers.loop import Task
from trainers.model_card import model_card, training_record
from trainers.tasks.contrastive import dev
from trainers.tasks.contrastive.data import RetrievalData


class ContrastiveTask(Task):
    """Training of a dual encoder; features and texts are in memory. See :class:`trainers.loop.Task`."""

    def __init__(self, recipe: ContrastiveRecipe):
        self.recipe, loss = recipe, recipe.loss
        self.data = RetrievalData(recipe)
        self.corpus_fingerprint = f"{self.data.info.fingerprint}+{self.data.store.fingerprint}"
        self.batch_size = loss.batch_size
        self.steps_per_epoch = self.data.steps_per_epoch(loss.batch_size)
        torch.manual_seed(recipe.seed)
        self.encoder = DualEncoder.build(
            recipe.model,
            [text for texts in self.data.texts.values() for text in texts],
            self.data.store.info.width,
        )
        self.notes = [*self.data.notes, *self.data.check_texts(self.encoder.text)]
        self.model: nn.Module = self.encoder
        self.languages = recipe.data.languages
        self.queue = TextQueue(self.languages, loss.queue_size) if loss.queue_size else None
        self.contrastive_loss = ContrastiveLoss(
            **recipe.model.similarity.model_dump(), backend=loss.backend, weighting=loss.weighting,
            identical=loss.identical_texts, queue=self.queue, ranks=DistributedRanks(),
        )  # fmt: skip
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.plan = self.data.plan(epoch, self.batch_size, self.recipe.seed)

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        rank, ranks = world()
        batch, size = self.plan[step], self.batch_size // ranks
        clips = batch[rank * size : (rank + 1) * size]
        inputs = self._inputs(clips, next(engine.parameters()).device)
        sign, text, scale = engine(*inputs, self.recipe.loss.gradcache_chunk)
        augmented = None
        if self.recipe.augment.mode != "none":
            count = size * len(self.languages)
            text, augmented = text.rows(slice(count)), text.rows(slice(count, None))
        return self.contrastive_loss(
            sign, text, logit_scale=scale, groups=torch.from_numpy(self.data.groups_of(clips)),
            text_augmented=augmented, text_length=self.recipe.model.text.max_tokens,
        )  # fmt: skip

    def _inputs(self, clips: np.ndarray, device: torch.device) -> tuple[Tensor, ...]:
        """Return features and mask of clips, and ids and mask of their texts, followed by the augmented texts."""
        sign = self.recipe.model.sign
        features, mask = self.data.features(clips, alpha=sign.alpha, limit=sign.max_windows)
        texts = self.data.texts_of(clips)
        if self.recipe.augment.mode != "none":
            texts = texts + self.data.augmented(clips, self.epoch)
        ids, text_mask = self.encoder.tokenize(texts)
        return tuple(x.to(device) for x in (torch.from_numpy(features), torch.from_numpy(mask), ids, text_mask))

    def after_step(self, model: nn.Module) -> None:
        encoder: DualEncoder = model  # type: ignore[assignment]
        limit_logit_scale(encoder)

    def extra_state(self) -> dict[str, Tensor]:
        return {} if self.queue is None else self.queue.state_dict()

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        if self.queue is not None:
            self.queue.load_state_dict(state)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        metrics = dev.evaluate(model, self.data, self.recipe)  # type: ignore[arg-type]
        return metrics | {"score": metrics[f"dev_{self.recipe.checkpoint_selection.metric}"]}

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        recipe = self.user_recipe or self.recipe
        self.encoder.record = self._record(recipe)
        self.encoder.save_pretrained(folder, self._card(recipe, metrics), state)
        self.data.copy_sign_encoders(folder)

    def _record(self, recipe: ContrastiveRecipe) -> dict[str, Any]:
        store = self.data.store
        return training_record(recipe, self.data.info) | {
            "languages": list(recipe.data.languages),
            "shuffle_pairs": recipe.data.shuffle_pairs,
            "alpha": recipe.model.sign.alpha,
            "features": str(recipe.data.features),
            "features_fingerprint": store.fingerprint,
            "features_made": store.info.model_dump(include={"kind", "streams", "window", "stride", "limit", "made"}),
        }

    def _card(self, recipe: ContrastiveRecipe, metrics: dict[str, float]) -> str:
        languages = recipe.data.languages
        about = f"A dual encoder: signing and text ({', '.join(languages)}) in one space, for retrieval both ways."
        notes = [f"Clip features `{self.data.store.fingerprint}`."]
        if recipe.data.shuffle_pairs:
            notes.append("A control: trained on the texts of other clips, so it cannot have learned to match them.")
        return model_card(recipe, about, self.data.info, metrics, languages=languages, notes=notes)
