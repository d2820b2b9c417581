"""Where runs keep their checkpoints: a folder of this machine, or a URI that every node reaches."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from signatlas.errors import UserError
from signatlas.files import filesystem


class StorageError(UserError):
    """A place that cannot hold results."""


def resolve(path: str | os.PathLike[str]) -> str:
    """Return ``path`` as Ray wants it: an absolute local folder, made and writable, or a URI such as s3://bucket/runs.

    Workers run in folders of their own, so a relative path would mean another place for each. Raises StorageError.
    """
    text = os.fspath(path)
    if not text.strip():
        raise StorageError("storage_path is empty: give a folder such as runs, or a URI such as s3://bucket/runs")
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme and scheme != "file":
        return _checked_uri(text, scheme)
    folder = Path(url2pathname(urlsplit(text).path) if scheme else text).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"cannot write to {folder} ({error.strerror}): give another --storage-path") from None
    return str(folder)


def _checked_uri(uri: str, scheme: str) -> str:
    try:
        filesystem(uri)
    except Exception as error:  # pyarrow raises many kinds; each of them means the same to the user
        reason = str(error).splitlines()[0]
        raise StorageError(f"storage_path {uri}: {scheme}:// cannot be used here ({reason})") from None
    return uri.rstrip("/")
