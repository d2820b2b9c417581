"""Text files for pretraining: UTF-8, one sentence per line."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from signatlas.errors import TextError


def read_lines(path: str) -> list[str]:
    """Return the non-blank lines of a text file. Raises TextError if it is missing, empty or not UTF-8."""
    try:
        content = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8, one sentence per line") from error
    except OSError as error:
        raise TextError(f"{path} cannot be read ({error.strerror}): data.texts must list text files") from error
    lines = [line.strip() for line in content.splitlines()]
    if not any(lines):
        raise TextError(f"{path} has no text: write one sentence per line, or remove it from data.texts")
    return [line for line in lines if line]


def fingerprint(corpus: str, files: Sequence[str]) -> str:
    """Return a fingerprint of a corpus and the content of text files, by which a resumed run recognizes its data.

    Without files it is the fingerprint of the corpus.
    """
    if not files:
        return corpus
    digest = hashlib.sha256(corpus.encode())
    for path in files:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()
