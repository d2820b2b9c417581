"""Read and parse request bodies within the limits of a service, without blocking its event loop.

A body is read under time limits (408) and a size limit (413), its bytes are reserved in a budget of all bodies (503),
and it is parsed in a thread. JSON is parsed by orjson, which keeps the interpreter to itself while it runs; therefore
the number of lists, objects and values is bounded before, by counting bytes, which takes milliseconds. NaN and
Infinity are not JSON: they get a 400 like everything else that is malformed. Numbers beyond float64 and halves of
surrogate pairs are JSON, but no usable value: they get a 422.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from serve.admission import BodyBudget, Reservation
from serve.errors import MAX_SHOWN, Problem, from_validation, shown
from signatlas.errors import PoseError

if TYPE_CHECKING:
    from starlette.requests import Request

    from serve.config import Limits

T = TypeVar("T")
MIN_BYTES_PER_S = 1000  # a slower client is cut off, however regularly it sends
INLINE_BYTES = 16 << 10  # parsed at once, in less time than a thread needs to take it over
LARGE_BYTES = 1 << 20  # parsed in another thread, so that smaller bodies need not wait for them
TRIM_AFTER_S = 2.0
MAX_VECTOR = 65536  # numbers of one vector
MAX_FIELDS = 16  # of a form, besides the file
MAX_FIELD_BYTES = 64 << 10


@dataclass(frozen=True)
class StructureBounds:
    """The most lists, objects, commas and quotation marks that a request within the limits can have.

    Generous on purpose: they only keep out what would take long to parse. A frame has 76 lists and 225 commas.
    """

    lists: int
    objects: int
    commas: int
    quotes: int
    queries: int

    @classmethod
    def of(cls, limits: Limits) -> StructureBounds:
        """Return the bounds for requests with ``limits``."""
        # Every character of a text, id or name may be one of those that are counted.
        text = limits.text_characters + 4096
        count, commas = limits.queries, max(limits.frames * 226, MAX_VECTOR)
        return cls(
            lists=count * (limits.frames * 76 + text) + 4096,
            objects=count * text + 4096,
            commas=count * (commas + text) + 4096,
            quotes=count * text + 4096,
            queries=count,
        )

    def check(self, content: bytes | bytearray) -> Problem | None:
        """Return a 413 if the JSON text ``content`` has more of anything."""
        for character, name, most in (
            (b"[", "lists", self.lists),
            (b"{", "objects", self.objects),
            (b",", "values", self.commas),
            (b'"', "quotation marks", self.quotes),
        ):
            number = content.count(character)
            if number > most:
                detail = (
                    f"the body has {number:,} {name}, a request within the limits at most {most:,}: send fewer queries"
                )
                return Problem(413, detail)
        return None

    def check_queries(self, value: Any) -> Problem | None:
        """Return a 413 if the parsed body has more queries, before each of them is validated."""
        queries = value.get("queries") if isinstance(value, dict) else None
        if isinstance(queries, list) and len(queries) > self.queries:
            return Problem(413, f"queries: {len(queries):,}; at most {self.queries} are accepted in one request")
        return None


class Upload(NamedTuple):
    """An uploaded file: its name without folders, its content, and the other fields of the form."""

    name: str
    content: bytes
    fields: dict[str, str]


class BodyReader:
    """Reads and parses the bodies of one gateway replica::

        async with reader.json(request, SearchRequest.model_validate) as body:
            ...

    Call :meth:`close` at its end.
    """

    def __init__(self, limits: Limits, min_bytes_per_s: float = MIN_BYTES_PER_S) -> None:
        self.limits, self.min_bytes_per_s = limits, min_bytes_per_s
        self.budget = BodyBudget(limits.bodies_in_flight, limits.bytes_in_flight)
        self.bounds = StructureBounds.of(limits)
        self._trimming: asyncio.Task[None] | None = None
        self._small, self._large, self._forms = _Worker("json"), _Worker("large-json"), _Worker("form")

    def close(self) -> None:
        """End the threads."""
        for worker in (self._small, self._large, self._forms):
            worker.close()

    @asynccontextmanager
    async def json(self, request: Request, convert: Callable[[Any], T]) -> AsyncIterator[T]:
        """Yield ``convert`` of the parsed JSON body; the body counts as one in flight until the block ends.

        ``convert`` runs in the same thread as the parser, and should keep nothing of the parsed lists. Its
        ValidationErrors become a 422. Raises Problem: 400, 408, 413, 415, 422 or 503; starlette's ClientDisconnect.
        """
        async with self._admit(request, "application/json") as reservation:
            content = await self._read(request, reservation)
            if len(content) <= INLINE_BYTES:
                result = _parse_json(content, self.bounds, convert)
            else:
                worker = self._large if len(content) > LARGE_BYTES else self._small
                result = await worker.run(_parse_json, content, self.bounds, convert)
            del content
            reservation.release_bytes()
            if isinstance(result, Exception):
                raise result
            yield result

    @asynccontextmanager
    async def upload(self, request: Request) -> AsyncIterator[Upload]:
        """Yield the file in field ``file`` of a multipart form; its bytes stay reserved until the block ends.

        Raises Problem: 400, 408, 413, 415, 422 or 503; starlette's ClientDisconnect.
        """
        async with self._admit(request, "multipart/form-data") as reservation:
            content = await self._read(request, reservation)
            result = await self._forms.run(_parse_form, content, request.headers["content-type"])
            del content
            if isinstance(result, Exception):
                raise result
            yield result

    @asynccontextmanager
    async def _admit(self, request: Request, media_type: str) -> AsyncIterator[Reservation]:
        """Check the headers, before anything is read, and count the body as one in flight."""
        content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if content_type != media_type:
            raise Problem(415, f"this endpoint accepts {media_type}, not '{shown(content_type) or 'nothing'}'")
        encodings = ",".join(request.headers.getlist("content-encoding")).lower()
        if any(encoding.strip() not in ("", "identity") for encoding in encodings.split(",")):
            detail = f"this endpoint accepts no Content-Encoding, not '{shown(encodings)}': send the body as it is"
            raise Problem(415, detail, {"Accept-Encoding": "identity"})
        length = request.headers.get("content-length", "")
        expected = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
        if expected is not None and expected > self.limits.body_bytes:
            raise Problem(413, f"the body has {expected:,} bytes; at most {self.limits.body_bytes:,} are accepted")
        async with self.budget.body(expected) as reservation:
            try:
                yield reservation
            finally:
                if reservation.large:
                    self._trim_soon()

    def _trim_soon(self) -> None:
        """Give the memory of large bodies back to the system, once for those of about the same time."""
        if self._trimming is None or self._trimming.done():
            self._trimming = asyncio.ensure_future(_trim_after(TRIM_AFTER_S))

    async def _read(self, request: Request, reservation: Reservation) -> bytearray:
        """Return the whole body. Raises Problem: 408, 413 or 503."""
        limits, clock = self.limits, asyncio.get_running_loop().time
        start = clock()
        content = bytearray()
        async with aclosing(request.stream()) as stream:
            while True:
                deadline, reason = min(
                    (clock() + limits.idle_timeout_s, f"nothing of the body arrived for {limits.idle_timeout_s:g} s"),
                    (start + limits.body_timeout_s, f"the body took more than {limits.body_timeout_s:g} s to arrive"),
                    (
                        start + limits.idle_timeout_s + len(content) / self.min_bytes_per_s,
                        f"the body arrived more slowly than {self.min_bytes_per_s:g} bytes per second",
                    ),
                )
                try:
                    async with asyncio.timeout_at(deadline):
                        chunk = await anext(stream, b"")
                except TimeoutError:
                    raise Problem(408, f"{reason}: try again", {"Connection": "close"}) from None
                if not chunk:
                    return content
                if len(content) + len(chunk) > limits.body_bytes:
                    raise Problem(413, f"the body has more than {limits.body_bytes:,} bytes, the most that is accepted")
                reservation.add(len(chunk))
                content += chunk


async def _trim_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    await asyncio.to_thread(trim_memory)


def trim_memory() -> None:
    """Give free memory back to the system: glibc keeps what was freed below something that is in use."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class _Worker:
    """One thread. Calls wait for it on the event loop, where a request that is cancelled frees its body at once."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._free = asyncio.Lock()

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return ``function(*arguments)``, called in the thread."""
        async with self._free:
            future = asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                # The thread cannot be interrupted and still uses the body, whose bytes must not be returned yet.
                await asyncio.wait([future])
                if not future.cancelled():
                    future.exception()
                raise

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


