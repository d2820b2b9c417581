"""The sign classifier: a window of signing to a feature vector and class scores (CiCo's sign encoder)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from signatlas.features.windows import take
from signatlas.models import folder, registry
from signatlas.models.sign_encoder import SignEncoderConfig, SignTrunk
from signatlas.pose.prepared_clips import PreparedClips


class SignClassifier(SignTrunk):
    """Windows, points [B, T, P, 3] and their presence [B, T, P], to scores [B, C] of ``classes``.

    The scores are linear in :meth:`features`: the cached vector is all that a score depends on.
    """

    def __init__(self, config: SignEncoderConfig, classes: tuple[str, ...], record: dict[str, Any] | None = None):
        super().__init__(config)
        self.classes = tuple(classes)
        self.record = record or {}  # of its training: corpus fingerprint, ...
        self.standard = nn.LayerNorm(config.width, elementwise_affine=False)
        self.head = nn.Linear(config.width, len(self.classes))

    def features(self, points_BTPC: Tensor, present_BTP: Tensor, valid_BT: Tensor | None = None) -> Tensor:
        """Return centered unit vectors [B, width] of the trunk."""
        return F.normalize(self.standard(self.pooled(points_BTPC, present_BTP, valid_BT)).float(), dim=-1)

    def scores(self, features_BD: Tensor) -> Tensor:
        """Return logits [B, C] of features."""
        scores: Tensor = self.head(features_BD.to(self.head.weight.dtype) * self.config.width**0.5)
        return scores.float()

    @torch.no_grad()
    def top_class(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest softmax value [N] and its class [N] of features [N, D]."""
        device = self.head.weight.device
        parts = [
            self.scores(torch.from_numpy(part).to(device)).softmax(-1).max(-1)
            for part in np.array_split(features, max(1, len(features) // 4096))
        ]
        values, classes = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        return values, classes

    def forward(self, points_BTPC: Tensor, present_BTP: Tensor, valid_BT: Tensor | None = None) -> Tensor:
        return self.scores(self.features(points_BTPC, present_BTP, valid_BT))

    @torch.no_grad()
    def window_features(
        self,
        clips: PreparedClips,
        indices: np.ndarray,
        starts: np.ndarray,
        *,
        window: int | None = None,
        batch_size: int = 512,
    ) -> np.ndarray:
        """Return features float32 [N, width] of the windows that begin at ``starts`` [N] of clips ``indices`` [N]."""
        device, training = self.project.weight.device, self.training
        self.eval()
        parts = [np.zeros((0, self.config.width), np.float32)]
        for start in range(0, len(indices), batch_size):
            batch = slice(start, start + batch_size)
            points, present = take(
                clips, indices[batch], starts[batch], window or self.config.frames, self.config.frames
            )
            features = self.features(torch.from_numpy(points).to(device), torch.from_numpy(present).to(device))
            parts.append(features.cpu().numpy())
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
        model = cls(folder.parse_config(path, SignEncoderConfig, raw), tuple(classes), record)
        folder.load_weights(path, model)
        return model.eval()
