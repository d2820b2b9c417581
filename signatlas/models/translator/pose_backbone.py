"""The points of one frame to one vector: a small network that looks at each frame by itself."""

from __future__ import annotations

from torch import Tensor, nn


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
