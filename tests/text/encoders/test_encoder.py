"""Every kind of text encoder survives saving and loading in a dual encoder."""

from __future__ import annotations

import pytest
import torch

from signatlas.models.dual_encoder.config import DualEncoderConfig, SignConfig, SimilarityConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.text.encoders.base import ENCODERS
from signatlas.text.encoders.config import TextConfig
from tests.text.conftest import TEXTS


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_a_loaded_dual_encoder_embeds_texts_identically(kind, tmp_path, request):
    name = str(request.getfixturevalue(f"{'clip' if kind == 'clip' else 'bert'}_folder"))
    text = TextConfig(
        kind=kind, name=name if kind in ("clip", "huggingface") else None, max_tokens=8, width=32, depth=1
    )  # type: ignore[arg-type]
    config = DualEncoderConfig(
        sign=SignConfig(width=32, depth=1, heads=2, feedforward=32),
        text=text,
        similarity=SimilarityConfig(kind="cls" if kind == "sentence" else "fine_grained"),
        embedding=16,
    )
    torch.manual_seed(0)
    model = DualEncoder.build(config, TEXTS, features=12)
    before = model.embed_texts(TEXTS, batch_size=3)
    model.save_pretrained(tmp_path / "model")
    again = DualEncoder.from_pretrained(tmp_path / "model").embed_texts(TEXTS, batch_size=2)
    assert torch.equal(before.mask, again.mask)
    torch.testing.assert_close(before.tokens[before.mask], again.tokens[again.mask])
    torch.testing.assert_close(before.cls, again.cls)
