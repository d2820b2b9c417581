"""Load over HTTP: the encoder's replicas follow it up and down, the others do not."""

from __future__ import annotations

import threading
import time

import httpx
import pytest
from ray import serve

from serve.config import ServeConfig
from signatlas.corpus.format import Corpus
from signatlas.pose.serialization import to_json
from tests.serve.services import Services, configuration

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(services: Services) -> ServeConfig:
    base = configuration(services, parts=("signs",)).model_dump(mode="json")
    scaling = {"min_replicas": 1, "max_replicas": 2, "upscale_delay_s": 0.5, "downscale_delay_s": 2,
               "look_back_period_s": 2, "metrics_interval_s": 0.5}  # fmt: skip
    base["applications"][0]["encoder"] |= {"autoscaling_config": scaling, "target_wait_s": 0.005}
    return ServeConfig.model_validate(base)


def replicas() -> dict[str, int]:
    """Return the number of running replicas of each deployment of the index."""
    deployments = serve.status().applications["signatlas-signs"].deployments
    return {
        name: sum(number for state, number in deployment.replica_states.items() if state == "RUNNING")
        for name, deployment in deployments.items()
    }


def wait_for(encoders: int, seconds: float) -> float:
    started = time.monotonic()
    while (counts := replicas())["Encoder"] != encoders:
        assert time.monotonic() - started < seconds, counts
        time.sleep(0.3)
    return time.monotonic() - started


def test_the_encoder_follows_the_load(service: httpx.Client, services: Services) -> None:
    bodies = [
        {"queries": [{"poses": to_json(clip.poses), "width": 640, "height": 480}] * 4}
        for clip in list(Corpus.open(services.corpus))[:16]
    ]
    assert replicas()["Encoder"] == 1
    statuses: list[int] = []
    ended = threading.Event()

    def ask(number: int) -> None:
        with httpx.Client(base_url=service.base_url, timeout=30) as client:
            while not ended.is_set():
                statuses.append(client.post("/v1/search", json=bodies[number]).status_code)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    try:
        up = wait_for(2, 60)
        others = {name: count for name, count in replicas().items() if name != "Encoder"}
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    down = wait_for(1, 90)
    print(f"a second encoder {up:.1f} s after the load began, one again {down:.1f} s after it ended")
    assert set(others.values()) == {1}
    assert set(statuses) == {200}
