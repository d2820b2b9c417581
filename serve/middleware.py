"""Headers of every answer: security headers, and cross-origin access for the origins that were named.

Ray Serve itself adds X-Request-ID, that of the client or a new one.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    # /docs writes a script of its own into the page, and Swagger UI styles.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; frame-ancestors 'none'"
    ),
}
CORS_METHODS = "GET, POST, DELETE, OPTIONS"
CORS_HEADERS = "Authorization, Content-Type, X-API-Key, X-Request-ID"
_allowed_origins: set[str] = set()  # of this process: the application is built before its configuration is known


def allow_origins(origins: Iterable[str]) -> None:
    """Let web pages of these origins call the service in this process; none may otherwise."""
    _allowed_origins.clear()
    _allowed_origins.update(origins)


class AnswerHeaders:
    """ASGI middleware that adds the headers."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        allowed = origin if origin in _allowed_origins else None

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    answer.setdefault(name, value)
                if allowed:
                    answer["Access-Control-Allow-Origin"] = allowed
                    answer["Access-Control-Expose-Headers"] = "Retry-After, X-Request-ID, Server-Timing"
                    answer.add_vary_header("Origin")
            await send(message)

        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await send_with_headers(_preflight())
            await send({"type": "http.response.body", "body": b""})
            return
        await self.app(scope, receive, send_with_headers)


def _preflight() -> Message:
    values = {"Access-Control-Allow-Methods": CORS_METHODS, "Access-Control-Allow-Headers": CORS_HEADERS,
              "Access-Control-Max-Age": "600", "Content-Length": "0"}  # fmt: skip
    return {
        "type": "http.response.start",
        "status": 204,
        "headers": [(name.lower().encode(), value.encode()) for name, value in values.items()],
    }
