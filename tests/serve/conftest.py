"""A real service: Ray Serve on a free port with three indexes and a translator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from ray import serve

from serve.config import ServeConfig
from serve.service import start, stop
from tests.serve.services import Services, configuration, write_services


@pytest.fixture(scope="session")
def services(
    tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, small_model: Path, continuous_corpus: Path
) -> Services:
    return write_services(tmp_path_factory.mktemp("service"), small_corpus, small_model, continuous_corpus)


@pytest.fixture(scope="module")
def config(services: Services) -> ServeConfig:
    return configuration(services)


@pytest.fixture(scope="module")
def service(ray_session: None, config: ServeConfig) -> Iterator[httpx.Client]:
    start(config)
    with httpx.Client(base_url=f"http://127.0.0.1:{config.http.port}", timeout=30) as client:
        yield client
    stop(config)
    serve.shutdown()  # the next service of this Ray listens on another port
