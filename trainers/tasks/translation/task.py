"""One stage of translation: contrastive and translation loss together (stage 1), or translation only (stage 2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyarrow.fs import LocalFileSystem
from torch import Tensor, nn

from signatlas.errors import ModelError, RecipeError
from signatlas.files import sha256_file
from signatlas.losses import DistributedRanks, sum_over_ranks
from signatlas.models.folder import WEIGHTS
from signatlas.models.translator.translator import Translator, TranslatorOutput
from signatlas.recipe import StageRecipe
from signatlas.recipe.translation import AlignmentConfig
from signatlas.sampling import curriculum_alpha
from signatlas.sampling.pair_selection import DeltaSource, plan_epoch
from signatlas.sampling.trajectories.store import INFO
from signatlas.text.masking import mask_pieces
from trainers.distributed import limit_logit_scale, world
from trainers.loop import Task
from trainers.model_card import model_card, training_record
from trainers.prefetch import Prefetch
from trainers.tasks.translation.data import TranslationData
from trainers.tasks.translation.dev import contrastive_loss, evaluate


class TranslationStage(Task):
    """Training of a translator for one stage. See :class:`trainers.loop.Task`."""

    def __init__(self, recipe: StageRecipe):
        self.recipe = recipe
        self.data = TranslationData(recipe)
        self.corpus_fingerprint = f"{self.data.info.fingerprint}+{self.data.inputs.fingerprint}"
        self.batch_size, self.parts = recipe.batch_size, recipe.optimizer.gradient_accumulation_steps
        self.steps_per_epoch = self.data.steps_per_epoch(recipe.batch_size)
        torch.manual_seed(recipe.seed)
        self.translator = self._translator()
        self.contrast = recipe.alignment.contrast if recipe.alignment else "none"
        if self.contrast == "none":
            self.translator.freeze_contrast()
        else:
            self.contrastive_loss = contrastive_loss(recipe, DistributedRanks())
        if recipe.optimizer.gradient_checkpointing:
            self.translator.language.activation_checkpointing_enable({"use_reentrant": False})
        self.model: nn.Module = self.translator
        self.translator.check_length(int(max(self.data.lengths.max(), self.data.dev_lengths.max())))
        self.ids, self.text_mask = self._tokenize()
        self.notes = [*self.data.notes, *self._length_notes()]
        self.source = self._delta_source()
        # Pictures must be decoded; other inputs are in memory.
        prefetch = recipe.model.sign.backbone.kind == "resnet"
        self.inputs = Prefetch(self._inputs, self._next_part) if prefetch else self._inputs
        self.corpus_fingerprint = "+".join([self.corpus_fingerprint, *self._digests()])
        self.begin_epoch(0)

    def _digests(self) -> list[str]:
        """Return digests of the model and trajectories named by path: a run resumes only over the same ones."""
        name, digests = self.recipe.init_from or self.recipe.model.language.pretrained, []
        if name is not None and (path := Path(name) / WEIGHTS).is_file():
            digests.append(sha256_file(LocalFileSystem(), str(path))[:16])
        if self.recipe.trajectories is not None:
            digests.append(sha256_file(LocalFileSystem(), str(Path(self.recipe.trajectories) / INFO))[:16])
        return digests

    def _translator(self) -> Translator:
        """Return a new translator, or that of ``init_from``, whose architecture must be the recipe's."""
        recipe, width = self.recipe, self.data.inputs.width
        with_text = recipe.alignment is not None
        if recipe.init_from is None:
            return Translator.build(recipe.model, self.data.texts, recipe.data.language, width, with_text=with_text)
        translator = Translator.from_pretrained(recipe.init_from)
        self._check_architecture(translator, width)
        if not with_text:
            translator.drop_text_side()
        return translator.train()

    def _check_architecture(self, translator: Translator, width: int | None) -> None:
        """Raise ModelError for a checkpoint of another architecture."""
        recipe = self.recipe
        if translator.features != width:
            raise ModelError(
                f"{recipe.init_from} takes inputs of width {translator.features}, the recipe's have {width}"
            )
        if translator.language_code != recipe.data.language:
            raise ModelError(
                f"{recipe.init_from} translates to '{translator.language_code}', not '{recipe.data.language}'"
            )
        if recipe.alignment is not None and translator.text_encoder is None:
            raise ModelError(
                f"{recipe.init_from} has no text encoder, which stage 1 needs: start from a model of stage 1"
            )
        ignored: Any = {
            "language": {"pretrained", "trim", "vocabulary"},
            "lora": {"force"},
            "sign": {"backbone": {"sizes"}},
        }
        theirs, ours = (c.model_dump(exclude=ignored) for c in (translator.config, recipe.model))
        different = [name for name in ours if ours[name] != theirs[name]]
        if different:
            raise ModelError(
                f"{recipe.init_from} has another architecture than the recipe: model.{different[0]} differs"
            )

    def _tokenize(self) -> tuple[Tensor, Tensor]:
        """Return ids int64 [N, T] and mask of all training texts. Raises TextError."""
        translator = self.translator
        return translator.vocabulary.encode(self.data.texts, self.recipe.data.language, translator.max_text_tokens)

    def _length_notes(self) -> list[str]:
        """Return notes on texts and clips that are truncated or subsampled, and on unknown pieces."""
        vocabulary, notes = self.translator.vocabulary, []
        limit = self.translator.max_text_tokens
        if long := vocabulary.long_rate(self.data.texts, limit):
            notes.append(f"{long:.1%} of the training texts have more than {limit} pieces and are truncated")
        for name, texts in (("training", self.data.texts), ("dev", self.data.dev_texts)):
            if unknown := vocabulary.unknown_rate(texts):
                notes.append(f"{unknown:.2%} of the pieces of the {name} texts are not in the vocabulary")
        if long := self.data.inputs.long_rate():
            limit = self.recipe.model.sign.backbone.max_frames
            notes.append(f"{long:.1%} of the clips are longer than {limit} frames or windows: subsampled evenly")
        return notes

    def _delta_source(self) -> DeltaSource | None:
        """Return the similarity changes of the reference run for ``contrast: selective``, else None."""
        if self.contrast != "selective" or self.recipe.trajectories is None:
            return None
        from signatlas.sampling.trajectories.similarities import Trajectories

        settings = self.recipe.negative_selection
        assert settings is not None
        trajectories = Trajectories.open(self.recipe.trajectories)
        if trajectories.ids != self.data.ids:
            raise RecipeError(
                f"{self.recipe.trajectories} was computed for other clips than the recipe trains on: pass --fresh"
            )
        return trajectories.source(
            trajectory=settings.trajectory, zscore=settings.zscore, low_rank=settings.low_rank, pool=settings.pool_size
        )

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, seed, size = epoch, self.recipe.seed, self.batch_size
        if self.contrast == "selective" and self.source is not None:
            settings = self.recipe.negative_selection
            assert settings is not None
            self.alpha = curriculum_alpha(settings.schedule, epoch, self.recipe.optimizer.epochs)
            plan = plan_epoch(
                self.source, size, self.alpha, seed=[seed, epoch, 83], groups=self.data.groups,
                window=settings.window, pool=settings.pool_size,
            )  # fmt: skip
            # Greedy selection gives the first batches the most candidates; shuffle them over the epoch.
            self.plan = np.random.default_rng([seed, epoch, 89]).permutation(plan)
        else:
            # Bucketed batches would contrast clips of equal length only.
            bucket = self.recipe.data.bucket_batches if self.contrast == "none" else 1
            self.plan = self.data.plan(epoch, size, seed, bucket)

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        return self.part_loss(engine, step, 0)

    def _local_clips(self, step: int, part: int) -> np.ndarray:
        """Return the clips of this rank's part of a batch."""
        rank, ranks = world()
        size = self.batch_size // (ranks * self.parts)
        first = (rank * self.parts + part) * size
        clips: np.ndarray = self.plan[step][first : first + size]
        return clips

    def _inputs(self, key: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs and mask of (epoch, step, part)."""
        epoch, step, part = key
        ids = [self.data.ids[i] for i in self._local_clips(step, part)]
        return self.data.inputs.batch(ids, epoch=epoch, seed=self.recipe.seed)

    def _next_part(self, key: tuple[int, int, int]) -> tuple[int, int, int] | None:
        """Return the key after (epoch, step, part) in the epoch; the next epoch is not planned yet."""
        epoch, step, part = key
        if part + 1 < self.parts:
            return epoch, step, part + 1
        return (epoch, step + 1, 0) if step + 1 < self.steps_per_epoch else None

    def part_loss(self, engine: nn.Module, step: int, part: int) -> Tensor:
        """Return one part of the global loss, differentiable through this rank's rows; the parts add up to it."""
        batch, clips = self.plan[step], self._local_clips(step, part)
        device = next(engine.parameters()).device
        x, mask = self.inputs((self.epoch, step, part))
        longest = int(self.text_mask[clips].sum(1).max())
        ids, text_mask = self.ids[clips, :longest].to(device), self.text_mask[clips, :longest].to(device)
        masked = self._masked(ids, text_mask, clips, self.epoch * self.steps_per_epoch + step)
        output: TranslatorOutput = engine(
            torch.from_numpy(x).to(device), torch.from_numpy(mask).to(device), ids, text_mask,
            self.recipe.label_smoothing, self.contrast != "none", masked,
        )  # fmt: skip
        tokens = self.text_mask[batch].sum()  # of the global batch
        value = output.translation * (self._translation_weight() / tokens)
        if output.masked_language is not None:
            value = value + output.masked_language * (self._alignment().masked_language.weight / tokens)
        value = sum_over_ranks(value, DistributedRanks())
        if self.contrast != "none":
            value = value + self._alignment().contrast_weight * self._contrast(output, batch, clips)
        return value

    def _alignment(self) -> AlignmentConfig:
        assert self.recipe.alignment is not None
        return self.recipe.alignment

    def _translation_weight(self) -> float:
        return self.recipe.alignment.translation_weight if self.recipe.alignment is not None else 1.0

    def _masked(self, ids: Tensor, mask: Tensor, clips: np.ndarray, step: int) -> Tensor | None:
        """Return texts with pieces masked (GFSLT-VLP), drawn from (seed, step, clip); None on steps without them."""
        if self.recipe.alignment is None:
            return None
        settings = self.recipe.alignment.masked_language
        if not settings.every_steps or step % settings.every_steps:
            return None
        seeds = [(self.recipe.seed, step, int(clip)) for clip in clips]
        return mask_pieces(ids, mask, settings.mask_ratio, self.translator.vocabulary.mask, seeds)

    def _contrast(self, output: TranslatorOutput, batch: np.ndarray, clips: np.ndarray) -> Tensor:
        assert output.visual is not None and output.text is not None
        return self.contrastive_loss(
            output.visual, output.text, logit_scale=output.scale, groups=torch.from_numpy(self.data.groups[clips]),
            text_length=int(self.text_mask[batch].sum(1).max()),
        )  # fmt: skip

    def after_step(self, model: nn.Module) -> None:
        translator: Translator = model  # type: ignore[assignment]
        if self.contrast != "none":
            limit_logit_scale(translator)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        translator: Translator = model  # type: ignore[assignment]
        return evaluate(self.recipe, self.data, translator)

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        recipe = self.user_recipe or self.recipe
        self.translator.record = self._record(recipe)
        self.translator.save_pretrained(folder, self._card(recipe, metrics), state)
        self.data.copy_sign_encoders(folder)

    def _record(self, recipe: StageRecipe) -> dict[str, Any]:
        inputs = self.data.inputs
        return training_record(recipe, self.data.info) | {
            "corpus_path": recipe.data.corpus,
            "language": recipe.data.language,
            "features": recipe.data.features,
            "frames": recipe.data.frames,
            "max_glosses": recipe.data.max_glosses,
            "limit": recipe.data.limit,
            "inputs_fingerprint": inputs.fingerprint,
            "features_made": inputs.feature_settings(),
            "contrast": recipe.alignment.contrast if recipe.alignment else "none",
        }

    def _card(self, recipe: StageRecipe, metrics: dict[str, float]) -> str:
        info, language = self.data.info, recipe.data.language
        about = f"A translator: signing ({', '.join(info.sign_languages)}) to text ({language}), gloss-free."
        stage = "stage 1, alignment and translation" if recipe.alignment else "stage 2, translation"
        notes = [f"Trained in {stage}. Machine translations can be fluent and wrong: where it matters, ask a signer."]
        return model_card(recipe, about, info, metrics, languages=[language], notes=notes)
