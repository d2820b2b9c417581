"""The task of mBART's own pretraining: corrupted texts in, the texts themselves out; training texts only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import CorpusError, RecipeError, UserError
from signatlas.models import language_model
from signatlas.recipe import TextDenoisingRecipe
from signatlas.text.denoising.files import fingerprint, read_lines
from signatlas.text.denoising.noise import Instance, Noise, generator, packed, spoil, starts_of
from signatlas.text.language import check_language
from signatlas.text.vocabulary.vocabulary import Vocabulary
from trainers.card import card
from trainers.distributed import world
from trainers.loop import Task

ABOUT = "An mBART that restores corrupted texts: the language model that a translator of signing starts from."
DEV_BATCH = 64  # rows
DEV_EPOCH = 1_000_003  # dev texts are always corrupted alike, and as no training text ever is

Row = dict[str, Any]


class Texts:
    """Texts of all languages in one list, cut into pieces once, with the id of each one's language."""

    def __init__(self, texts: dict[str, list[str]], vocabulary: Vocabulary, positions: int):
        self.vocabulary, self.positions = vocabulary, positions
        rows, languages = [], []
        for language, of_language in texts.items():
            rows += vocabulary.pieces(of_language)
            languages += [vocabulary.language_id(language)] * len(of_language)
        kept = [i for i, row in enumerate(rows) if row]
        self.long = sum(len(row) + 2 > positions for row in rows)
        self.rows = [rows[i][: positions - 2] for i in kept]
        self.languages = np.array([languages[i] for i in kept], np.int64)
        self.starts = starts_of(self.rows, vocabulary.tokens)

    def __len__(self) -> int:
        return len(self.rows)

    def instances(self, numbers: np.ndarray, pack: int, rng: np.random.Generator) -> list[list[int]]:
        """Texts grouped into instances of one language."""
        found: list[list[int]] = []
        for language in np.unique(self.languages[numbers]):
            mine = [int(i) for i in numbers[self.languages[numbers] == language]]
            found += packed(mine, [len(self.rows[i]) for i in mine], pack, self.positions, rng)
        return found

    def corrupted(self, texts: list[int], noise: Noise, seed: int, epoch: int) -> Instance:
        """One instance, a function of (seed, epoch, its first text)."""
        made = spoil(
            [self.rows[i] for i in texts],
            [self.starts[i] for i in texts],
            language=int(self.languages[texts[0]]),
            eos=self.vocabulary.eos,
            mask=self.vocabulary.mask,
            noise=noise,
            rng=generator(seed, epoch, texts[0]),
        )
        return Instance(made.source[: self.positions], made.target)

    def rows_of(self, instances: list[Instance]) -> tuple[Tensor, Tensor, Tensor]:
        """Source ids and mask, and targets, padded: int64, bool, int64 [B, T]."""
        source, mask = self.vocabulary.rows([i.source for i in instances])
        return source, mask, self.vocabulary.rows([i.target for i in instances])[0]


