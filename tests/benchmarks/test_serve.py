"""The load benchmark of the service: its client, its peers, and a real run on a tiny index."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.serve import data, load, report, sides
from signatlas.corpus.format import Corpus, clips_to_table
from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval import index_version
from signatlas.retrieval.index_version import CorpusPart

REPOSITORY = Path(__file__).parents[2]
HIT = b'{"id":"w\xc3\xb6rt/1"}'


async def right(_: Request) -> Response:
    return Response(HIT, headers={"Server-Timing": "parse;dur=1.5, shards;dur=4"})


async def chunked(_: Request) -> Response:
    async def parts() -> Any:
        for start in range(0, len(HIT), 4):
            yield HIT[start : start + 4]

    return StreamingResponse(parts())


async def closing(_: Request) -> Response:
    return Response(HIT, headers={"Connection": "close"})


async def failing(_: Request) -> Response:
    return Response(HIT, 503)


async def hanging(_: Request) -> Response:
    await asyncio.sleep(3)
    return Response(HIT)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A uvicorn server with the answers above."""
    endpoints = (right, chunked, closing, failing, hanging)
    app = Starlette(routes=[Route(f"/{e.__name__}", e, methods=["POST"]) for e in endpoints])
    number = sides.free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=number, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield number
    server.should_exit = True
    thread.join()


def measured(port: int, path: str, expected: bytes = "wört/1".encode(), connections: int = 3) -> dict[str, Any]:
    exchange = load.post(path, b'{"queries":[]}', expected)
    return asyncio.run(load.measure(port, [exchange], connections, seconds=0.6, warmup=0.2))


@pytest.mark.parametrize("path", ["/right", "/chunked", "/closing"])
def test_every_right_answer_counts_once_also_in_chunks_and_over_new_connections(port: int, path: str) -> None:
    result = measured(port, path)
    assert result["requests"] > 10 and result["per_s"] == pytest.approx(result["requests"] / 0.6, rel=0.01)
    assert (result["errors"], result["wrong"]) == ({}, 0)
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"] < 800


def test_stage_times_of_the_service_are_averaged(port: int) -> None:
    assert measured(port, "/right")["stages_ms"] == {"parse": 1.5, "shards": 4.0}
    assert measured(port, "/chunked")["stages_ms"] == {}


def test_errors_are_not_requests_and_a_wrong_answer_is_counted(port: int) -> None:
    failed = measured(port, "/failing")
    assert failed["requests"] == 0 and failed["per_s"] == 0 and failed["errors"]["503"] > 10
    assert failed["p50_ms"] is None
    wrong = measured(port, "/right", b"another id")
    assert wrong["wrong"] == wrong["requests"] > 10


def test_a_server_that_never_answers_or_is_not_there_is_an_error(port: int) -> None:
    assert measured(port, "/hanging", connections=2)["errors"] == {"unfinished": 2}
    nobody = measured(sides.free_port(), "/right")
    assert nobody["requests"] == 0 and nobody["errors"]["connection refused"] > 3


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_an_answer_is_complete_with_its_last_byte_only(answer: bytes) -> None:
    assert all(load.parse_answer(answer[:end]) is None for end in range(len(answer)))
    parsed = load.parse_answer(answer)
    assert parsed is not None and (parsed[0], parsed[2]) == (200, b"hello")


def test_only_entries_with_nearly_equal_scores_may_change_places() -> None:
    expected = [(f"id{n}", 1 - n / 10) for n in range(9)] + [("tie1", 0.05), ("tie2", 0.05 - 1e-7), ("late", 0.01)]
    first = [id for id, _ in expected[: data.K]]
    assert data.same_ranking(first, expected)
    assert data.same_ranking([*first[:-1], "tie2"], expected)
    assert not data.same_ranking([first[1], first[0], *first[2:]], expected)
    assert not data.same_ranking([*first[:-1], "late"], expected)
    assert not data.same_ranking(first[:-1], expected)
    assert not data.same_ranking([*first[:-1], first[0]], expected)


