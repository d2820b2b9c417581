"""Read, hash and atomically write files, on a local disk or in an object store (pyarrow.fs)."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def filesystem(path: str | os.PathLike[str]) -> tuple[FileSystem, str]:
    """Return the file system of a local path or a URI such as ``s3://bucket/corpus``, and the path inside it."""
    from pyarrow import fs

    text = os.fspath(path)
    if "://" in text:
        return fs.FileSystem.from_uri(text)
    return fs.LocalFileSystem(), str(Path(text).expanduser().absolute())


def absolute(path: str) -> str:
    """Return a local path as an absolute one, with ``~`` expanded; URIs are returned unchanged."""
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file. Raises FileNotFoundError."""
    store, inner = filesystem(path)
    with store.open_input_stream(inner) as stream:
        return stream.read()


def sha256_bytes(content: bytes) -> str:
    """Return the hexadecimal sha256 of ``content``."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(store: FileSystem, path: str, chunk_bytes: int = 1 << 20) -> str:
    """Return the hexadecimal sha256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with store.open_input_stream(path) as stream:
        while chunk := stream.read(chunk_bytes):
            digest.update(chunk)
    return digest.hexdigest()


def write_text_atomically(path: str | os.PathLike[str], text: str, mode: int = 0o644) -> None:
    """Replace a local file in one step: readers see the old content or the new, never a part of it.

    ``mode``: permissions of the file; it never has wider ones, not even while it is written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def folder_atomically(target: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a hidden sibling folder to fill; it is renamed to ``target`` when the block succeeds, else deleted.

    Raises FileExistsError when ``target`` exists and ``overwrite`` is false.
    """
    final = Path(target)
    if final.exists() and not overwrite:
        raise FileExistsError(f"{final} already exists")
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.partial-"))
    partial.chmod(0o755)
    try:
        yield partial
        if final.exists():
            retired = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}.old-"))
            os.replace(final, retired / final.name)
            os.replace(partial, final)
            shutil.rmtree(retired)
        else:
            os.replace(partial, final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