class TextDenoisingTask(Task):
    """Every text once an epoch, 1 to ``noise.pack`` of them an instance; see :class:`trainers.loop.Task`.

    A batch is so many texts of all ranks; its loss is the mean over all its target pieces, whichever rank has them.
    """

    def __init__(self, recipe: TextDenoisingRecipe):
        self.recipe, data = recipe, recipe.data
        corpus = Corpus.open(data.corpus, verify=True)
        self.info, rows = corpus.info, corpus.metadata()
        files = [path for paths in data.texts.values() for path in paths]
        train = {language: texts_of(rows, "train", language, recipe) for language in data.languages}
        for language, paths in data.texts.items():
            train[language] += [line for path in paths for line in read_lines(path)]
        dev = {language: texts_of(rows, "dev", language, recipe) for language in data.languages}
        self.corpus_fingerprint = fingerprint(corpus.info.fingerprint, files)
        torch.manual_seed(recipe.seed)
        every = [text for language in data.languages for text in train[language]]
        model, self.vocabulary = language_model.build(recipe.model, every, data.languages)
        self.model: nn.Module = model
        self.architecture = language_model.architecture(model)
        positions = model.config.max_position_embeddings
        self.train, self.dev = (Texts(texts, self.vocabulary, positions) for texts in (train, dev))
        self.noise = Noise(recipe.noise.share, recipe.noise.poisson, recipe.noise.permute)
        self.batch_size = recipe.batch_size
        if len(self.train) < self.batch_size:
            raise RecipeError(f"batch_size {self.batch_size} is more than the {len(self.train)} texts to train on")
        passes = len(self.train) // self.batch_size
        self.steps_per_epoch = recipe.optimizer.batches_per_epoch or passes
        self.notes = self._notes(train, dev, positions)

    def _notes(self, train: dict[str, list[str]], dev: dict[str, list[str]], positions: int) -> list[str]:
        recipe, said = self.recipe, f"{self.vocabulary.size:,} pieces, {_parameters(self.model):,} parameters"
        notes = [", ".join(f"{len(texts):,} texts in {language}" for language, texts in train.items()) + f"; {said}"]
        if recipe.model.pretrained is None and self.vocabulary.size < recipe.model.vocabulary:
            notes.append(f"the texts give {self.vocabulary.size:,} pieces, fewer than {recipe.model.vocabulary:,}")
        unknown = self.vocabulary.unknown_rate([text for texts in dev.values() for text in texts])
        if unknown:
            notes.append(f"dev: {unknown:.2%} of the pieces are not in the vocabulary")
        if self.train.long:
            notes.append(f"{self.train.long} texts have more than {positions} pieces: cut")
        return notes

    def begin_epoch(self, epoch: int) -> None:
        """The epoch's batches of instances, from (seed, epoch) alone."""
        self.epoch = epoch
        rng = np.random.default_rng([self.recipe.seed, epoch, 97])
        rounds = -(-self.steps_per_epoch * self.batch_size // len(self.train))
        order = np.concatenate([rng.permutation(len(self.train)) for _ in range(rounds)])
        batches = order[: self.steps_per_epoch * self.batch_size].reshape(self.steps_per_epoch, self.batch_size)
        self.batches = [self.train.instances(batch, self.recipe.noise.pack, rng) for batch in batches]

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        rank, ranks = world()
        batch = self.batches[step]
        targets = sum(len(self.train.rows[i]) + 1 for texts in batch for i in texts) + len(batch)
        # A rank without an instance computes one that counts nothing: ZeRO needs every rank in every step.
        mine, counts = (batch[rank::ranks], 1.0) if batch[rank::ranks] else (batch[:1], 0.0)
        corrupted = [self.train.corrupted(texts, self.noise, self.recipe.seed, self.epoch) for texts in mine]
        part = counts * self._summed(engine, corrupted, self.recipe.smoothing)[0] / targets
        whole = part.detach().clone()
        if ranks > 1:
            dist.all_reduce(whole)
        return part + (whole - part.detach())

    def _summed(self, model: nn.Module, instances: list[Instance], smoothing: float) -> tuple[Tensor, Tensor]:
        """Cross-entropy summed over all target pieces of instances, and how many are guessed right."""
        device = next(model.parameters()).device
        source, mask, target = (t.to(device) for t in self.train.rows_of(instances))
        read = torch.cat([torch.full_like(target[:, :1], self.vocabulary.eos), target[:, :-1]], dim=1)
        logits = model(input_ids=source, attention_mask=mask.long(), decoder_input_ids=read, use_cache=False).logits
        flat = logits.float().flatten(0, 1)
        total = F.cross_entropy(
            flat, target.flatten(), ignore_index=self.vocabulary.pad, reduction="sum", label_smoothing=smoothing
        )
        right = (logits.argmax(-1) == target) & (target != self.vocabulary.pad)
        return total, right.sum()

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Loss a piece and share of pieces guessed right on corrupted dev texts; every rank computes all of them."""
        instances = [self.dev.corrupted([i], self.noise, 0, DEV_EPOCH) for i in range(len(self.dev))]
        pieces, loss, right = sum(len(i.target) for i in instances), 0.0, 0
        with torch.no_grad():
            for start in range(0, len(instances), DEV_BATCH):
                total, hits = self._summed(model, instances[start : start + DEV_BATCH], 0.0)
                loss, right = loss + float(total), right + int(hits)
        return {"dev_loss": loss / pieces, "dev_accuracy": right / pieces, "score": -loss / pieces}

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        shown = self.shown or self.recipe
        model = language_model.from_architecture(self.architecture)
        language_model.mark_trained(model)
        files = sum(len(paths) for paths in self.recipe.data.texts.values())
        said = (f"Also trained on {files} text files that its user named.",) if files else ()
        text = card(shown, ABOUT, self.info, metrics, languages=self.recipe.data.languages, notes=said)
        language_model.save(model, self.vocabulary, folder, text, state)


def texts_of(rows: list[Row], split: str, language: str, recipe: TextDenoisingRecipe) -> list[str]:
    """The texts of a split in a language, training ones as ``limit`` and ``max_glosses`` say. Raises UserError."""
    data = recipe.data
    check_language(language, sorted({text["language"] for row in rows for text in row["texts"] or ()}))
    mine = [row for row in rows if row["split"] == split]
    if data.max_glosses is not None:
        mine = [row for row in mine if row["glosses"] is not None and len(row["glosses"]) <= data.max_glosses]
    mine = sorted(mine, key=lambda row: str(row["id"]))
    if split == "train":
        mine = mine[: data.limit]
    found = [text for text in (text_in(row, language).strip() for row in mine) if text]
    if not found:
        raise CorpusError(f"{data.corpus}: no {split} clip has a text in {language}")
    return found


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def build(recipe: TextDenoisingRecipe) -> TextDenoisingTask:
    """The task of a recipe. Raises UserError for data that cannot train it."""
    if not isinstance(recipe, TextDenoisingRecipe):
        raise UserError(f"recipe '{recipe.name}' is not for a language model")
    return TextDenoisingTask(recipe)
