"""Resolve the storage path of runs: a local folder, or a URI that every node can reach."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from signatlas.errors import UserError
from signatlas.files import filesystem


class StorageError(UserError):
    """A storage path that cannot hold results."""


def resolve(path: str | os.PathLike[str]) -> str:
    """Return ``path`` in the form Ray needs: an absolute local folder, created and writable, or a URI.

    Workers have other working directories, so a relative path would name another folder on each. URIs look like
    s3://bucket/runs. Raises StorageError.
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
    except Exception as error:  # pyarrow raises many types of errors; all of them mean that the URI is unusable
        reason = str(error).splitlines()[0]
        raise StorageError(f"storage_path {uri}: {scheme}:// is not supported here ({reason})") from None
    return uri.rstrip("/")
