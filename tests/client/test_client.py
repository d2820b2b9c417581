"""Both clients against a real server that answers by the schemas, refuses, breaks connections, and is slow."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from signatlas import client as package
from signatlas.client import (
    AsyncClient,
    Client,
    ClipQuery,
    PosesQuery,
    QueryProblem,
    QueryResult,
    ServiceError,
    TextQuery,
    VectorQuery,
)
from signatlas.errors import PoseError, UserError
from signatlas.pose.serialization import from_json, write_pose

from .conftest import ID, POSES, Front, Server, problem, slow, trickle

KEY = "sk-very-secret-1234567890"
Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Call a method of a new client, blocking or with asyncio, and return or raise what it does."""

    def blocking(url: str, method: str, *arguments: Any, settings: dict[str, Any] | None = None, **options: Any) -> Any:
        with Client(url, **(settings or {})) as client:
            return getattr(client, method)(*arguments, **options)

    def with_asyncio(
        url: str, method: str, *arguments: Any, settings: dict[str, Any] | None = None, **options: Any
    ) -> Any:
        async def call() -> Any:
            async with AsyncClient(url, **(settings or {})) as client:
                return await getattr(client, method)(*arguments, **options)

        return asyncio.run(call())

    return blocking if request.param == "sync" else with_asyncio


# --- requests and answers


def test_each_kind_of_query_reaches_the_search(ask: Ask, server: Server, tmp_path: Path) -> None:
    assert ask(server.url, "search_text", "guten tag", "de", k=2).hits[0].id == "guten tag"
    assert ask(server.url, "search_clip", "a/b", mirror="none", index="signs").index == "signs"
    assert ask(server.url, "search_vector", np.ones(5, np.float32), min_score=np.float32(0.5)).hits[0].id == "vector5"
    answer = ask(server.url, "search_poses", POSES, width=640, height=480, source="web", group_by="gloss", k=1)
    assert answer.hits[0].id == "poses(4, 75, 3)" and len(answer.hits) == 1
    write_pose(tmp_path / "q.pose", POSES, 25, 640, 480)
    from_file = ask(
        server.url, "search_pose_file", tmp_path / "q.pose", k=2, rerank=False, index="signs", min_score=None
    )
    assert from_file.hits[0].id == "poses(4, 75, 3)" and len(from_file.hits) == 2 and from_file.index == "signs"

    text, clip, vector, poses = (request.json for request in server.received[:4])
    assert text == {"queries": [{"text": "guten tag", "language": "de"}], "k": 2}
    assert clip == {"queries": [{"clip": "a/b"}], "mirror": "none", "index": "signs"}
    assert vector == {"queries": [{"vector": [1.0] * 5}], "min_score": 0.5}
    np.testing.assert_array_equal(from_json(poses["queries"][0].pop("poses")), POSES)
    assert poses == {"queries": [{"width": 640, "height": 480, "source": "web"}], "group_by": "gloss", "k": 1}


def test_an_answer_with_fields_of_a_newer_service_is_read(ask: Ask, server: Server) -> None:
    server.kind = "clips"
    answer = ask(server.url, "search_text", "morgen")
    assert (answer.kind, answer.version, answer.synthetic, answer.partial) == ("clips", "v7", True, False)
    assert (answer.shards.answered, answer.shards.of, answer.shards.missing) == (2, 2, [])
    result = answer.result
    assert (result.verdict, result.tokens, result.scored, result.notes) == ("probable", 3, 5, ["note on morgen"])
    first = result.hits[0]
    assert (first.rank, first.score, first.confidence, first.texts[0].text) == (1, 0.8, "probable", "Wort")


def test_the_error_of_one_query_leaves_the_others(ask: Ask, server: Server) -> None:
    queries = [TextQuery("one"), TextQuery("bad"), ClipQuery("c"), VectorQuery([1.0, 2.0])]
    answer = ask(server.url, "search", queries)
    kinds = [type(result) for result in answer.results]
    assert kinds == [QueryResult, QueryProblem, QueryResult, QueryResult]
    assert answer.results[1].problem.detail == "no usable query"
    with pytest.raises(ValueError, match="4 results"):
        _ = answer.hits
    with pytest.raises(ServiceError, match="answered 422: no usable query") as error:
        ask(server.url, "search", TextQuery("bad"))
    assert error.value.status == 422 and error.value.detail == "no usable query"
    assert len(server.received) == 2  # what is wrong stays wrong