_pauses = 0
_pauses_lock = threading.Lock()
_was_enabled = True


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Keep Python from searching the new lists for cycles again and again while they are made.

    They have none, and the search takes four times as long as parsing.
    """
    global _pauses, _was_enabled
    with _pauses_lock:
        if _pauses == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _pauses_lock:
            _pauses -= 1
            if _pauses == 0 and _was_enabled:
                gc.enable()


def _parse_json(content: bytearray, bounds: StructureBounds, convert: Callable[[Any], T]) -> T | Exception:
    """Return ``convert`` of a JSON text, or the Problem or PoseError.

    Errors are returned, because a raised one would keep the content and all that was parsed in its traceback.
    """
    if problem := bounds.check(content):
        return problem
    # The pause covers convert only for large bodies, which one thread parses: with two threads taking turns there
    # would be no moment without one, and garbage would never be collected.
    with _garbage_collection_paused() if len(content) > LARGE_BYTES else nullcontext():
        value = None
        try:
            with _garbage_collection_paused():
                value = orjson.loads(content)
            return bounds.check_queries(value) or convert(value)
        except orjson.JSONDecodeError as error:
            return _json_problem(error, content)
        except ValidationError as error:
            return from_validation(error)
        except (Problem, PoseError) as error:
            return error.with_traceback(None)
        finally:
            del value


def _json_problem(error: orjson.JSONDecodeError, content: bytearray) -> Problem:
    position = f"line {error.lineno} column {error.colno}"
    if "number is infinity" in error.msg:
        return Problem(422, f"a number is too large for float64: {position}")
    if "surrogate in string" in error.msg:
        return Problem(422, f"a text contains half of a surrogate pair, which is no character: {position}")
    hint = ""
    if content[error.pos : error.pos + 9].startswith((b"NaN", b"Infinity", b"-Infinity")):
        hint = "; NaN and Infinity are not JSON: send null for a missing coordinate"
    return Problem(400, f"the body is not valid JSON: {error.msg}: {position}{hint}")


class _Part:
    """A part of a form."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.filename: str | None = None
        self.content = bytearray()


