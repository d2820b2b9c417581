"""A running service switches to a new version without a failed request, never mixes two, and requires its key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import ray
from ray import serve

from serve.config import Limits, ServeConfig, key_digest
from serve.service import start, switch_version
from signatlas.corpus.format import Corpus
from signatlas.errors import IndexVersionError, UserError
from signatlas.retrieval import index_version


@pytest.fixture(scope="module")
def config(index_root: Path, free_port: int) -> ServeConfig:
    return ServeConfig(index=str(index_root), port=free_port, limits=Limits(), api_key_sha256=key_digest("s3cret"))


def test_only_the_key_gives_access(service: httpx.Client) -> None:
    for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
        for answer in (
            service.get("/v1/info", headers=headers),
            service.get("/v1/signs/a/poses", headers=headers),
            service.post("/v1/search", json={}, headers=headers),
            service.post("/v1/search/video", headers=headers),
        ):
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"
    assert service.get("/v1/info", headers={"X-API-Key": "s3cret"}).status_code == 200
    assert service.get("/v1/info", headers={"Authorization": "Bearer s3cret"}).status_code == 200
    assert service.get("/readyz").status_code == 200


@pytest.fixture
def searches(service: httpx.Client, small_corpus: Path) -> Iterator[list[tuple[int, str]]]:
    """Search continuously in three threads while the test runs; record (status, version) of each search."""
    clip, results, ended = next(iter(Corpus.open(small_corpus))).id, [], threading.Event()

    def search() -> None:
        while not ended.is_set():
            try:
                answer = service.post("/v1/search", json={"clip": clip}, headers={"X-API-Key": "s3cret"})
            except httpx.HTTPError as error:
                results.append((0, repr(error)))
                continue
            ok = answer.status_code == 200
            results.append((answer.status_code, answer.json()["index_version"] if ok else answer.text))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield results
    ended.set()
    for thread in threads:
        thread.join()


def wait_for(service: httpx.Client, version: str) -> None:
    for _ in range(120):
        answer = service.get("/readyz")
        if answer.status_code == 200 and answer.json()["index_version"] == version:
            return
        time.sleep(0.25)
    raise AssertionError(f"{version} is not ready: {answer.text}")


def replicas() -> set[str]:
    deployments = serve.status().applications["signatlas"].deployments
    assert all(d.replica_states == {"RUNNING": 1} for d in deployments.values())
    actors = ray.util.list_named_actors(all_namespaces=True)
    return {actor["name"] for actor in actors if "SERVE_REPLICA" in actor["name"]}


def test_a_new_version_is_switched_to_under_load(
    config: ServeConfig, service: httpx.Client, searches: list[tuple[int, str]], small_model: Path, index_root: Path,
    write_version: Callable[..., None],
) -> None:  # fmt: skip
    time.sleep(1)
    write_version(index_root, small_model, index_root.parent / "corpus", "v2")
    index_version.activate(index_root, "v2")
    before = replicas()
    assert switch_version(config, "v1") == "v2"
    wait_for(service, "v2")
    time.sleep(1)
    assert [answer for answer in searches if answer[0] != 200] == []
    assert {version for _, version in searches} == {"v1", "v2"}

    assert replicas() == before  # no replica was restarted

    # A damaged version is rejected, even if CURRENT names it; the old one stays in use.
    write_version(index_root, small_model, index_root.parent / "corpus", "v3")
    (index_root / "v3" / "shard-001" / "index.faiss").write_bytes(b"broken")
    (index_root / "CURRENT").write_text("v3\n")
    with pytest.raises(IndexVersionError, match="shard-001 of"):
        switch_version(config, "v2")
    assert service.get("/readyz").json()["index_version"] == "v2"

    # Damage that only one shard sees, as on its own machine, is reported; searches still use v2.
    with pytest.raises(UserError, match="cannot serve version v3: shard 1 serves v2"):
        start(config.model_copy(update={"version": "v3"}), previous="v2")
    problem = service.get("/readyz")
    assert problem.status_code == 503 and "shard 1 serves v2" in problem.json()["detail"]
    count = len(searches)
    time.sleep(1)
    assert set(searches[count:]) == {(200, "v2")}
    index_version.activate(index_root, "v1")
    start(config, previous="v2")
    wait_for(service, "v1")
    assert [answer for answer in searches if answer[0] != 200] == []