def test_translations_embeddings_indexes_models_and_signs(ask: Ask, server: Server, tmp_path: Path) -> None:
    answer = ask(server.url, "translate", [ClipQuery("a"), PosesQuery(POSES)], n_best=2, num_beams=4, model="de")
    assert [result.texts for result in answer.results] == [["Satz 0", "Satz 1"]] * 2
    assert (answer.model, answer.language) == ("de", "de")
    assert ask(server.url, "translate", ClipQuery("a")).result.notes == ["a was cut"]
    (note,) = ask(server.url, "translate", PosesQuery(POSES, 640, 480, "web", fps=25)).result.notes
    assert note == "(4, 75, 3) at 25.0 of 640x480 from web was cut"
    write_pose(tmp_path / "q.pose", POSES, 25, 640, 480)
    from_file = ask(server.url, "translate_pose_file", tmp_path / "q.pose", n_best=2, length_penalty=0.5)
    assert from_file.result.texts == ["4 frames, 0", "4 frames, 1"]

    embedding = ask(server.url, "embed", TextQuery("x"), tokens=True).result
    assert embedding.vector.dtype == embedding.tokens.dtype == np.float32
    np.testing.assert_array_equal(embedding.vector, np.float32([0.6, 0.8]))
    assert embedding.tokens.shape == (3, 2)
    assert ask(server.url, "embed", [TextQuery("x"), TextQuery("y")]).results[1].tokens is None

    indexes = ask(server.url, "indexes")
    assert indexes.signatlas == "9.9" and indexes.limits["k"] == 1000
    assert indexes.indexes[0].count == 120 and indexes.indexes[0].confidence == {"probable": 0.8}
    assert indexes.indexes[0].filters == {"source": ["web"], "hands": [1, 2]} and indexes.indexes[0].ef == 64
    assert ask(server.url, "models").models[0].input == "poses"
    assert ask(server.url, "sign", ID).id == ID
    poses = ask(server.url, "poses", ID)
    assert poses.dtype == np.float32
    np.testing.assert_array_equal(poses, POSES)
    with pytest.raises(ServiceError, match="answered 404: no sign") as error:
        ask(server.url, "sign", ID, index="gone")
    assert error.value.request_id == "r-1"


def test_a_path_in_front_of_the_service_is_kept(ask: Ask, server: Server) -> None:
    with pytest.raises(ServiceError, match="404"):
        ask(f"{server.url}/signs/", "models")
    assert server.received[0].path == "/signs/v1/models"


def test_ready_is_an_answer_without_a_retry(ask: Ask, server: Server) -> None:
    assert ask(server.url, "ready") is True
    server.missing = ["Shard1"]
    assert ask(server.url, "ready") is False
    assert len(server.received) == 2
    with pytest.raises(ServiceError, match="no service at"):
        ask("http://127.0.0.1:9", "ready")


# --- retries


def test_a_request_is_repeated_after_the_time_that_the_service_names(ask: Ask, server: Server) -> None:
    server.faults = [problem(503, "busy", {"Retry-After": "1"}), problem(503, "busy", {"Retry-After": "0.5"})]
    assert ask(server.url, "search_text", "x").hits
    assert len(server.received) == 3
    assert server.pauses[0] >= 1.0 and server.pauses[1] >= 0.5


def test_the_time_may_be_a_date(ask: Ask, server: Server) -> None:
    server.faults = [problem(429, "slow down", {"Retry-After": formatdate(time.time() + 2, usegmt=True)})]
    assert ask(server.url, "search_text", "x").hits
    assert server.pauses[0] >= 0.9  # a date has whole seconds


@pytest.mark.parametrize(
    "fault",
    [
        problem(429, "too many requests"),
        PlainTextResponse("Internal Server Error", 500),
        HTMLResponse("<h1>Bad Gateway</h1>", 502),
        PlainTextResponse("no", 503, {"Retry-After": "soon"}),
        Response(b'{"results": [', 200, {"Content-Length": "100", "Content-Type": "application/json"}),
    ],
    ids=["429", "500", "502", "503", "cut off"],
)
def test_what_passes_is_repeated(ask: Ask, server: Server, fault: Response) -> None:
    server.faults = [fault]
    assert ask(server.url, "search_text", "x").hits
    assert len(server.received) == 2 and server.pauses[0] >= 0.1
    assert server.received[0].body == server.received[1].body


