"""The sign encoder: poses of one sign to one unit vector (reverse dictionary, M1 and M5)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from signatlas.config import Strict
from signatlas.corpus.format import Clip
from signatlas.errors import ModelError, PoseError
from signatlas.layers import AttentionPooling, MeanPooling, Transformer
from signatlas.models import folder, registry
from signatlas.pose import features
from signatlas.pose.features import PointSet, Stream
from signatlas.pose.prepared_clips import PreparedClips, aspect_of, clip_aspect
from signatlas.pose.skeleton import MIRROR


class SignEncoderConfig(Strict):
    """Inputs and sizes of a sign encoder."""

    points: PointSet = "all"
    dims: Literal[2, 3] = 3
    streams: tuple[Stream, ...] = ("position", "shape", "velocity", "bones", "presence")
    frames: int = Field(100, ge=2, description="every clip is resampled to this many frames")
    aspect: dict[str, float] = Field(default_factory=dict, description="width/height by source, for clips without it")
    width: int = Field(256, ge=8)
    depth: int = Field(3, ge=1)
    heads: int = Field(8, ge=1)
    feedforward: int = Field(512, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)
    pooling: Literal["attention", "mean"] = "attention"
    embedding: int = Field(256, ge=2, description="width of the output vector")

    @model_validator(mode="after")
    def _check_heads(self) -> SignEncoderConfig:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} must be even and a multiple of heads {self.heads}")
        return self


class SignTrunk(nn.Module):
    """Points [B, T, P, 3] and their presence [B, T, P] to one vector [B, width] per clip; the base of sign models."""

    def __init__(self, config: SignEncoderConfig):
        super().__init__()
        self.config = config
        width = features.width(config.points, config.dims, config.streams)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, config.width)
        self.trunk = Transformer(
            config.width,
            config.depth,
            config.heads,
            config.feedforward,
            config.dropout,
            max_frames=max(512, config.frames),
        )
        self.pool = AttentionPooling(config.width, config.heads) if config.pooling == "attention" else MeanPooling()

    def pooled(self, points_BTPC: Tensor, present_BTP: Tensor, valid_BT: Tensor | None = None) -> Tensor:
        """Return the pooled frames [B, width], before any head."""
        if valid_BT is None:
            valid_BT = torch.ones(points_BTPC.shape[:2], dtype=torch.bool, device=points_BTPC.device)
        config = self.config
        x = features.build(points_BTPC, present_BTP, points=config.points, dims=config.dims, streams=config.streams)
        x = self.project(self.norm(x.to(self.project.weight.dtype)))
        pooled: Tensor = self.pool(self.trunk(x, valid_BT), valid_BT)
        return pooled


class SignEncoder(SignTrunk):
    """Points [B, T, P, 3] and their presence [B, T, P] to unit embeddings [B, E]."""

    def __init__(self, config: SignEncoderConfig, record: dict[str, Any] | None = None):
        super().__init__(config)
        self.record = record or {}  # of its training: corpus fingerprint, excluded glosses, ...
        self.head = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.embedding))

    def forward(self, points_BTPC: Tensor, present_BTP: Tensor, valid_BT: Tensor | None = None) -> Tensor:
        return F.normalize(self.head(self.pooled(points_BTPC, present_BTP, valid_BT)).float(), dim=-1)

    @torch.no_grad()
    def embed_prepared(
        self, clips: PreparedClips, indices: np.ndarray | None = None, batch_size: int = 256
    ) -> np.ndarray:
        """Return embeddings float32 [N, E] of prepared clips, without augmentation or dropout."""
        indices = np.arange(len(clips)) if indices is None else indices
        device, training = self.project.weight.device, self.training
        self.eval()
        parts = [np.zeros((0, self.config.embedding), np.float32)]
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            points, present = clips.at(batch, clips.even_times(batch, self.config.frames))
            vectors = self(torch.from_numpy(points).to(device), torch.from_numpy(present).to(device))
            parts.append(vectors.float().cpu().numpy())
        self.train(training)
        return np.concatenate(parts)

    def embed(
        self,
        poses: Sequence[np.ndarray],
        *,
        aspect: float | Sequence[float | None] | None = None,
        mirror: bool = False,
        batch_size: int = 256,
    ) -> np.ndarray:
        """Return embeddings float32 [N, E] of N clips [frames, 75, 3] in image units; ``aspect`` is width/height.

        ``mirror`` embeds each clip as a signer of the other hand would perform it. Raises PoseError, also for
        coordinates so large that no finite unit vector comes out, and ModelError where the weights are not finite.
        """
        aspects = list(aspect) if isinstance(aspect, Sequence) else [aspect] * len(poses)
        if mirror:
            # x -> 1 - x with left and right exchanged equals mirroring after normalization.
            poses = [(p * np.array([-1, 1, 1], np.float32) + np.array([1, 0, 0], np.float32))[:, MIRROR] for p in poses]
        if not poses:
            return np.zeros((0, self.config.embedding), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported below
            prepared = PreparedClips(zip(poses, aspects, strict=True), self.config.points)
            vectors = self.embed_prepared(prepared, batch_size=batch_size)
        if invalid := np.flatnonzero(~(np.abs(np.linalg.norm(vectors, axis=1) - 1) < 0.01)).tolist():  # also NaN
            if not all(bool(weights.isfinite().all()) for weights in self.parameters()):
                raise ModelError("the model's weights are not finite: train it again")
            which = f"clip {invalid[0] + 1} of {len(poses)}: " if len(poses) > 1 else ""
            raise PoseError(f"{which}the poses give no finite embedding: are the coordinates in image units?")
        return vectors

    def embed_clips(self, clips: Iterable[Clip], *, mirror: bool = False, batch_size: int = 256) -> np.ndarray:
        """Return embeddings as :meth:`embed`, with each clip's aspect, or that of its source where it has none."""
        clips = list(clips)
        aspects = [clip_aspect(c, self.config.aspect) for c in clips]
        return self.embed([c.poses for c in clips], aspect=aspects, mirror=mirror, batch_size=batch_size)

    def aspect_of(self, source: str | None, width: int | None, height: int | None) -> float | None:
        """Return width/height where known, else that of the source in training."""
        return aspect_of(source, width, height, self.config.aspect)

    def save_pretrained(self, path: str | os.PathLike[str], card: str = "") -> None:
        """Write config.json, model.safetensors and README.md."""
        config = {"model_type": registry.SIGN_ENCODER, **self.config.model_dump(), "record": self.record}
        folder.save(path, self, config, card)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> SignEncoder:
        """Load from a folder or the Hub, in evaluation mode. Raises ModelError."""
        path, raw = registry.read_config(name, registry.SIGN_ENCODER)
        record = raw.pop("record", {})
        model = cls(folder.parse_config(path, SignEncoderConfig, raw), record)
        folder.load_weights(path, model)
        return model.eval()
