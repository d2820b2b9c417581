"""Each request is one line of JSON, with nothing of its content."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from serve.access import Access
from serve.config import KeyOptions, parse
from serve.keys import digest
from serve.request_log import RequestLog, log_requests
from signatlas.errors import UserError


def app() -> FastAPI:
    app = FastAPI()
    access = Access(KeyOptions(run_key_sha256=digest("secret")))

    @app.post("/v1/signs/{id:path}")
    async def sign(request: Request, id: str) -> str:
        async with access.admit(request):
            if id == "broken":
                raise RuntimeError("of the content: private words")
            return id

    app.add_middleware(RequestLog)
    return app


@pytest.fixture
def enabled() -> Iterator[None]:
    yield
    log_requests(True)


def lines(capsys: pytest.CaptureFixture[str], *paths: str) -> list[dict[str, Any]]:
    async def send() -> None:
        transport = httpx.ASGITransport(app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://signatlas") as client:
            for path in paths:
                headers = {"X-API-Key": "secret", "X-Request-ID": "r-1"}
                await client.post(path, content=b"private words", headers=headers)

    asyncio.run(send())
    out = capsys.readouterr().out
    assert "private" not in out and "secret" not in out and "anna" not in out
    return [json.loads(line) for line in out.splitlines()]


def test_a_line_says_who_what_and_how_long(enabled: None, capsys: pytest.CaptureFixture[str]) -> None:
    found, broken, unknown = lines(capsys, "/v1/signs/private/anna?x=private", "/v1/signs/broken", "/anna")
    assert found["method"] == "POST" and found["path"] == "/v1/signs/{id:path}" and found["status"] == 200
    assert found["request_id"] == "r-1" and found["key"] == "run" and found["received"] == 13 and found["sent"] > 0
    assert found["ms"] >= 0 and found["time"].endswith("+00:00")
    assert broken["status"] == 500 and unknown["status"] == 404 and unknown["path"] is None


def test_it_can_be_switched_off(enabled: None, capsys: pytest.CaptureFixture[str]) -> None:
    log_requests(False)
    assert lines(capsys, "/v1/signs/x") == []


def test_aliases_name_applications() -> None:
    index = {"name": "dgs", "index": "/indexes/dgs"}
    config = parse({"applications": [index], "aliases": {"current": "dgs"}})
    assert config.aliases == {"current": "dgs"}
    for aliases, message in (({"current": "other"}, "no application other"), ({"dgs": "dgs"}, "is an application")):
        with pytest.raises(UserError, match=message):
            parse({"applications": [index], "aliases": aliases})
