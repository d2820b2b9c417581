"""The error of a request to a service, from RFC 9457 problem documents and from answers that are none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from signatlas.errors import UserError

MAX_DETAIL = 500  # characters of a foreign server's words in a message


class ServiceError(UserError):
    """A request that a service refused or did not answer.

    ``status`` is the HTTP status, None without an answer; ``detail`` says what is wrong; ``errors`` name the wrong
    fields of the request; ``request_id`` finds the request in the service's log.
    """

    def __init__(
        self,
        detail: str,
        *,
        url: str | None = None,
        status: int | None = None,
        errors: Sequence[dict[str, Any]] = (),
        request_id: str | None = None,
        attempts: int = 1,
    ):
        self.detail, self.status, self.errors, self.request_id = detail, status, list(errors), request_id
        answered = f"answered {status}" if status is not None else ""
        start = " ".join(part for part in (url, answered) if part)
        times = f" (after {attempts} attempts)" if attempts > 1 else ""
        super().__init__(f"{start}: {detail}{times}" if start else f"{detail}{times}")


def one_line(text: str) -> str:
    """Return at most 500 characters of a foreign text, without line breaks and control characters."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_DETAIL])
    line = " ".join(printable.split())
    return line if len(line) <= MAX_DETAIL else f"{line[:MAX_DETAIL]}..."


def read_problem(content: bytes, content_type: str) -> tuple[str, list[dict[str, Any]]]:
    """Return detail and wrong fields of a problem document, or the start of a text; both empty for anything else."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            problem = json.loads(content)
        except (ValueError, RecursionError):
            return "", []
        if not isinstance(problem, dict):
            return "", []
        errors = problem.get("errors")
        fields = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
        return one_line(str(problem.get("detail") or problem.get("title") or "")), fields
    return (
        (one_line(content[: 4 * MAX_DETAIL].decode(errors="replace")), []) if media_type == "text/plain" else ("", [])
    )
