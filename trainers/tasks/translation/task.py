"""One stage of translation: contrast of videos and texts beside translation (stage 1), or translation alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyarrow.fs import LocalFileSystem
from torch import Tensor, nn

from signatlas.errors import ModelError, RecipeError
from signatlas.files import sha256_file
from signatlas.losses.sharded_cross_entropy import of_all_ranks
from signatlas.models.dual_encoder.encoder import LARGEST_SCALE
from signatlas.models.folder import WEIGHTS
from signatlas.models.translator.translator import Outcome, Translator
from signatlas.recipe import StageRecipe
from signatlas.sampling.curriculum import alpha
from signatlas.sampling.trajectories.store import INFO
from signatlas.similarity import Tokens
from signatlas.text.masking import mask_pieces
from trainers.distributed import gather_with_gradient, limit_parameter, world
from trainers.loop import Task
from trainers.prefetch import Prefetch
from trainers.tasks.translation.data import Translations, card, record
from trainers.tasks.translation.dev import contrast_of, evaluate

COPIES = "sign_encoders"  # beside the model: what turned poses into its clip features


class TranslationStage(Task):
    """Inputs of clips and texts, batches by (seed, epoch); see :class:`trainers.loop.Task`."""

    def __init__(self, recipe: StageRecipe):
        self.recipe = recipe
        self.data = Translations(recipe)
        self.corpus_fingerprint = f"{self.data.info.fingerprint}+{self.data.inputs.fingerprint}"
        self.batch_size, self.parts = recipe.batch_size, recipe.optimizer.accumulation
        self.steps_per_epoch = self.data.batches(recipe.batch_size)
        torch.manual_seed(recipe.seed)
        self.translator = self._translator()
        self.contrast = recipe.alignment.contrast if recipe.alignment else "none"
        if self.contrast == "none":
            self.translator.without_contrast()
        if recipe.optimizer.checkpointing:
            self.translator.language.activation_checkpointing_enable({"use_reentrant": False})
        self.model: nn.Module = self.translator
        self.translator.check_length(int(max(self.data.lengths.max(), self.data.dev_lengths.max())))
        self.ids, self.text_mask = self._encoded()
        self.notes = [*self.data.notes, *self._texts_told()]
        self.source = self._selection()
        # Pictures must be decoded; other inputs lie in memory.
        read_ahead = recipe.model.sign.backbone.kind == "resnet"
        self.inputs = Prefetch(self._inputs, self._following) if read_ahead else self._inputs
        self.corpus_fingerprint = "+".join([self.corpus_fingerprint, *self._models()])
        self.begin_epoch(0)

    def _models(self) -> list[str]:
        """Digests of what a run starts from and is named by its place only: a run goes on over the same."""
        named = [self.recipe.start, self.recipe.model.language.pretrained if self.recipe.start is None else None]
        files = [Path(name) / WEIGHTS for name in named if name is not None]
        found = [sha256_file(LocalFileSystem(), str(path))[:16] for path in files if path.is_file()]
        if self.recipe.trajectories is not None:
            found.append(sha256_file(LocalFileSystem(), str(Path(self.recipe.trajectories) / INFO))[:16])
        return found

    def _translator(self) -> Translator:
        """A new one, or that of ``start``, which must have been built as this recipe says."""
        recipe, width = self.recipe, self.data.inputs.width
        with_text = recipe.alignment is not None
        if recipe.start is None:
            return Translator.build(recipe.model, self.data.texts, recipe.data.language, width, with_text=with_text)
        translator = Translator.from_pretrained(recipe.start)
        self._check_start(translator, width)
        if not with_text:
            translator.drop_text_side()
        return translator.train()

    def _check_start(self, translator: Translator, width: int | None) -> None:
        """Raises ModelError for a checkpoint of another architecture, before anything is trained."""
        recipe = self.recipe
        if translator.features != width:
            raise ModelError(f"{recipe.start} reads inputs {translator.features} wide, the recipe's are {width}")
        if translator.language_code != recipe.data.language:
            raise ModelError(f"{recipe.start} writes '{translator.language_code}', not '{recipe.data.language}'")
        if recipe.alignment is not None and translator.text_encoder is None:
            raise ModelError(f"{recipe.start} has no text encoder, which stage 1 needs: start from a model of stage 1")
        free: Any = {
            "language": {"pretrained", "trim", "vocabulary"},
            "lora": {"force"},
            "sign": {"backbone": {"sizes"}},
        }
        theirs, ours = (c.model_dump(exclude=free) for c in (translator.config, recipe.model))
        different = [name for name in ours if ours[name] != theirs[name]]
        if different:
            raise ModelError(f"{recipe.start} is of another architecture than the recipe: model.{different[0]} differs")

    def _encoded(self) -> tuple[Tensor, Tensor]:
        """Every training text once: ids int64 [N, T] and their mask. Raises TextError."""
        vocabulary, longest = self.translator.vocabulary, self.translator.longest_text
        return vocabulary.encode(self.data.texts, self.recipe.data.language, longest)

    def _texts_told(self) -> list[str]:
        """What a user should know of the texts and clips before training starts."""
        vocabulary, said = self.translator.vocabulary, []
        if cut := vocabulary.long_rate(self.data.texts, self.translator.longest_text):
            said.append(
                f"{cut:.1%} of the training texts have more than {self.translator.longest_text} pieces and are cut"
            )
        for name, texts in (("training", self.data.texts), ("dev", self.data.dev_texts)):
            if unknown := vocabulary.unknown_rate(texts):
                said.append(f"{unknown:.2%} of the pieces of the {name} texts are not in the vocabulary")
        if long := self.data.inputs.long_rate():
            most = self.recipe.model.sign.backbone.max_frames
            said.append(f"{long:.1%} of the clips are longer than {most} frames or windows: subsampled evenly")
        return said

    def _selection(self):  # type: ignore[no-untyped-def]
        """Where differences of similarity come from, for ``contrast: selective``."""
        if self.contrast != "selective" or self.recipe.trajectories is None:
            return None
        from signatlas.sampling.trajectories.similarities import Trajectories

        settings = self.recipe.selection
        assert settings is not None
        trajectories = Trajectories.open(self.recipe.trajectories)
        if trajectories.ids != self.data.ids:
            raise RecipeError(f"{self.recipe.trajectories} was made of other clips than the recipe trains on: --fresh")
        return trajectories.source(
            trajectory=settings.trajectory, zscore=settings.zscore, low_rank=settings.low_rank, pool=settings.pool
        )

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, seed, size = epoch, self.recipe.seed, self.batch_size
        if self.contrast == "selective" and self.source is not None:
            from signatlas.sampling.pair_selection.greedy import plan_epoch

            settings = self.recipe.selection
            assert settings is not None
            self.alpha = alpha(settings.schedule, epoch, self.recipe.optimizer.epochs)
            plan = plan_epoch(
                self.source, size, self.alpha, seed=[seed, epoch, 83], groups=self.data.groups,
                window=settings.window, pool=settings.pool,
            )  # fmt: skip
            # The first batches had the most to choose from: they come anywhere in the epoch.
            self.plan = np.random.default_rng([seed, epoch, 89]).permutation(plan)
        else:
            # Batches of clips of one length would be contrasts of clips of one length.
            bucket = self.recipe.data.bucket if self.contrast == "none" else 1
            self.plan = self.data.plan(epoch, size, seed, bucket)

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        return self.part_loss(engine, step, 0)

    def _mine(self, step: int, part: int) -> tuple[int, np.ndarray]:
        """Where this rank's part of a batch begins, and its clips."""
        rank, ranks = world()
        size = self.batch_size // (ranks * self.parts)
        first = (rank * self.parts + part) * size
        return first, self.plan[step][first : first + size]

    def _inputs(self, place: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Of (epoch, step, part)."""
        epoch, step, part = place
        ids = [self.data.ids[i] for i in self._mine(step, part)[1]]
        return self.data.inputs.batch(ids, epoch=epoch, seed=self.recipe.seed)

    def _following(self, place: tuple[int, int, int]) -> tuple[int, int, int] | None:
        """Within the epoch: the batches of the next are not made yet."""
        epoch, step, part = place
        if part + 1 < self.parts:
            return epoch, step, part + 1
        return (epoch, step + 1, 0) if step + 1 < self.steps_per_epoch else None

    def part_loss(self, engine: nn.Module, step: int, part: int) -> Tensor:
        """One part of the global loss, differentiable through this rank's rows; the parts add up to it."""
        batch, (first, mine) = self.plan[step], self._mine(step, part)
        device = next(engine.parameters()).device
        x, mask = self.inputs((self.epoch, step, part))
        longest = int(self.text_mask[mine].sum(1).max())
        ids, text_mask = self.ids[mine, :longest].to(device), self.text_mask[mine, :longest].to(device)
        place = self.epoch * self.steps_per_epoch + step
        masked = self._masked(ids, text_mask, mine, place)
        outcome: Outcome = engine(
            torch.from_numpy(x).to(device), torch.from_numpy(mask).to(device), ids, text_mask,
            self.recipe.smoothing, self.contrast != "none", masked,
        )  # fmt: skip
        tokens = self.text_mask[batch].sum()  # of the global batch
        value = outcome.translation * (self._weight() / tokens)
        if outcome.masked_language is not None:
            value = value + outcome.masked_language * (self._alignment().masked_language.weight / tokens)
        value = of_all_ranks(value)
        if self.contrast != "none":
            value = value + self._alignment().weight * self._contrast(outcome, batch, first, len(mine))
        return value

    def _alignment(self):  # type: ignore[no-untyped-def]
        assert self.recipe.alignment is not None
        return self.recipe.alignment

    def _weight(self) -> float:
        return self.recipe.alignment.translation if self.recipe.alignment is not None else 1.0

    def _masked(self, ids: Tensor, mask: Tensor, mine: np.ndarray, place: int) -> Tensor | None:
        """Texts with pieces masked, on every so many steps (GFSLT-VLP); by (seed, step, clip) on whichever rank."""
        if self.recipe.alignment is None:
            return None
        settings = self.recipe.alignment.masked_language
        if not settings.every or place % settings.every:
            return None
        seeds = [(self.recipe.seed, place, int(clip)) for clip in mine]
        return mask_pieces(ids, mask, settings.share, self.translator.vocabulary.mask, seeds)

    def _contrast(self, outcome: Outcome, batch: np.ndarray, first: int, size: int) -> Tensor:
        alignment, ranks = self._alignment(), world()[1]
        assert outcome.visual is not None and outcome.text is not None
        text, whole = outcome.text, batch
        if alignment.gather:
            text = self._gathered(outcome.text, int(self.text_mask[batch].sum(1).max()))
        else:
            whole, first = batch[first : first + size], 0
        value = contrast_of(
            outcome.visual, text, outcome.scale, self.data.groups[whole], self.recipe, first=first, count=size,
            alone=not alignment.gather,
        )  # fmt: skip
        # Without gathering each rank has a whole loss of its own; the global one is their mean.
        return value if alignment.gather else of_all_ranks(value / ranks)

    def _gathered(self, own: Tokens, longest: int) -> Tokens:
        """The texts of all ranks, padded to the longest of the whole batch, which all of them know."""
        if world()[1] == 1:
            return own
        pad = longest - own.tokens.shape[1]
        return Tokens(
            gather_with_gradient(nn.functional.pad(own.tokens, (0, 0, 0, pad))),
            gather_with_gradient(nn.functional.pad(own.mask, (0, pad)).to(torch.uint8)).bool(),
            gather_with_gradient(own.cls),
        )

    def after_step(self, model: nn.Module) -> None:
        translator: Translator = model  # type: ignore[assignment]
        if self.contrast != "none":
            limit_parameter(translator.log_scale, math.log(LARGEST_SCALE))

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        translator: Translator = model  # type: ignore[assignment]
        return evaluate(self.recipe, self.data, translator)

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        recipe = self.shown or self.recipe
        self.translator.record = record(recipe, self.data)
        self.translator.save_pretrained(folder, card(recipe, self.data, metrics), state)
        self.data.copy_sign_encoders(folder / COPIES)


def build(recipe: StageRecipe) -> TranslationStage:
    """The task of a recipe. Raises UserError for data that cannot train it."""
    return TranslationStage(recipe)
