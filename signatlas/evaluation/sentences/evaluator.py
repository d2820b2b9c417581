"""Evaluate a dual encoder on a corpus of sentences: text to video and video to text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from signatlas.errors import FeatureError, ModelError
from signatlas.evaluation import report as reports
from signatlas.evaluation.report import Evaluation
from signatlas.evaluation.sentences import report
from signatlas.evaluation.sentences.items import SentenceItems, collect_items, subsets

if TYPE_CHECKING:
    from rich.progress import Progress

    from signatlas.corpus.format import Corpus
    from signatlas.features.store import FeatureStore
    from signatlas.models.dual_encoder.encoder import DualEncoder
    from signatlas.similarity import Tokens

BLOCK = 128  # videos and texts that are compared at a time
NOTED_UNKNOWN_RATE = 0.01  # share of unknown tokens from which a note mentions them


def evaluate(
    model: str,
    corpus: str,
    *,
    features: Path | None = None,
    split: str = "test",
    languages: Sequence[str] = (),
    folder: str | os.PathLike[str] | None = None,
    pictures: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Rank sentences for texts and texts for videos, and write the evaluation folder.

    ``features`` and ``languages`` default to those of the model's training. Raises UserError for texts and features
    that do not fit.
    """
    from signatlas.corpus.format import Corpus
    from signatlas.models.dual_encoder.encoder import DualEncoder

    source, encoder = Corpus.open(corpus), DualEncoder.from_pretrained(model)
    variant = "-".join(languages)
    target = reports.check_target(folder or reports.default_folder(model, source, report.PROTOCOL, split, variant))
    rows = source.split(split).metadata()
    codes = _choose_languages(languages, encoder, rows)
    items = collect_items(rows, codes, f"{source.path}, split {split},")
    store = open_features(features, encoder, source)
    matrices = score(encoder, store, items, progress or reports.no_progress())
    has_train = "train" in source.info.counts and split != "train"
    masks = subsets(items, source.split("train").metadata()) if has_train else {}
    scores = report.with_merged(items, matrices)
    document: dict[str, Any] = {
        "protocol": report.PROTOCOL,
        "split": split,
        "languages": list(items.texts),
        "seed": seed,
        "notes": notes(encoder, source, store, items) + _note_full_subsets(masks),
        "corpus": reports.describe_corpus(source),
        "features": {"path": str(store.path), "fingerprint": store.fingerprint, **store.info.model_dump(mode="json")},
        "model": reports.describe_model(model, encoder),
        "videos": len(items.rows),
        "sentences": len(items.sentence_ids),
        "left_out": items.left_out,
        "subsets": {name: int(mask.sum()) for name, mask in masks.items()},
        "results": report.results_of(scores, masks, seed),
        "across": report.across_languages(items, matrices),
        "worst": report.worst_queries(scores),
    }
    report.write(target, document, scores)
    if pictures:
        report.draw_recall(scores, target, source)
    return Evaluation(target, document, reports.summary(document), report.tables(document))


