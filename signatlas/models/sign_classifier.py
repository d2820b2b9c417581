"""The sign classifier: a window of signing in, a feature vector and a score a known sign out (CiCo's sign encoder)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from signatlas.errors import ModelError
from signatlas.features.windows import take
from signatlas.models import folder, registry
from signatlas.models.sign_encoder import SignEncoderConfig, SignTrunk
from signatlas.pose.prepared_clips import PreparedClips


class SignClassifier(SignTrunk):
    """Windows, points [B, T, P, 3] and their presence [B, T, P], to scores [B, C] of ``classes``.

    The scores are linear in :meth:`features`, so what the classifier knows of a sign lies in the cached vector.
    """

    def __init__(self, config: SignEncoderConfig, classes: tuple[str, ...], record: dict[str, Any] | None = None):
        super().__init__(config)
        self.classes = tuple(classes)
        self.record = record or {}  # how it was trained: corpus fingerprint, ...
        self.standard = nn.LayerNorm(config.width, elementwise_affine=False)
        self.head = nn.Linear(config.width, len(self.classes))

    def features(self, points_BTPC: Tensor, present_BTP: Tensor, valid_BT: Tensor | None = None) -> Tensor:
        """Pooled trunk vectors [B, width], centered and of length one."""
        return F.normalize(self.standard(self.pooled(points_BTPC, present_BTP, valid_BT)).float(), dim=-1)

    def scores(self, features_BD: Tensor) -> Tensor:
        """Scores [B, C] before the softmax, from features."""
        scores: Tensor = self.head(features_BD.to(self.head.weight.dtype) * self.config.width**0.5)
        return scores.float()

    def forward(self, points_BTPC: Tensor, present_BTP: Tensor, valid_BT: Tensor | None = None) -> Tensor:
        return self.scores(self.features(points_BTPC, present_BTP, valid_BT))

    @torch.no_grad()
    def window_features(
        self,
        bank: PreparedClips,
        which: np.ndarray,
        starts: np.ndarray,
        *,
        window: int | None = None,
        batch_size: int = 512,
    ) -> np.ndarray:
        """Features float32 [N, width] of windows that begin at ``starts`` of clips ``which`` of a bank."""
        device, training = self.project.weight.device, self.training
        self.eval()
        parts = [np.zeros((0, self.config.width), np.float32)]
        for begin in range(0, len(which), batch_size):
            chosen = slice(begin, begin + batch_size)
            points, present = take(
                bank, which[chosen], starts[chosen], window or self.config.frames, self.config.frames
            )
            found = self.features(torch.from_numpy(points).to(device), torch.from_numpy(present).to(device))
            parts.append(found.cpu().numpy())
        self.train(training)
        return np.concatenate(parts)

    def save_pretrained(self, path: str | os.PathLike[str], card: str = "") -> None:
        """Write config.json, model.safetensors and README.md."""
        config = {"model_type": registry.SIGN_CLASSIFIER, **self.config.model_dump()}
        config |= {"classes": self.classes, "record": self.record}
        folder.save(path, self, config, card)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> SignClassifier:
        """Load from a folder or the Hub, in evaluation mode. Raises ModelError."""
        path, raw = registry.read_config(name, registry.SIGN_CLASSIFIER)
        record, classes = raw.pop("record", {}), raw.pop("classes", [])
        try:
            model = cls(SignEncoderConfig(**raw), tuple(classes), record)
        except ValidationError as error:
            raise ModelError(f"{path}/config.json: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
        folder.load_weights(path, model)
        return model.eval()
