"""The dual encoder of sentence retrieval: signing and text to tokens of one joint space (CiCo)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from signatlas.errors import FeatureError, ModelError
from signatlas.models import folder, registry
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.models.dual_encoder.sign_transformer import SignTransformer, pretrained_trunk, text_projection
from signatlas.models.gradcache import in_chunks
from signatlas.models.logit_scale import LogitScale
from signatlas.similarity import Tokens, concatenate, mean_pooled, ranking_scores
from signatlas.text.encoders import base as text_encoders
from signatlas.text.encoders.base import TextEncoder


class DualEncoder(LogitScale):
    """Clip features and texts to :class:`Tokens`; ``features`` is the width of the clip features."""

    def __init__(
        self,
        config: DualEncoderConfig,
        text: TextEncoder,
        features: int,
        *,
        record: dict[str, Any] | None = None,
        load_pretrained: bool = False,
    ):
        super().__init__()
        self.config, self.features, self.record = config, features, record or {}
        name = config.sign.pretrained
        if name and not load_pretrained:
            raise ModelError("a pretrained trunk is loaded in training only; its sizes are saved with the model")
        trunk, sign_projection = pretrained_trunk(name) if name else (None, None)
        self.sign = SignTransformer(config.sign, features, trunk)
        self.text = text
        clip_text = load_pretrained and config.text.kind == "clip"
        projection = text_projection(str(config.text.name)) if clip_text else None
        self.sign_head = _head(self.sign.width, config.embedding, sign_projection)
        self.text_head = _head(text.width, config.embedding, projection)
        self.init_logit_scale(config.logit_scale)

    @classmethod
    def build(cls, config: DualEncoderConfig, texts: Iterable[str], features: int, **options: Any) -> DualEncoder:
        """Build a model to train; its vocabulary is that of ``texts``, the training split's."""
        return cls(config, text_encoders.build(config.text, texts), features, load_pretrained=True, **options)

    def forward(
        self, features_BLF: Tensor, mask_BL: Tensor, ids_CT: Tensor, text_mask_CT: Tensor, chunk: int | None = None
    ) -> tuple[Tokens, Tokens, Tensor]:
        """Return tokens of B videos and of C texts, and the logit multiplier. ``chunk``: rows encoded at a time."""
        sign = in_chunks(self.encode_sign, (features_BLF, mask_BL), chunk)
        text = in_chunks(self.encode_text, (ids_CT, text_mask_CT), chunk)
        return Tokens(*sign), Tokens(*text), self.logit_scale()

    def encode_sign(self, features_BLF: Tensor, mask_BL: Tensor) -> Tokens:
        tokens, cls = self.sign(features_BLF, mask_BL)
        mask = nn.functional.pad(mask_BL, (0, tokens.shape[1] - mask_BL.shape[1]))  # a masked CLS is the last token
        return Tokens(self.sign_head(tokens), mask, self.sign_head(cls))

    def encode_text(self, ids_BT: Tensor, mask_BT: Tensor) -> Tokens:
        tokens, cls = self.text(ids_BT, mask_BT)
        return Tokens(self.text_head(tokens), mask_BT, self.text_head(cls))

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids and mask of texts, as long as the longest; with padding ``released``, always ``max_tokens`` long.

        There padding takes part in the scores, which would otherwise depend on the other texts of a batch.
        """
        ids, mask = self.text.tokenize(texts)
        if self.config.similarity.padding == "released" and ids.ndim == 2:
            more = self.config.text.max_tokens - ids.shape[1]
            ids, mask = nn.functional.pad(ids, (0, more)), nn.functional.pad(mask, (0, more))
        return ids, mask

    def score(self, sign: Tokens, text: Tokens) -> Tensor:
        """Return :func:`ranking_scores` [A, B] by this model's own similarity."""
        return ranking_scores(sign, text, self.config.similarity)

    def pooled(self, encoded: Tokens) -> Tensor:
        """Return one unit vector per row [B, E], for the first stage of a search."""
        vectors = encoded.cls if self.config.similarity.kind == "cls" else mean_pooled(encoded.tokens, encoded.mask)
        return torch.nn.functional.normalize(vectors.float(), dim=-1)

    @torch.no_grad()
    def embed_features(self, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Tokens:
        """Return tokens of videos from padded features and masks, in evaluation mode; on the CPU, float32."""
        device = self.log_scale.device
        training = self.training
        self.eval()
        parts = []
        for features, mask in batches:
            if features.shape[-1] != self.features:
                raise FeatureError(f"clip features have width {features.shape[-1]}, the model takes {self.features}")
            parts.append(self.encode_sign(torch.from_numpy(features).to(device), torch.from_numpy(mask).to(device)))
        self.train(training)
        return concatenate(parts)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str], batch_size: int = 256) -> Tokens:
        """Return tokens of texts, in evaluation mode; on the CPU, float32. Raises TextError."""
        device = self.log_scale.device
        training = self.training
        self.eval()
        parts = []
        for start in range(0, len(texts), batch_size):
            ids, mask = self.tokenize(texts[start : start + batch_size])
            parts.append(self.encode_text(ids.to(device), mask.to(device)))
        self.train(training)
        return concatenate(parts)

    def save_pretrained(
        self, path: str | os.PathLike[str], card: str = "", state: dict[str, Tensor] | None = None
    ) -> None:
        """Write config.json, model.safetensors, README.md and text/ (tokenizer and sizes)."""
        config = self.config.model_dump(mode="json")
        if config["sign"]["pretrained"]:  # loading must not need the Hub
            vision = self.sign.encoder.config
            config["sign"] |= {
                "pretrained": None, "width": vision.hidden_size, "depth": vision.num_hidden_layers,
                "heads": vision.num_attention_heads, "feedforward": vision.intermediate_size,
            }  # fmt: skip
        document = {"model_type": registry.DUAL_ENCODER, "features": self.features, "record": self.record, **config}
        folder.save(path, self, document, card, state)
        (Path(path) / "text").mkdir()
        self.text.save_assets(Path(path) / "text")

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> DualEncoder:
        """Load from a folder or the Hub, in evaluation mode. Raises ModelError."""
        path, raw = registry.read_config(name, registry.DUAL_ENCODER)
        record, features = raw.pop("record", {}), raw.pop("features", None)
        if not isinstance(features, int):
            raise ModelError(f"{path}/config.json is damaged: features is {features!r}, not the width of clip features")
        config = folder.parse_config(path, DualEncoderConfig, raw)
        model = cls(config, text_encoders.load(config.text, path / "text"), features, record=record)
        folder.load_weights(path, model)
        return model.eval()


def _head(width: int, embedding: int, pretrained: Tensor | None) -> nn.Linear:
    """Return a projection into the joint space: CLIP's own where there is one of this size, else random."""
    head = nn.Linear(width, embedding, bias=False)
    nn.init.normal_(head.weight, std=width**-0.5)
    if pretrained is not None and pretrained.shape == head.weight.shape:
        head.weight.data.copy_(pretrained)
    return head
