"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mirror() -> Path | None:
    """The local mirror of the public corpora, or None on a machine without it."""
    named = os.environ.get("SIGNATLAS_MIRROR")
    found = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return found if found.is_dir() else None


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for the whole test session."""
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    if started:
        ray.shutdown()
