"""Settings of a recipe with some of them changed."""

from __future__ import annotations

import copy
from typing import Any


def override(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of ``settings`` with changes; ``loss__batch_size=3`` is ``{"loss": {"batch_size": 3}}``."""
    result = copy.deepcopy(settings)
    for name, value in changes.items():
        *path, last = name.split("__")
        node = result
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return result
