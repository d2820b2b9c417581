"""Server-sent events in both clients and in the commands, from a real server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import Response, StreamingResponse

from cli.main import main
from serve import schemas
from signatlas.client import AsyncClient, Client, Progress, ServiceError, Token, TranslateAnswer

from .conftest import Server, problem, search_answer

TRANSLATION = {
    "results": [{"texts": ["Heute regnet es."], "notes": []}],
    "model": "m",
    "language": "de",
    "weights": "0",
}
EXTRACT = 'event: progress\ndata: {"stage": "extract", "frames": 3, "of": 9, "newer": 1}\n\n'
TOKENS = (
    'event: token\ndata: {"text": "Heute"}\n\n: still working\n\nevent: token\r\ndata: {"text": " regnet es."}\r\n\r\n'
)
NEWER = "event: newer\ndata: {}\n\n"


def events(*texts: str, hang_s: float = 0.0) -> Response:
    """Return a stream of events in pieces of five bytes, which then hangs or ends."""

    async def pieces() -> AsyncIterator[bytes]:
        content = "".join(texts).encode()
        for start in range(0, len(content), 5):
            yield content[start : start + 5]
        await asyncio.sleep(hang_s)

    return StreamingResponse(pieces(), media_type="text/event-stream")


def result(answer: Any) -> str:
    return f"event: result\ndata: {json.dumps(answer)}\n\n"


def stream(server: Server, blocking: bool, *arguments: Any, **options: Any) -> list[Any]:
    if blocking:
        with Client(server.url) as client:
            return list(client.stream_translation(*arguments, **options))

    async def main() -> list[Any]:
        async with AsyncClient(server.url) as client:
            return [part async for part in client.stream_translation(*arguments, **options)]

    return asyncio.run(main())


@pytest.fixture
def video(tmp_path: Path) -> Path:
    (tmp_path / "v.mp4").write_bytes(b"a video")
    return tmp_path / "v.mp4"


@pytest.mark.parametrize("blocking", [True, False])
def test_progress_tokens_and_the_answer_come_in_order(server: Server, video: Path, blocking: bool) -> None:
    server.faults = [problem(503, "wait", {"Retry-After": "0"}), events(EXTRACT, NEWER, TOKENS, result(TRANSLATION))]
    parts = stream(server, blocking, video, max_new_tokens=7)
    assert parts[:3] == [Progress(stage="extract", frames=3, of=9), Token(text="Heute"), Token(text=" regnet es.")]
    assert isinstance(parts[3], TranslateAnswer) and parts[3].result.texts == ["Heute regnet es."] and len(parts) == 4
    first, second = server.received  # what the service shed was sent again
    assert first.path == second.path == "/v1/translate/video"
    assert first.headers["accept"].startswith("text/event-stream")
    assert b'name="num_beams"\r\n\r\n1\r\n' in second.body and b"a video" in second.body


@pytest.mark.parametrize("blocking", [True, False])
def test_the_problem_at_the_end_is_raised_and_nothing_is_repeated(server: Server, video: Path, blocking: bool) -> None:
    document = json.dumps({"title": "Gone", "status": 503, "detail": "the extractor was ended"})
    for last, message in (
        (f"event: problem\ndata: {document}\n\n", "answered 503: the extractor was ended"),
        ("", "ended its answer before the last event"),
        ('event: token\ndata: {"txt": 1}\n\n', "it sent another event than expected"),
    ):
        server.received.clear()
        server.faults = [events(EXTRACT, last)]
        with pytest.raises(ServiceError, match=message):
            stream(server, blocking, video)
        assert len(server.received) == 1


@pytest.mark.parametrize("blocking", [True, False])
def test_a_stream_that_hangs_ends_with_the_deadline(server: Server, video: Path, blocking: bool) -> None:
    server.faults = [events(EXTRACT, hang_s=3)]
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"did not answer within 0\.5 s|ended its answer"):
        stream(server, blocking, video, deadline_s=0.5)
    assert time.monotonic() - started < 2.5


def test_progress_of_a_search_is_passed_on_and_a_service_without_events_is_understood(
    server: Server, video: Path
) -> None:
    answer = search_answer(server, [schemas.ClipQuery(clip="x")], schemas.SearchOptions(k=2))
    seen: list[Progress] = []
    with Client(server.url) as client:
        server.faults = [events(EXTRACT, result(answer))]
        assert [hit.id for hit in client.search_video(video, k=2, progress=seen.append).hits] == ["x", "x"]
        assert [str(progress) for progress in seen] == ["detecting poses: 3 of 9 frames"]
        server.faults = [Response(json.dumps(answer), media_type="application/json")]
        assert len(client.search_video(video, progress=seen.append).hits) == 2 and len(seen) == 1
        server.faults = [Response(json.dumps(answer), media_type="application/json")]
        assert len(client.search_video(video).hits) == 2
        assert server.received[-1].headers["accept"] == "application/json"


def test_commands_send_videos(server: Server, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        return int(exit_.value.code or 0), *capsys.readouterr()

    server.faults = [events(EXTRACT, result(TRANSLATION))]
    code, out, err = run("translate", video, "--url", server.url, "--n-best", 2)
    assert (code, out) == (0, "Heute regnet es.\n"), err
    assert b'name="n_best"\r\n\r\n2\r\n' in server.received[-1].body
    answer = search_answer(server, [schemas.ClipQuery(clip="x")], schemas.SearchOptions(k=2))
    server.faults = [events(EXTRACT, result(answer))]
    code, out, err = run("search", "--url", server.url, "--video", video, "--json")
    assert code == 0 and [hit["id"] for hit in json.loads(out)["hits"]] == ["x", "x"], err
    server.faults = [problem(415, "this service takes no video")]
    code, _, err = run("search", "--url", server.url, "--video", video)
    assert code == 2 and "this service takes no video" in err and err.count("\n") == 1
    for arguments, message in (
        (["--video", video, "--language", "de"], "--language is not for a video at a service"),
        (["--video", video, "--clip", "a"], "give one query"),
        (["--video", video.with_name("none.mp4")], "cannot be read: No such file"),
    ):
        code, _, err = run("search", "--url", server.url, *arguments)
        assert code == 2 and message in err
