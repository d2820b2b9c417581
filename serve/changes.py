"""Additions to an index and removals from it: from a request to the writer of the log, and the answer."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
from fastapi import Request

from serve.answers import check_signing, problem_of
from serve.config import Limits
from serve.encoder import EncoderQuery
from serve.errors import Problem, service_unavailable
from serve.keys import Key
from serve.parts import Parts
from serve.replicas import LOST, Deadline, ask_replicas
from serve.schemas import MAX_ID, AddRequest
from signatlas.errors import UserError
from signatlas.retrieval.operation_log.lease import LeaseHeld, LeaseLost
from signatlas.retrieval.operation_log.record import AddedSign
from signatlas.retrieval.operation_log.writer import IdTaken, InvalidId, KeyReused, NoSuchEntry, PerhapsStored, Written

PERHAPS = "nobody knows whether the change is stored: send it again with the same Idempotency-Key"
MAX_KEY = 200  # characters of an idempotency key
STATUS = {IdTaken: 409, NoSuchEntry: 404, KeyReused: 422, InvalidId: 422}  # of the writer's errors; all others are 503


def require_writer_key(key: Key) -> None:
    """Raise a 403 Problem for a key that may only read."""
    if key.role != "write":
        raise Problem(403, "this key may only read: use one with role write ('signatlas keys add NAME --role write')")


def idempotency_key(request: Request, key: Key) -> str:
    """Return the request's Idempotency-Key, apart from those of other clients; one of its own where it has none.

    Raises a 422 Problem.
    """
    given = request.headers.get("idempotency-key")
    if given is None:
        return uuid.uuid4().hex
    if not 1 <= len(given) <= MAX_KEY or not given.isprintable():
        raise Problem(422, f"Idempotency-Key: send 1 to {MAX_KEY} printable characters")
    return f"{key.name}:{given}"


async def add(parts: Parts, body: AddRequest, key: str, limits: Limits, deadline: Deadline) -> dict[str, Any]:
    """Embed a recording and add it to its index. Raises Problem (403, 409, 413, 422, 503, 504)."""
    searcher = parts.searcher(body.index)
    name, manifest = searcher.config.name, searcher.manifest
    handle = parts.writer(name)
    if manifest.kind != "signs":
        raise Problem(422, f"the index {name} is one of {manifest.kind}: only indexes of signs take additions")
    signing = check_signing(body, limits)
    # The id of a repeated request must be that of the first one.
    id = body.id or f"added/{uuid.uuid5(uuid.NAMESPACE_OID, key).hex}"
    manifest, (encoded,) = await searcher.embed([EncoderQuery(signing=signing, mirror=False)], deadline)
    if isinstance(encoded, UserError):
        raise problem_of(encoded)
    sign = AddedSign.model_validate(body.model_dump(include=set(AddedSign.model_fields)))
    arguments = (id, sign, np.asarray(body.poses, np.float32), encoded.vectors[0], manifest.model.sha256, key)
    written = await _ask(lambda: handle.add.remote(*arguments), name, deadline)
    searcher.knows(written.position)
    return _answer(written, name)


async def remove(parts: Parts, id: str, index: str | None, key: str, deadline: Deadline) -> dict[str, Any]:
    """Remove an entry from its index. Raises Problem (403, 404, 422, 503, 504)."""
    if len(id) > MAX_ID:
        raise Problem(404, "no such entry in this index")
    searcher = parts.searcher(index)
    handle = parts.writer(searcher.config.name)
    written = await _ask(lambda: handle.remove.remote(id, key), searcher.config.name, deadline)
    searcher.knows(written.position)
    return _answer(written, searcher.config.name)


def _answer(written: Written, index: str) -> dict[str, Any]:
    return {"id": written.id, "index": index, "position": written.position, "repeated": written.repeated}


async def _ask(call: Any, index: str, deadline: Deadline) -> Written:
    # A second call is safe: the writer knows the idempotency key of the first.
    try:
        written: Written = await ask_replicas(lambda _: call(), deadline.require(), None)
    except tuple(STATUS) as error:
        raise Problem(STATUS[type(error)], str(error)) from error
    except (LeaseHeld, LeaseLost) as error:
        raise service_unavailable(f"another writer holds the log of {index}: see the server log", 5) from error
    except PerhapsStored as error:
        raise service_unavailable(PERHAPS, 2) from error
    except UserError as error:  # its details name folders of the server
        raise service_unavailable(
            "the change is not stored, the log cannot be written: see the server log", 5
        ) from error
    except TimeoutError:
        raise Problem(504, PERHAPS) from None
    except LOST as error:
        detail = "the writer restarts, and may have stored the change: send it again with the same Idempotency-Key"
        raise service_unavailable(detail, 2) from error
    return written
