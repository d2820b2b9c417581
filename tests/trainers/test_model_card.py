"""Model cards: metadata for the Hub, license, notice of synthetic data."""

from __future__ import annotations

import dataclasses

import yaml

from signatlas.corpus.format import CorpusInfo
from signatlas.recipe import OptimizerConfig
from trainers.model_card import SYNTHETIC, model_card

INFO = CorpusInfo("mine", "2", 'CC: "BY"', "https://example.org", ("gsg",), fingerprint="abc")


def test_the_metadata_is_yaml() -> None:
    text = model_card(OptimizerConfig(), "A model.", INFO, {"dev_MRR": 0.25}, languages=["de"], notes=["A note."])
    _, head, body = text.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["license_name"] == 'CC: "BY"'
    assert metadata["language"] == ["gsg", "de"]
    for part in ("A model.", "A note.", "fingerprint `abc`", "| dev_MRR | 0.25 |", "epochs: 60"):
        assert part in body
    assert SYNTHETIC not in body


def test_synthetic_data_are_stated() -> None:
    assert SYNTHETIC in model_card(OptimizerConfig(), "A model.", dataclasses.replace(INFO, synthetic=True), {})
