"""Model cards: what the Hub reads, whose license it is, and that synthetic data are named."""

from __future__ import annotations

import dataclasses

import yaml

from signatlas.corpus.format import CorpusInfo
from signatlas.recipe import OptimizerConfig
from trainers.model_card import SYNTHETIC, model_card

INFO = CorpusInfo("mine", "2", 'CC: "BY"', "https://example.org", ("gsg",), fingerprint="abc")


def test_the_head_is_yaml_that_the_hub_reads() -> None:
    text = model_card(OptimizerConfig(), "A model.", INFO, {"dev_MRR": 0.25}, languages=["de"], notes=["A note."])
    _, head, body = text.split("---\n", 2)
    found = yaml.safe_load(head)
    assert found["license_name"] == 'CC: "BY"'
    assert found["language"] == ["gsg", "de"]
    for part in ("A model.", "A note.", "fingerprint `abc`", "| dev_MRR | 0.25 |", "epochs: 60"):
        assert part in body
    assert SYNTHETIC not in body


def test_synthetic_data_are_named() -> None:
    assert SYNTHETIC in model_card(OptimizerConfig(), "A model.", dataclasses.replace(INFO, synthetic=True), {})
