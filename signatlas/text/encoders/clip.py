"""The text model of CLIP as a text encoder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

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


class ClipEncoder(HubEncoder):
    """CLIP's causal Transformer over byte-pair tokens; the text vector is the state of EOS after the words.

    Width, depth and dropout are those of the model; its projection is replaced by the dual encoder's head.
    """

    @classmethod
    def build(cls, config: TextConfig, texts: Iterable[str] = ()) -> ClipEncoder:
        """Return an encoder with pretrained weights and CLIP's vocabulary; ignores ``texts``. Raises ModelError."""
        from transformers import AutoConfig, CLIPTextModel

        name = str(config.name)
        kind = load_from_hub(
            name, "CLIP model", lambda: AutoConfig.from_pretrained(name, trust_remote_code=False)
        ).model_type
        if kind not in ("clip", "clip_text_model"):
            raise ModelError(
                f"{name} is a model of type {kind}, not CLIP: use kind huggingface, or choose a CLIP model"
            )
        model, info = load_from_hub(
            name,
            "CLIP text model",
            lambda: CLIPTextModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True),
        )
        check_missing_weights(name, info)
        encoder = cls(config, model, load_tokenizer(name))
        check_max_tokens(encoder, name)
        return encoder

    @classmethod
    def load(cls, config: TextConfig, folder: Path) -> ClipEncoder:
        """Return an encoder with the config and tokenizer in ``folder``, without loading weights. Raises ModelError."""
        from transformers import CLIPTextConfig, CLIPTextModel

        sizes = load_from_hub(folder, "CLIP text model", lambda: CLIPTextConfig.from_pretrained(folder))
        return cls(config, CLIPTextModel(sizes).float(), load_tokenizer(folder))

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return word tokens [B, T, width] without BOS and EOS, and the state of EOS [B, width].

        With ``special_tokens`` the ids and the tokens include BOS and EOS, and attention is causal without a padding
        mask, as in the released code: padding then affects only the states of padding itself.
        """
        if self.config.special_tokens:
            states = self.model(input_ids=ids_BT).last_hidden_state
            return states, states[torch.arange(len(ids_BT), device=ids_BT.device), mask_BT.sum(1) - 1]
        words, _, end = self.hidden(ids_BT, mask_BT)
        return words, end
