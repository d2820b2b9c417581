"""Read request bodies within their limits: 413 for too much, 415 for another type, 400 for what cannot be parsed."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from serve.errors import Problem


def require_type(request: Request, expected: str) -> None:
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given != expected:
        raise Problem(415, f"this endpoint takes {expected}, not '{given or 'nothing'}'")


async def read_bytes(request: Request, limit: int) -> bytes:
    """The whole body, which ends the reading as soon as it is beyond ``limit`` bytes."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise Problem(413, f"the body has {int(announced):,} bytes; at most {limit:,} are accepted")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise Problem(413, f"the body has more than {limit:,} bytes, the most that is accepted")
    return bytes(content)


async def read_json(request: Request, limit: int) -> Any:
    require_type(request, "application/json")
    content = await read_bytes(request, limit)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}") from error


async def read_upload(request: Request, limit: int) -> tuple[str, bytes, dict[str, str]]:
    """The file of a multipart form with its name, and the form's other fields."""
    require_type(request, "multipart/form-data")
    content = await read_bytes(request, limit)

    async def replay() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    try:
        async with Request(request.scope, replay).form(max_files=1, max_fields=16) as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise Problem(422, "the form has no file; send it in a field named 'file'")
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            return upload.filename or "", await upload.read(), fields
    except (HTTPException, KeyError) as error:
        raise Problem(400, f"the form cannot be read: {getattr(error, 'detail', 'no boundary')}") from error
