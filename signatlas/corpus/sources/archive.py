"""A tree of files to read a corpus from: a zip or an unpacked folder, with whatever prefix it was packed under."""

from __future__ import annotations

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
