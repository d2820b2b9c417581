"""The task of sentence retrieval: global batches of videos and texts, a contrastive loss over all ranks (CiCo)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.losses import contrast
from signatlas.losses.queue import TextQueue
from signatlas.losses.sharded_cross_entropy import EXCLUDED
from signatlas.losses.targets import pair_targets
from signatlas.models.dual_encoder.encoder import MAX_LOGIT_SCALE, DualEncoder
from signatlas.recipe import ContrastiveRecipe
from signatlas.similarity import Tokens, directed_scores
from trainers.distributed import gather_with_gradient, limit_parameter, world
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
        self.queue = TextQueue(self.languages, loss.queue_size)
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.plan = self.data.plan(epoch, self.batch_size, self.recipe.seed)

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        rank, ranks = world()
        batch, size = self.plan[step], self.batch_size // ranks
        mine = batch[rank * size : (rank + 1) * size]
        inputs = self._inputs(mine, step, next(engine.parameters()).device)
        sign, own, scale = engine(*inputs, self.recipe.loss.gradcache_chunk)
        text = self._gathered(own)
        # Columns come rank after rank, and within a rank language after language.
        owner = torch.arange(self.batch_size).view(ranks, 1, size).expand(-1, len(self.languages), -1).reshape(-1)
        groups = np.concatenate([self.data.groups_of(batch[r * size : (r + 1) * size]) for r in range(ranks)])
        group = torch.from_numpy(groups)
        clean, augmented = self._views(text, ranks)
        targets = pair_targets(
            owner.to(scale.device), group.to(scale.device), self.batch_size, first=rank * size, count=size,
            identical=self.recipe.loss.identical_texts,
        )  # fmt: skip
        to_text, to_video = self._logits(sign, clean, augmented, scale)
        negatives = self._negatives(sign, scale, group, targets.rows > 0)
        value = contrast(
            to_text, to_video, targets, beta=self.recipe.model.similarity.beta, weighting=self.recipe.loss.weighting,
            negatives=negatives,
        )  # fmt: skip
        self._remember(clean, group, ranks)
        return value

    def _inputs(self, mine: np.ndarray, step: int, device: torch.device) -> tuple[Tensor, ...]:
        """Features and masks of this rank's clips; ids and masks of their texts, augmented ones after the others."""
        sign = self.recipe.model.sign
        features, mask = self.data.features(mine, alpha=sign.alpha, limit=sign.max_windows)
        texts = self.data.texts_of(mine)
        if self.recipe.augment.mode != "none":
            texts = texts + self.data.augmented(mine, self.epoch)
        ids, text_mask = self.encoder.tokenize(texts)
        return tuple(x.to(device) for x in (torch.from_numpy(features), torch.from_numpy(mask), ids, text_mask))

    def _gathered(self, own: Tokens) -> Tokens:
        """The texts of all ranks, each rank's behind the other's; padded to a length that all ranks know first."""
        if world()[1] == 1:
            return own
        pad = self.recipe.model.text.max_tokens - own.tokens.shape[1]
        tokens = nn.functional.pad(own.tokens, (0, 0, 0, pad))
        mask = nn.functional.pad(own.mask, (0, pad))
        return Tokens(
            gather_with_gradient(tokens),
            gather_with_gradient(mask.to(torch.uint8)).bool(),
            gather_with_gradient(own.cls),
        )

    def _views(self, text: Tokens, ranks: int) -> tuple[Tokens, Tokens | None]:
        """The texts as they are, and the augmented ones where there are any, both in the order of the columns."""
        if self.recipe.augment.mode == "none":
            return text, None
        places = torch.arange(len(text.mask)).view(ranks, 2, -1)
        return text.rows(places[:, 0].reshape(-1)), text.rows(places[:, 1].reshape(-1))

    def _logits(self, sign: Tokens, clean: Tokens, augmented: Tokens | None, scale: Tensor) -> tuple[Tensor, Tensor]:
        """CiCo: video to text from the texts as they are, text to video from the augmented ones."""
        settings, backend = self.recipe.model.similarity, self.recipe.loss.backend
        if augmented is None:
            to_text, to_video = directed_scores(sign, clean, settings, backend=backend)
        elif settings.kind == "fine_grained":
            to_text, _ = directed_scores(sign, clean, settings, backend=backend, only="video_to_text")
            _, to_video = directed_scores(sign, augmented, settings, backend=backend, only="text_to_video")
        else:
            to_text = to_video = directed_scores(sign, augmented, settings)[0]
        scaled = to_text.float() * scale.float()
        return scaled, scaled if to_video is to_text else to_video.float() * scale.float()

    def _negatives(self, sign: Tokens, scale: Tensor, group: Tensor, owned: Tensor) -> tuple[Tensor, Tensor] | None:
        """Logits of the queue's texts, without those that are identical to a text of the clip."""
        held = self.queue.texts() if self.recipe.loss.queue_size else None
        if held is None:
            return None
        tokens, mask, cls, groups = (x.to(scale.device) for x in held)
        to_text, to_video = directed_scores(
            sign, Tokens(tokens, mask, cls), self.recipe.model.similarity, backend=self.recipe.loss.backend
        )
        same = group.to(scale.device)[:, None] == groups[None]  # [N, Q]
        excluded = owned.float() @ same.float() > 0
        a, b = (x.float().mul(scale.float()).masked_fill(excluded, EXCLUDED) for x in (to_text, to_video))
        return a, b

    def _remember(self, clean: Tokens, group: Tensor, ranks: int) -> None:
        if not self.recipe.loss.queue_size:
            return
        places = torch.arange(len(group)).view(ranks, len(self.languages), -1)
        for number, language in enumerate(self.languages):
            chosen = places[:, number].reshape(-1)
            self.queue.push(language, (clean.tokens[chosen], clean.mask[chosen], clean.cls[chosen]), group[chosen])

    def after_step(self, model: nn.Module) -> None:
        encoder: DualEncoder = model  # type: ignore[assignment]
        limit_parameter(encoder.log_scale, math.log(MAX_LOGIT_SCALE))

    def extra_state(self) -> dict[str, Tensor]:
        return self.queue.state()

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        self.queue.load(state)

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
