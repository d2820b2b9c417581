"""/healthz as an application of its own: it answers while searches queue."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve.errors import Problem, respond


class Health:
    """Answers 200 to GET and HEAD while Ray Serve runs."""

    async def __call__(self, request: Request) -> Response:
        """Return 200, 405 for other methods."""
        if request.method not in ("GET", "HEAD"):
            return respond(Problem(405, "use GET or HEAD", {"Allow": "GET, HEAD"}))
        return JSONResponse({"status": "ok"})
