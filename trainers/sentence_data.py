"""Data of tasks on continuous signing with texts: which clips take part, batches, sign encoders."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.errors import CorpusError, RecipeError
from signatlas.models.sliding import SIGN_ENCODERS

Row = dict[str, Any]  # a clip's metadata
# (what a note says of clips that fail, or None for no note; the test)
Requirement = tuple[str | None, Callable[[Row], bool]]


class SentenceData:
    """Training and dev clips with sign inputs and with texts in all ``languages``; base class of a task's data.

    ``requirements`` name further tests that a clip must pass. ``limit`` takes the first training clips by id. ``notes``
    tell how many clips are left out. Raises UserError for data that do not fit the recipe.
    """

    unit = "clips"  # of an epoch

    def __init__(
        self,
        corpus: Corpus,
        languages: Sequence[str],
        requirements: Sequence[Requirement],
        *,
        features: str | None,
        limit: int | None,
    ):
        self.info, self.languages, self.features_folder = corpus.info, tuple(languages), features
        self.notes: list[str] = []
        rows = corpus.metadata()
        available = {text["language"] for row in rows for text in row["texts"] or ()}
        for language in languages:
            if language not in available:
                raise RecipeError(
                    f"{corpus.path} has no text in '{language}', only in {', '.join(sorted(available))}: change the "
                    "recipe's language"
                )
        has_texts: Requirement = (
            "have no text", lambda row: all(text_in(row, language).strip() for language in languages),
        )  # fmt: skip
        self.train, self.dev = (
            self._usable(corpus, [row for row in rows if row["split"] == split], split, [has_texts, *requirements])
            for split in ("train", "dev")
        )
        if limit is not None:
            self.train = sorted(self.train, key=lambda row: row["id"])[:limit]

    def _usable(self, corpus: Corpus, rows: list[Row], split: str, requirements: Sequence[Requirement]) -> list[Row]:
        """Return the rows that meet all requirements. Raises CorpusError if none does."""
        for problem, is_met in requirements:
            usable = [row for row in rows if is_met(row)]
            if problem is not None and len(usable) < len(rows):
                self.notes.append(f"{split}: {len(rows) - len(usable)} of {len(rows)} clips {problem} and are left out")
            rows = usable
        if not rows:
            raise CorpusError(
                f"{corpus.path}: no {split} clip has sign inputs and a text in {', '.join(self.languages)}"
            )
        return rows

    def epoch_size(self) -> int:
        """Return how many items one pass over the training clips has."""
        return len(self.train)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Return the number of full batches in one pass. Raises RecipeError if there is none."""
        if self.epoch_size() < batch_size:
            raise RecipeError(f"batch_size {batch_size} is more than the {self.epoch_size()} {self.unit} to train on")
        return self.epoch_size() // batch_size

    def copy_sign_encoders(self, model: Path) -> None:
        """Copy the models that made the clip features into a model folder, so that the model accepts poses."""
        source = Path(self.features_folder) / "models" if self.features_folder else None
        if source is not None and source.is_dir():
            shutil.copytree(source, model / SIGN_ENCODERS, dirs_exist_ok=True)
