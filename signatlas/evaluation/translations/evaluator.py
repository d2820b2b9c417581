"""Evaluate a translator on a corpus: decode, score against two controls, write the evaluation folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from signatlas.errors import ModelError
from signatlas.evaluation import report as reports
from signatlas.evaluation.report import Evaluation
from signatlas.evaluation.translations import report
from signatlas.evaluation.translations.decoding import (
    Batch,
    Decoded,
    Decoder,
    Decoding,
    DecodingJob,
    PartialResults,
    decode_locally,
    make_batches,
)
from signatlas.evaluation.translations.scoring import (
    FREQUENT,
    MODEL,
    NEAREST,
    ScoredTranslations,
    TranslationItems,
    bootstrap,
    collect_items,
    most_frequent,
    nearest,
    score_translations,
)
from signatlas.metrics.translation import signatures

if TYPE_CHECKING:
    from rich.progress import Progress

    from signatlas.corpus.format import Corpus
    from signatlas.models.translator.translator import Translator

DecodeBatches = Callable[[DecodingJob, Sequence[Batch]], Iterable[tuple[Batch, Decoded]]]


class TranslationSettings(NamedTuple):
    """Settings of decoding and of the clips; None: those of training, or the default of :class:`Decoding`."""

    beams: int | None = None
    max_new_tokens: int | None = None
    length_penalty: float | None = None
    max_glosses: int | None = None  # 0: no limit
    features: Path | None = None
    frames: Path | None = None

    def decoding(self) -> Decoding:
        """Return the settings of beam search."""
        names = ("beams", "max_new_tokens", "length_penalty")
        return Decoding(**{name: value for name in names if (value := getattr(self, name)) is not None})

    def variant(self) -> str:
        """Return the settings that change the texts, for the name of a folder; empty where none is set."""
        names = ("beams", "max_new_tokens", "length_penalty", "max_glosses")
        return " ".join(f"{name} {value:g}" for name in names if (value := getattr(self, name)) is not None)


def evaluate(
    model: str,
    corpus: str,
    *,
    split: str = "test",
    settings: TranslationSettings | None = None,
    batch_size: int = 32,
    decode: DecodeBatches | None = None,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Translate ``split``, score the texts against two controls, and write the evaluation folder.

    ``decode`` runs a job's batches, for instance on all workers of a cluster; by default they run in this process. An
    interrupted evaluation resumes: finished batches are kept next to the target. Raises UserError.
    """
    from signatlas.corpus.format import Corpus

    settings, progress = settings or TranslationSettings(), progress or reports.no_progress()
    source = Corpus.open(corpus)
    source.split(split)  # raises an error that lists the splits
    decoder = Decoder(decoding_job(model, source, split, settings))
    items, without_inputs = _collect(decoder, source, split, settings)
    variant = settings.variant()
    target = reports.check_target(folder or reports.default_folder(model, source, report.PROTOCOL, split, variant))
    parts = _partial_results(decoder, target)
    started = time.monotonic()
    texts, vectors = _decode(decoder, items, parts, batch_size, decode, progress)
    seconds = time.monotonic() - started
    hypotheses, extra_columns, controls = _add_controls(items, texts, vectors)
    scored = score_translations(items, hypotheses)
    document = _document(decoder, source, scored, split, seed) | {
        "controls": controls, "seconds": round(seconds, 1), "bootstrap": bootstrap(scored, seed=seed),
    }  # fmt: skip
    document["notes"] += [f"note: left out {without_inputs} clips without inputs"] if without_inputs else []
    report.write(target, document, scored, extra_columns)
    parts.remove()
    lines = [*reports.summary(document), *report.text_lines(document)]
    return Evaluation(target, document, lines, report.tables(document))


def decoding_job(model: str, corpus: Corpus, split: str, settings: TranslationSettings) -> DecodingJob:
    """Return the job of a worker. Inputs default to those of the model's training."""
    from signatlas.models import folder

    record = folder.read_config(folder.locate(model)).get("record", {})
    splits = tuple(dict.fromkeys(name for name in (split, "train") if name in corpus.info.counts))
    features, frames = (
        str(path) if path else record.get(name)
        for name, path in (("features", settings.features), ("frames", settings.frames))
    )
    return DecodingJob(model, corpus.path, splits, features, frames, settings.decoding())


def _collect(
    decoder: Decoder, corpus: Corpus, split: str, settings: TranslationSettings
) -> tuple[TranslationItems, int]:
    """Return the clips that take part, and the number of clips of the split without inputs."""
    record = decoder.model.record
    max_glosses = record.get("max_glosses") if settings.max_glosses is None else settings.max_glosses or None
    rows = corpus.metadata()
    usable = [row for row in rows if row["id"] in decoder.inputs]
    without_inputs = sum(row["split"] == split for row in rows) - sum(row["split"] == split for row in usable)
    same_corpus = record.get("corpus_fingerprint") == corpus.info.fingerprint
    limit = record.get("limit") if same_corpus else None
    language = decoder.model.language_code
    items = collect_items(usable, split, language, corpus.path, max_glosses=max_glosses, limit=limit)
    return items, without_inputs


