"""Errors of the HTTP API as RFC 9457 problem documents (application/problem+json).

A document never repeats more than MAX_SHOWN characters of what a client sent, and any text can be put into one: what
UTF-8 cannot express, such as half of a surrogate pair, is escaped.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from signatlas.errors import PoseError, UserError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

MEDIA_TYPE = "application/problem+json"
MAX_SHOWN = 100  # characters of a client's value
MAX_MESSAGE = 300  # characters of a message about one field
MAX_ERRORS = 5  # an invalid body with thousands of points would otherwise produce thousands of errors
MAX_COUNTED = 1000  # more errors than this are not even collected
CLIENT_LEFT = 499  # as nginx logs a client that disconnected before the answer; nobody receives it
logger = logging.getLogger("ray.serve")


class Problem(Exception):
    """An error response. ``detail`` says what is wrong with the request and what to do."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **extensions: Any):
        super().__init__(detail)
        self.status, self.detail, self.headers, self.extensions = status, detail, headers, extensions

    def document(self) -> dict[str, Any]:
        """Return the problem document."""
        status = HTTPStatus(self.status)
        return {
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "detail": encodable(self.detail),
            **self.extensions,
        }

    def __reduce__(self) -> Any:
        # A problem travels between processes of the service with its status.
        return _rebuild, (self.status, self.detail, self.headers, self.extensions)


def _rebuild(status: int, detail: str, headers: dict[str, str] | None, extensions: dict[str, Any]) -> Problem:
    return Problem(status, detail, headers, **extensions)


def encodable(text: str) -> str:
    """Return ``text`` with everything that UTF-8 cannot express as a backslash escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def shown(value: object, limit: int = MAX_SHOWN) -> str:
    """Return ``value`` for a message or log line: at most ``limit`` characters, control characters escaped."""
    text = value if isinstance(value, str) else str(value)
    # Escapes are longer than what they stand for, so the text is shortened before and after.
    characters = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: limit + 1])
    escaped = "".join(characters)
    return escaped if len(escaped) <= limit else f"{escaped[: limit - 3]}..."


def respond(problem: Problem) -> Response:
    """Return the response of a problem."""
    # "replace" is for texts in the extensions; the detail is encodable.
    content = json.dumps(problem.document(), ensure_ascii=False, default=str).encode("utf-8", "replace")
    return Response(content, problem.status, problem.headers, MEDIA_TYPE)


def from_validation(error: ValidationError | RequestValidationError) -> Problem:
    """Return a 422 that names the first invalid fields. It never repeats the values that were sent."""
    if isinstance(error, ValidationError):
        if error.error_count() > MAX_COUNTED:
            return Problem(422, f"the request has {error.error_count():,} invalid values: see /docs for its schema")
        errors: Sequence[Any] = error.errors(include_url=False, include_input=False)
    else:
        errors = error.errors()
    listed = [
        {"field": _field(e["loc"]), "message": shown(e["msg"].removeprefix("Value error, "), MAX_MESSAGE)}
        for e in errors[:MAX_ERRORS]
    ]
    detail = "; ".join(f"{e['field']}: {e['message']}" if e["field"] else e["message"] for e in listed)
    return Problem(422, detail, errors=listed)


def _field(location: Sequence[Any]) -> str:
    # An unknown key of the request is part of the location.
    return shown(".".join(shown(part) for part in location if part not in ("body", "query", "path")))


def service_unavailable(detail: str, retry_after_s: int = 1) -> Problem:
    """Return a 503 that asks the client to retry after some seconds."""
    return Problem(503, detail, {"Retry-After": str(retry_after_s)})


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(error)


async def _on_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError | ValidationError)
    return respond(from_validation(error))


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return respond(Problem(error.status_code, shown(error.detail, MAX_MESSAGE), dict(error.headers or {})))


async def _on_pose_error(_: Request, error: Exception) -> Response:
    return respond(Problem(422, shown(error, MAX_MESSAGE)))


async def _on_client_disconnect(_: Request, error: Exception) -> Response:
    # An everyday event, not an error: nothing is logged, and nobody receives this response.
    return Response(status_code=CLIENT_LEFT)


async def _on_service_error(_: Request, error: Exception) -> Response:
    # These messages contain paths of the server: they go to the log, not into the response.
    logger.error("request failed: %s", encodable(str(error)))
    detail = "part of the service does not respond; try again, and check /readyz and the server log"
    return respond(service_unavailable(detail))


async def _on_unexpected_error(_: Request, error: Exception) -> Response:
    # Formatted here, because a log file in UTF-8 cannot take every text.
    logger.error("request failed\n%s", encodable("".join(traceback.format_exception(error))))
    return respond(Problem(500, "internal error; the server log has the details"))


def install(app: FastAPI) -> None:
    """Register handlers on ``app`` that answer every error with a problem document."""
    # Imported here, so that modules which raise problems do not load Ray.
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    for error_type, handler in (
        (Problem, _on_problem),
        (RequestValidationError, _on_validation_error),
        (ValidationError, _on_validation_error),
        (HTTPException, _on_http_exception),
        (ClientDisconnect, _on_client_disconnect),
        (PoseError, _on_pose_error),
        (UserError, _on_service_error),
        (RayError, _on_service_error),
        (RayServeException, _on_service_error),
        (Exception, _on_unexpected_error),
    ):
        app.add_exception_handler(error_type, handler)
