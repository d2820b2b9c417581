"""How alike a signed video and a text are: token by token (CiCo) or by one vector each (CLIP)."""

from signatlas.similarity.api import fine_grained
from signatlas.similarity.pooled import mean_pooled, pooled

__all__ = ["fine_grained", "mean_pooled", "pooled"]
