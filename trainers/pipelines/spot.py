"""Spot signs in continuous signing with Ray Data and score the resulting pseudo-labels."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError
from signatlas.evaluation.pseudo_labels import class_of_gloss, score_segments, true_spans
from signatlas.features import pseudo_labels, windows
from signatlas.features.pseudo_labels import PseudoLabel
from signatlas.files import folder_atomically
from signatlas.models.sign_classifier import SignClassifier
from signatlas.recipe.pseudo_label import SpotConfig
from trainers.pipelines.features import Progress, Slider, absolute_model, map_clips

REPORT = "report.json"

SCORE_SCHEMA = pa.schema(
    [("id", pa.string()), ("problem", pa.string()), ("windows", pa.int64()), ("start", pa.list_(pa.int32())),
     ("label", pa.list_(pa.int32())), ("score", pa.list_(pa.float32()))]
)  # fmt: skip


class ScoreSlider(Slider):
    """Maps Arrow batches of clips to `id`, `problem`, the number of `windows`, and `start`, `label` and `score` of the
    windows that score above the threshold."""

    def __init__(self, model: str, window: int, stride: int, limit: int | None, threads: int, threshold: float):
        super().__init__(model, window, stride, limit, threads)
        self.threshold = threshold

    def __call__(self, table: pa.Table) -> pa.Table:
        clips, problems, bank = self.prepare(table)
        clip_indices, first = windows.all_starts(bank.lengths, self.window, self.stride, self.limit)
        score, label = self.model.top_class(self.model.window_features(bank, clip_indices, first, window=self.window))
        indices = iter(range(len(bank)))
        rows: list[dict[str, Any]] = []
        for clip, problem in zip(clips, problems, strict=True):
            in_clip = clip_indices == (next(indices) if problem is None else -1)
            selected = in_clip & (score > self.threshold)
            rows.append({"id": clip.id, "problem": problem, "windows": int(in_clip.sum()), "start": first[selected],
                         "label": label[selected], "score": score[selected]})  # fmt: skip
        return pa.Table.from_pylist(rows, schema=SCORE_SCHEMA)


def spot(
    model: str,
    corpus: Corpus,
    out: str | os.PathLike[str],
    *,
    splits: tuple[str, ...] = ("train",),
    settings: SpotConfig | None = None,
    workers: int = 1,
    gpus: float = 0,
    threads: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write segments.parquet and report.json to ``out`` atomically and return the report.

    Needs an initialized Ray. Raises UserError, and FeatureError if no sign is found.
    """
    settings = settings or SpotConfig()
    classifier = SignClassifier.from_pretrained(model)
    window = classifier.config.frames
    done = [0, 0]  # clips, windows
    labels: list[PseudoLabel] = []
    arguments = (absolute_model(model), window, settings.stride, None, threads, settings.threshold)
    for table in map_clips(corpus, ScoreSlider, arguments, splits=splits, workers=workers, gpus=gpus):
        for row in table.to_pylist():
            labels += _pseudo_labels(row, classifier.classes, window, settings)
            done[0], done[1] = done[0] + 1, done[1] + row["windows"]
        if progress:
            progress(done[0], done[1])
    if not labels:
        raise FeatureError(
            f"no window of {corpus.path} ({', '.join(splits)}) scores above {settings.threshold}: lower the threshold"
        )
    rows = [row for row in corpus.metadata() if row["split"] in splits]
    report = {
        "model": absolute_model(model), "corpus": corpus.info.name, "corpus_fingerprint": corpus.info.fingerprint,
        "splits": list(splits), "clips": done[0], "windows": done[1], "settings": settings.model_dump(),
        "segments": len(labels), "classes": len({label.name for label in labels}),
        "judged": None,
    }  # fmt: skip
    if spans := true_spans(rows, class_of_gloss(corpus)):
        report["judged"] = score_segments(labels, spans, classifier.classes)
    try:
        with folder_atomically(out, overwrite=overwrite) as partial:
            pseudo_labels.write(partial, labels)
            (partial / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except FileExistsError as error:
        raise FeatureError(f"{error}: choose another folder or pass --overwrite") from error
    return report


def _pseudo_labels(
    row: dict[str, Any], classes: tuple[str, ...], window: int, settings: SpotConfig
) -> Iterator[PseudoLabel]:
    segments = pseudo_labels.greedy_segments(
        np.array(row["score"]),
        np.array(row["start"], np.int64),
        np.array(row["label"], np.int64),
        window=window,
        threshold=settings.threshold,
        merge=settings.merge,
        suppress=settings.suppress,
    )
    for s in segments:
        yield PseudoLabel(row["id"], classes[s.label], s.start, s.end, s.score)


def read_report(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the report of spotted segments. Raises FeatureError if it is missing or damaged."""
    try:
        report: dict[str, Any] = json.loads((Path(folder) / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FeatureError(f"{folder} contains no segments ({error}): create them with 'signatlas spot'") from error
    return report
