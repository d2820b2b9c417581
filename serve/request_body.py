"""Read request bodies within a size limit: 413 if too large, 415 for another content type, 400 if malformed."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from serve.errors import Problem


def require_content_type(request: Request, expected: str) -> None:
    """Raise a 415 unless the request has the ``expected`` content type."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != expected:
        raise Problem(415, f"this endpoint accepts {expected}, not '{content_type or 'nothing'}'")


async def read_bytes(request: Request, limit: int) -> bytes:
    """Return the whole body. Raises a 413 as soon as it is larger than ``limit`` bytes."""
    content_length = request.headers.get("content-length", "")
    if content_length.isdigit() and int(content_length) > limit:
        raise Problem(413, f"the body has {int(content_length):,} bytes; at most {limit:,} are accepted")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise Problem(413, f"the body has more than {limit:,} bytes, the most that is accepted")
    return bytes(content)


async def read_json(request: Request, limit: int) -> Any:
    """Return the parsed JSON body."""
    require_content_type(request, "application/json")
    content = await read_bytes(request, limit)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not valid JSON: {error}") from error


async def read_upload(request: Request, limit: int) -> tuple[str, bytes, dict[str, str]]:
    """Return the file name, the content of field ``file`` and the other fields of a multipart form."""
    require_content_type(request, "multipart/form-data")
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
        raise Problem(400, f"the form cannot be parsed: {getattr(error, 'detail', 'no boundary')}") from error
