"""The sign side of CiCo: clip features through CLIP's vision transformer (CiCo, supplement, and its released code)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from signatlas.models.dual_encoder.config import SignConfig
from signatlas.text.encoders.hub import check_missing_weights, load_from_hub


class SignTransformer(nn.Module):
    """Clip features [B, L, F] with mask [B, L] to tokens [B, L, W] and a CLS vector [B, W]; padding has no influence.

    With ``config.mask_cls`` CLS counts as padding: it is the last of L + 1 tokens, and no token attends to it.

    A linear layer (the paper's 1x1 convolution), CLS, learned positions, then the layers of CLIP's vision encoder,
    bidirectional over valid windows.
    """

    def __init__(self, config: SignConfig, features: int, trunk: Any | None = None):
        super().__init__()
        vision = trunk.config if trunk is not None else _clip_config(config)
        self.width: int = vision.hidden_size
        self.mask_cls = config.mask_cls
        self.project = nn.Linear(features, self.width)
        self.cls = nn.Parameter(torch.randn(self.width) * self.width**-0.5)
        self.positions = nn.Parameter(torch.randn(config.max_windows + 1, self.width) * 0.02)
        if trunk is None:
            from transformers.models.clip.modeling_clip import CLIPEncoder

            # LayerNorm with CLIP's epsilon, as CLIP builds it.
            self.norm_in, self.norm_out = (nn.LayerNorm(self.width, eps=vision.layer_norm_eps) for _ in range(2))
            self.encoder = CLIPEncoder(vision)
            self.encoder.apply(_initialize)
        else:
            self.norm_in, self.norm_out, self.encoder = trunk.pre_layrnorm, trunk.post_layernorm, trunk.encoder

    def forward(self, features_BLF: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        x = self.project(features_BLF.to(self.project.weight.dtype))
        x = torch.cat([self.cls.expand(len(x), 1, -1), x], dim=1) + self.positions[: x.shape[1] + 1]
        cls_mask = mask_BL.new_full((len(x), 1), not self.mask_cls)
        mask = torch.cat([cls_mask, mask_BL], dim=1)
        hidden = self.encoder(self.norm_in(x), attention_mask=attention_bias(mask, x.dtype)).last_hidden_state
        hidden = self.norm_out(hidden)
        tokens = torch.cat([hidden[:, 1:], hidden[:, :1]], dim=1) if self.mask_cls else hidden[:, 1:]
        return tokens, hidden[:, 0]


def attention_bias(mask_BN: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the bias of attention logits [B, 1, N, N]: 0 for valid keys, the smallest number for padding."""
    bias = torch.zeros(mask_BN.shape, dtype=dtype, device=mask_BN.device)
    bias = bias.masked_fill(~mask_BN, torch.finfo(dtype).min)
    return bias[:, None, None, :].expand(-1, 1, mask_BN.shape[1], -1)


def pretrained_trunk(name: str) -> tuple[Any, Tensor]:
    """Load the vision model of a CLIP model, a Hub name or folder, and its projection [E, W]. Raises ModelError."""
    from transformers import CLIPVisionModelWithProjection

    model, info = load_from_hub(
        name,
        "CLIP vision model",
        lambda: CLIPVisionModelWithProjection.from_pretrained(name, dtype=torch.float32, output_loading_info=True),
    )
    check_missing_weights(name, info)
    return model.vision_model, model.visual_projection.weight.detach()


def text_projection(name: str) -> Tensor:
    """Load the projection [E, W] of a CLIP model's text side. Raises ModelError."""
    from transformers import CLIPTextModelWithProjection

    model, info = load_from_hub(
        name,
        "CLIP text model",
        lambda: CLIPTextModelWithProjection.from_pretrained(name, dtype=torch.float32, output_loading_info=True),
    )
    check_missing_weights(name, info)
    return model.text_projection.weight.detach()


def _clip_config(config: SignConfig) -> Any:
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
    """Initialize small weights as CLIP does; PyTorch's defaults would make the residual stream too large."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
