"""Data of translation: sign inputs of clips, their texts, batches, groups of identical texts."""

from __future__ import annotations

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.models.translator.inputs import SignInputs
from signatlas.models.translator.sign_embedding import TemporalConvolution
from signatlas.recipe import StageRecipe
from signatlas.text.duplicate_groups import groups
from trainers.sentence_data import Row, SentenceData


class TranslationData(SentenceData):
    """Training and dev clips with their sign inputs and texts. Raises UserError for data that do not fit."""

    def __init__(self, recipe: StageRecipe):
        self.recipe, data = recipe, recipe.data
        corpus = Corpus.open(data.corpus, verify=True)
        self.inputs = SignInputs.open(
            recipe.model.sign.backbone, corpus, features=data.features, frames=data.frames, readers=data.readers
        )
        long_enough = self._long_enough()
        super().__init__(
            corpus,
            [data.language],
            [
                (None, self._few_glosses),
                ("have no inputs", lambda row: row["id"] in self.inputs),
                ("are too short for the convolutions", lambda row: row["id"] in long_enough),
            ],
            features=data.features,
            limit=data.limit,
        )
        limit = recipe.checkpoint_selection.limit
        if limit is not None and limit < len(self.dev):
            self.dev = [self.dev[i] for i in np.linspace(0, len(self.dev) - 1, limit).round().astype(int)]
        self.texts, self.dev_texts = ([text_in(row, data.language) for row in part] for part in (self.train, self.dev))
        self.ids, self.dev_ids = ([row["id"] for row in part] for part in (self.train, self.dev))
        index = {id: i for i, id in enumerate(self.inputs.ids)}
        lengths = np.asarray(self.inputs.lengths)
        self.lengths, self.dev_lengths = (lengths[[index[id] for id in ids]] for ids in (self.ids, self.dev_ids))
        self.groups = groups(self.texts)

    def _few_glosses(self, row: Row) -> bool:
        limit = self.recipe.data.max_glosses
        return limit is None or len(row["glosses"] or ()) <= limit

    def _long_enough(self) -> set[str]:
        """Return the clips that give at least one token; under ``padding: valid`` short ones do not."""
        sign = self.recipe.model.sign
        shortest = TemporalConvolution(
            1, 1, blocks=sign.blocks, kernel=sign.kernel, pool=sign.pool, padding=sign.padding
        ).shortest
        return {id for id, length in zip(self.inputs.ids, self.inputs.lengths, strict=True) if length >= shortest}

    def plan(self, epoch: int, batch_size: int, seed: int, bucket: int) -> np.ndarray:
        """Return the training clips of an epoch [steps, batch] from (seed, epoch), each at most once.

        ``bucket`` batches at a time are sorted by length, for less padding. The clips that are left over differ from
        epoch to epoch.
        """
        rng = np.random.default_rng([seed, epoch, 79])
        steps = len(self.ids) // batch_size
        order = rng.permutation(len(self.ids))[: steps * batch_size]
        if bucket > 1:
            for start in range(0, len(order), bucket * batch_size):
                clips = order[start : start + bucket * batch_size]
                order[start : start + bucket * batch_size] = clips[np.argsort(self.lengths[clips], kind="stable")]
        return rng.permutation(order.reshape(steps, batch_size))
