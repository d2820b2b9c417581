"""Backbones of the sign embedding: one vector per frame or window, from clip features, poses or pictures."""

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
from signatlas.models.translator.masked_norm import in_fp32, replaying, summed
from signatlas.render.frames import IMAGENET_MEAN, IMAGENET_STD
from signatlas.text.encoders.hub import fetched, refuse_missing


class FeatureBackbone(nn.Module):
    """Clip features [B, L, features] to [B, L, width]: LayerNorm and a linear layer.

    LayerNorm because features of different encoders, and of windows full and half empty, differ in length; what
    follows may have no BatchNorm (``blocks: 0``).
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

    Movement is in the inputs (velocities) and in the temporal convolutions that follow. LayerNorm first: coordinates,
    velocities and presence are of different sizes.
    """

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.width = width
        self.norm, self.linear, self.out = nn.LayerNorm(inputs), nn.Linear(inputs, width), nn.Linear(width, width)

    def forward(self, x_BLF: Tensor, mask_BL: Tensor) -> Tensor:
        x = x_BLF.masked_fill(~mask_BL[..., None], 0.0).to(self.linear.weight.dtype)
        return self.out(nn.functional.gelu(self.linear(self.norm(x))))


class ResNetBackbone(nn.Module):
    """Pictures uint8 [B, L, 3, H, W] with mask bool [B, L] to frame vectors [B, L, width]; padding is never looked at.

    ``chunk`` pictures go through at a time; their activations are thrown away and computed again in the backward
    pass. In training BatchNorm's statistics are those of a chunk of one rank (as each GPU of GFSLT-VLP has its own);
    the running ones are averaged over ranks, so that all keep the same model. ``frozen``: always the running ones.
    With several ranks, every one of them must come here with gradients enabled, or none.
    """

    def __init__(self, model: nn.Module, *, chunk: int, frozen: bool):
        super().__init__()
        self.model, self.chunk, self.frozen = model, chunk, frozen
        for name, layer in list(model.named_modules()):
            if isinstance(layer, nn.BatchNorm2d):
                model.set_submodule(name, PictureNorm.of(layer))
        self.width: int = model.config.hidden_sizes[-1]  # type: ignore[union-attr,index,assignment]
        self.train()

    def train(self, mode: bool = True) -> ResNetBackbone:
        super().train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor, mask_BL: Tensor) -> Tensor:
        pictures = x[mask_BL]
        parts = [self._chunk(part) for part in self._parts(pictures)]
        if self.training and not replaying():
            self._agree()
        dtype = self._dtype()
        found = x.new_zeros(*mask_BL.shape, self.width, dtype=dtype)
        return found.masked_scatter(mask_BL[..., None], torch.cat(parts)) if parts else found

    def _parts(self, pictures: Tensor) -> list[Tensor]:
        """At most ``chunk`` pictures each; while learning, equally many parts on every rank.

        ZeRO-3 exchanges weights whenever a layer runs: a rank with fewer frames would leave the others waiting.
        """
        number = -(-len(pictures) // self.chunk)
        if _ranks() > 1 and torch.is_grad_enabled():
            most = torch.tensor(number, device=pictures.device)
            dist.all_reduce(most, op=dist.ReduceOp.MAX)
            number = int(most)
        return list(pictures.tensor_split(number)) if number else []

    def _chunk(self, pictures: Tensor) -> Tensor:
        if not len(pictures):  # another rank has more parts than this one pictures: a gray one, and none of it is used
            return self._chunk(pictures.new_full((1, *pictures.shape[1:]), 128))[:0]
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.model.parameters()):
            return checkpoint(self._encode, pictures, use_reentrant=False)
        return self._encode(pictures)

    def _encode(self, pictures: Tensor) -> Tensor:
        # Not buffers: those would become bf16 with the model, and 8 bits of a picture need more.
        mean, deviation = (pictures.new_tensor(v, dtype=torch.float32) for v in (IMAGENET_MEAN, IMAGENET_STD))
        normal = (pictures.float() / 255 - mean[:, None, None]) / deviation[:, None, None]
        return self.model(normal.to(self._dtype())).pooler_output.flatten(1)

    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @torch.no_grad()
    def _agree(self) -> None:
        """The running statistics of all ranks become their mean: one exchange for all layers."""
        ranks = _ranks()
        if ranks == 1:
            return
        kept = [b for m in self.model.modules() if isinstance(m, PictureNorm) for b in (m.running_mean, m.running_var)]
        flat = summed(torch.cat([b for b in kept if b is not None])) / ranks
        for buffer, mean in zip(kept, flat.split([len(b) for b in kept if b is not None]), strict=True):
            buffer.copy_(mean)  # type: ignore[union-attr]


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class PictureNorm(nn.BatchNorm2d):
    """BatchNorm with running statistics in fp32, which a forward repeated by checkpointing does not move again."""

    @classmethod
    def of(cls, layer: nn.BatchNorm2d) -> PictureNorm:
        """The same layer with the same weights."""
        made = cls(layer.num_features, eps=layer.eps, momentum=layer.momentum)
        made.load_state_dict(layer.state_dict())
        return made

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        return in_fp32(self, lambda: super(PictureNorm, self)._apply(fn, recurse))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if self.training and replaying():
            mean, variance = (None if s is None else s.clone() for s in (mean, variance))
        weight, bias = (p if mean is None else p.to(mean.dtype) for p in (self.weight, self.bias))
        return F.batch_norm(x, mean, variance, weight, bias, self.training, self.momentum or 0.0, self.eps)


def build_resnet(config: BackboneConfig, load_pretrained: bool) -> tuple[ResNetBackbone, ResNetSizes]:
    """The backbone of a model, and its sizes, which are saved. ``load_pretrained``: with the weights that are named.

    Raises ModelError for a model that is not there, or is no ResNet.
    """
    from transformers import ResNetConfig, ResNetModel

    if config.pretrained and load_pretrained:
        name = config.pretrained
        model, info = fetched(
            name, "ResNet", lambda: ResNetModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        )
        refuse_missing(name, info)
    else:
        s = config.sizes
        model = ResNetModel(
            ResNetConfig(
                embedding_size=s.embedding, hidden_sizes=list(s.hidden), depths=list(s.depths), layer_type=s.layer
            )
        )
    c = model.config
    if c.downsample_in_first_stage or c.downsample_in_bottleneck:
        raise ModelError(f"{config.pretrained} is a ResNet that shrinks elsewhere than ResNet-18 does: choose another")
    sizes = ResNetSizes(embedding=c.embedding_size, hidden=c.hidden_sizes, depths=c.depths, layer=c.layer_type)
    return ResNetBackbone(model, chunk=config.chunk, frozen=config.frozen), sizes
