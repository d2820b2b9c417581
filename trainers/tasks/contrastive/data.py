"""Data of sentence retrieval: clip features, texts in several languages, batches."""

from __future__ import annotations

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import FeatureError, TextError
from signatlas.features.store import FeatureStore
from signatlas.recipe import ContrastiveRecipe
from signatlas.text.augmentation import Augmenter
from signatlas.text.duplicate_groups import groups
from signatlas.text.encoders.base import TextEncoder
from trainers.sentence_data import Row, SentenceData


class RetrievalData(SentenceData):
    """Training and dev clips with their clip features and texts. Raises UserError for data that do not fit."""

    unit = "sentences"

    def __init__(self, recipe: ContrastiveRecipe):
        self.recipe, data = recipe, recipe.data
        corpus = Corpus.open(data.corpus, verify=True)
        self.store = FeatureStore.open(data.features)
        if self.store.info.corpus_fingerprint != corpus.info.fingerprint:
            raise FeatureError(
                f"{data.features} was extracted from {self.store.info.corpus}, another version of the corpus than "
                f"{data.corpus}: extract the features again"
            )
        if recipe.model.sign.features not in (None, self.store.info.width):
            raise FeatureError(
                f"model.sign.features {recipe.model.sign.features} is not the width of the features in "
                f"{data.features}: width {self.store.info.width}"
            )
        has_features = ("have no features", lambda row: row["id"] in self.store)
        super().__init__(corpus, data.languages, [has_features], features=data.features, limit=data.limit)
        self.positions = self.store.positions(row["id"] for row in self.train)
        self.texts = {language: [text_in(row, language) for row in self.train] for language in data.languages}
        if data.shuffle_pairs:
            order = np.random.default_rng(recipe.seed).permutation(len(self.train))
            self.texts = {language: [texts[i] for i in order] for language, texts in self.texts.items()}
        flat = [text for language in data.languages for text in self.texts[language]]
        self.groups = groups(flat, recipe.loss.duplicate_threshold).reshape(len(data.languages), -1)
        self._augment = Augmenter(recipe.augment)

    def check_texts(self, encoder: TextEncoder) -> list[str]:
        """Tokenize every text once and return notes on subsampled ones. Raises TextError with the clip's id."""
        notes = []
        for language in self.languages:
            for rows in (self.train, self.dev):
                texts = [text_in(row, language) for row in rows]
                try:
                    encoder.tokenize(texts)
                except TextError as error:
                    raise self._with_clip(encoder, rows, language, error) from error
            long_share = encoder.long_rate(self.texts[language])
            if long_share:
                limit = self.recipe.model.text.max_tokens
                notes.append(
                    f"{language}: {long_share:.1%} of the texts have more than {limit} tokens: subsampled evenly"
                )
        return notes

    @staticmethod
    def _with_clip(encoder: TextEncoder, rows: list[Row], language: str, error: TextError) -> TextError:
        """Return the error of the first text that raises it by itself, with the clip's id."""
        for row in rows:
            try:
                encoder.tokenize([text_in(row, language)])
            except TextError as reason:
                return TextError(f"clip {row['id']}, {language}: {reason}")
        return error

    def epoch_size(self) -> int:
        return len(np.unique(self._sentences()))

    def _sentences(self) -> np.ndarray:
        """Return a sentence number for each training clip; under ``sentences: text`` equal texts share one."""
        if self.recipe.data.epoch_over == "clip":
            return np.arange(len(self.train))
        return np.unique(self.groups[0], return_inverse=True)[1]

    def plan(self, epoch: int, batch_size: int, seed: int) -> np.ndarray:
        """Return the training clips of an epoch [steps, batch] from (seed, epoch).

        Each sentence occurs at most once, with one of its videos at random.
        """
        rng = np.random.default_rng([seed, epoch, 71])
        order = rng.permutation(len(self.train))
        _, first = np.unique(self._sentences()[order], return_index=True)
        chosen = rng.permutation(order[first])
        steps = len(chosen) // batch_size
        return chosen[: steps * batch_size].reshape(steps, batch_size)

    def features(self, clips: np.ndarray, *, alpha: float, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Return features [N, L, D] and mask [N, L] of training clips."""
        return self.store.batch(self.positions[clips], alpha=alpha, limit=limit)

    def texts_of(self, clips: np.ndarray) -> list[str]:
        """Return the texts of training clips, language after language."""
        return [self.texts[language][i] for language in self.languages for i in clips]

    def groups_of(self, clips: np.ndarray) -> np.ndarray:
        """Return the group numbers of identical texts, in the order of :meth:`texts_of`."""
        return self.groups[:, clips].reshape(-1)

    def augmented(self, clips: np.ndarray, epoch: int) -> list[str]:
        """Return augmented texts in the order of :meth:`texts_of`, drawn from (seed, epoch, language, clip)."""
        return [
            self._augment(
                self.texts[language][i], language, np.random.default_rng([self.recipe.seed, epoch, number, int(i), 73])
            )
            for number, language in enumerate(self.languages)
            for i in clips
        ]
