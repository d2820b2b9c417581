"""Text files that a user names for pretraining: one sentence a line, UTF-8."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from signatlas.errors import TextError


def read_lines(path: str) -> list[str]:
    """The lines of a text file that are not blank. Raises TextError when it is missing, empty or not UTF-8."""
    try:
        content = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8, one sentence a line") from error
    except OSError as error:
        raise TextError(f"{path} cannot be read ({error.strerror}): data.texts names text files") from error
    lines = [line.strip() for line in content.splitlines()]
    if not any(lines):
        raise TextError(f"{path} has no text: give one sentence a line, or leave it out of data.texts")
    return [line for line in lines if line]


def fingerprint(corpus: str, files: Sequence[str]) -> str:
    """That of a corpus and of the content of text files: a run goes on only over the same texts."""
    if not files:
        return corpus
    digest = hashlib.sha256(corpus.encode())
    for path in files:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()
