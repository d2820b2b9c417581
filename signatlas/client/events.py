"""Read an answer of server-sent events: progress and tokens, and at the end the answer or a problem."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from signatlas.client.errors import ServiceError, read_problem
from signatlas.client.retries import Policy, Response
from signatlas.client.schemas import Progress, Token

MEDIA_TYPE = "text/event-stream"
MAX_EVENT = 256 << 20  # bytes
KINDS: dict[str, type[BaseModel]] = {"progress": Progress, "token": Token}


@dataclass(frozen=True)
class Event:
    """An event: its name and its data, a JSON text."""

    name: str
    data: bytes


class EventParser:
    """Splits the bytes of an answer into events, as they arrive."""

    def __init__(self, policy: Policy, headers: Mapping[str, str]):
        self._policy, self._headers = policy, headers
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[Progress | Token | Response]:
        """Yield the content of the events that ``piece`` completes, the answer as the last. Raises ServiceError."""
        for event in self._events(piece):
            content = final(self._policy, event, self._headers) or interim(self._policy, event)
            if content is not None:
                yield content

    def incomplete(self) -> ServiceError:
        """Return the error of an answer that ended before its last event."""
        return ServiceError(f"{self._policy.url} ended its answer before the last event: try again")

    def _events(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that ``piece`` completes; comments are left out."""
        self._rest = (self._rest + piece).replace(b"\r\n", b"\n")
        if len(self._rest) > MAX_EVENT:
            raise ServiceError(
                f"{self._policy.url} sends an event without an end: check that it is a signatlas service"
            )
        *blocks, self._rest = self._rest.split(b"\n\n")
        for block in blocks:
            fields = [line.partition(b":")[::2] for line in block.split(b"\n") if line and not line.startswith(b":")]
            values = [(name, value.removeprefix(b" ")) for name, value in fields]
            data = [value for name, value in values if name == b"data"]
            names = [value for name, value in values if name == b"event"]
            if data:
                yield Event(names[-1].decode("utf-8", "replace") if names else "message", b"\n".join(data))


def interim(policy: Policy, event: Event) -> Progress | Token | None:
    """Return the content of an event before the last, None for one that this client does not know.

    Raises ServiceError.
    """
    kind = KINDS.get(event.name)
    if kind is None:
        return None
    try:
        content = kind.model_validate_json(event.data)
    except ValidationError as error:
        raise ServiceError(f"{policy.url} is not a signatlas service: it sent another event than expected") from error
    assert isinstance(content, Progress | Token)
    return content


def final(policy: Policy, event: Event, headers: Mapping[str, str]) -> Response | None:
    """Return the answer in a last event, None for any other. Raises the ServiceError of a problem."""
    if event.name == "result":
        return Response(200, headers, event.data)
    if event.name != "problem":
        return None
    detail, fields = read_problem(event.data, "application/problem+json")
    try:
        status = json.loads(event.data).get("status")
    except (ValueError, AttributeError):
        status = None
    raise ServiceError(
        policy.clean(detail) or "a problem without a reason",
        url=policy.url,
        status=status if isinstance(status, int) else None,
        errors=fields,
        request_id=headers.get("x-request-id"),
    )