def test_the_best_thread_setting_of_each_side_makes_the_ratios() -> None:
    def row(side: str, per_s: float, **more: Any) -> dict[str, Any]:
        about = {"index": "compute", "entries": 10, "dims": 4, "shards": 2, "ingress": "default", "queries": "vector"}
        times = {"p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "stages_ms": {}, "errors": {}, "wrong": 0}
        return {
            **about,
            **times,
            "side": side,
            "threads": 1,
            "connections": 32,
            "per_s": per_s,
            "different": None,
            **more,
        }

    rows = [row("rpc", 10), row("rpc", 20, threads=2), row("ours", 90), row("ours", 60, threads=2),
            row("uvicorn", 180, ingress="none"), row("empty", 300)]  # fmt: skip
    summary = report.summary(rows)
    assert summary["ratios"]["compute/vector/default/32/ours"] == {"rpc": 4.5, "empty": 0.3, "uvicorn": 0.5}
    assert summary["answers_equal"] and summary["failed"] == []
    assert not report.summary([*rows, row("ours", 1, wrong=1)])["answers_equal"]
    assert not report.summary([*rows, row("ours", 1, different="query 0 has other hits")])["answers_equal"]
    lines = {line[0]: line for line in report.tables(rows)[0].rows}
    assert lines["ours, default"][1] == "90" and lines["rpc, default"][4] == "2"


def test_haproxy_has_ports_and_files_of_its_own(tmp_path: Path) -> None:
    environment = sides.Side("ours", "haproxy", 2).environment(tmp_path)
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == environment["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
    own = {key: value for key, value in environment.items() if key.startswith("RAY_SERVE_HAPROXY_")}
    ports = {value for key, value in own.items() if key.endswith("_PORT")}
    assert len(ports) == 2 and not ports & {"9101", "8404"}
    assert all(value.startswith(str(tmp_path)) for key, value in own.items() if not key.endswith("_PORT"))
    default = sides.Side("ours").environment(tmp_path)
    assert not {"RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED"} & (set(default) - set(os.environ))


@pytest.fixture(scope="module")
def tiny_index(tmp_path_factory: pytest.TempPathFactory, small_model: Path, small_corpus: Path) -> Path:
    """120 signs in two shards, embedded by the small model."""
    opened, root = Corpus.open(small_corpus), tmp_path_factory.mktemp("benchmark") / "index"
    part = CorpusPart(name="small", path=str(small_corpus), fingerprint=opened.info.fingerprint, license="Apache-2.0",
                      sign_languages=("gsg",), synthetic=True)  # fmt: skip
    vectors = SignEncoder.from_pretrained(small_model).embed_clips(list(opened))
    rows = index_version.as_rows([clips_to_table(list(opened))])
    index_version.write(root, vectors, rows, model=small_model, corpus=part, shards=2, version="v1")
    index_version.activate(root, "v1")
    return root


def test_the_uvicorn_process_gives_the_answers_of_the_local_search_and_is_stopped(tiny_index: Path) -> None:
    side = sides.Side("uvicorn", pool=True)
    with sides.running(side, tiny_index, data.queries(tiny_index, "vector", 1)[0].body()) as (port, folder):
        assert sides.processes(folder)
        for kind in ("vector", "poses", "clip"):
            for query in data.queries(tiny_index, kind, 10):
                status, body = sides.request(port, query.body())
                assert status == 200 and data.same_ranking(data.hit_ids(json.loads(body)), query.ranked)
        for wrong, expected in (({"queries": [{"vector": [1.0]}]}, 422), ({"queries": [{"clip": "no such"}]}, 404),
                                ({"queries": []}, 422)):  # fmt: skip
            assert sides.request(port, json.dumps(wrong).encode())[0] == expected
    assert not folder.exists() and not sides.processes(folder)


def test_a_side_that_does_not_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(sides.SideError, match=r"exit code 1: .*no index at"), \
            sides.running(sides.Side("uvicorn"), tmp_path / "nowhere", b"{}"):  # fmt: skip
        pass


@pytest.mark.fault
def test_all_sides_run_on_a_tiny_index_and_nothing_stays_behind(
    tiny_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNATLAS_TEST", str(tmp_path))  # inherited by every process of this run
    out = tmp_path / "out.jsonl"
    options = {"work": tmp_path / "work", "index": tiny_index, "indexes": "small", "sides": "faiss,uvicorn,rpc,ours",
               "ingress": "haproxy", "connections": "1,4", "queries": "vector,clip", "seconds": 1, "warmup": 0.5,
               "threads": 1, "out": out}  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.serve", *(f"--{name}={value}" for name, value in options.items())]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["answers_equal"] and result["failed"] == [] and result["errors"] == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert rows[-1] == result
    for side in ("uvicorn", "rpc", "ours"):
        cells = {(row["queries"], row["connections"]): row for row in rows[:-1] if row["side"] == side}
        assert set(cells) == {(kind, n) for kind in ("vector", "clip") for n in (1, 4)}
        assert all(row["requests"] > 0 and row["reference_per_s"] > 0 for row in cells.values())
    assert all({"parse", "shards"} <= set(row["stages_ms"]) for row in rows[:-1] if row["side"] == "ours")
    mark, left = f"SIGNATLAS_TEST={tmp_path}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != os.getpid() and mark in (process / "environ").read_bytes().split(b"\0"):
                left.append((process / "comm").read_text())
        except OSError:  # it has just ended, or belongs to another user
            continue
    assert left == []