@pytest.mark.parametrize("broken", [[None, None], [b""], [b"HTTP/1.1 200 OK\r\nContent-Le"], [b"\0\1\2\n"]],
                         ids=["reset twice", "closed", "cut off", "garbage"])  # fmt: skip
def test_a_broken_connection_is_repeated(ask: Ask, front: Front, broken: list[bytes | None]) -> None:
    front.broken = list(broken)
    assert ask(front.url, "search_text", "x").hits
    assert front.connections == len(broken) + 1


def test_a_connection_that_the_server_closed_between_two_calls_is_repeated(front: Front) -> None:
    with Client(front.url) as client:
        front.broken = [
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n"
            b'{"signatlas":"1","models":[]}'
        ]
        assert client.models().models == []
        assert client.models().models[0].name == "only"


def test_pauses_grow_and_end(ask: Ask, server: Server) -> None:
    server.faults = [problem(503, "the queue is full")] * 9
    with pytest.raises(ServiceError) as error:
        ask(server.url, "search_text", "x", settings={"retries": 3})
    assert str(error.value) == f"{server.url} answered 503: the queue is full (after 4 attempts)"
    assert len(server.received) == 4
    for pause, longest in zip(server.pauses, (0.2, 0.4, 0.8), strict=True):
        assert longest / 2 <= pause < longest + 2


@pytest.mark.parametrize(
    "fault",
    [problem(500, "internal error"), problem(401, "the API key is missing"), problem(413, "too large"),
     PlainTextResponse("timed out", 408), HTMLResponse("<p>no</p>", 504)],
    ids=lambda response: str(response.status_code),
)  # fmt: skip
def test_what_does_not_pass_is_not_repeated(ask: Ask, server: Server, fault: Response) -> None:
    server.faults = [fault]
    with pytest.raises(ServiceError, match=f"answered {fault.status_code}"):
        ask(server.url, "search_text", "x")
    assert len(server.received) == 1


# --- time limits


def elapsed(call: Callable[[], Any]) -> tuple[float, ServiceError]:
    start = time.monotonic()
    with pytest.raises(ServiceError) as error:
        call()
    return time.monotonic() - start, error.value


@pytest.mark.parametrize("fault", [slow(6), lambda: trickle(0.05)], ids=["silent", "trickling"])
def test_no_call_takes_longer_than_its_limit(ask: Ask, server: Server, fault: Any) -> None:
    server.faults = [fault]
    seconds, error = elapsed(lambda: ask(server.url, "search_text", "x", settings={"timeout_s": 0.5}))
    assert 0.5 <= seconds < 4
    assert "did not answer within 0.5 s" in str(error) and error.status is None


def test_a_retry_that_would_be_too_late_is_not_waited_for(ask: Ask, server: Server) -> None:
    server.faults = [problem(503, "busy", {"Retry-After": "30"})]
    seconds, error = elapsed(lambda: ask(server.url, "search_text", "x", settings={"timeout_s": 20}))
    assert seconds < 10 and error.status == 503


def test_the_service_is_told_the_time_that_is_left(ask: Ask, server: Server) -> None:
    server.faults = [problem(503, "busy", {"Retry-After": "0.5"})]
    assert ask(server.url, "search_text", "x", deadline_s=20).hits
    first, second = (request.json["deadline_s"] for request in server.received)
    assert 10 < first <= 19.8 and 10 < second < first - 0.5
    seconds, error = elapsed(lambda: _late(ask, server, deadline_s=0.5))
    assert seconds < 4 and "within 0.5 s" in str(error)
    ask(server.url, "search_text", "x", settings={"timeout_s": 20}, deadline_s=60)
    assert server.received[-1].json["deadline_s"] < 20
    ask(server.url, "search_text", "x")
    assert "deadline_s" not in server.received[-1].json


def _late(ask: Ask, server: Server, **options: Any) -> Any:
    server.faults = [slow(6)]
    return ask(server.url, "search_text", "x", **options)


