"""The data of sentence retrieval as a task needs it: features, texts per language, batches, dev figures, the card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import CorpusError, FeatureError, RecipeError, TextError
from signatlas.evaluation.sentences.protocol import both_directions
from signatlas.features.store import FeatureStore
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.recipe import ContrastiveRecipe
from signatlas.text.augmentation import Augmenter
from signatlas.text.duplicate_groups import groups
from signatlas.text.encoders.base import TextEncoder
from trainers import card as cards


class Sentences:
    """Training and dev clips with their features and texts. Raises UserError for data that do not fit."""

    def __init__(self, recipe: ContrastiveRecipe):
        self.recipe, data = recipe, recipe.data
        corpus = Corpus.open(data.corpus, verify=True)
        self.info, rows = corpus.info, corpus.metadata()
        self.store = FeatureStore.open(data.features)
        if self.store.info.corpus_fingerprint != self.info.fingerprint:
            raise FeatureError(
                f"{data.features} was made from {self.store.info.corpus}, another state of the corpus than "
                f"{data.corpus}: make the features again"
            )
        if recipe.model.sign.features not in (None, self.store.info.width):
            raise FeatureError(
                f"the recipe says features of width {recipe.model.sign.features}, {data.features} has "
                f"{self.store.info.width}"
            )
        self.notes: list[str] = []  # what a user should know of clips that take no part and texts that are cut
        self.train, self.dev = (self._usable(rows, split) for split in ("train", "dev"))
        if data.limit is not None:
            self.train = sorted(self.train, key=lambda row: row["id"])[: data.limit]
        self.positions = self.store.positions(row["id"] for row in self.train)
        self.texts = {language: [text_in(row, language) for row in self.train] for language in data.languages}
        if data.shuffle_pairs:
            order = np.random.default_rng(recipe.seed).permutation(len(self.train))
            self.texts = {language: [texts[i] for i in order] for language, texts in self.texts.items()}
        flat = [text for language in data.languages for text in self.texts[language]]
        self.groups = groups(flat, recipe.loss.near).reshape(len(data.languages), -1)
        self._augment = Augmenter(recipe.augment)

    def _usable(self, rows: list[dict[str, Any]], split: str) -> list[dict[str, Any]]:
        """The clips of a split that have features, and a text in every language of the recipe."""
        data, found = self.recipe.data, {text["language"] for row in rows for text in row["texts"] or ()}
        for language in data.languages:
            if language not in found:
                raise RecipeError(
                    f"data.languages: {data.corpus} has no text in '{language}', only in {', '.join(sorted(found))}"
                )
        mine = [row for row in rows if row["split"] == split]
        told = [row for row in mine if all(text_in(row, language).strip() for language in data.languages)]
        chosen = [row for row in told if row["id"] in self.store]
        if not chosen:
            raise CorpusError(f"{data.corpus}: no {split} clip has features and texts in {', '.join(data.languages)}")
        if len(told) < len(mine):
            self.notes.append(f"{split}: {len(mine) - len(told)} of {len(mine)} clips lack a text and are left out")
        if len(chosen) < len(told):
            self.notes.append(f"{split}: {len(told) - len(chosen)} of {len(told)} clips lack features and are left out")
        return chosen

    def check_texts(self, encoder: TextEncoder) -> list[str]:
        """Read every text once; says which share is subsampled. Raises TextError with the clip of an unusable one."""
        said = []
        for language in self.recipe.data.languages:
            for rows in (self.train, self.dev):
                texts = [text_in(row, language) for row in rows]
                try:
                    encoder.tokenize(texts)
                except TextError as error:
                    raise self._blamed(encoder, rows, language, error) from error
            share = encoder.long_rate(self.texts[language])
            if share:
                longest = self.recipe.model.text.max_tokens
                said.append(f"{language}: {share:.1%} of the texts have more than {longest} tokens: subsampled evenly")
        return said

    @staticmethod
    def _blamed(encoder: TextEncoder, rows: list[dict[str, Any]], language: str, error: TextError) -> TextError:
        for row in rows:
            try:
                encoder.tokenize([text_in(row, language)])
            except TextError as reason:
                return TextError(f"clip {row['id']}, {language}: {reason}")
        return error

    def batches(self, batch_size: int) -> int:
        """Full batches in one pass. Raises RecipeError when there is none."""
        clips = len(np.unique(self._sentences()))
        if clips < batch_size:
            raise RecipeError(f"loss.batch_size {batch_size} is more than the {clips} sentences to train on")
        return clips // batch_size

    def _sentences(self) -> np.ndarray:
        """A number per training clip; clips with equal texts in the first language are videos of one sentence."""
        if self.recipe.data.sentences == "clip":
            return np.arange(len(self.train))
        return np.unique(self.groups[0], return_inverse=True)[1]

    def plan(self, epoch: int, batch_size: int, seed: int) -> np.ndarray:
        """Training clips [steps, batch]: each sentence at most once, one of its videos drawn; by (seed, epoch)."""
        rng = np.random.default_rng([seed, epoch, 71])
        order = rng.permutation(len(self.train))
        _, first = np.unique(self._sentences()[order], return_index=True)
        chosen = rng.permutation(order[first])
        steps = len(chosen) // batch_size
        return chosen[: steps * batch_size].reshape(steps, batch_size)

    def features(self, clips: np.ndarray, *, alpha: float, limit: int) -> tuple[np.ndarray, np.ndarray]:
        return self.store.batch(self.positions[clips], alpha=alpha, limit=limit)

    def texts_of(self, clips: np.ndarray) -> list[str]:
        """Texts of clips, language after language."""
        return [self.texts[language][i] for language in self.recipe.data.languages for i in clips]

    def groups_of(self, clips: np.ndarray) -> np.ndarray:
        """The numbers of identical texts, in the order of :meth:`texts_of`."""
        return self.groups[:, clips].reshape(-1)

    def augmented(self, clips: np.ndarray, epoch: int) -> list[str]:
        """Varied texts, a function of (seed, epoch, language, clip) on whichever rank."""
        return [
            self._augment(
                self.texts[language][i], language, np.random.default_rng([self.recipe.seed, epoch, number, int(i), 73])
            )
            for number, language in enumerate(self.recipe.data.languages)
            for i in clips
        ]

    def copy_sign_encoders(self, folder: Path) -> None:
        """What made the features, beside the model, so that it can be given poses."""
        if (self.store.path / "models").is_dir():
            shutil.copytree(self.store.path / "models", folder, dirs_exist_ok=True)


def dev_figures(model: DualEncoder, data: Sentences, recipe: ContrastiveRecipe) -> dict[str, float]:
    """Means over both directions and all languages on dev; every rank computes all of them."""
    sign = recipe.model.sign
    positions = data.store.positions(row["id"] for row in data.dev)
    videos = model.embed_features(
        data.store.batch(positions[i : i + 256], alpha=sign.alpha, limit=sign.max_clips)
        for i in range(0, len(positions), 256)
    )
    own = np.arange(len(data.dev))
    found: list[dict[str, dict[str, float]]] = []
    for language in recipe.data.languages:
        texts = model.embed_texts([text_in(row, language) for row in data.dev])
        with torch.no_grad():
            found.append(both_directions(model.score(videos, texts).numpy(), own, own))
    names = ("R@1", "R@5", "R@10", "MRR")
    means = {n: float(np.mean([f[d][n] for f in found for d in ("T2V", "V2T")])) for n in names}
    directions = {f"dev_{d}_R@1": float(np.mean([f[d]["R@1"] for f in found])) for d in ("T2V", "V2T")}
    return {f"dev_{name}": value for name, value in means.items()} | directions


def record(recipe: ContrastiveRecipe, data: Sentences) -> dict[str, Any]:
    """What a model says of its own training."""
    info, store = data.info, data.store
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "corpus": info.name,
        "corpus_fingerprint": info.fingerprint,
        "license": info.license,
        "synthetic": info.synthetic,
        "languages": list(recipe.data.languages),
        "shuffle_pairs": recipe.data.shuffle_pairs,
        "alpha": recipe.model.sign.alpha,
        "features": str(recipe.data.features),
        "features_fingerprint": store.fingerprint,
        "features_made": store.info.model_dump(include={"kind", "streams", "window", "stride", "limit", "made"}),
    }


def card(recipe: ContrastiveRecipe, data: Sentences, metrics: dict[str, float]) -> str:
    """The model card."""
    languages = recipe.data.languages
    about = f"A dual encoder: signing and text ({', '.join(languages)}) in one space, to find one by the other."
    notes = [f"Clip features `{data.store.fingerprint}`."]
    if recipe.data.shuffle_pairs:
        notes.append("A control: trained on texts of other clips, so that it can have learned nothing.")
    return cards.card(recipe, about, data.info, metrics, languages=languages, notes=notes)