def _partial_results(decoder: Decoder, target: Path) -> PartialResults:
    from signatlas.files import sha256_bytes
    from signatlas.models import folder

    weights = folder.locate(decoder.job.model) / folder.WEIGHTS
    key = {"weights": sha256_bytes(weights.read_bytes()), "inputs": decoder.inputs.fingerprint}
    return PartialResults(target, key | asdict(decoder.job.decoding) | {"corpus": decoder.job.corpus})


def _decode(
    decoder: Decoder,
    items: TranslationItems,
    parts: PartialResults,
    batch_size: int,
    decode: DecodeBatches | None,
    progress: Progress,
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return texts and vectors by clip id; batches that an interrupted evaluation has finished are not repeated."""
    embedded = sorted(set(items.train_ids) - set(items.ids))
    batches = make_batches(decoder.lengths(), items.ids, embedded, batch_size)
    missing = parts.missing(batches)
    if len(missing) < len(batches):
        progress.console.print(f"resuming: {len(batches) - len(missing)} of {len(batches)} batches are finished")
    task = progress.add_task("clips", total=sum(len(batch.ids) for batch in missing))
    results = decode(decoder.job, missing) if decode and missing else decode_locally(missing, decoder)
    for batch, result in results:
        parts.write(batch, result)
        progress.advance(task, len(batch.ids))
    return parts.collect(batches)


def _add_controls(
    items: TranslationItems, texts: Mapping[str, str], vectors: Mapping[str, np.ndarray]
) -> tuple[dict[str, list[str]], list[dict[str, Any]], dict[str, Any]]:
    """Return texts by system, extra columns for each clip, and a description of the controls. Raises ModelError."""
    hypotheses = {MODEL: [texts[id] for id in items.ids]}
    if not items.train_ids:
        raise ModelError("the corpus has no training texts to compare translations with: choose another --corpus")
    queries, gallery = (np.stack([vectors[id] for id in ids]) for ids in (items.ids, items.train_ids))
    row_of = {id: row for row, id in enumerate(items.train_ids)}
    own_rows = [row_of.get(id) for id in items.ids]  # with --split train a clip must not be its own nearest
    if len(gallery) == 1 and own_rows != [None] * len(own_rows):
        raise ModelError("the only training clip has no other to be nearest to: choose another --split")
    rows, cosines = nearest(queries, gallery, own_rows)
    hypotheses[NEAREST] = [items.train_texts[row] for row in rows]
    text, count = most_frequent(items.train_texts)
    hypotheses[FREQUENT] = [text] * len(items.ids)
    pairs = zip(rows.tolist(), cosines.tolist(), strict=True)
    columns = [{"nearest_id": items.train_ids[row], "nearest_cosine": round(cosine, 6)} for row, cosine in pairs]
    return hypotheses, columns, {FREQUENT: {"text": text, "count": count, "of": len(items.train_texts)}}


def _document(decoder: Decoder, corpus: Corpus, scored: ScoredTranslations, split: str, seed: int) -> dict[str, Any]:
    """Return the content of report.json without time, bootstrap and controls."""
    job, items = decoder.job, scored.items
    return {
        "protocol": report.PROTOCOL,
        "split": split,
        "language": items.language,
        "seed": seed,
        "notes": notes(decoder.model, corpus, items, decoder.inputs.fingerprint),
        "corpus": reports.describe_corpus(corpus),
        "inputs": {"features": job.features, "frames": job.frames, "fingerprint": decoder.inputs.fingerprint},
        "model": reports.describe_model(job.model, decoder.model),
        "settings": asdict(job.decoding),
        "clips": len(items.ids),
        "training_clips": len(items.train_ids),
        "left_out": items.left_out,
        "signature": signatures(items.language),
        "results": scored.results(),
        "texts": scored.text_statistics(),
    }


def notes(model: Translator, corpus: Corpus, items: TranslationItems, inputs_fingerprint: str) -> list[str]:
    """Return what a reader must know to interpret the metrics."""
    record = model.record
    lines = reports.training_notes(record, corpus)
    trained_on = record.get("inputs_fingerprint")
    if trained_on and trained_on != inputs_fingerprint and record.get("corpus_fingerprint") == corpus.info.fingerprint:
        lines.append("note: these are not the inputs that the model was trained on")
    if items.left_out:
        lines.append(f"note: left out {items.left_out} clips without a text or with more glosses than max_glosses")
    if unknown := model.vocabulary.unknown_rate(items.references):
        lines.append(f"note: {unknown:.2%} of the tokens of the references are not in the model's vocabulary")
    return lines
