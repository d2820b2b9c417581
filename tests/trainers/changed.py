"""Settings of a recipe with some of them changed: ``loss__chunk=3`` for ``{"loss": {"chunk": 3}}``."""

from __future__ import annotations

import copy
from typing import Any


def changed(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``settings``; what stands between two underscores twice is a level."""
    found = copy.deepcopy(settings)
    for name, value in changes.items():
        *path, last = name.split("__")
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return found
