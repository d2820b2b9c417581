"""Only a valid key gives access; keys are added and revoked while the service runs; each key has its share."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from serve import keys
from serve.config import ServeConfig
from tests.serve.services import Services, configuration
from tests.serve.test_api import frames, problem

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A file with one key, and the key's secret."""
    path = str(tmp_path_factory.mktemp("keys") / "keys.json")
    return path, keys.add(path, "first")


@pytest.fixture(scope="module")
def config(services: Services, key_file: tuple[str, str]) -> ServeConfig:
    authorization = {"keys": key_file[0], "requests_per_s": 1000, "burst": 1000, "concurrent": 2}
    return configuration(services, parts=("signs",), colocate=("signs",), gateway={"authorization": authorization})


def test_only_a_key_gives_access(service: httpx.Client, key_file: tuple[str, str]) -> None:
    secret = key_file[1]
    for headers in (
        {},
        {"X-API-Key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {secret}"},
    ):
        for answer in (
            service.get("/v1/indexes", headers=headers),
            service.get("/v1/signs/a/poses", headers=headers),
            service.post("/v1/search", json={}, headers=headers),
            service.post("/v1/search/video", headers=headers),
            service.post("/v1/translate", headers=headers),
            service.post("/v1/embed", headers=headers),
        ):
            assert problem(answer, 401) and answer.headers["www-authenticate"] == "Bearer"
    for headers in ({"X-API-Key": secret}, {"Authorization": f"Bearer {secret}"}):
        assert service.get("/v1/indexes", headers=headers).status_code == 200
    for path in ("/", "/docs", "/readyz", "/healthz", "/openapi.json"):
        assert service.get(path).status_code == 200


def test_security_headers_and_no_cors(service: httpx.Client) -> None:
    answer = service.get("/", headers={"Origin": "https://example.org"})
    assert answer.headers["x-content-type-options"] == "nosniff" and "content-security-policy" in answer.headers
    assert "access-control-allow-origin" not in answer.headers
    assert len(answer.headers.get_list("x-request-id")) == 1


def test_keys_are_added_and_revoked_while_it_runs(service: httpx.Client, key_file: tuple[str, str]) -> None:
    path, first = key_file

    def eventually(secret: str, status: int) -> None:
        deadline = time.monotonic() + 15
        while (got := service.get("/v1/indexes", headers={"X-API-Key": secret}).status_code) != status:
            assert time.monotonic() < deadline, got
            time.sleep(0.2)

    second = keys.add(path, "second")
    eventually(second, 200)
    keys.revoke(path, "second")
    eventually(second, 401)
    # A damaged file changes nothing.
    good = Path(path).read_bytes()
    Path(path).write_bytes(b"\xff\xfe")
    time.sleep(3)
    assert service.get("/v1/indexes", headers={"X-API-Key": first}).status_code == 200
    Path(path).write_bytes(good)


def test_a_key_has_its_share(service: httpx.Client, key_file: tuple[str, str]) -> None:
    body = {"queries": [{"poses": frames(900)}]}
    barrier = threading.Barrier(8)

    def ask(_: int) -> int:
        barrier.wait()
        return service.post("/v1/search", json=body, headers={"X-API-Key": key_file[1]}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(8)))
    assert 429 in statuses and set(statuses) <= {422, 429}, statuses
