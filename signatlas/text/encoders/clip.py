"""CLIP's text model as a text encoder, by the name of a model of the Hub or by its folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from signatlas.errors import ModelError
from signatlas.text.encoders.config import TextConfig
from signatlas.text.encoders.hub import HubEncoder, fetched, load_tokenizer, refuse_missing, refuse_short


class ClipEncoder(HubEncoder):
    """CLIP's causal Transformer over its own byte pairs; the one vector is the state of EOS, which follows the words.

    Widths, depth and dropout are the model's own; CLIP's projection is left to the dual encoder's head.
    """

    @classmethod
    def build(cls, config: TextConfig, texts: Iterable[str] = ()) -> ClipEncoder:
        """With released weights; the vocabulary is CLIP's, whatever ``texts`` hold. Raises ModelError."""
        from transformers import AutoConfig, CLIPTextModel

        name = str(config.name)
        kind = fetched(name, "CLIP model", lambda: AutoConfig.from_pretrained(name, trust_remote_code=False)).model_type
        if kind not in ("clip", "clip_text_model"):
            raise ModelError(f"{name} is a model of type {kind}, not CLIP: use kind huggingface, or name a CLIP model")
        model, info = fetched(
            name,
            "CLIP text model",
            lambda: CLIPTextModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True),
        )
        refuse_missing(name, info)
        encoder = cls(config, model, load_tokenizer(name))
        refuse_short(encoder, name)
        return encoder

    @classmethod
    def load(cls, config: TextConfig, folder: Path) -> ClipEncoder:
        """Of the sizes and with the tokenizer in ``folder``; weights are still to be loaded. Raises ModelError."""
        from transformers import CLIPTextConfig, CLIPTextModel

        sizes = fetched(folder, "CLIP text model", lambda: CLIPTextConfig.from_pretrained(folder))
        return cls(config, CLIPTextModel(sizes).float(), load_tokenizer(folder))

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return word tokens [B, T, width] without BOS and EOS, and the state of EOS [B, width].

        With ``special_tokens`` the ids and the tokens include BOS and EOS, and attention is causal without a padding
        mask, as released: padding then changes nothing but the states of padding itself.
        """
        if self.config.special_tokens:
            states = self.model(input_ids=ids_BT).last_hidden_state
            return states, states[torch.arange(len(ids_BT), device=ids_BT.device), mask_BT.sum(1) - 1]
        words, _, end = self.hidden(ids_BT, mask_BT)
        return words, end
