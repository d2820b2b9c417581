"""When a request is sent again: after which answers and errors, after which pause, and until when.

All requests of this client only read, so that each may be repeated. Nothing here sends or waits.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from signatlas.client.errors import ServiceError, one_line, read_problem
from signatlas.client.requests import Call

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
MARGIN_S = 0.2  # of a deadline: the service's answer has to arrive before the client's time is up


@dataclass(frozen=True)
class Policy:
    """Where requests go, and the limits of one call with all its attempts."""

    url: str
    timeout_s: float
    retries: int
    secret: str | None = None  # never to appear in a message

    def __repr__(self) -> str:
        return f"Policy({self.url!r}, timeout_s={self.timeout_s:g}, retries={self.retries})"

    def clean(self, text: str) -> str:
        """Return a server's words as one line without the API key, should it repeat that."""
        return one_line(text.replace(self.secret, "***") if self.secret else text)


@dataclass(frozen=True)
class Response:
    """An answer that was read completely; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Attempts:
    """The attempts of one call. Each method that may end them raises ServiceError."""

    def __init__(self, policy: Policy, call: Call[Any], retries: int | None = None):
        self.policy, self.call = policy, call
        self.retries = policy.retries if retries is None else retries
        self.limit_s = min(policy.timeout_s, call.deadline_s or math.inf)
        self.ends = time.monotonic() + self.limit_s
        self.made = 0

    def begin(self) -> float:
        """Count an attempt and return the seconds that it may take."""
        self.made += 1
        return max(self.ends - time.monotonic(), 0.001)

    def deadline_s(self, remaining_s: float) -> float | None:
        """Return the deadline to send to the service: a little before the client's own, None if the user gave none."""
        if self.call.deadline_s is None:
            return None
        return round(max(remaining_s - min(MARGIN_S, remaining_s / 10), 0.001), 3)

    def pause_after_error(self, reason: str, *, connected: bool, repeatable: bool) -> float:
        """Return the seconds to wait after an attempt without an answer. Raises ServiceError after the last one."""
        url, reason = self.policy.url, self.policy.clean(reason)
        if connected:
            message = f"no complete answer from {url} ({reason}): check its log, and whether it is a signatlas service"
        else:
            message = f"no service at {url} ({reason}); start one: 'signatlas serve'"
        error = ServiceError(message, attempts=self.made)
        if not repeatable:
            raise error
        return self._pause(error, 0.0)

    def timed_out(self) -> ServiceError:
        """Return the error of a call whose time is up."""
        return ServiceError(
            f"{self.policy.url} did not answer within {self.limit_s:g} s: allow more time, or check the service's load",
            attempts=self.made,
        )

    def pause_after(self, response: Response) -> float | None:
        """Return the seconds to wait before the next attempt, None if this answer is the last.

        Raises ServiceError for an error that is not repeated, or not any more.
        """
        status, headers = response.status, response.headers
        if 200 <= status < 300 or status in self.call.kept_statuses:
            return None
        content_type = headers.get("content-type", "")
        secret = (self.policy.secret or "").encode()
        content = response.content.replace(secret, b"***") if secret else response.content
        detail, fields = read_problem(content, content_type)
        if 300 <= status < 400 and "location" in headers:
            detail = f"redirected to {headers['location']}: give that address"
        error = ServiceError(
            self.policy.clean(detail) or f"an answer of type '{one_line(content_type)[:60]}' without a reason",
            url=self.policy.url,
            status=status,
            errors=fields,
            request_id=headers.get("x-request-id"),
            attempts=self.made,
        )
        if not _repeatable(status, content_type):
            raise error
        return self._pause(error, retry_after_s(headers.get("retry-after")))

    def _pause(self, error: ServiceError, at_least_s: float) -> float:
        pause = at_least_s + min(FIRST_PAUSE_S * 2 ** (self.made - 1), LONGEST_PAUSE_S) * random.uniform(0.5, 1)
        if self.made > self.retries or time.monotonic() + pause >= self.ends:
            raise error
        return pause


def _repeatable(status: int, content_type: str) -> bool:
    """Whether another attempt may succeed.

    A 500 is final if the service itself answered it, with a problem document; in plain text it comes from Ray Serve's
    proxy, which lost a replica. A proxy in front answers 502 for that.
    """
    if status == 500:
        return content_type.partition(";")[0].strip().lower() != "application/problem+json"
    return status in (429, 502, 503)


def retry_after_s(value: str | None) -> float:
    """Return the seconds of a Retry-After header, which is a number or a date; 0 if there is none to read."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return seconds if 0 < seconds < math.inf else 0.0