class _FormError(Exception):
    """A form that is malformed or has too many parts."""


class _Form:
    """Callbacks of the parser: collect the parts of a form."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.complete = False
        self._field, self._value = b"", b""

    def on_part_begin(self) -> None:
        if len(self.parts) > MAX_FIELDS:
            raise _FormError(f"it has more than {MAX_FIELDS} fields and a file")
        self.parts.append(_Part())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            options = parse_options_header(self._value)[1]
            part = self.parts[-1]
            part.name = _decode(options.get(b"name"))
            part.filename = _decode(options.get(b"filename"))
        self._field = self._value = b""

    def on_headers_finished(self) -> None:
        if self.parts[-1].name is None:
            raise _FormError("a part has no name in its Content-Disposition header")
        if sum(part.filename is not None for part in self.parts) > 1:
            raise _FormError("it has more than one file")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        part.content += data[start:end]
        if part.filename is None and len(part.content) > MAX_FIELD_BYTES:
            raise _FormError(f"a field has more than {MAX_FIELD_BYTES:,} bytes")

    def on_end(self) -> None:
        self.complete = True


def _decode(value: bytes | bytearray | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _parse_form(content: bytearray, content_type: str, chunk_bytes: int = 64 << 10) -> Upload | Exception:
    """Return the file and the fields of a multipart form, or the Problem."""
    form = _Form()
    try:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise _FormError("its Content-Type has no boundary")
        names = [name for name in dir(form) if name.startswith("on_")]
        parser = MultipartParser(boundary, {name: getattr(form, name) for name in names})  # type: ignore[arg-type]
        for start in range(0, len(content), chunk_bytes):
            parser.write(bytes(content[start : start + chunk_bytes]))
        if not form.complete:
            raise _FormError("it is incomplete")
    except (_FormError, FormParserError) as error:
        # The parser's own messages repeat bytes of the form.
        return Problem(
            400, f"the form cannot be parsed: {error if isinstance(error, _FormError) else 'it is malformed'}"
        )
    file = next((part for part in form.parts if part.name == "file" and part.filename is not None), None)
    if file is None:
        return Problem(422, "the form has no file; send it in a field named 'file'")
    fields = {part.name or "": part.content.decode("utf-8", "replace") for part in form.parts if part.filename is None}
    return Upload(_file_name(file.filename or ""), bytes(file.content), fields)


def _file_name(name: str) -> str:
    """Return the end of a client's file name, with its suffix, for messages."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c if c.isprintable() else "_" for c in last)[-MAX_SHOWN:]
