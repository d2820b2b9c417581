"""Every error of the service as an RFC 9457 problem document (application/problem+json)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.exceptions import HTTPException

from signatlas.errors import PoseError, UserError

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 5  # a wrong body of thousands of points would otherwise be answered with thousands of errors
logger = logging.getLogger("ray.serve")


class Problem(Exception):
    """An answer that is an error. ``detail`` says what is wrong with this request and what to do."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **more: Any):
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers, more


def respond(problem: Problem) -> JSONResponse:
    status = HTTPStatus(problem.status)
    body = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": problem.detail}
    return JSONResponse({**body, **problem.more}, status, problem.headers, MEDIA_TYPE)


def from_validation(errors: Sequence[Any]) -> Problem:
    """A 422 that names each wrong field; what was sent is never repeated back."""
    listed = [{"where": _where(e["loc"]), "what": e["msg"].removeprefix("Value error, ")} for e in errors[:MOST_ERRORS]]
    detail = "; ".join(f"{e['where']}: {e['what']}" if e["where"] else e["what"] for e in listed)
    return Problem(422, detail, errors=listed)


def _where(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location if part not in ("body", "query", "path"))


def busy(detail: str) -> Problem:
    return Problem(503, detail, {"Retry-After": "1"})


async def _on_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return respond(error)


async def _on_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError | ValidationError)
    return respond(from_validation(error.errors()))


async def _on_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return respond(Problem(error.status_code, str(error.detail), dict(error.headers or {})))


async def _on_pose(_: Request, error: Exception) -> JSONResponse:
    return respond(Problem(422, str(error)))


async def _on_server(_: Request, error: Exception) -> JSONResponse:
    # Paths of this machine stand in these messages: they belong into the log, not into the answer.
    logger.error("a request could not be answered: %s", error)
    return respond(busy("part of the service does not answer now; try again, and look at /readyz and the log"))


async def _on_anything(_: Request, error: Exception) -> JSONResponse:
    logger.exception("a request failed", exc_info=error)
    return respond(Problem(500, "the service failed on this request; the log says why"))


def install(app: FastAPI) -> None:
    """Let ``app`` answer every error as a problem document."""
    for kind, handler in (
        (Problem, _on_problem),
        (RequestValidationError, _on_request),
        (ValidationError, _on_request),
        (HTTPException, _on_http),
        (PoseError, _on_pose),
        (UserError, _on_server),
        (RayError, _on_server),
        (RayServeException, _on_server),
        (Exception, _on_anything),
    ):
        app.add_exception_handler(kind, handler)
