"""Backbones of the sign embedding: one vector per frame or window, from clip features, poses or images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from signatlas.errors import ModelError
from signatlas.models.translator.config import BackboneConfig, ResNetSizes
from signatlas.models.translator.masked_norm import all_reduce_sum, apply_keeping_fp32, in_backward
from signatlas.render.frames import IMAGENET_MEAN, IMAGENET_STD
from signatlas.text.encoders.hub import check_missing_weights, load_from_hub


class FeatureBackbone(nn.Module):
    """Clip features [B, L, features] to [B, L, width]: LayerNorm and a linear layer.

    LayerNorm because features of different encoders, and of full and half-empty windows, differ in length; with
    ``blocks: 0`` no BatchNorm follows.
    """

    def __init__(self, features: int, width: int):
        super().__init__()
        self.width = width
        self.norm, self.linear = nn.LayerNorm(features), nn.Linear(features, width)

    def forward(self, x_BLF: Tensor, mask_BL: Tensor) -> Tensor:
        x = x_BLF.masked_fill(~mask_BL[..., None], 0.0).to(self.linear.weight.dtype)
        return self.linear(self.norm(x))


class PoseBackbone(nn.Module):
    """Pose inputs [B, L, inputs] (``signatlas.pose.features.build``) to frame vectors [B, L, width].

    Each frame by itself: movement is in the inputs (velocities) and in the temporal convolutions that follow. LayerNorm
    first, because coordinates, velocities and presence have different scales.
    """

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.width = width
        self.norm, self.linear, self.out = nn.LayerNorm(inputs), nn.Linear(inputs, width), nn.Linear(width, width)

    def forward(self, x_BLF: Tensor, mask_BL: Tensor) -> Tensor:
        x = x_BLF.masked_fill(~mask_BL[..., None], 0.0).to(self.linear.weight.dtype)
        return self.out(nn.functional.gelu(self.linear(self.norm(x))))


class ResNetBackbone(nn.Module):
    """Images uint8 [B, L, 3, H, W] with mask bool [B, L] to frame vectors [B, L, width]; padding is not encoded.

    ``chunk`` images are encoded at a time; their activations are discarded and recomputed in the backward pass. In
    training, BatchNorm's statistics are those of one rank's chunk (in GFSLT-VLP each GPU has its own); the running
    statistics are averaged over ranks, so that all keep the same model. ``frozen``: always the running statistics.
    With several ranks, either all call it with gradients enabled or none.
    """

    def __init__(self, model: nn.Module, *, chunk: int, frozen: bool):
        super().__init__()
        self.model, self.chunk, self.frozen = model, chunk, frozen
        for name, layer in list(model.named_modules()):
            if isinstance(layer, nn.BatchNorm2d):
                model.set_submodule(name, Fp32BatchNorm2d.from_layer(layer))
        self.width: int = model.config.hidden_sizes[-1]  # type: ignore[union-attr,index,assignment]
        self.train()

    @classmethod
    def build(cls, config: BackboneConfig, load_pretrained: bool) -> tuple[ResNetBackbone, ResNetSizes]:
        """Return a backbone and its sizes, which are saved. ``load_pretrained``: with the weights of ``pretrained``.

        Raises ModelError for a model that cannot be loaded or is not a ResNet.
        """
        from transformers import ResNetConfig, ResNetModel

        if config.pretrained and load_pretrained:
            name = config.pretrained
            model, info = load_from_hub(
                name, "ResNet", lambda: ResNetModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
            )
            check_missing_weights(name, info)
        else:
            sizes = config.sizes
            model = ResNetModel(
                ResNetConfig(
                    embedding_size=sizes.embedding,
                    hidden_sizes=list(sizes.hidden),
                    depths=list(sizes.depths),
                    layer_type=sizes.layer,
                )
            )
        c = model.config
        if c.downsample_in_first_stage or c.downsample_in_bottleneck:
            raise ModelError(f"{config.pretrained} downsamples in other layers than ResNet-18: choose another ResNet")
        sizes = ResNetSizes(embedding=c.embedding_size, hidden=c.hidden_sizes, depths=c.depths, layer=c.layer_type)
        return cls(model, chunk=config.chunk, frozen=config.frozen), sizes

    def train(self, mode: bool = True) -> ResNetBackbone:
        super().train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor, mask_BL: Tensor) -> Tensor:
        images = x[mask_BL]
        parts = [self._chunk(part) for part in self._parts(images)]
        if self.training and not in_backward():
            self._average_statistics()
        vectors = x.new_zeros(*mask_BL.shape, self.width, dtype=self._dtype())
        return vectors.masked_scatter(mask_BL[..., None], torch.cat(parts)) if parts else vectors

    def _parts(self, images: Tensor) -> list[Tensor]:
        """Split into parts of at most ``chunk`` images; in training, into equally many parts on every rank.

        ZeRO-3 gathers weights whenever a layer runs: a rank with fewer frames would leave the others waiting.
        """
        count = -(-len(images) // self.chunk)
        if _world_size() > 1 and torch.is_grad_enabled():
            largest = torch.tensor(count, device=images.device)
            dist.all_reduce(largest, op=dist.ReduceOp.MAX)
            count = int(largest)
        return list(images.tensor_split(count)) if count else []

    def _chunk(self, images: Tensor) -> Tensor:
        if not len(images):  # other ranks have more parts than this one has images: encode a gray image and discard it
            return self._chunk(images.new_full((1, *images.shape[1:]), 128))[:0]
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.model.parameters()):
            return checkpoint(self._encode, images, use_reentrant=False)
        return self._encode(images)

    def _encode(self, images: Tensor) -> Tensor:
        # Not buffers: those would become bf16 with the model, which is too coarse for the 8 bits of an image.
        mean, std = (images.new_tensor(v, dtype=torch.float32) for v in (IMAGENET_MEAN, IMAGENET_STD))
        normal = (images.float() / 255 - mean[:, None, None]) / std[:, None, None]
        return self.model(normal.to(self._dtype())).pooler_output.flatten(1)

    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @torch.no_grad()
    def _average_statistics(self) -> None:
        """Set the running statistics of all ranks to their mean, with one reduction for all layers."""
        ranks = _world_size()
        if ranks == 1:
            return
        layers = [m for m in self.model.modules() if isinstance(m, Fp32BatchNorm2d)]
        buffers = [b for m in layers for b in (m.running_mean, m.running_var) if b is not None]
        means = all_reduce_sum(torch.cat(buffers)) / ranks
        for buffer, mean in zip(buffers, means.split([len(b) for b in buffers]), strict=True):
            buffer.copy_(mean)


class Fp32BatchNorm2d(nn.BatchNorm2d):
    """BatchNorm with running statistics in fp32, which a forward repeated by checkpointing does not update again."""

    @classmethod
    def from_layer(cls, layer: nn.BatchNorm2d) -> Fp32BatchNorm2d:
        """Return the same layer with the same weights."""
        norm = cls(layer.num_features, eps=layer.eps, momentum=layer.momentum)
        norm.load_state_dict(layer.state_dict())
        return norm

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        return apply_keeping_fp32(self, lambda: super(Fp32BatchNorm2d, self)._apply(fn, recurse))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if self.training and in_backward():
            mean, variance = (None if s is None else s.clone() for s in (mean, variance))
        weight, bias = (p if mean is None else p.to(mean.dtype) for p in (self.weight, self.bias))
        return F.batch_norm(x, mean, variance, weight, bias, self.training, self.momentum or 0.0, self.eps)


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
