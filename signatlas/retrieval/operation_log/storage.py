"""Where a log is stored: files that appear whole or not at all, and at most once under a name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

from signatlas.errors import LogError

PARTIAL = ".partial-"  # prefix of the names of files that are being written


class Storage(Protocol):
    """A folder of small files."""

    location: str

    def create(self, name: str, content: bytes) -> bool:
        """Write a new file durably; return False, and write nothing, where there is one of this name already."""

    def replace(self, name: str, content: bytes) -> None:
        """Write a file durably, in place of one of this name."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None where there is none."""

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names that begin with ``prefix``."""

    def clean(self, prefix: str) -> None:
        """Delete files below ``prefix`` that a process wrote in part when it was killed."""


def open_storage(location: str | os.PathLike[str]) -> Storage:
    """Return the storage at a path or URI. Raises LogError."""
    text = os.fspath(location)
    return ObjectStorage(text) if "://" in text else LocalStorage(Path(text).expanduser())


class LocalStorage:
    """Files on a local disk. A file is complete on the disk before its name appears, and its name before we return."""

    def __init__(self, folder: Path):
        self.folder, self.location = folder, str(folder)

    def create(self, name: str, content: bytes) -> bool:
        path = self.folder / name
        with self._written(path, content) as temporary:
            try:
                os.link(temporary, path)  # fails where the name is taken, unlike a rename
            except FileExistsError:
                _sync_folder(path.parent)  # whoever created it may have failed to
                return False
            _sync_folder(path.parent)
        return True

    def replace(self, name: str, content: bytes) -> None:
        path = self.folder / name
        with self._written(path, content) as temporary:
            os.replace(temporary, path)
            _sync_folder(path.parent)

    @contextlib.contextmanager
    def _written(self, path: Path, content: bytes) -> Any:
        """Yield the path of a hidden file with the content, on the disk; it is deleted afterwards."""
        _make_folder(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            yield temporary
        finally:
            Path(temporary).unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def names(self, prefix: str) -> list[str]:
        folder = self.folder / prefix.rpartition("/")[0]
        if not folder.is_dir():
            return []
        found = (path.relative_to(self.folder).as_posix() for path in folder.iterdir() if path.name[0] != ".")
        return sorted(name for name in found if name.startswith(prefix))

    def clean(self, prefix: str) -> None:
        for path in (self.folder / prefix).glob(f"{PARTIAL}*"):
            path.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents durably."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class ObjectStorage:
    """Objects under a URI, created with a conditional PUT (If-None-Match). Credentials and endpoint: AWS_... variables.

    ``store`` is an obstore store, by default that of the URI. Raises LogError where obstore is missing or does not know
    the URI: other clients have no conditional PUT, without which two writers could take the same number.
    """

    def __init__(self, uri: str, store: Any = None):
        self.location = uri
        try:
            import obstore
        except ImportError as error:
            raise LogError(f"{uri} needs obstore: pip install 'signatlas[cluster]'") from error
        self._obstore = obstore
        try:
            self._store = obstore.store.from_url(uri) if store is None else store
        except Exception as error:  # obstore's own classes, which have no common base that is public
            raise LogError(f"{uri} cannot be opened: {_reason(error)}") from error

    def create(self, name: str, content: bytes) -> bool:
        try:
            self._obstore.put(self._store, name, content, mode="create")
        except self._obstore.exceptions.AlreadyExistsError:
            # A PUT that was repeated after its answer had been lost finds its own object.
            return self.read(name) == content
        except Exception as error:
            raise OSError(f"{self.location}/{name} cannot be written: {_reason(error)}") from error
        return True

    def replace(self, name: str, content: bytes) -> None:
        try:
            self._obstore.put(self._store, name, content)
        except Exception as error:
            raise OSError(f"{self.location}/{name} cannot be written: {_reason(error)}") from error

    def read(self, name: str) -> bytes | None:
        try:
            return bytes(self._obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise OSError(f"{self.location}/{name} cannot be read: {_reason(error)}") from error

    def delete(self, name: str) -> None:
        try:
            self._obstore.delete(self._store, name)
        except FileNotFoundError:
            pass
        except Exception as error:
            raise OSError(f"{self.location}/{name} cannot be deleted: {_reason(error)}") from error

    def names(self, prefix: str) -> list[str]:
        folder = prefix.rpartition("/")[0]
        try:
            batches = self._obstore.list(self._store, prefix=folder or None)
            found = [str(entry["path"]) for batch in batches for entry in batch]
        except Exception as error:
            raise OSError(f"{self.location} cannot be listed: {_reason(error)}") from error
        return sorted(name for name in found if name.startswith(prefix))

    def clean(self, prefix: str) -> None:
        """Do nothing: an object appears whole, or not at all."""


def numbers(storage: Storage, prefix: str) -> list[int]:
    """Return the ascending numbers of the files that have one for a name; others are no part of a log."""
    names = (name.removeprefix(prefix) for name in storage.names(prefix))
    return sorted(int(name) for name in names if len(name) == 12 and name.isdecimal())


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
