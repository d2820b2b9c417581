"""A tiny corpus, a small mBART and settings with which translation trains in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.models.language_model import mbart
from signatlas.models.language_model.config import LanguageConfig
from tests.trainers.sentence_data import write_sentences


def write_language_model(corpus: Path, folder: Path) -> Path:
    """Save an mBART with random weights, marked as trained; return its folder."""
    rows = Corpus.open(corpus).metadata()
    texts = [text_in(row, "de") for row in rows if row["split"] == "train"]
    torch.manual_seed(0)
    config = LanguageConfig(vocabulary=120, width=32, layers=2, heads=2, feedforward=32, positions=40, dropout=0.0)
    model, vocabulary = mbart.build(config, texts, ["de"])
    mbart.mark_trained(model)
    mbart.save(model, vocabulary, folder / "mbart", "# Random weights\n")
    return folder / "mbart"


def translation_settings(folder: Path) -> dict[str, Any]:
    """Return a recipe of two stages; its corpus, features and language model are written to ``folder``."""
    corpus, features = write_sentences(folder)
    language = write_language_model(corpus, folder)
    optimizer = {"epochs": 2, "lr": 3e-3, "warmup_ratio": 0.0}
    return {
        "name": "tiny_translation", "task": "translation", "storage_path": str(folder / "runs"),
        "data": {"corpus": str(corpus), "features": str(features), "language": "de"},
        "model": {
            "sign": {"backbone": {"kind": "features", "max_frames": 8}, "width": 24, "blocks": 1, "kernel": 3},
            "language": {"pretrained": str(language), "dropout": 0.0},
            "tuning": "full", "max_tokens": 16,
        },
        "alignment": {"contrast": "random", "batch_size": 8, "optimizer": dict(optimizer)},
        "negative_selection": {"keep_every": 1},
        "translation": {"batch_size": 8, "optimizer": dict(optimizer)},
        "checkpoint_selection": {"evaluate_every": 1, "beams": 2, "max_new_tokens": 8},
        "scaling": {"workers": 1, "cpus_per_worker": 0.5},
    }  # fmt: skip
