"""Hugging Face encoders such as BERT and XLM-R as text encoders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from signatlas.errors import ModelError
from signatlas.text.encoders.config import TextConfig
from signatlas.text.encoders.hub import (
    HubEncoder,
    check_max_tokens,
    check_missing_weights,
    load_from_hub,
    load_tokenizer,
)


class HuggingFaceEncoder(HubEncoder):
    """A bidirectional encoder such as BERT, XLM-R or mDeBERTa; the text vector is the state of CLS."""

    @classmethod
    def build(cls, config: TextConfig, texts: Iterable[str] = ()) -> HuggingFaceEncoder:
        """Return an encoder with pretrained weights and vocabulary; ignores ``texts``. Raises ModelError."""
        from transformers import AutoConfig, AutoModel

        name = str(config.name)
        sizes = load_from_hub(name, "encoder", lambda: AutoConfig.from_pretrained(name, trust_remote_code=False))
        _check_encoder_type(name, sizes)
        model, info = load_from_hub(
            name,
            "encoder",
            lambda: AutoModel.from_pretrained(
                name, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
            ),
        )
        check_missing_weights(name, info)
        encoder = cls(config, _without_pooler(model), load_tokenizer(name))
        if not encoder._before:
            raise ModelError(f"{name}: its tokenizer has no CLS token: choose an encoder such as XLM-R")
        check_max_tokens(encoder, name)
        return encoder

    @classmethod
    def load(cls, config: TextConfig, folder: Path) -> HuggingFaceEncoder:
        """Return an encoder with the config and tokenizer in ``folder``, without loading weights. Raises ModelError."""
        from transformers import AutoConfig, AutoModel

        sizes = load_from_hub(folder, "encoder", lambda: AutoConfig.from_pretrained(folder, trust_remote_code=False))
        model = AutoModel.from_config(sizes, dtype=torch.float32, trust_remote_code=False)
        return cls(config, _without_pooler(model), load_tokenizer(folder))

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return word tokens [B, T, width], without special tokens, and the state of CLS [B, width]."""
        words, first, _ = self.hidden(ids_BT, mask_BT)
        return words, first


def _check_encoder_type(name: str, sizes: Any) -> None:
    """Raise ModelError for a model that is not a text encoder."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED,
    )

    kind = sizes.model_type
    if kind.startswith("clip"):
        raise ModelError(f"{name} is a CLIP model: use kind clip")
    if getattr(sizes, "is_encoder_decoder", False):
        raise ModelError(f"{name} is an encoder-decoder ({kind}): choose an encoder, such as XLM-R")
    if getattr(sizes, "is_decoder", False) or (kind in CAUSAL and kind not in MASKED):
        raise ModelError(f"{name} is a decoder ({kind}), which is not bidirectional: choose an encoder, such as XLM-R")


def _without_pooler(model: Any) -> Any:
    """Return the model without its pooling layer, whose unused weights would get no gradient."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model
