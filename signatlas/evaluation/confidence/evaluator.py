"""Evaluate the confidence words of an index of signs on recordings that gave no threshold."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from signatlas.errors import PoseError, UserError
from signatlas.evaluation import report as reports
from signatlas.evaluation.confidence import report
from signatlas.evaluation.confidence.measures import Answers, answer, summarize
from signatlas.evaluation.confidence.report import PROTOCOL
from signatlas.evaluation.report import Evaluation
from signatlas.evaluation.signs.protocols import WEBCAM
from signatlas.evaluation.signs.space import Space, embed
from signatlas.pose.normalize import check_query
from signatlas.retrieval import index_version as index_versions
from signatlas.retrieval.confidence import Recordings, select_recordings
from signatlas.retrieval.index_version import ROW_SCHEMA, CorpusPart, IndexVersion, Manifest
from signatlas.retrieval.search import SignSearch

if TYPE_CHECKING:
    from rich.progress import Progress

    from signatlas.corpus.format import Corpus
    from signatlas.models.sign_encoder import SignEncoder

DEV = "dev"


def evaluate(
    model: str,
    corpus: str,
    *,
    index: str | os.PathLike[str] | None = None,
    split: str = "test",
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Search every recording of dev and of ``split`` by either hand, and write how often each word is right.

    ``index`` is an index of signs that was built with the model; without one, the corpus's train split (of its webcam
    source, if it has one) is indexed and calibrated as `signatlas index build` does, in a temporary folder. Raises
    UserError for an index of another model or without thresholds, and for a split without queries.
    """
    from signatlas.corpus.format import Corpus
    from signatlas.models.sign_encoder import SignEncoder

    source = Corpus.open(corpus)
    encoder = SignEncoder.from_pretrained(model)
    if split == DEV:
        raise UserError("--calibration compares a split with dev, which gives the thresholds: choose --split test")
    source.split(split)  # raises an error that lists the splits
    target = reports.check_target(folder or reports.default_folder(model, source, PROTOCOL, split))
    progress = progress or reports.no_progress()
    with _index(index, model, encoder, source, progress) as opened:
        manifest = opened.manifest
        search = SignSearch(opened)
        answers, left_out = _answers(search, encoder, source, (DEV, split), progress)
    dev, test = answers[DEV], answers[split]
    if not test.present.any():
        raise UserError(f"no {split} recording of {source.path} shows a sign that the index has: choose another corpus")
    document: dict[str, Any] = {
        "protocol": PROTOCOL,
        "split": split,
        "seed": seed,
        "notes": reports.training_notes(encoder.record, source) + _notes(manifest, source, split, dev),
        "corpus": reports.describe_corpus(source),
        "model": reports.describe_model(model, encoder),
        "index": {
            "path": None if index is None else os.fspath(index),
            "version": None if index is None else manifest.version,
            "entries": manifest.count,
            "corpus_fingerprint": manifest.corpus.fingerprint,
            "confidence": manifest.confidence.model_dump(mode="json"),
        },
        "synthetic": source.info.synthetic,
        "left_out": left_out,
        **summarize(dev, test, seed),
    }
    report.write(target, document, answers)
    return Evaluation(target, document, reports.summary(document), report.tables(document))


def _answers(
    search: SignSearch, encoder: SignEncoder, corpus: Corpus, splits: tuple[str, ...], progress: Progress
) -> tuple[dict[str, Answers], int]:
    """Search the glossed recordings of each split; also return how many had to be left out as they show no hand."""
    answers, left_out = {}, 0
    for split in splits:
        part = _glossed(corpus, split)
        clips = [clip for clip in progress.track(part, total=len(part), description=split) if _is_query(clip.poses)]
        left_out += len(part) - len(clips)
        space = embed(encoder, clips, mirror=True) if clips else Space([], np.zeros((0, 1)), np.zeros((0, 1)))
        answers[split] = answer(search, space)
    return answers, left_out


def _glossed(corpus: Corpus, split: str) -> Corpus:
    return corpus.where(lambda row: row["split"] == split and row["gloss"] is not None)


def _is_query(poses: np.ndarray) -> bool:
    try:
        check_query(poses)
    except PoseError:
        return False
    return True


# --- the index


@contextmanager
def _index(
    index: str | os.PathLike[str] | None, model: str, encoder: SignEncoder, corpus: Corpus, progress: Progress
) -> Iterator[IndexVersion]:
    """Open an index and check that it fits, or build one for the duration of the block."""
    if index is not None:
        opened = IndexVersion.open(index)
        opened.require_signs()
        weights = reports.describe_model(model, encoder)["weights_sha256"]
        if opened.manifest.model.sha256 != weights:
            raise UserError(f"{index} was built with another model: evaluate its copy, {opened.path / 'model'}")
        _require_thresholds(opened)
        yield opened
        return
    with tempfile.TemporaryDirectory(prefix="signatlas-index-") as temporary:
        opened = _build(Path(temporary), model, encoder, corpus, progress)
        _require_thresholds(opened)
        yield opened


def _build(root: Path, model: str, encoder: SignEncoder, corpus: Corpus, progress: Progress) -> IndexVersion:
    """Index the train split of the corpus as `signatlas index build` does, without Ray."""
    rows = corpus.metadata()
    sources = (WEBCAM,) if any(row["source"] == WEBCAM for row in rows) else None
    train = [row for row in rows if row["split"] == "train"]
    entries = {row["id"]: row for row in train if sources is None or row["source"] in sources}
    selection = select_recordings(rows, {id: row["gloss"] for id, row in entries.items()})
    part = corpus.where(lambda row: row["id"] in entries)
    space = embed(encoder, progress.track(part, total=len(part), description="index"))
    calibration = None
    if selection.ids:
        ids = frozenset(selection.ids)
        chosen = corpus.where(lambda row: row["id"] in ids)
        both = embed(encoder, progress.track(chosen, total=len(chosen), description="thresholds"), mirror=True)
        sides = np.stack([both.vectors, both.swap_mirrored().vectors])
        calibration = Recordings(selection, sides, both.glosses.tolist())
    return index_versions.write(
        root,
        space.vectors,
        pa.Table.from_pylist([entries[id] for id in space.ids], schema=ROW_SCHEMA),
        model=model,
        corpus=CorpusPart.of(corpus, sources, ("train",)),
        calibration=calibration,
    )


def _require_thresholds(opened: IndexVersion) -> None:
    if opened.manifest.confidence.probable is None:
        raise UserError(f"{opened.path} has no confidence words: {opened.manifest.confidence.rule}")


def _notes(manifest: Manifest, corpus: Corpus, split: str, dev: Answers) -> list[str]:
    """Return notes on the thresholds and on what they have in common with the queries."""
    confidence, notes = manifest.confidence, [f"thresholds: {manifest.confidence.rule}"]
    if confidence.mirror == "none":
        notes.append(
            "note: the thresholds are those of searches as recorded; by either hand, wrong answers score higher"
        )
    if manifest.corpus.fingerprint != corpus.info.fingerprint:
        notes.append(f"note: the index was built from another corpus, {manifest.corpus.name}")
    elif not confidence.splits:
        notes.append(f"note: the index does not say which split gave the thresholds: {split} may be part of it")
    elif split in confidence.splits:
        notes.append(f"note: {split} recordings gave the thresholds as well")
    if not dev.present.any():
        notes.append("note: no dev recording shows a sign of the index, so that no share is promised")
    return notes