def test_a_cancelled_call_ends_at_once(server: Server) -> None:
    async def call() -> None:
        async with AsyncClient(server.url) as client:
            server.faults = [slow(6)]
            task = asyncio.create_task(client.models())
            while not server.received:
                await asyncio.sleep(0.01)
            task.cancel()
            start = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - start < 4

    asyncio.run(call())


def test_one_client_answers_many_calls_at_once(server: Server) -> None:
    async def calls() -> list[str]:
        async with AsyncClient(server.url) as client:
            answers = await asyncio.gather(*(client.search_clip(f"clip {n}") for n in range(100)))
            return [answer.hits[0].id for answer in answers]

    assert asyncio.run(calls()) == [f"clip {n}" for n in range(100)]


# --- errors and keys


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (HTMLResponse("<html>"), "its answer is not JSON"),
        (Response(b"[" * 100_000, media_type="application/json"), "its answer is not JSON"),
        (Response(b"\xff\xfe", media_type="application/json"), "its answer is not JSON"),
        (JSONResponse({"hello": 1}), "its answer to /v1/search has another form (results: Field required)"),
        (JSONResponse([1]), "has another form ("),
        (PlainTextResponse("one\n\x1b[31mtwo\0", 404), "answered 404: one [31mtwo"),
        (HTMLResponse("<h1>no</h1>", 403), "403: an answer of type 'text/html; charset=utf-8' without a reason"),
        (JSONResponse({"title": "Only a title"}, 400), "answered 400: Only a title"),
        (JSONResponse("text", 400), "answered 400: an answer of type"),
        (PlainTextResponse("x" * 9999, 400), "x" * 500 + "..."),
        (RedirectResponse("https://elsewhere/v1/search", 308), "redirected to https://elsewhere/v1/search"),
    ],
)  # fmt: skip
def test_strange_answers_are_one_line(ask: Ask, server: Server, fault: Response, message: str) -> None:
    server.faults = [fault]
    with pytest.raises(ServiceError) as error:
        ask(server.url, "search_text", "x")
    assert message in str(error.value)
    assert str(error.value).isprintable() and len(str(error.value)) < 700
    assert len(server.received) == 1


@pytest.mark.parametrize("poses", [[[1]], [[[1, 2, 3]] * 74], "x", [[["a", 1, 1]] * 75], {"a": 1}, None])
def test_an_answer_that_is_no_poses_is_one_line(ask: Ask, server: Server, poses: Any) -> None:
    server.faults = [JSONResponse({"id": ID, "poses": poses})]
    with pytest.raises(ServiceError, match=r"has another form \(poses: ") as error:
        ask(server.url, "poses", ID)
    assert str(error.value).isprintable()


def test_a_service_that_only_breaks_connections_is_one_line(ask: Ask, front: Front) -> None:
    front.broken = [b"SSH-2.0-server\r\n"] * 9
    with pytest.raises(ServiceError, match="no complete answer from http://127") as error:
        ask(front.url, "models", settings={"retries": 1})
    assert str(error.value).isprintable() and "(after 2 attempts)" in str(error.value)


def test_problem_documents_name_the_wrong_fields(ask: Ask, server: Server) -> None:
    server.faults = [problem(422, "k: too large", errors=[{"field": "k", "message": "too large"}])]
    with pytest.raises(ServiceError) as error:
        ask(server.url, "search_text", "x", k=10**9)
    assert error.value.errors == [{"field": "k", "message": "too large"}]


