"""The data of translation as a task needs it: inputs of clips, their texts, batches, groups of identical texts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import CorpusError, RecipeError
from signatlas.models.translator.sign_inputs import SignInputs
from signatlas.models.translator.temporal_convolution import TemporalConvolution
from signatlas.recipe import StageRecipe
from signatlas.recipe.translation import TranslationDataConfig
from signatlas.text.duplicate_groups import groups
from trainers import card as cards


class Translations:
    """Training and dev clips with their inputs and texts. Raises UserError for data that do not fit."""

    def __init__(self, recipe: StageRecipe):
        self.recipe, data = recipe, recipe.data
        corpus = Corpus.open(data.corpus, verify=True)
        self.info = corpus.info
        self.inputs = SignInputs.open(
            recipe.model.sign.backbone, corpus, features=data.features, frames=data.frames, readers=data.readers
        )
        self.notes: list[str] = []  # what a user should know of clips that take no part and texts that are cut
        rows, self.long_enough = corpus.metadata(), self._long_enough()
        self.train, self.dev = (self._usable(rows, split) for split in ("train", "dev"))
        self.train = chosen_clips(self.train, data)
        if recipe.select.limit is not None and recipe.select.limit < len(self.dev):
            self.dev = [self.dev[i] for i in np.linspace(0, len(self.dev) - 1, recipe.select.limit).round().astype(int)]
        self.texts, self.dev_texts = ([text_in(row, data.language) for row in part] for part in (self.train, self.dev))
        self.ids, self.dev_ids = ([row["id"] for row in part] for part in (self.train, self.dev))
        where = {id: place for place, id in enumerate(self.inputs.ids)}
        lengths = np.asarray(self.inputs.lengths)
        self.lengths, self.dev_lengths = (lengths[[where[id] for id in ids]] for ids in (self.ids, self.dev_ids))
        self.groups = groups(self.texts)

    def _usable(self, rows: list[dict[str, Any]], split: str) -> list[dict[str, Any]]:
        """The clips of a split that have inputs and a text in the recipe's language."""
        data, found = self.recipe.data, {text["language"] for row in rows for text in row["texts"] or ()}
        if data.language not in found:
            raise RecipeError(
                f"data.language: {data.corpus} has no text in '{data.language}', only in {', '.join(sorted(found))}"
            )
        mine = [row for row in rows if row["split"] == split]
        told = [row for row in mine if text_in(row, data.language).strip()]
        fit = [row for row in told if data.max_glosses is None or len(row["glosses"] or ()) <= data.max_glosses]
        there = [row for row in fit if row["id"] in self.inputs]
        chosen = [row for row in there if row["id"] in self.long_enough]
        if not chosen:
            raise CorpusError(f"{data.corpus}: no {split} clip has inputs and a text in {data.language}")
        if len(told) < len(mine):
            self.notes.append(f"{split}: {len(mine) - len(told)} of {len(mine)} clips have no text and are left out")
        if len(there) < len(fit):
            self.notes.append(f"{split}: {len(fit) - len(there)} of {len(fit)} clips have no inputs and are left out")
        if len(chosen) < len(there):
            self.notes.append(
                f"{split}: {len(there) - len(chosen)} clips are too short for the convolutions and are left out"
            )
        return chosen

    def _long_enough(self) -> set[str]:
        """Clips that give at least one token; under ``padding: valid`` short ones do not."""
        sign = self.recipe.model.sign
        shortest = TemporalConvolution(
            1, 1, blocks=sign.blocks, kernel=sign.kernel, pool=sign.pool, padding=sign.padding
        ).shortest
        return {id for id, length in zip(self.inputs.ids, self.inputs.lengths, strict=True) if length >= shortest}

    def batches(self, batch_size: int) -> int:
        """Full batches in one pass. Raises RecipeError when there is none."""
        if len(self.ids) < batch_size:
            raise RecipeError(f"batch_size {batch_size} is more than the {len(self.ids)} clips to train on")
        return len(self.ids) // batch_size

    def plan(self, epoch: int, batch_size: int, seed: int, bucket: int) -> np.ndarray:
        """Training clips [steps, batch], each at most once; what does not fill a batch is another rest each epoch.

        ``bucket`` batches at a time are sorted by length, so that little of them is padding.
        """
        rng = np.random.default_rng([seed, epoch, 79])
        steps = len(self.ids) // batch_size
        order = rng.permutation(len(self.ids))[: steps * batch_size]
        if bucket > 1:
            for start in range(0, len(order), bucket * batch_size):
                piece = order[start : start + bucket * batch_size]
                order[start : start + bucket * batch_size] = piece[np.argsort(self.lengths[piece], kind="stable")]
        return rng.permutation(order.reshape(steps, batch_size))

    def copy_sign_encoders(self, folder: Path) -> None:
        """What made the clip features, beside the model, so that it can be given poses."""
        source = self.recipe.data.features
        if source and (Path(source) / "models").is_dir():
            shutil.copytree(Path(source) / "models", folder, dirs_exist_ok=True)


def chosen_clips(rows: list[dict[str, Any]], data: TranslationDataConfig) -> list[dict[str, Any]]:
    """The first ``data.limit`` clips by id; all of them without a limit."""
    return rows if data.limit is None else sorted(rows, key=lambda row: row["id"])[: data.limit]


def record(recipe: StageRecipe, data: Translations) -> dict[str, Any]:
    """What a model says of its own training."""
    info = data.info
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "corpus": info.name,
        "corpus_fingerprint": info.fingerprint,
        "corpus_path": recipe.data.corpus,
        "license": info.license,
        "synthetic": info.synthetic,
        "language": recipe.data.language,
        "features": recipe.data.features,
        "frames": recipe.data.frames,
        "max_glosses": recipe.data.max_glosses,
        "limit": recipe.data.limit,
        "inputs_fingerprint": data.inputs.fingerprint,
        "features_made": data.inputs.made(),
        "contrast": recipe.alignment.contrast if recipe.alignment else "none",
    }


def card(recipe: StageRecipe, data: Translations, metrics: dict[str, float]) -> str:
    """The model card."""
    signs = ", ".join(data.info.sign_languages)
    about = f"A translator: signing ({signs}) to text ({recipe.data.language}), gloss-free."
    stage = "stage 1, alignment and translation" if recipe.alignment else "stage 2, translation"
    notes = [
        f"Trained in {stage}. Translations by machine can be wrong in ways that read well: where it matters, ask a "
        "person who signs."
    ]
    return cards.card(recipe, about, data.info, metrics, languages=[recipe.data.language], notes=notes)
