"""Load over HTTP: the replicas of encoder and translator follow it up and down, the others do not."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from ray import serve

from serve.config import ServeConfig
from signatlas.client import Client, ClipQuery
from signatlas.corpus.format import Corpus
from signatlas.models import Translator, load
from signatlas.models.translator.recordings import read_clip
from signatlas.pose.serialization import to_json
from tests.serve.services import Services, configuration

pytestmark = [pytest.mark.slow, pytest.mark.alone]


SCALING = {"upscale_delay_s": 0.5, "downscale_delay_s": 2, "look_back_period_s": 2, "metrics_interval_s": 0.5}


@pytest.fixture(scope="module")
def config(services: Services) -> ServeConfig:
    base = configuration(services, parts=("signs", "translator")).model_dump(mode="json")
    signs, translator = base["applications"]
    signs["encoder"] |= {
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 2, **SCALING},
        "target_wait_s": 0.005,
    }
    translator["translator"] |= {
        "autoscaling_config": {"min_replicas": 0, "max_replicas": 2, **SCALING},
        "target_wait_s": 0.05,
    }
    return ServeConfig.model_validate(base)


def replicas(application: str) -> dict[str, int]:
    """Return the number of running replicas of each deployment of an application."""
    deployments = serve.status().applications[f"signatlas-{application}"].deployments
    return {
        name: sum(number for state, number in deployment.replica_states.items() if state == "RUNNING")
        for name, deployment in deployments.items()
    }


def wait_for(application: str, deployment: str, count: int, seconds: float) -> float:
    started = time.monotonic()
    while (counts := replicas(application))[deployment] != count:
        assert time.monotonic() - started < seconds, counts
        time.sleep(0.3)
    return time.monotonic() - started


def test_the_encoder_follows_the_load(service: httpx.Client, services: Services) -> None:
    bodies = [
        {"queries": [{"poses": to_json(clip.poses), "width": 640, "height": 480}] * 4}
        for clip in list(Corpus.open(services.corpus))[:16]
    ]
    assert replicas("signs")["Encoder"] == 1
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
        up = wait_for("signs", "Encoder", 2, 60)
        others = {name: count for name, count in replicas("signs").items() if name != "Encoder"}
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    down = wait_for("signs", "Encoder", 1, 90)
    print(f"a second encoder {up:.1f} s after the load began, one again {down:.1f} s after it ended")
    assert set(others.values()) == {1}
    # A busy machine may shed some of the load before the second encoder is there.
    assert set(statuses) <= {200, 503, 504} and statuses.count(200) > 0.8 * len(statuses), Counter(statuses)


def test_the_translator_starts_from_nothing_and_goes_back(service: httpx.Client, services: Services) -> None:
    """Without requests it has no replica; the first one starts one, load a second; all texts are those of the model."""
    corpus, model = Corpus.open(services.translator_corpus), load(services.translator, Translator)
    ids = [clip.id for clip in corpus][:8]
    clips = [read_clip(id, corpus, services.translator, model) for id in ids]
    expected = [model.translate([(c.x, c.mask)], beams=8, best=2, max_new_tokens=40) for c in clips]

    def translate(number: int) -> None:
        query = ClipQuery(ids[number % 8])
        answer = client.translate(query, num_beams=8, n_best=2, max_new_tokens=40)
        assert answer.results[0].texts == expected[number % 8]

    assert replicas("translator") == {"Translator": 0}
    assert service.get("/readyz").status_code == 200
    with Client(str(service.base_url), timeout_s=120) as client, ThreadPoolExecutor(12) as pool:
        started = time.monotonic()
        translate(0)
        first = time.monotonic() - started
        deadline = time.monotonic() + 90
        while replicas("translator")["Translator"] < 2:
            assert time.monotonic() < deadline, "no second replica started"
            list(pool.map(translate, range(24)))
    down = wait_for("translator", "Translator", 0, 90)
    print(f"first translation after {first:.1f} s, no translator {down:.1f} s after the load ended")
