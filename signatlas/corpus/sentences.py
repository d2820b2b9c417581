"""Annotated sentences: glosses in order, their texts, and the length of the original recording."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from signatlas.corpus import SPLITS
from signatlas.errors import CorpusError


@dataclass(frozen=True)
class Sentence:
    """A sentence: ``texts`` are (BCP-47 language, text), ``frames`` the length of its recording if there is one."""

    id: str
    split: str
    glosses: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]
    frames: int | None = None


def read_jsonl(path: Path, split: str | None = None) -> Iterator[Sentence]:
    """Yield the sentences of a JSONL file with the keys id, split, glosses (list), texts ({language: text}), frames.

    ``frames`` is optional, and so is ``split`` in the file if it is given here. Raises CorpusError, with the line, for
    an invalid sentence.
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
                raise TypeError("glosses is not a list")
            sentence = Sentence(
                id=str(row["id"]),
                split=split or row["split"],
                glosses=tuple(str(gloss) for gloss in row["glosses"]),
                texts=tuple((str(language), str(text)) for language, text in row["texts"].items()),
                frames=None if row.get("frames") is None else int(row["frames"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(
                f"{path} line {number} is not a valid sentence ({error}): give id, split, glosses and texts by language"
            ) from error
        if sentence.split not in SPLITS:
            raise CorpusError(f"{path} line {number}: unknown split '{sentence.split}', expected {', '.join(SPLITS)}")
        yield sentence
