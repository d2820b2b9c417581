"""The task of denoising pretraining (mBART): restore corrupted texts; training texts only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import CorpusError, RecipeError
from signatlas.losses import DistributedRanks, denoising_loss, sum_over_ranks
from signatlas.models.language_model import mbart
from signatlas.recipe import TextDenoisingRecipe
from signatlas.text.denoising.files import fingerprint, read_lines
from signatlas.text.denoising.noise import Instance, Noise, corrupt, generator, pack, starts_of
from signatlas.text.language import check_language
from signatlas.text.vocabulary.vocabulary import Vocabulary
from trainers.distributed import world
from trainers.loop import Task
from trainers.model_card import model_card

ABOUT = "An mBART that restores corrupted texts: the language model that a translator of signing starts from."
DEV_BATCH = 64  # rows
DEV_EPOCH = 1_000_003  # fixed corruption of dev texts, from an epoch that training never reaches

Row = dict[str, Any]


class Texts:
    """Texts of all languages in one list, tokenized once, each with the id of its language."""

    def __init__(self, texts: dict[str, list[str]], vocabulary: Vocabulary, positions: int):
        self.vocabulary, self.positions = vocabulary, positions
        rows, languages = [], []
        for language, of_language in texts.items():
            rows += vocabulary.pieces(of_language)
            languages += [vocabulary.language_id(language)] * len(of_language)
        nonempty = [i for i, row in enumerate(rows) if row]
        self.long = sum(len(row) + 2 > positions for row in rows)
        self.rows = [rows[i][: positions - 2] for i in nonempty]
        self.languages = np.array([languages[i] for i in nonempty], np.int64)
        self.starts = starts_of(self.rows, vocabulary.tokens)

    def __len__(self) -> int:
        return len(self.rows)

    def instances(self, texts: np.ndarray, max_texts: int, rng: np.random.Generator) -> list[list[int]]:
        """Group texts into instances of one language each."""
        instances: list[list[int]] = []
        for language in np.unique(self.languages[texts]):
            members = [int(i) for i in texts[self.languages[texts] == language]]
            instances += pack(members, [len(self.rows[i]) for i in members], max_texts, self.positions, rng)
        return instances

    def corrupted(self, texts: list[int], noise: Noise, seed: int, epoch: int) -> Instance:
        """Return one corrupted instance, drawn from (seed, epoch, its first text)."""
        instance = corrupt(
            [self.rows[i] for i in texts],
            [self.starts[i] for i in texts],
            language=int(self.languages[texts[0]]),
            eos=self.vocabulary.eos,
            mask=self.vocabulary.mask,
            noise=noise,
            rng=generator(seed, epoch, texts[0]),
        )
        return Instance(instance.source[: self.positions], instance.target)

    def rows_of(self, instances: list[Instance]) -> tuple[Tensor, Tensor, Tensor]:
        """Return padded source ids, their mask and targets: int64, bool, int64 [B, T]."""
        source, mask = self.vocabulary.rows([i.source for i in instances])
        return source, mask, self.vocabulary.rows([i.target for i in instances])[0]


class TextDenoisingTask(Task):
    """Denoising of every text once an epoch, up to ``noise.max_texts`` an instance; see :class:`trainers.loop.Task`.

    ``batch_size`` counts texts over all ranks; the loss is the mean over all target pieces of the global batch.
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
        all_texts = [text for language in data.languages for text in train[language]]
        model, self.vocabulary = mbart.build(recipe.model, all_texts, data.languages)
        self.model: nn.Module = model
        self.architecture = mbart.architecture(model)
        positions = model.config.max_position_embeddings
        self.train, self.dev = (Texts(texts, self.vocabulary, positions) for texts in (train, dev))
        self.noise = Noise(recipe.noise.mask_ratio, recipe.noise.poisson_lambda, recipe.noise.permute_sentences)
        self.batch_size = recipe.batch_size
        if len(self.train) < self.batch_size:
            raise RecipeError(f"batch_size {self.batch_size} is more than the {len(self.train)} texts to train on")
        passes = len(self.train) // self.batch_size
        self.steps_per_epoch = recipe.optimizer.batches_per_epoch or passes
        self.notes = self._notes(train, dev, positions)

    def _notes(self, train: dict[str, list[str]], dev: dict[str, list[str]], positions: int) -> list[str]:
        recipe, model = self.recipe, f"{self.vocabulary.size:,} pieces, {_parameters(self.model):,} parameters"
        notes = [", ".join(f"{len(texts):,} texts in {language}" for language, texts in train.items()) + f"; {model}"]
        if recipe.model.pretrained is None and self.vocabulary.size < recipe.model.vocabulary:
            notes.append(f"the texts give {self.vocabulary.size:,} pieces, fewer than {recipe.model.vocabulary:,}")
        unknown = self.vocabulary.unknown_rate([text for texts in dev.values() for text in texts])
        if unknown:
            notes.append(f"dev: {unknown:.2%} of the pieces are not in the vocabulary")
        if self.train.long:
            notes.append(f"{self.train.long} texts have more than {positions} pieces: truncated")
        return notes

    def begin_epoch(self, epoch: int) -> None:
        """Plan the batches of instances of an epoch from (seed, epoch)."""
        self.epoch = epoch
        rng = np.random.default_rng([self.recipe.seed, epoch, 97])
        rounds = -(-self.steps_per_epoch * self.batch_size // len(self.train))
        order = np.concatenate([rng.permutation(len(self.train)) for _ in range(rounds)])
        batches = order[: self.steps_per_epoch * self.batch_size].reshape(self.steps_per_epoch, self.batch_size)
        self.batches = [self.train.instances(batch, self.recipe.noise.max_texts, rng) for batch in batches]

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        rank, ranks = world()
        batch = self.batches[step]
        targets = sum(len(self.train.rows[i]) + 1 for texts in batch for i in texts) + len(batch)
        # A rank without an instance computes one with weight 0: ZeRO needs every rank in every step.
        local, weight = (batch[rank::ranks], 1.0) if batch[rank::ranks] else (batch[:1], 0.0)
        corrupted = [self.train.corrupted(texts, self.noise, self.recipe.seed, self.epoch) for texts in local]
        part = weight * self._summed(engine, corrupted, self.recipe.label_smoothing)[0] / targets
        return sum_over_ranks(part, DistributedRanks())

    def _summed(self, model: nn.Module, instances: list[Instance], smoothing: float) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy summed over the target pieces of instances and the number of correct ones."""
        device = next(model.parameters()).device
        source, mask, target = (t.to(device) for t in self.train.rows_of(instances))
        decoder_ids = torch.cat([torch.full_like(target[:, :1], self.vocabulary.eos), target[:, :-1]], dim=1)
        logits = model(
            input_ids=source, attention_mask=mask.long(), decoder_input_ids=decoder_ids, use_cache=False
        ).logits
        return denoising_loss(logits, target, self.vocabulary.pad, smoothing)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return loss per piece and accuracy on corrupted dev texts; every rank computes all of them."""
        instances = [self.dev.corrupted([i], self.noise, 0, DEV_EPOCH) for i in range(len(self.dev))]
        pieces, loss, correct = sum(len(i.target) for i in instances), 0.0, 0
        with torch.no_grad():
            for start in range(0, len(instances), DEV_BATCH):
                total, hits = self._summed(model, instances[start : start + DEV_BATCH], 0.0)
                loss, correct = loss + float(total), correct + int(hits)
        return {"dev_loss": loss / pieces, "dev_accuracy": correct / pieces, "score": -loss / pieces}

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        model = mbart.from_architecture(self.architecture)
        mbart.mark_trained(model)
        files = sum(len(paths) for paths in self.recipe.data.texts.values())
        notes = (f"Also trained on {files} text files of the user.",) if files else ()
        recipe, languages = self.user_recipe or self.recipe, self.recipe.data.languages
        card = model_card(recipe, ABOUT, self.info, metrics, languages=languages, notes=notes)
        mbart.save(model, self.vocabulary, folder, card, state)


def texts_of(rows: list[Row], split: str, language: str, recipe: TextDenoisingRecipe) -> list[str]:
    """Return the texts of a split, under ``max_glosses`` and, in training, ``limit``. Raises UserError."""
    data = recipe.data
    check_language(language, sorted({text["language"] for row in rows for text in row["texts"] or ()}))
    clips = [row for row in rows if row["split"] == split]
    if data.max_glosses is not None:
        clips = [row for row in clips if row["glosses"] is not None and len(row["glosses"]) <= data.max_glosses]
    clips = sorted(clips, key=lambda row: str(row["id"]))
    if split == "train":
        clips = clips[: data.limit]
    texts = [text for text in (text_in(row, language).strip() for row in clips) if text]
    if not texts:
        raise CorpusError(f"{data.corpus}: no {split} clip has a text in {language}")
    return texts


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
