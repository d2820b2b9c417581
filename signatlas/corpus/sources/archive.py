"""Archives of public corpora: download them, find them in a mirror, read their files."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from signatlas.errors import CorpusError

TIMEOUT_SECONDS = 8.0  # for connecting, and between two packets
ATTEMPTS = 4
CHUNK_BYTES = 1 << 16
ALTERNATIVES = "pass --mirror PATH for a local copy, or run 'signatlas corpus compose --kind procedural'"


class Archive:
    """A zip or folder: the ``names`` of its files, relative with ``/``, and their contents."""

    def __init__(self, path: Path):
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self.names = sorted(f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file())
            return
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise CorpusError(f"{path} is not a readable zip ({error}): download it again") from error
        self.names = sorted(n for n in self._zip.namelist() if not n.endswith("/"))

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises CorpusError if it is damaged."""
        if self._zip is None:
            return (self.path / name).read_bytes()
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise CorpusError(f"{self.path}: {name} is damaged ({error}): download it again") from error


def find(mirror: Path, marker: str) -> Path | None:
    """Return the zip or folder, ``mirror`` or up to one level below, that has a folder ``marker``; None if none has."""
    for candidate in _candidates(mirror):
        if candidate.is_dir():
            if (candidate / marker).is_dir():
                return candidate
        elif candidate.suffix == ".zip" and zipfile.is_zipfile(candidate):
            with zipfile.ZipFile(candidate) as packed:
                if any(f"/{marker}/" in f"/{name}" for name in packed.namelist()):
                    return candidate
    return None


def _candidates(mirror: Path) -> Iterator[Path]:
    yield mirror
    if mirror.is_dir():
        children = sorted(mirror.iterdir())
        yield from children
        yield from (g for c in children if c.is_dir() for g in sorted(c.glob("*.zip")))


class _Interrupted(Exception):
    """The transfer ended early; the received part is kept."""


def download(url: str, target: Path, *, report: Callable[[int, int | None], None] = lambda done, total: None) -> Path:
    """Download ``url`` to ``target``, and return ``target``; resume a partial download with a Range request.

    Retries an interrupted transfer ``ATTEMPTS`` times. ``report`` is called with the bytes received and the total, if
    known. Raises CorpusError when the server cannot be reached or the last attempt fails.
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
        f"{url}: download interrupted {ATTEMPTS} times, {part.stat().st_size} bytes kept: run the command again to "
        f"resume, {ALTERNATIVES}"
    )


def _transfer(url: str, part: Path, report: Callable[[int, int | None], None]) -> None:
    """Append the rest of the file to ``part``. Raises _Interrupted when the end was not reached."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # range not satisfiable: the part belongs to another file, or is complete
            part.unlink()
            raise _Interrupted from error
        raise CorpusError(f"{url} answered {error.code} {error.reason}: {ALTERNATIVES}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise CorpusError(f"cannot reach {url} ({reason}): {ALTERNATIVES}") from error
    with response:
        if response.status != 206:  # the server ignored the range, as for archives created on request
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
