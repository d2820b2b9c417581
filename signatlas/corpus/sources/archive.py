"""Archives of public corpora: download, find, read."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from signatlas.errors import CorpusError

Track = Callable[[list[str]], Iterable[str]]  # wraps the names to be read, to show progress


class Archive:
    """Names (with ``/``, relative to the archive) and contents of the files of a zip or a folder."""

    def __init__(self, path: Path):
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self.names = sorted(f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file())
            return
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise CorpusError(f"{path} is not a zip that can be read ({error}); fetch it again") from error
        self.names = sorted(n for n in self._zip.namelist() if not n.endswith("/"))

    def read(self, name: str) -> bytes:
        """The content of one file. Raises CorpusError for a damaged member."""
        if self._zip is None:
            return (self.path / name).read_bytes()
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise CorpusError(f"{self.path}: {name} in it is damaged ({error}); fetch it again") from error


def find(mirror: Path, marker: str) -> Path | None:
    """The zip or folder at, or one level below, ``mirror`` that has the folder ``marker`` at its root or one below."""
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
