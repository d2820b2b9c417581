"""The sign side of CiCo: clip features through CLIP's vision trunk (supplement and released code; facts: Model)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from signatlas.models.dual_encoder.config import SignConfig
from signatlas.text.encoders.hub import fetched, refuse_missing


class SignTransformer(nn.Module):
    """Clip features [B, L, F] with mask [B, L] to clip tokens [B, L, W] and a CLS vector [B, W]. No order of padding.

    A linear layer (the paper's 1x1 convolution), CLS, learned positions, then the layers of CLIP's vision encoder,
    bidirectional over valid clips.
    """

    def __init__(self, config: SignConfig, features: int, trunk: Any | None = None):
        super().__init__()
        vision = trunk.config if trunk is not None else _sizes(config)
        self.width: int = vision.hidden_size
        self.project = nn.Linear(features, self.width)
        self.cls = nn.Parameter(torch.randn(self.width) * self.width**-0.5)
        self.positions = nn.Parameter(torch.randn(config.max_windows + 1, self.width) * 0.02)
        if trunk is None:
            from transformers.models.clip.modeling_clip import CLIPEncoder

            # A LayerNorm of CLIP's epsilon, as its own module builds it.
            self.norm_in, self.norm_out = (nn.LayerNorm(self.width, eps=vision.layer_norm_eps) for _ in range(2))
            self.encoder = CLIPEncoder(vision)
            self.encoder.apply(_initialize)
        else:
            self.norm_in, self.norm_out, self.encoder = trunk.pre_layrnorm, trunk.post_layernorm, trunk.encoder

    def forward(self, features_BLF: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        x = self.project(features_BLF.to(self.project.weight.dtype))
        x = torch.cat([self.cls.expand(len(x), 1, -1), x], dim=1) + self.positions[: x.shape[1] + 1]
        seen = torch.cat([mask_BL.new_ones(len(x), 1), mask_BL], dim=1)
        hidden = self.encoder(self.norm_in(x), attention_mask=attention_bias(seen, x.dtype)).last_hidden_state
        hidden = self.norm_out(hidden)
        return hidden[:, 1:], hidden[:, 0]


def attention_bias(seen_BN: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to attention logits: 0 for seen keys, the smallest number for padding; [B, 1, N, N]."""
    bias = torch.zeros(seen_BN.shape, dtype=dtype, device=seen_BN.device)
    bias = bias.masked_fill(~seen_BN, torch.finfo(dtype).min)
    return bias[:, None, None, :].expand(-1, 1, seen_BN.shape[1], -1)


def _sizes(config: SignConfig) -> Any:
    from transformers import CLIPVisionConfig

    vision = CLIPVisionConfig(
        hidden_size=config.width,
        intermediate_size=config.feedforward,
        num_hidden_layers=config.depth,
        num_attention_heads=config.heads,
        attention_dropout=config.dropout,
    )
    vision._attn_implementation = "sdpa"
    return vision


def _initialize(module: nn.Module) -> None:
    """Small weights, as CLIP starts with; PyTorch's own defaults would make the residual stream too large."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def pretrained_trunk(name: str) -> tuple[Any, Tensor]:
    """The vision model inside a CLIP model, of the Hub or a folder, and its projection [E, W]. Raises ModelError."""
    from transformers import CLIPVisionModelWithProjection

    model, info = fetched(
        name,
        "CLIP vision model",
        lambda: CLIPVisionModelWithProjection.from_pretrained(name, dtype=torch.float32, output_loading_info=True),
    )
    refuse_missing(name, info)
    return model.vision_model, model.visual_projection.weight.detach()


def text_projection(name: str) -> Tensor:
    """The projection [E, W] of a CLIP model's text side. Raises ModelError."""
    from transformers import CLIPTextModelWithProjection

    model, info = fetched(
        name,
        "CLIP text model",
        lambda: CLIPTextModelWithProjection.from_pretrained(name, dtype=torch.float32, output_loading_info=True),
    )
    refuse_missing(name, info)
    return model.text_projection.weight.detach()
