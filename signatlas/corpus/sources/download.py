"""Download one file over HTTP: resumed after an interruption, named only when it is whole."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from signatlas.errors import CorpusError

TIMEOUT_SECONDS = 8.0  # to connect, and between two packets
ATTEMPTS = 4
CHUNK_BYTES = 1 << 16
ELSEWHERE = "pass --mirror PATH for a local copy, or run 'signatlas corpus compose --kind procedural'"


class _Interrupted(Exception):
    """The server stopped before the end; what came is kept."""


def download(url: str, target: Path, *, report: Callable[[int, int | None], None] = lambda done, total: None) -> Path:
    """Download ``url`` to ``target``; a part that an earlier call left is completed with a Range request.

    An interrupted transfer is taken up again ``ATTEMPTS`` times. ``report`` gets the bytes there and the total, if the
    server names one. Raises CorpusError when the source cannot be reached or breaks off for good.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for _ in range(ATTEMPTS):
        try:
            _transfer(url, part, report)
        except _Interrupted:
            continue
        os.replace(part, target)
        return target
    raise CorpusError(
        f"{url} broke off {ATTEMPTS} times; {part.stat().st_size} bytes are kept: run the command again to resume, "
        f"{ELSEWHERE}"
    )


def _transfer(url: str, part: Path, report: Callable[[int, int | None], None]) -> None:
    """Append what is missing to ``part``; raises _Interrupted when the end was not reached."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after the bytes we have: they are of another file, or already all
            part.unlink()
            raise _Interrupted from error
        raise CorpusError(f"{url} answered {error.code} {error.reason}: {ELSEWHERE}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise CorpusError(f"cannot reach {url} ({reason}): {ELSEWHERE}") from error
    with response:
        if response.status != 206:  # archives made on the fly are sent from the start
            done = 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if done else "wb") as stream:
            try:
                while chunk := response.read(CHUNK_BYTES):
                    stream.write(chunk)
                    done += len(chunk)
                    report(done, total)
            except (OSError, http.client.HTTPException) as error:
                raise _Interrupted from error
    if total is not None and done < total:
        raise _Interrupted