def _choose_languages(requested: Sequence[str], encoder: DualEncoder, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the requested languages, else those of the model's training, else all that every clip has."""
    if codes := list(dict.fromkeys(requested or encoder.record.get("languages", ()))):
        return codes
    by_clip = [{text["language"] for text in row["texts"] or ()} for row in rows]
    return sorted(set.intersection(*by_clip)) if by_clip else []


def open_features(path: Path | None, encoder: DualEncoder, corpus: Corpus) -> FeatureStore:
    """Return the clip features at ``path``, by default those of the model's training.

    Raises FeatureError when there are none, and for another corpus or width.
    """
    from signatlas.features.store import FeatureStore

    if path is None:
        recorded = encoder.record.get("features")
        if not recorded or not Path(recorded).is_dir():
            reason = f"{recorded}, used in training, does not exist" if recorded else "the model's record names none"
            raise FeatureError(f"no clip features to evaluate on ({reason}): pass --features FOLDER")
        path = Path(recorded)
    store = FeatureStore.open(path)
    if store.info.corpus_fingerprint != corpus.info.fingerprint:
        raise FeatureError(
            f"{path} holds features of {store.info.corpus} (fingerprint {store.info.corpus_fingerprint[:12]}), not of "
            f"{corpus.path} ({corpus.info.fingerprint[:12]}): pass --features computed from this corpus"
        )
    if store.info.width != encoder.features:
        raise FeatureError(
            f"{path} has features of width {store.info.width}, the model takes {encoder.features}: "
            "pass --features computed by the sign encoders of its training"
        )
    return store


def score(encoder: DualEncoder, store: FeatureStore, items: SentenceItems, progress: Progress) -> dict[str, np.ndarray]:
    """Return scores float32 [V, T] by language. Raises ModelError for NaN."""
    sign = encoder.config.sign
    positions = store.positions(items.video_ids)
    starts = progress.track(range(0, len(positions), BLOCK), description="videos")
    batches = (store.batch(positions[i : i + BLOCK], alpha=sign.alpha, limit=sign.max_windows) for i in starts)
    videos = encoder.embed_features(batches)
    scores = {}
    for code, texts in items.texts.items():
        words = encoder.embed_texts(texts)
        starts = progress.track(range(0, len(positions), BLOCK), description=f"scores, {code}")
        scores[code] = np.concatenate([_score_block(encoder, videos.rows(slice(i, i + BLOCK)), words) for i in starts])
        if (num_nan := int(np.isnan(scores[code]).any(1).sum())) > 0:
            raise ModelError(f"{num_nan} of {len(positions)} clips have NaN scores in {code}: train the model again")
    return scores


def _score_block(encoder: DualEncoder, videos: Tokens, texts: Tokens) -> np.ndarray:
    """Return scores float32 [videos, T]."""
    import torch

    with torch.no_grad():
        parts = [encoder.score(videos, texts.rows(slice(j, j + BLOCK))) for j in range(0, len(texts.tokens), BLOCK)]
        return torch.cat(parts, dim=1).float().cpu().numpy()


def notes(encoder: DualEncoder, corpus: Corpus, store: FeatureStore, items: SentenceItems) -> list[str]:
    """Return what a reader must know to interpret the metrics."""
    record = encoder.record
    lines = reports.training_notes(record, corpus)
    if record.get("shuffle_pairs"):
        lines.insert(0, "note: CONTROL: trained on shuffled pairs, so it cannot have learned which text fits a video")
    if store.info.kind == "glosses":
        lines.insert(0, "note: ORACLE: the features are the true glosses, not signing")
    trained_on = record.get("features_fingerprint")
    if trained_on and trained_on != store.fingerprint and record.get("corpus_fingerprint") == corpus.info.fingerprint:
        lines.append("note: these are not the clip features that the model was trained on")
    if items.left_out:
        lines.append(f"note: left out {items.left_out} clips without a text in each of {', '.join(items.texts)}")
    for code, texts in items.texts.items():
        if repeated := len(texts) - len(set(items.text_labels(code).tolist())):
            lines.append(f"note: {code}: {repeated} of {len(texts)} texts repeat an earlier one: errors when strict")
        if long := encoder.text.long_rate(texts):
            limit = encoder.config.text.max_tokens
            lines.append(f"note: {code}: {long:.1%} of the texts have more than {limit} tokens: subsampled evenly")
        if (unknown := encoder.text.unknown_rate(texts)) >= NOTED_UNKNOWN_RATE:
            lines.append(f"note: {code}: {unknown:.1%} of the tokens are not in the model's vocabulary")
    return lines


def _note_full_subsets(masks: dict[str, np.ndarray]) -> list[str]:
    """Return one line that names the subsets of all clips: their metrics are those of all."""
    names = [name for name, mask in masks.items() if mask.all()]
    return [f"note: these subsets hold all clips: {', '.join(names)}"] if names else []
