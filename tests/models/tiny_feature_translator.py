"""A tiny translator of clip features, with the sign encoder that computed them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.features import store, windows
from signatlas.models.sign_classifier import SignClassifier
from signatlas.models.sliding import SIGN_ENCODERS
from signatlas.pose.prepared_clips import PreparedClips
from tests.evaluation.translations.tiny_translator import train


def train_with_sign_encoder(folder: Path, corpus: Corpus, classifier: Path) -> Path:
    """Write features of the corpus, train on them and save as training does; return the model folder."""
    encoder, clips = SignClassifier.from_pretrained(classifier), list(corpus)
    prepared = PreparedClips.from_clips(clips, encoder.config.points, encoder.config.aspect)
    indices, starts = windows.all_starts(prepared.lengths, 16, 1, 12)
    features = np.split(encoder.window_features(prepared, indices, starts), np.flatnonzero(np.diff(indices)) + 1)
    info = store.FeatureInfo(kind="windows", streams=("agnostic",), width=16, corpus="made", window=16, stride=1,
                             limit=12, corpus_fingerprint=corpus.info.fingerprint)  # fmt: skip
    store.write(folder / "features", info, [c.id for c in clips], [len(f) for f in features], {"agnostic": features})
    train(folder / "model", corpus, {"kind": "features", "max_frames": 8}, features=folder / "features", steps=40)
    shutil.copytree(classifier, folder / "model" / SIGN_ENCODERS / "agnostic")
    return folder / "model"
