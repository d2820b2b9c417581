"""Lazy exports of packages: a module is imported only when one of its names is used (PEP 562)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(package: str, targets: Mapping[str, tuple[str, str]]) -> Callable[[str], Any]:
    """Return a module-level ``__getattr__`` for ``package``.

    ``targets`` maps an exported name to (module below the package, name in that module).
    """

    def getattr_(name: str) -> Any:
        if name not in targets:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, attribute = targets[name]
        return getattr(importlib.import_module(f"{package}.{module}"), attribute)

    return getattr_
