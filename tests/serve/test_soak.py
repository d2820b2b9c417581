"""Ten minutes of mixed load with a fault a minute, and memory that stays where it was: ``make soak``, by hand.

SIGNATLAS_SOAK_MINUTES and SIGNATLAS_SOAK_SEED choose another length and another order of the faults.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from signatlas.client import Client, ClipQuery, PosesQuery, ServiceError, VectorQuery
from signatlas.corpus.format import Clip, Corpus
from signatlas.models.translator import recordings
from signatlas.models.translator.translator import Translator
from signatlas.pose.serialization import write_pose
from signatlas.retrieval import index_version
from tests.evaluation.translations.tiny_translator import train
from tests.serve.fault_load import Local
from tests.serve.fault_processes import Service, running, stopped
from tests.serve.services import free_port, write_signs

MINUTES = float(os.environ.get("SIGNATLAS_SOAK_MINUTES", "10"))
SEED = int(os.environ.get("SIGNATLAS_SOAK_SEED", "0"))
pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(int(60 * MINUTES) + 2400)]
CONSENT = {"given_by": "anna", "use": "search"}
FEW, MANY = 500, 5000  # requests, before and after which memory is compared
GROWTH = 0.1


class Soak:
    """Everything that the load needs, and what it counted."""

    def __init__(self, service: Service, folder: Path, translator: Path, signs: Path, sentences: Path):
        self.service, self.root = service, folder / "index"
        self.clips: list[Clip] = list(Corpus.open(signs))
        self.pose = folder / "query.pose"
        clip = self.clips[3]
        write_pose(self.pose, clip.poses, 25, 640, 480)
        corpus, model = Corpus.open(sentences), Translator.from_pretrained(translator)
        self.sentences = [clip.id for clip in corpus][:6]
        inputs = [recordings.read_clip(id, corpus, translator, model) for id in self.sentences]
        self.texts = [model.translate([(c.x, c.mask)], beams=2, best=1, max_new_tokens=4) for c in inputs]
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest = 0.0
        self._ended = threading.Event()
        self._numbers = itertools.count()

    def run(self, connections: int = 6) -> list[threading.Thread]:
        self._ended.clear()
        threads = [threading.Thread(target=self._load, args=(n,)) for n in range(connections)]
        for thread in threads:
            thread.start()
        return threads

    def end(self, threads: list[threading.Thread]) -> None:
        self._ended.set()
        for thread in threads:
            thread.join()

    def total(self) -> int:
        return sum(self.counts.values())

    def _load(self, number: int) -> None:
        rng = random.Random(1000 * SEED + number)
        kinds = {self.search: 60, self.translate: 10, self.upload: 10, self.change: 10, self.page: 10}
        with Client(self.service.url, timeout_s=90) as client:
            while not self._ended.is_set():
                call = rng.choices(list(kinds), list(kinds.values()))[0]
                started = time.monotonic()
                try:
                    mistake = call(client, rng)
                except ServiceError as error:
                    mistake = f"failed: {error}"
                self.slowest = max(self.slowest, time.monotonic() - started)
                self.counts[call.__name__] += 1
                if mistake:
                    self.wrong.append(f"{call.__name__}: {mistake}")

    def search(self, client: Client, rng: random.Random) -> str | None:
        local = self.service.local
        number = rng.randrange(len(local.queries))
        raw = local.queries[number]
        if "clip" in raw:
            query: Any = ClipQuery(raw["clip"])
        elif "vector" in raw:
            query = VectorQuery(raw["vector"])
        else:
            query = PosesQuery(np.array(raw["poses"], np.float64).astype(np.float32), 640, 480)
        answer = client.search(query, index="two", k=7)
        return "partial" if answer.partial else local.mistake(number, answer.model_dump())

    def translate(self, client: Client, rng: random.Random) -> str | None:
        number = rng.randrange(len(self.sentences))
        answer = client.translate(ClipQuery(self.sentences[number]), num_beams=2, max_new_tokens=4)
        texts = list(answer.result.texts)
        return None if texts == self.texts[number] else f"{texts} instead of {self.texts[number]}"

    def upload(self, client: Client, rng: random.Random) -> str | None:
        first = client.search_pose_file(self.pose, index="two", k=1, mirror="none").hits[0].id
        return None if first == self.clips[3].id else f"found {first}"

    def change(self, client: Client, rng: random.Random) -> str | None:
        """Add a sign, find it, remove it, and find it no more."""
        id, clip = f"soak/{next(self._numbers)}", self.clips[rng.randrange(len(self.clips))]
        query = PosesQuery(clip.poses, 640, 480)
        added = client.add_sign(clip.poses, index="live", id=id, sign_language="gsg", width=640, height=480,
                                consent=CONSENT)  # fmt: skip
        found = {hit.id for hit in client.search(query, index="live", k=60, position=added.position).hits}
        removed = client.remove_sign(id, index="live")
        after = {hit.id for hit in client.search(query, index="live", k=60, position=removed.position).hits}
        if id not in found or id in after:
            return f"{id} was {'' if id in found else 'not '}found, then {'' if id in after else 'not '}found"
        return None

    def page(self, client: Client, rng: random.Random) -> str | None:
        return None if client.indexes().indexes and client.sign(self.clips[0].id, index="two").gloss else "empty"

    def memory(self) -> dict[str, float]:
        """Return the resident memory of each replica in MiB."""
        found = {}
        for process in psutil.Process(self.service.process.pid).children(recursive=True):
            try:
                command = process.cmdline()
                title = re.match(r"ray::ServeReplica:signatlas-([\w.-]+:[A-Za-z0-9]+)", command[0] if command else "")
                if title:
                    found[f"{title[1]} {process.pid}"] = process.memory_info().rss / 2**20
            except psutil.Error:
                continue
        return found

    def flood(self) -> None:
        """Eight bodies of 16 MiB of nested lists."""
        nested = b'{"queries": [{"poses": ' + b"[" * ((8 << 20) - 100) + b"]" * ((8 << 20) - 100) + b"}]}"

        def send(_: int) -> int:
            headers = {"content-type": "application/json"}
            try:
                return httpx.post(
                    f"{self.service.url}/v1/search", content=nested, headers=headers, timeout=60
                ).status_code
            except httpx.HTTPError:
                return 0

        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(send, range(8)))
        assert statuses <= {400, 413, 422, 503}, statuses

    # Faults

    def hang_a_shard(self) -> None:
        with stopped(self.service.pids("two", "Shard0")[0]):
            time.sleep(15)

    def kill(self, application: str, deployment: str) -> None:
        os.kill(self.service.pids(application, deployment)[0], signal.SIGKILL)

    def kill_the_writer(self) -> None:
        holder = json.loads(max((self.root.parent / "live" / "log" / "leases").iterdir()).read_text())
        os.kill(int(holder["process"]), signal.SIGKILL)

    def switch_versions(self) -> None:
        index_version.activate(self.root, "v2")
        time.sleep(15)
        index_version.activate(self.root, "v1")

    def damage_current(self) -> None:
        current = self.root / "CURRENT"
        current.write_bytes(b"v\xff\n")
        time.sleep(5)
        current.write_text("v1\n")

    def lose_a_node(self) -> None:
        self.service.ask("remove node")
        time.sleep(10)
        self.service.ask("add node")


def faults(soak: Soak) -> dict[str, Callable[[], None]]:
    return {
        "a hung shard": soak.hang_a_shard,
        "a killed shard": lambda: soak.kill("two", "Shard1"),
        "a killed encoder": lambda: soak.kill("two", "Encoder"),
        "a killed gateway": lambda: soak.kill("gateway", "Gateway"),
        "a killed translator": lambda: soak.kill("translator", "Translator"),
        "a killed updater": lambda: soak.kill("two", "Updater"),
        "a killed writer": soak.kill_the_writer,
        "two versions": soak.switch_versions,
        "a damaged CURRENT": soak.damage_current,
        "a flood of bodies": soak.flood,
        "a lost node": soak.lose_a_node,
    }


@pytest.fixture(scope="module")
def soak(
    tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, small_model: Path, continuous_corpus: Path
) -> Iterator[Soak]:
    folder = tmp_path_factory.mktemp("soak")
    write_signs(folder / "index", small_model, small_corpus, "v1", shards=3)
    write_signs(folder / "index", small_model, small_corpus, "v2", shards=2, activate=False)
    write_signs(folder / "live", small_model, small_corpus, "v1", shards=2)
    backbone = {"kind": "pose", "points": "nose_hands", "width": 16, "max_frames": 40}
    train(folder / "translator" / "model", Corpus.open(continuous_corpus), backbone, steps=30)
    twice = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0.1}}
    config = {
        "http": {"port": free_port()},
        "gateway": {
            **twice,
            "limits": {"k": 60, "frames": 100},
            "authorization": {"allow_anonymous": True, "requests_per_s": 1e6, "burst": 10**6, "concurrent": 10**4},
        },
        "applications": [
            {"name": "two", "index": str(folder / "index"), "shards": 2, "encoder": twice, "shard": twice},
            {"name": "live", "index": str(folder / "live"), "colocate": True, "writer": {}},
            {"name": "translator", "model": str(folder / "translator" / "model"), "translator": twice},
        ],
    }
    local = Local(folder / "index", ("v1", "v2"), list(Corpus.open(small_corpus)))
    with running(config, folder, local) as service:
        yield Soak(service, folder, folder / "translator" / "model", small_corpus, continuous_corpus)


def test_memory_stays_where_it_was(soak: Soak) -> None:
    """Of every replica after 5,000 requests, uploads among them, against after 500; and after a flood."""
    threads = soak.run()
    try:
        measured = {}
        for requests in (FEW, MANY):
            while soak.total() < requests:
                time.sleep(0.2)
            measured[requests] = soak.memory()
        soak.flood()
        time.sleep(10)
        after = soak.memory()
    finally:
        soak.end(threads)
    print(f"\n{soak.total()} requests: {dict(soak.counts)}, slowest {soak.slowest:.1f} s")
    few, many = measured[FEW], measured[MANY]
    for name in sorted(few):
        print(f"{name}: {few[name]:.0f} MiB after {FEW}, {many.get(name, 0):.0f} after {MANY}, "
              f"{after.get(name, 0):.0f} after a flood")  # fmt: skip
    assert soak.wrong == []
    assert set(few) == set(many) == set(after)
    grown = {name: many[name] / few[name] - 1 for name in few}
    assert max(grown.values()) < GROWTH, grown


def test_faults_under_mixed_load(soak: Soak) -> None:
    rng = random.Random(SEED)
    order: list[str] = []
    soak.counts.clear()
    soak.slowest = 0.0
    threads = soak.run()
    end = time.monotonic() + 60 * MINUTES
    try:
        while time.monotonic() < end:
            if not order:
                order = sorted(faults(soak))
                rng.shuffle(order)
            name, minute = order.pop(), time.monotonic()
            before, wrong, soak.slowest = soak.total(), len(soak.wrong), 0.0
            faults(soak)[name]()
            recovered = soak.service.wait_until(soak.service.ready, 240)
            time.sleep(max(0.0, min(minute + 60, end) - time.monotonic()))
            print(f"\n{name}: {soak.total() - before} requests in {time.monotonic() - minute:.0f} s, "
                  f"{len(soak.wrong) - wrong} wrong or failed, slowest {soak.slowest:.1f} s, ready after "
                  f"{recovered:.1f} s", end="", flush=True)  # fmt: skip
    finally:
        soak.end(threads)
    print(f"\nseed {SEED}, {MINUTES:g} minutes: {soak.total()} requests: {dict(soak.counts)}")
    assert soak.wrong == []