def test_the_key_is_sent_and_never_shown(
    ask: Ask, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ask(server.url, "models", settings={"api_key": f" {KEY}\n"})
    monkeypatch.setenv("SIGNATLAS_API_KEY", KEY)
    ask(server.url, "models")
    assert [request.headers["authorization"] for request in server.received] == [f"Bearer {KEY}"] * 2
    ask(server.url, "models", settings={"api_key": ""})
    assert "authorization" not in server.received[2].headers

    server.faults = [problem(401, f"the key {KEY} is unknown"), PlainTextResponse("x" * 490 + KEY, 401)]
    server.faults += [problem(401, "wrong", errors=[{"message": KEY}]), JSONResponse({KEY: 1})]
    for _ in range(4):
        with pytest.raises(ServiceError) as error:
            ask(server.url, "models")
        assert KEY[:10] not in f"{error.value!r} {vars(error.value)}"
    for client in (Client(server.url), AsyncClient(server.url)):
        assert repr(client) == f"{type(client).__name__}('{server.url}')"
        assert KEY not in repr(vars(client))
    assert caplog.records and KEY not in caplog.text
    server.faults = [RedirectResponse(f"http://elsewhere/?key={KEY}")]
    with pytest.raises(ServiceError, match=r"redirected to http://elsewhere/\?key=\*\*\*:"):
        ask(server.url, "models")


@pytest.mark.parametrize(
    ("url", "settings", "message"),
    [
        ("127.0.0.1:8000", {}, "'127.0.0.1:8000' is not the address of a service"),
        ("ftp://host", {}, "not the address"),
        ("http://", {}, "not the address"),
        ("http://[::1", {}, "not the address"),
        ("http://host:99999", {}, "not the address"),
        ("http://user:sesame@host", {}, "without user, query or fragment"),
        ("x://user:sesame@host", {}, "not the address"),
        ("http://host?key=sesame", {}, "without user, query or fragment"),
        ("http://host", {"api_key": "sesame\nX-Other: 1"}, "the API key contains spaces or"),
        ("http://host", {"api_key": "sesamé"}, "the API key contains"),
        ("http://host", {"timeout_s": 0}, "timeout_s is 0"),
        ("http://host", {"timeout_s": float("nan")}, "timeout_s is nan"),
        ("http://host", {"retries": -1}, "retries is -1"),
    ],
)
def test_wrong_settings_are_one_line(url: str, settings: dict[str, Any], message: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(UserError) as error:
            kind(url, **settings)
        assert message in str(error.value) and "sesam" not in str(error.value)


def test_wrong_requests_are_refused_before_they_are_sent(ask: Ask, server: Server, tmp_path: Path) -> None:
    url = server.url
    with pytest.raises(PoseError, match="expected \\[frames, 75, 3\\]"):
        ask(url, "search_poses", np.zeros((4, 543, 3)))
    with pytest.raises(PoseError, match="infinite"):
        ask(url, "search_poses", np.full((2, 75, 3), np.inf))
    with pytest.raises(UserError, match="width and height go together"):
        ask(url, "search_poses", POSES, width=640)
    with pytest.raises(UserError, match="finite numbers"):
        ask(url, "search_vector", [1.0, float("nan")])
    with pytest.raises(UserError, match="not finite"):
        ask(url, "search_text", "x", min_score=float("nan"))
    with pytest.raises(UserError, match="at least one query"):
        ask(url, "search", [])
    with pytest.raises(UserError, match="deadline_s is 0"):
        ask(url, "search_text", "x", deadline_s=0)
    with pytest.raises(UserError, match="surrogate"):
        ask(url, "sign", "\ud800")
    with pytest.raises(PoseError, match=r"is not a \.pose file"):
        ask(url, "search_pose_file", tmp_path / "x.mp4")
    with pytest.raises(PoseError, match="cannot be read"):
        ask(url, "search_pose_file", tmp_path / "x.pose")
    with pytest.raises(TypeError, match="unexpected option 'top_k'; there are index, k, "):
        ask(url, "search_text", "x", top_k=3)
    with pytest.raises(TypeError, match="expected a TextQuery"):
        ask(url, "search", "x")
    assert server.received == []


def test_both_clients_have_the_same_methods() -> None:
    blocking, with_asyncio = (
        {name for name in vars(kind) if not name.startswith("_")} for kind in (Client, AsyncClient)
    )
    assert blocking == with_asyncio


WITHOUT_HTTPX = """
import sys
sys.modules["httpx"] = None
import signatlas.client as client
assert all(hasattr(client, name) for name in client.__all__)
heavy = sorted({"torch", "ray", "fastapi", "faiss"} & set(sys.modules))
assert heavy == [], heavy
for kind in (client.Client, client.AsyncClient):
    try:
        kind("http://127.0.0.1:8000")
    except client.client.UserError as error:
        print(error)
"""


def test_httpx_is_needed_only_for_a_client() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_HTTPX], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a client of a service needs httpx: pip install 'signatlas[client]'"] * 2


def test_every_exported_name_is_there() -> None:
    assert all(getattr(package, name) is not None for name in package.__all__)
