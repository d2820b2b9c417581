"""Any encoder of Hugging Face as a text encoder, by the name of a model of the Hub or by its folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from signatlas.errors import ModelError
from signatlas.text.encoders.config import TextConfig
from signatlas.text.encoders.hub import HubEncoder, fetched, load_tokenizer, refuse_missing, refuse_short


class HuggingFaceEncoder(HubEncoder):
    """A bidirectional encoder such as BERT, XLM-R or mDeBERTa; the one vector is the state of its first token (CLS)."""

    @classmethod
    def build(cls, config: TextConfig, texts: Iterable[str] = ()) -> HuggingFaceEncoder:
        """With released weights; the vocabulary is the model's, whatever ``texts`` hold. Raises ModelError."""
        from transformers import AutoConfig, AutoModel

        name = str(config.name)
        sizes = fetched(name, "encoder", lambda: AutoConfig.from_pretrained(name, trust_remote_code=False))
        _refuse_other_kinds(name, sizes)
        model, info = fetched(
            name,
            "encoder",
            lambda: AutoModel.from_pretrained(
                name, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
            ),
        )
        refuse_missing(name, info)
        encoder = cls(config, _without_pooler(model), load_tokenizer(name))
        if not encoder._before:
            raise ModelError(f"{name}: its tokenizer puts no CLS token before a text: name an encoder such as XLM-R")
        refuse_short(encoder, name)
        return encoder

    @classmethod
    def load(cls, config: TextConfig, folder: Path) -> HuggingFaceEncoder:
        """Of the sizes and with the tokenizer in ``folder``; weights are still to be loaded. Raises ModelError."""
        from transformers import AutoConfig, AutoModel

        sizes = fetched(folder, "encoder", lambda: AutoConfig.from_pretrained(folder, trust_remote_code=False))
        model = AutoModel.from_config(sizes, dtype=torch.float32, trust_remote_code=False)
        return cls(config, _without_pooler(model), load_tokenizer(folder))

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Word tokens [B, T, width], without marks, and the state of CLS [B, width]. Padding changes nothing."""
        words, first, _ = self.hidden(ids_BT, mask_BT)
        return words, first


def _refuse_other_kinds(name: str, sizes: Any) -> None:
    """Raise ModelError for what is not an encoder of text alone."""
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
        raise ModelError(f"{name} is an encoder-decoder ({kind}): name an encoder, such as XLM-R")
    if getattr(sizes, "is_decoder", False) or (kind in CAUSAL and kind not in MASKED):
        raise ModelError(f"{name} is a decoder ({kind}), which reads one side only: name an encoder, such as XLM-R")


def _without_pooler(model: Any) -> Any:
    """The model without its pooling layer, whose unused weights would get no gradient."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model
