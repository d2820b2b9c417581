"""One line of JSON for each request on the gateway's stdout, which Ray keeps in a file; nothing of its content.

Responses are also counted by path and status.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import metrics

_enabled = [True]  # of this process: the application is built before its configuration is known


def log_requests(enabled: bool) -> None:
    """Write lines in this process, or none."""
    _enabled[:] = [enabled]


class RequestLog:
    """ASGI middleware that writes the lines. The path is that of the API (``/v1/signs/{id}``), never what was sent."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, sent = time.monotonic(), 0, 0

        async def counting(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, counting)
        except Exception as error:
            if not isinstance(error, ClientDisconnect):
                status = 500  # answered by the middleware around this one
            raise
        finally:
            _write(scope, status, sent, time.monotonic() - started)


def _write(scope: Scope, status: int, sent: int, seconds: float) -> None:
    path = getattr(scope.get("route"), "path", None)
    metrics.count_response(path or "unknown", status)
    if not _enabled[0]:
        return
    headers = Headers(scope=scope)
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": headers.get("x-request-id"),
        "method": scope["method"],
        "path": path,  # None: no such path
        "status": status,  # 0: the client left before the answer
        "ms": round(1e3 * seconds, 1),
        "received": int(length) if (length := headers.get("content-length", "")).isdecimal() else None,
        "sent": sent,
        "key": scope.get("state", {}).get("key"),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
