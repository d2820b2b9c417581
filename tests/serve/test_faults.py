"""A service whose parts hang, die or are flooded: answers stay right, in time, and whole where a second replica is."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from signatlas.corpus.format import Corpus, clips_to_table
from signatlas.models.sign_encoder import SignEncoder
from signatlas.models.translator.translator import Translator
from signatlas.retrieval import index_version
from tests.evaluation.translations.tiny_translator import train
from tests.serve.fault_load import Load, Local, percentile, with_client
from tests.serve.fault_processes import Service, running, stopped
from tests.serve.services import corpus_part, free_port, write_signs

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]
WINDOW = 500  # answers inside each fault
IDLE_S = 4.0
RUNNING, WAITING = 24, 16


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, small_model: Path) -> Path:
    """An index with versions v1, of all clips in three shards, and v2, of 90 of them in two; v1 is live."""
    root = tmp_path_factory.mktemp("faults") / "index"
    write_signs(root, small_model, small_corpus, "v1", shards=3)
    clips = list(Corpus.open(small_corpus))[:90]
    vectors, rows = SignEncoder.from_pretrained(small_model).embed_clips(clips), [clips_to_table(clips)]
    index_version.write(root, vectors, index_version.as_rows(rows), model=small_model,
                        corpus=corpus_part(small_corpus), shards=2, version="v2")  # fmt: skip
    return root


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory, continuous_corpus: Path) -> Path:
    folder = tmp_path_factory.mktemp("translator") / "model"
    backbone = {"kind": "pose", "points": "nose_hands", "width": 16, "max_frames": 40}
    train(folder, Corpus.open(continuous_corpus), backbone, steps=5)
    return folder


def configuration(root: Path, translator: Path, port: int) -> dict[str, Any]:
    """Return a service in which nothing but the gateway limits requests."""
    small = {"ray_actor_options": {"num_cpus": 0.05}}
    # Ray Serve kills a hung replica after three failed health checks and the time for a graceful end, and a node must
    # be rid of it before another one starts there: both are short here.
    twice = {**small, "num_replicas": 2, "max_replicas_per_node": 1, "graceful_shutdown_timeout_s": 3.0,
             "health_check_period_s": 1.0, "health_check_timeout_s": 3.0}  # fmt: skip
    on_gpu = {"ray_actor_options": {"num_cpus": 0.05, "num_gpus": 0.25}}  # of a logical GPU: placed, not computed there
    # The shards of `one` stay hung until the test wakes them; those of `two` are replaced after failed health checks.
    patient = {**small, "health_check_timeout_s": 60.0}
    index = {"index": str(root), "shards": 2}
    return {
        "http": {"port": port},
        "gateway": {
            **twice,
            "limits": {"k": 60, "frames": 100, "running": RUNNING, "waiting": WAITING, "idle_timeout_s": IDLE_S},
            "authorization": {"allow_anonymous": True, "requests_per_s": 1e6, "burst": 10**6, "concurrent": 10**4},
        },
        "applications": [
            {**index, "name": "one", "encoder": small, "shard": patient},
            {**index, "name": "two", "encoder": {**twice, **on_gpu}, "shard": {**twice, **on_gpu}},
            {"name": "translator", "model": str(translator), "translator": twice},
        ],
    }


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, root: Path, small_corpus: Path, translator: Path
) -> Iterator[Service]:
    """``one`` with single replicas of everything, ``two`` with two, both of the same index."""
    local = Local(root, ("v1", "v2"), list(Corpus.open(small_corpus)))
    config = configuration(root, translator, free_port())
    with running(config, tmp_path_factory.mktemp("service"), local) as service:
        yield service


def kinds(load: Load) -> set[str]:
    return {answer.kind for answer in load.answers}


MISSING = ["shard-000", "shard-002"]  # what the first of two shard deployments serves of three shards


def test_a_hung_shard_without_a_second_replica_makes_answers_partial(service: Service) -> None:
    (pid,) = service.pids("one", "Shard0")
    body = {"index": "one", "queries": service.local.queries[:1]}
    with service.load("one", 16, deadline_s=3) as load:
        load.wait(100)
        with stopped(pid) as since:
            during = load.wait(WINDOW, since)
            partial = [answer for answer in during if answer.kind == "partial"]
            assert max(answer.took for answer in during) < 6
            answer = httpx.post(f"{service.url}/v1/search", json={**body, "deadline_s": 2}, timeout=30)
            assert answer.json()["shards"] == {"answered": 1, "of": 3, "missing": MISSING}
            refused = httpx.post(f"{service.url}/v1/search", json={**body, "require_all": True}, timeout=30)
            assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
            assert refused.headers["content-type"] == "application/problem+json"
            assert "shard-000, shard-002 of the index did not answer" in refused.json()["detail"]
            assert service.healthz_s() < 3
        resumed = time.monotonic()
        first = load.wait(1, resumed, "whole")[0]
        load.wait(100, resumed, "whole")
    after = [answer for answer in load.since(first.at) if answer.kind != "whole"]
    assert kinds(load) <= {"whole", "partial"}, load.kinds()
    assert len(partial) > 0.9 * WINDOW and len(after) <= 16, "whole again, but for what was on its way"
    print(f"hung shard, one replica: {len(during)} answers, {len(partial)} partial, median "
          f"{percentile(during, 0.5):.2f} s, slowest {percentile(during, 1):.2f} s; whole again "
          f"{first.at - resumed:.2f} s after it went on")  # fmt: skip


def test_parts_are_placed_on_a_logical_gpu(service: Service) -> None:
    """Encoder and two shards, two of each, have a quarter of a GPU; without a real one they compute on the CPU."""
    assert service.ask("gpus") == {"all": 2.0, "free": 0.5}
    with service.load("two", 2) as load:
        load.wait(50)
    assert kinds(load) == {"whole"}, load.kinds()


def test_hung_replicas_are_hedged_and_replaced_where_there_are_second_ones(service: Service) -> None:
    before = {deployment: service.pids("two", deployment) for deployment in ("Shard0", "Encoder")}
    assert {len(pids) for pids in before.values()} == {2}
    with service.load("two") as load:
        calm = load.wait(100)
        with stopped(before["Shard0"][0]) as since, stopped(before["Encoder"][0]):
            load.wait(WINDOW, since)
            removed = max(service.wait_until_ended(pids[0]) for pids in before.values())
            for deployment, pids in before.items():
                service.wait_for_replacement("two", deployment, pids, pids[0])
            recovered = time.monotonic() - since
        during = load.since(since)
        load.wait(50, time.monotonic())
    assert kinds(load) == {"whole"}, load.kinds()
    assert max(answer.took for answer in during) < 12
    print(f"hung shard and encoder, two replicas: {len(during)} answers, all whole, median "
          f"{percentile(during, 0.5):.3f} s (before {percentile(calm, 0.5):.3f} s), slowest "
          f"{percentile(during, 1):.2f} s; processes ended after {removed:.1f} s more, two ready after "
          f"{recovered:.1f} s")  # fmt: skip


def test_no_request_fails_when_replicas_with_second_ones_are_killed(service: Service) -> None:
    before = {deployment: service.pids("two", deployment) for deployment in ("Shard1", "Encoder", "Updater")}
    with service.load("two") as load:
        load.wait(50)
        since = time.monotonic()
        for pids in before.values():
            os.kill(pids[0], signal.SIGKILL)
        load.wait(WINDOW, since)
        for deployment, pids in before.items():
            service.wait_for_replacement("two", deployment, pids, pids[0])
        during = load.since(since)
        print(f"killed shard, encoder and updater: {len(during)} answers, slowest {percentile(during, 1):.2f} s; ready "
              f"again after {time.monotonic() - since:.1f} s")  # fmt: skip
    assert kinds(load) == {"whole"}, load.kinds()


def test_the_client_repeats_what_is_lost_with_a_gateway(service: Service) -> None:
    connect = with_client(service.url, service.local, "two")
    before = service.pids("gateway", "Gateway")
    with Load(connect, len(service.local.queries)) as load:
        load.wait(50)
        since = time.monotonic()
        os.kill(before[0], signal.SIGKILL)
        load.wait(WINDOW, since)
        service.wait_for_replacement("gateway", "Gateway", before, before[0])
        during = load.since(since)
        print(f"killed gateway: {len(during)} answers, slowest {percentile(during, 1):.2f} s; ready again after "
              f"{time.monotonic() - since:.1f} s")  # fmt: skip
    assert kinds(load) == {"whole"}, load.kinds()


def test_no_translation_fails_when_one_of_two_translators_is_killed(
    service: Service, translator: Path, continuous_corpus: Path
) -> None:
    from signatlas.models.translator import recordings

    corpus, model = Corpus.open(continuous_corpus), Translator.from_pretrained(translator)
    ids = [clip.id for clip in corpus][:6]
    clips = [recordings.read_clip(id, corpus, translator, model) for id in ids]
    expected = [model.translate([(c.x, c.mask)], beams=2, best=1, max_new_tokens=4) for c in clips]
    before = service.pids("translator", "Translator")
    killed = threading.Event()

    def translate(number: int) -> tuple[int, str, float]:
        if number == 50 and not killed.is_set():
            killed.set()
            os.kill(before[0], signal.SIGKILL)
        started = time.monotonic()
        body = {"queries": {"clip": ids[number % 6]}, "num_beams": 2, "max_new_tokens": 4}
        answer = client.post("/v1/translate", json=body)
        right = answer.status_code == 200 and answer.json()["results"][0]["texts"] == expected[number % 6]
        return answer.status_code, "" if right else answer.text, time.monotonic() - started

    with httpx.Client(base_url=service.url, timeout=60) as client, ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        answers = list(pool.map(translate, range(WINDOW + 50)))
    assert [answer for answer in answers if answer[:2] != (200, "")] == []
    service.wait_for_replacement("translator", "Translator", before, before[0])
    print(f"killed translator: {len(answers)} answers, slowest {max(a[2] for a in answers):.2f} s; two again after "
          f"{time.monotonic() - started:.1f} s")  # fmt: skip


def test_a_full_queue_is_shed_with_problem_documents(service: Service) -> None:
    (pid,) = service.pids("one", "Shard1")
    with stopped(pid), service.load("one", 120, deadline_s=4) as load:
        load.wait(WINDOW)
        healthz = service.healthz_s()
    shed = [answer for answer in load.answers if answer.status == 503]
    # 504: a request whose turn came at the very end of its deadline.
    assert {answer.status for answer in load.answers} <= {200, 503, 504}, load.kinds()
    assert all(a.kind.startswith("503 application/problem+json Retry-After") for a in shed), load.kinds()
    assert all("application/problem+json" in a.kind for a in load.answers if a.status != 200), load.kinds()
    assert {answer.kind for answer in load.answers if answer.status == 200} <= {"partial", "whole"}, load.kinds()
    assert len(shed) > 50 and healthz < 3
    with service.load("one") as load:
        first = load.wait(1, kind="whole")[0]
        load.wait(50, first.at, "whole")
    print(f"full queue: {len(shed)} shed in {percentile(shed, 0.5):.2f} s (median), /healthz {healthz:.2f} s")


def raw(service: Service, head: str, body: bytes) -> socket.socket:
    """Open a connection, and send the head of a request and some of its body."""
    host, port = service.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(f"{head}\r\nHost: {host}\r\n".encode() + body)
    return connection


JSON_HEAD = "POST /v1/search HTTP/1.1"
LONG = b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n" + b'{"queries": ['
UPLOAD_HEAD = "POST /v1/search/video HTTP/1.1"
UPLOAD = (
    b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 900000\r\n\r\n"
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="q.pose"\r\n\r\n' + bytes(40_000)
)


def measure(service: Service, count: int = 150) -> float:
    """Return the median latency of ``count`` searches over two connections, all of which must be right."""
    with service.load("two", 2) as load:
        load.wait(count)
    assert kinds(load) == {"whole"}, load.kinds()
    return percentile(load.answers, 0.5)


def test_clients_that_are_slow_or_leave_do_not_disturb_others(service: Service) -> None:
    usual, before = measure(service), service.gateway_bytes()

    # 300 unfinished bodies: as many as fit into the limits, all of which end by a 408.
    opened = time.monotonic()
    unfinished = [raw(service, JSON_HEAD, LONG) for _ in range(300)]
    assert service.healthz_s() < 3
    during = measure(service, 40)
    held = time.monotonic() - opened
    statuses = [connection.recv(4096).split(b"\r\n", 1)[0] for connection in unfinished]
    assert set(statuses) == {b"HTTP/1.1 408 Request Timeout"}, set(statuses)
    for connection in unfinished:
        connection.close()

    # Clients that leave before the answer, and uploads that are cut off, while others search.
    body = json.dumps({"index": "two", "queries": service.local.queries[:8]}).encode()
    whole = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with service.load("two", 4) as load:
        for _ in range(100):
            raw(service, JSON_HEAD, whole).close()
            raw(service, UPLOAD_HEAD, UPLOAD).close()
        load.wait(100)
    assert kinds(load) == {"whole"}, load.kinds()
    left = percentile(load.answers, 0.5)

    # A slow client: less than a byte in each time-out ends; more than that is served.
    slow = raw(service, JSON_HEAD, whole[:200])
    for start in range(200, len(whole), max(1, len(whole) // 10)):
        time.sleep(0.1)
        slow.sendall(whole[start : start + max(1, len(whole) // 10)])
    assert slow.recv(100).startswith(b"HTTP/1.1 200 OK")
    slow.close()
    after = measure(service)
    grown = service.gateway_bytes() - before
    print(f"searches take {1e3 * usual:.0f} ms (median); beside 300 unfinished bodies, held for {held:.1f} s, "
          f"{1e3 * during:.0f} ms; while 200 clients leave {1e3 * left:.0f} ms; after that {1e3 * after:.0f} ms; "
          f"gateway memory {grown / 2**20:+.0f} MiB")  # fmt: skip
    assert after < 4 * usual + 0.2 and grown < 100 << 20


def test_large_nested_bodies_are_refused_without_blocking(service: Service) -> None:
    usual, before = measure(service), service.gateway_bytes()
    nested = b'{"queries": [{"poses": ' + b"[" * ((8 << 20) - 100) + b"]" * ((8 << 20) - 100) + b"}]}"
    many = b'{"queries": [{"poses": [' + b"[]," * ((16 << 20) // 3 - 100) + b"[]]}]}"

    def send(content: bytes) -> tuple[int, str, float]:
        started = time.monotonic()
        headers = {"content-type": "application/json"}
        answer = httpx.post(f"{service.url}/v1/search", content=content, headers=headers, timeout=60)
        return answer.status_code, answer.headers["content-type"], time.monotonic() - started

    with ThreadPoolExecutor(8) as pool, service.load("two", 2) as load:
        large = [pool.submit(send, content) for content in (nested, many) * 4]
        healthz = []
        while not all(future.done() for future in large):
            healthz.append(service.healthz_s())
            time.sleep(0.05)
        load.wait(20)
    answers = [future.result() for future in large]
    assert {answer[1] for answer in answers} == {"application/problem+json"}
    assert {answer[0] for answer in answers} <= {400, 413, 422, 503}, answers
    assert kinds(load) == {"whole"}, load.kinds()
    measure(service)
    grown = service.gateway_bytes() - before
    print(f"8 x 16 MiB of nested lists: refused in {max(a[2] for a in answers):.1f} s; searches meanwhile "
          f"{1e3 * percentile(load.answers, 0.5):.0f} ms (median; usually {1e3 * usual:.0f}), slowest "
          f"{percentile(load.answers, 1):.2f} s; /healthz {max(healthz):.2f} s; gateway memory "
          f"{grown / 2**20:+.0f} MiB")  # fmt: skip
    assert max(healthz) < 5 and percentile(load.answers, 1) < 10
    assert grown < 150 << 20


@pytest.mark.fault
def test_the_old_version_goes_on_while_the_index_folder_is_damaged(
    service: Service, root: Path, tmp_path: Path
) -> None:
    current, away = root / "CURRENT", root.parent / "away"

    def message(text: str) -> float:
        return service.wait_until(lambda: all(text in m and (m or not text) for _, m in service.ask("news").values()))

    with service.load("two", 4) as load:
        load.wait(20)
        for damage, repair, expected in (
            (lambda: current.write_bytes(b"v\xff\n"), current.unlink, "CURRENT cannot be read: 'utf-8' codec"),
            (current.mkdir, current.rmdir, "CURRENT is missing"),
            (lambda: current.symlink_to(tmp_path / "none"), current.unlink, "CURRENT is missing"),
            (lambda: root.rename(away), lambda: away.rename(root), "no index at"),
        ):
            current.unlink()
            damage()
            message("still serving version v1: ")
            seconds = message(expected)
            load.wait(50, time.monotonic())
            repair()
            current.write_text("v1\n")
            service.wait_until(lambda: all(m == "" for _, m in service.ask("news").values()))
            print(f"damaged index folder: '... {expected}' after {seconds:.1f} s")
        index_version.activate(root, "v2")
        since = time.monotonic()
        service.wait_until(lambda: {a.version for a in load.since(time.monotonic() - 0.5)} == {"v2"})
        service.wait_until(service.ready)
        seconds = time.monotonic() - since
        load.wait(WINDOW, since)
    assert kinds(load) == {"whole"}, load.kinds()
    assert {answer.version for answer in load.answers} == {"v1", "v2"}
    print(f"version v2 live in every replica after {seconds:.1f} s")


def test_a_killed_node_takes_no_answer_with_it(service: Service) -> None:
    connect = with_client(service.url, service.local, "two")
    with Load(connect, len(service.local.queries)) as load:
        load.wait(50)
        since = time.monotonic()
        service.ask("remove node")
        load.wait(WINDOW, since)
        lost = load.since(since)
        print(
            f"killed node: {len(lost)} answers in {time.monotonic() - since:.1f} s, slowest {percentile(lost, 1):.2f} s"
        )
        service.ask("add node")
        since = time.monotonic()
        service.wait_until(lambda: all(len(service.pids("two", d)) == 2 for d in ("Shard0", "Shard1", "Encoder")), 200)
        service.wait_until(service.ready)
        load.wait(50, time.monotonic())
        print(f"two replicas of everything {time.monotonic() - since:.1f} s after a new node")
    assert kinds(load) == {"whole"}, load.kinds()
