"""The learned logit scale of contrastive models, read in fp32 also where the model trains in bf16."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

MAX_LOGIT_SCALE = 100.0  # as CLIP limits its logit multiplier
FP32_BUFFER = "log_scale_fp32"


class LogitScale(nn.Module):
    """Base class of models with a logit multiplier, exp of ``log_scale``.

    In bf16 a log scale near log(100) moves in steps that change the multiplier from 100 to 98.9 or 102. A buffer that
    stays in fp32 therefore follows the optimizer's fp32 master copy of the parameter (the training loop writes it
    after each step), and the multiplier is computed from the buffer. Gradients flow into the parameter.
    """

    log_scale: nn.Parameter
    log_scale_fp32: Tensor

    def init_logit_scale(self, scale: float) -> None:
        """Add the parameter with the initial multiplier ``scale``."""
        # One-dimensional: DeepSpeed takes no scalar parameters.
        self.log_scale = nn.Parameter(torch.tensor([math.log(scale)]))
        self.register_buffer(FP32_BUFFER, self.log_scale.detach().clone(), persistent=False)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *arguments: Any) -> None:
        """Load weights; the buffer, which no file has, follows the parameter."""
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        value = state_dict.get(f"{prefix}log_scale")
        # Of a bf16 state, such as DeepSpeed's, the buffer already has the exact value.
        if value is not None and value.dtype in (torch.float32, torch.float64) and value.numel() == 1:
            with torch.no_grad():
                self.log_scale_fp32.copy_(value.reshape(1))

    def logit_scale(self) -> Tensor:
        """Return the multiplier, a scalar: fp32 or the wider type of the parameter."""
        if self.log_scale.dtype in (torch.float32, torch.float64):
            return self.log_scale.exp().squeeze(0)
        parameter = self.log_scale.float()
        return (self.log_scale_fp32 + (parameter - parameter.detach())).exp().squeeze(0)
