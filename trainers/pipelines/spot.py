"""Find signs in continuous signing with Ray Data: a sliding classifier, then pseudo-labels, then their judgment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError
from signatlas.evaluation.pseudo_labels import class_of_gloss, score_segments, true_spans
from signatlas.features import pseudo_labels, windows
from signatlas.features.pseudo_labels import PseudoLabel
from signatlas.files import folder_atomically
from signatlas.models.sign_classifier import SignClassifier
from signatlas.recipe.pseudo_label import SpotConfig
from trainers.pipelines.features import Progress, Slider, absolute_model, over_clips

REPORT = "report.json"


class ScoreSlider(Slider):
    """Arrow batches of clips to `id`, `problem`, and of windows that score above the threshold lists of `start`,
    `label` and `score`; `windows` says how many there were."""

    def __init__(self, model: str, window: int, stride: int, limit: int | None, threads: int, threshold: float):
        super().__init__(model, window, stride, limit, threads)
        self.threshold = threshold

    def __call__(self, table: pa.Table) -> pa.Table:
        clips, problems, bank = self.prepare(table)
        which, first = windows.all_starts(bank.lengths, self.window, self.stride, self.limit)
        score, label = self._best(self.model.window_features(bank, which, first, window=self.window))
        places = iter(range(len(bank)))
        rows: list[dict[str, Any]] = []
        for clip, problem in zip(clips, problems, strict=True):
            mine = which == (next(places) if problem is None else -1)
            kept = mine & (score > self.threshold)
            rows.append({"id": clip.id, "problem": problem, "windows": int(mine.sum()), "start": first[kept],
                         "label": label[kept], "score": score[kept]})  # fmt: skip
        return pa.Table.from_pylist(rows, schema=_SCORES)

    @torch.no_grad()
    def _best(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The softmax's largest value and its class, of each window."""
        device = self.model.head.weight.device
        parts = [
            self.model.scores(torch.from_numpy(part).to(device)).softmax(-1).max(-1)
            for part in np.array_split(features, max(1, len(features) // 4096))
        ]
        return tuple(torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))  # type: ignore[return-value]


_SCORES = pa.schema(
    [("id", pa.string()), ("problem", pa.string()), ("windows", pa.int64()), ("start", pa.list_(pa.int32())),
     ("label", pa.list_(pa.int32())), ("score", pa.list_(pa.float32()))]
)  # fmt: skip


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
    """Write segments.parquet and report.json into ``out``, whole or not at all; returns the report.

    Needs an initialized Ray. Raises UserError, and FeatureError where nothing is found.
    """
    settings = settings or SpotConfig()
    classifier = SignClassifier.from_pretrained(model)
    window = classifier.config.frames
    done = [0, 0]
    found: list[PseudoLabel] = []
    arguments = (absolute_model(model), window, settings.stride, None, threads, settings.threshold)
    for table in over_clips(corpus, ScoreSlider, arguments, splits=splits, workers=workers, gpus=gpus):
        for row in table.to_pylist():
            found += _pseudo_labels(row, classifier.classes, window, settings)
            done[0], done[1] = done[0] + 1, done[1] + row["windows"]
        if progress:
            progress(done[0], done[1])
    if not found:
        raise FeatureError(
            f"no window of {corpus.path} ({', '.join(splits)}) scores above {settings.threshold}: lower the threshold"
        )
    rows = [row for row in corpus.metadata() if row["split"] in splits]
    report = {
        "model": absolute_model(model), "corpus": corpus.info.name, "corpus_fingerprint": corpus.info.fingerprint,
        "splits": list(splits), "clips": done[0], "windows": done[1], "settings": settings.model_dump(),
        "segments": len(found), "classes": len({f.name for f in found}),
        "judged": None,
    }  # fmt: skip
    if spans := true_spans(rows, class_of_gloss(corpus)):
        report["judged"] = score_segments(found, spans, classifier.classes)
    try:
        with folder_atomically(out, overwrite=overwrite) as partial:
            pseudo_labels.write(partial, found)
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
    """The report beside the segments. Raises FeatureError when there is none."""
    try:
        report: dict[str, Any] = json.loads((Path(folder) / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FeatureError(f"{folder} holds no segments ({error}): make them with 'signatlas spot'") from error
    return report
