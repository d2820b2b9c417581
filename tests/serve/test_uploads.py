"""Uploaded videos and server-sent events over real connections, with an extractor and a translator in this process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve import errors, events
from serve.admission import RateLimit
from serve.batcher import LocalHandle
from serve.config import ExtractorOptions, Limits, TranslatorApplication
from serve.events import Emit
from serve.extractor import Extractor
from serve.parts import TranslatorClient
from serve.replicas import Deadline
from serve.request_body import BodyReader
from serve.schemas import PosesQuery, TranslateOptions
from serve.translator import Translator
from serve.uploads import Uploads
from serve.video_process import VideoProcess
from signatlas.client.events import Event, EventParser
from signatlas.client.retries import Policy
from signatlas.corpus.format import Corpus
from tests.evaluation.translations.tiny_translator import train
from tests.serve.body_service import empty, running, until

Film = Callable[..., Path]
LIMITS = Limits(frames=60, video_seconds=8, video_pixels=10_000, body_bytes=2 << 20)


@pytest.fixture(scope="module")
def process() -> Iterator[VideoProcess]:
    process = VideoProcess()
    process.start()
    yield process
    process.close()


class Service:
    """A server with the path /video, which answers with the size of the poses, and /translate."""

    def __init__(self, process: VideoProcess | None, translator: Any = None, limits: Limits = LIMITS):
        self.extractor = Extractor(process) if process is not None else None
        handle = LocalHandle(self.extractor) if self.extractor else None
        self.uploads = Uploads(limits, ExtractorOptions(), handle)
        self.bodies, self.rates = BodyReader(limits), RateLimit(100, 100, 4)
        self.client = TranslatorClient(TranslatorApplication(name="tiny", model="tiny"), LocalHandle(translator))
        self.app = FastAPI()
        self.limits = limits
        errors.install(self.app)

        @self.app.post("/video")
        async def video(request: Request, seconds: float = 60.0) -> Response:
            async with AsyncExitStack() as held:
                await held.enter_async_context(self.rates.admit("key"))
                upload = await held.enter_async_context(self.bodies.upload(request))
                self.uploads.check(upload)
                deadline = Deadline(seconds)

                async def work(emit: Emit | None) -> Response:
                    query, stages = await self.uploads.query(upload, deadline, emit)
                    return JSONResponse({"shape": list(query.poses.shape), "stages": list(stages)})

                return await self.answer(request, held, work, deadline)

        @self.app.post("/translate")
        async def translate(request: Request) -> Response:
            body = await request.json()
            options = TranslateOptions.model_validate(body["options"])
            queries = [PosesQuery.model_validate(query) for query in body["queries"]]

            async def work(emit: Emit | None) -> Response:
                return JSONResponse(await self.client.translate(queries, options, limits, Deadline(60), emit))

            async with AsyncExitStack() as held:
                return await self.answer(request, held, work, Deadline(60))

    async def answer(
        self, request: Request, held: AsyncExitStack, work: Callable[[Emit | None], Awaitable[Response]], end: Deadline
    ) -> Response:
        return await events.answer(request, held, work, stream=events.is_wanted(request), seconds=end.left())

    @property
    def is_idle(self) -> bool:
        buckets = self.rates._buckets.values()
        return empty(self.bodies) and not any(bucket.running for bucket in buckets)

    @asynccontextmanager
    async def client_of(self) -> AsyncIterator[httpx.AsyncClient]:
        async with running(self.app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as c:
            yield c
        self.bodies.close()


STREAM = {"Accept": "text/event-stream"}


def parsed(content: bytes) -> list[tuple[str, Any]]:
    """Return names and data of events, read in small pieces."""
    parser = EventParser(Policy("http://x", 1, 0), {})
    found: list[Event] = []
    for start in range(0, len(content), 7):
        found += parser._events(content[start : start + 7])
    return [(event.name, json.loads(event.data)) for event in found]


def upload(path: Path) -> dict[str, Any]:
    return {"file": (path.name, path.read_bytes())}


def test_a_service_without_an_extractor_says_how_to_get_one(film: Film, tmp_path: Path) -> None:
    video = film(tmp_path / "v.mp4", 3)

    async def main() -> None:
        service = Service(None)
        async with service.client_of() as client:
            for headers in ({}, STREAM):
                answer = await client.post("/video", files=upload(video), headers=headers)
                assert answer.status_code == 415 and answer.json()["detail"] == (
                    "'v.mp4' is not a .pose file, and this service takes no video: start it with --video, or with an "
                    "extractor in serve.yaml"
                )
            await until(lambda: service.is_idle)

    asyncio.run(main())


def test_problems_have_the_same_document_as_an_answer_and_as_an_event(
    process: VideoProcess, film: Film, tmp_path: Path
) -> None:
    long, large = film(tmp_path / "long.mp4", 50, fps=5), film(tmp_path / "large.mp4", 3, size=(128, 96))
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    cut = tmp_path / "cut.webm"
    cut.write_bytes(film(tmp_path / "w.webm", 30, codec="libvpx").read_bytes()[:900])
    expected = {
        long: (413, "long.mp4 is 10 s long, more than 8 s"),
        large: (413, "large.mp4 has 128x96 pixels, more than 10,000 per frame"),
        film(tmp_path / "many.mp4", 61): (413, "many.mp4 has 61 frames, more than 60"),
        tmp_path / "text.mp4": (422, "text.mp4 is not a readable video"),
        cut: (422, "cut.webm"),
    }

    async def main() -> None:
        service = Service(process)
        async with service.client_of() as client:
            for path, (status, detail) in expected.items():
                answer = await client.post("/video", files=upload(path))
                assert answer.status_code == answer.json()["status"] == status
                assert answer.headers["content-type"] == errors.MEDIA_TYPE and detail in answer.json()["detail"]
                assert "/dev/fd" not in answer.text
                stream = await client.post("/video", files=upload(path), headers=STREAM)
                assert stream.status_code == 200 and stream.headers["content-type"].startswith("text/event-stream")
                assert stream.headers["x-accel-buffering"] == "no" and "content-length" not in stream.headers
                found = parsed(stream.content)
                assert found[0] == ("progress", {"stage": "extract", "frames": 0, "of": None})
                assert found[-1] == ("problem", answer.json())
                assert [name for name, _ in found[:-1]] == ["progress"] * (len(found) - 1)
            await until(lambda: service.is_idle)

    asyncio.run(main())


def test_a_video_that_takes_too_long_or_whose_client_leaves_is_stopped(
    process: VideoProcess, film: Film, tmp_path: Path
) -> None:
    video, short = film(tmp_path / "v.mp4", 56), film(tmp_path / "short.mp4", 3)

    async def main() -> None:
        service = Service(process)
        assert service.extractor is not None
        await service.extractor.start()
        pid = process.pid
        async with service.client_of() as client:
            answer = await client.post("/video?seconds=0.05", files=upload(video))
            assert answer.status_code == 504 and "deadline" in answer.json()["detail"]
            async with client.stream("POST", "/video", files=upload(video), headers=STREAM) as stream:
                pieces = stream.aiter_bytes()
                text = await anext(pieces)
                while b'"frames":2' not in text and b'"frames":1' not in text:
                    text += await anext(pieces)
                assert not service.is_idle  # the stream holds the share of its key and its body
            await until(lambda: service.is_idle)
            await until(lambda: not service.extractor._turn.locked())  # type: ignore[union-attr]
            # Stopped at its next frame, not killed: the next one finds the child loaded.
            answer = await client.post("/video", files=upload(short))
            assert answer.json()["detail"] == "short.mp4: no hand detected in 3 frames" and process.pid == pid
            assert (await service.extractor.record_autoscaling_stats())["queued_work"] == 0

    asyncio.run(main())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, 503), (signal.SIGSEGV, 422)])
def test_a_child_that_dies_fails_one_request_and_starts_again(
    number: int, status: int, process: VideoProcess, film: Film, tmp_path: Path
) -> None:
    video, short = film(tmp_path / "v.mp4", 56), film(tmp_path / "short.mp4", 3)

    async def main() -> None:
        service = Service(process)
        assert service.extractor is not None
        await service.extractor.start()
        async with service.client_of() as client:
            victim = asyncio.ensure_future(client.post("/video", files=upload(video)))
            await until(lambda: service.extractor._turn.locked())  # type: ignore[union-attr]
            await asyncio.sleep(0.05)
            pid = process.pid
            assert pid is not None
            os.kill(pid, number)
            answer = await victim
            assert answer.status_code == status, answer.text
            assert ("Retry-After" in answer.headers) == (status == 503)
            answer = await client.post("/video", files=upload(short))
            assert answer.status_code == 422 and "no hand detected" in answer.text
            assert process.pid not in (None, pid)
            await until(lambda: service.is_idle)

    asyncio.run(main())


def test_a_child_that_hangs_is_killed_at_the_deadline(process: VideoProcess, film: Film, tmp_path: Path) -> None:
    short = film(tmp_path / "short.mp4", 3)
    padded = tmp_path / "padded.mp4"  # more than a pipe holds: the hanging child does not even take it
    padded.write_bytes(short.read_bytes() + bytes(1 << 20))

    async def main() -> None:
        service = Service(process)
        assert service.extractor is not None
        async with service.client_of() as client:
            for path in (padded, short):
                await service.extractor.start()
                pid = process.pid
                assert pid is not None
                os.kill(pid, signal.SIGSTOP)
                started = time.monotonic()
                answer = await client.post("/video?seconds=0.5", files=upload(path))
                assert answer.status_code == 504 and time.monotonic() - started < 10
                answer = await client.post("/video", files=upload(short))
                assert answer.json()["detail"] == "short.mp4: no hand detected in 3 frames" and process.pid != pid

    asyncio.run(main())


# Translation


@pytest.fixture(scope="module")
def translator(continuous_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Translator]:
    threads = torch.get_num_threads()
    folder = tmp_path_factory.mktemp("translator") / "model"
    backbone = {"kind": "pose", "points": "nose_hands", "width": 16, "max_frames": 40}
    train(folder, Corpus.open(continuous_corpus), backbone, steps=30, record={"corpus": "made"})
    yield Translator(TranslatorApplication(name="tiny", model=str(folder)))
    torch.set_num_threads(threads)


def test_tokens_come_one_by_one_and_joined_are_the_text_of_the_same_answer(
    translator: Translator, continuous_corpus: Path
) -> None:
    clips = list(Corpus.open(continuous_corpus))[:4]

    def body(clip: Any, **options: Any) -> dict[str, Any]:
        poses = np.where(np.isfinite(clip.poses), clip.poses, 0).tolist()
        query = {"poses": poses, "width": 640, "height": 480}
        return {"options": {"max_new_tokens": 20, **options}, "queries": [query]}

    async def main() -> None:
        service = Service(None, translator)
        async with service.client_of() as client:
            for clip in clips:
                plain = (await client.post("/translate", json=body(clip, num_beams=1))).json()
                stream = await client.post("/translate", json=body(clip, num_beams=1), headers=STREAM)
                found = parsed(stream.content)
                assert found[-1] == ("result", plain)
                pieces = [data["text"] for name, data in found[:-1] if name == "token"]
                assert "".join(pieces) == plain["results"][0]["texts"][0]
                assert len(pieces) > 1
            plain = (await client.post("/translate", json=body(clips[0], num_beams=3))).json()
            stream = await client.post("/translate", json=body(clips[0], num_beams=3), headers=STREAM)
            assert parsed(stream.content) == [("result", plain)]  # beams have no tokens before they end

    asyncio.run(main())


def test_a_translation_whose_caller_leaves_ends_at_its_next_token(
    translator: Translator, continuous_corpus: Path
) -> None:
    from serve.translator import TranslationInput, TranslationOptions

    clip = next(iter(Corpus.open(continuous_corpus)))
    whole: list[str] = []
    made: list[str] = []
    compute = translator._compute

    def watched(recordings: Any, options: Any, on_text: Any = None) -> Any:
        def noted(text: str) -> None:
            made.append(text)
            time.sleep(0.02)
            on_text(text)

        return compute(recordings, options, noted)

    async def main() -> None:
        signing, options = TranslationInput(clip.poses, 1.0), TranslationOptions(num_beams=1)
        assert len([item async for item in translator.translate_stream(signing, options, 60)]) > 3
        await asyncio.get_running_loop().run_in_executor(translator._computing, lambda: None)
        whole.extend(made)
        made.clear()
        items = translator.translate_stream(signing, options, 60)
        assert await anext(items)
        await items.aclose()  # type: ignore[attr-defined]
        late = [item async for item in translator.translate_stream(
            signing, options, 0.0
        )]  # fmt: skip
        assert len(late) == 1 and isinstance(late[0], TimeoutError)
        await asyncio.get_running_loop().run_in_executor(translator._computing, lambda: None)

    translator._compute = watched  # type: ignore[method-assign]
    try:
        asyncio.run(main())
    finally:
        translator._compute = compute  # type: ignore[method-assign]
    assert 0 < len(made) < len(whole)
