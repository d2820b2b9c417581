"""Sentences to sign: glosses in order, the texts they belong to, and how long the signing took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from signatlas.corpus.clips import SPLITS
from signatlas.errors import CorpusError


@dataclass(frozen=True)
class Sentence:
    """``texts`` are (BCP-47 language, text); ``frames`` is the length of the original recording, where there is one."""

    id: str
    split: str
    glosses: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]
    frames: int | None = None


def read_jsonl(path: Path, split: str | None = None) -> Iterator[Sentence]:
    """Sentences of a JSONL file: ``id``, ``split`` (or all of ``split``), ``glosses``, ``texts``: {language: text}.

    ``frames`` may be given. Raises CorpusError, naming the line, for one that is not of this form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read ({error}): give a JSONL file of sentences") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row["glosses"], list):
                raise TypeError("glosses is no list")
            found = Sentence(
                id=str(row["id"]),
                split=split or row["split"],
                glosses=tuple(str(g) for g in row["glosses"]),
                texts=tuple((str(tag), str(text)) for tag, text in row["texts"].items()),
                frames=None if row.get("frames") is None else int(row["frames"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(
                f"{path} line {number} is no sentence ({error}): give id, split, glosses and texts by language"
            ) from error
        if found.split not in SPLITS:
            raise CorpusError(f"{path} line {number}: unknown split '{found.split}', expected {', '.join(SPLITS)}")
        yield found
