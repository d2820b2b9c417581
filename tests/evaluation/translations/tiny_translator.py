"""A tiny translator that learns a few sentences in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from signatlas.corpus.format import Corpus
from signatlas.corpus.texts import text_in
from signatlas.models.translator.config import TranslatorConfig
from signatlas.models.translator.inputs import SignInputs
from signatlas.models.translator.translator import Translator

LANGUAGE = {"vocabulary": 100, "width": 32, "layers": 1, "heads": 2, "feedforward": 32, "positions": 48, "dropout": 0.0}


def train(
    folder: Path,
    corpus: Corpus,
    backbone: dict[str, Any],
    *,
    features: Path | None = None,
    frames: Path | None = None,
    steps: int = 60,
    record: dict[str, Any] | None = None,
) -> Translator:
    """Train on the whole training split as one batch, so that no order matters, and save."""
    torch.manual_seed(0)
    sign = {"width": 32, "blocks": 1, "kernel": 3, "pool": 1, "backbone": backbone}
    config = TranslatorConfig.model_validate({"tuning": "full", "sign": sign, "language": LANGUAGE})
    features_path, frames_path = (None if path is None else str(path) for path in (features, frames))
    inputs = SignInputs.open(config.sign.backbone, corpus, features=features_path, frames=frames_path)
    rows = corpus.split("train").metadata()
    texts = [text_in(row, "de") for row in rows]
    model = Translator.build(config, texts, "de", inputs.width, with_text=False)
    model.record = {
        "recipe": "tiny", "seed": 0, "corpus_path": corpus.path, "corpus_fingerprint": corpus.info.fingerprint,
        "features": features_path, "frames": frames_path, "language": "de", "max_glosses": None, "limit": None,
        "inputs_fingerprint": inputs.fingerprint, "features_made": inputs.feature_settings(), **(record or {}),
    }  # fmt: skip
    x, mask = (torch.from_numpy(np.ascontiguousarray(a)) for a in inputs.batch([row["id"] for row in rows]))
    ids, text_mask = model.vocabulary.encode(texts, "de", 32)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x, mask, ids, text_mask).translation.div(text_mask.sum()).backward()
        optimizer.step()
    model.save_pretrained(folder, "# Its card\n")
    return model
