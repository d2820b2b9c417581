"""Errors of the HTTP API as RFC 9457 problem documents (application/problem+json)."""

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
MAX_ERRORS = 5  # an invalid body with thousands of points would otherwise produce thousands of errors
logger = logging.getLogger("ray.serve")


class Problem(Exception):
    """An error response. ``detail`` says what is wrong with the request and what to do."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **extensions: Any):
        super().__init__(detail)
        self.status, self.detail, self.headers, self.extensions = status, detail, headers, extensions


def respond(problem: Problem) -> JSONResponse:
    """Return the response of a problem."""
    status = HTTPStatus(problem.status)
    body = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": problem.detail}
    return JSONResponse({**body, **problem.extensions}, status, problem.headers, MEDIA_TYPE)


def from_validation(errors: Sequence[Any]) -> Problem:
    """Return a 422 that names each invalid field. It never repeats the values that were sent."""
    listed = [
        {"field": _field(error["loc"]), "message": error["msg"].removeprefix("Value error, ")}
        for error in errors[:MAX_ERRORS]
    ]
    detail = "; ".join(f"{e['field']}: {e['message']}" if e["field"] else e["message"] for e in listed)
    return Problem(422, detail, errors=listed)


def _field(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location if part not in ("body", "query", "path"))


def service_unavailable(detail: str) -> Problem:
    """Return a 503 that asks the client to retry after a second."""
    return Problem(503, detail, {"Retry-After": "1"})


async def _on_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return respond(error)


async def _on_validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError | ValidationError)
    return respond(from_validation(error.errors()))


async def _on_http_exception(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return respond(Problem(error.status_code, str(error.detail), dict(error.headers or {})))


async def _on_pose_error(_: Request, error: Exception) -> JSONResponse:
    return respond(Problem(422, str(error)))


async def _on_service_error(_: Request, error: Exception) -> JSONResponse:
    # These messages contain paths of the server: they go to the log, not into the response.
    logger.error("request failed: %s", error)
    detail = "part of the service does not respond; try again, and check /readyz and the server log"
    return respond(service_unavailable(detail))


async def _on_unexpected_error(_: Request, error: Exception) -> JSONResponse:
    logger.exception("request failed", exc_info=error)
    return respond(Problem(500, "internal error; the server log has the details"))


def install(app: FastAPI) -> None:
    """Register handlers on ``app`` that answer every error with a problem document."""
    for error_type, handler in (
        (Problem, _on_problem),
        (RequestValidationError, _on_validation_error),
        (ValidationError, _on_validation_error),
        (HTTPException, _on_http_exception),
        (PoseError, _on_pose_error),
        (UserError, _on_service_error),
        (RayError, _on_service_error),
        (RayServeException, _on_service_error),
        (Exception, _on_unexpected_error),
    ):
        app.add_exception_handler(error_type, handler)
