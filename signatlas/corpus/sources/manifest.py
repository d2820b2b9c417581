"""A manifest: any recordings of one's own, a line each in CSV, TSV or JSONL, with what is known of them.

Columns: `path` (relative to the manifest, absolute, or a URI) and, where known, `id`, `label` (or `gloss`), `glosses`
(separated by spaces), `signer`, `split`, `text` with `language` (or `text_de`, `text_en`, ...), `sign_language`,
`start` and `end` in seconds, `first_frame` and `end_frame` (the frame after the last), `box` (left top right bottom in
pixels), `frames` (announced), `fps` (of a folder of pictures), `sha256`. JSONL takes lists for glosses and box.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from signatlas.corpus.clips import SPLITS, sign_language_code
from signatlas.corpus.format import CorpusInfo
from signatlas.corpus.sources.base import Item, Listing, Missing, lines, refuse_twins, table
from signatlas.errors import CorpusError

COLUMNS = (
    "path", "id", "label", "gloss", "glosses", "signer", "split", "text", "language", "sign_language", "start", "end",
    "first_frame", "end_frame", "box", "frames", "fps", "sha256",
)  # fmt: skip
LISTS = ("glosses", "box")  # of JSONL
TEXT_COLUMN = re.compile(r"text_([A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*)")
OTHER_NAMES = {"val": "dev", "valid": "dev", "validation": "dev", "development": "dev"}
SUFFIXES = (".csv", ".tsv", ".jsonl")


def read(
    path: Path,
    *,
    sign_language: str | None = None,
    name: str | None = None,
    license: str = "unknown",
    source: str = "unknown",
) -> Listing:
    """The recordings of a manifest; local files that are not there are listed as missing.

    ``sign_language`` is that of rows without the column. ``info.made["splits"]`` is "manifest" when the rows say
    their split; otherwise every item says train, and the split is to be made. Raises CorpusError, naming file and
    line, for an unknown column, a value that makes no sense, or when nothing is there.
    """
    path = Path(path)
    name = name or path.stem
    code = sign_language_code(sign_language) if sign_language else None
    rows = [(where, _checked(where, row)) for where, row in _rows(path)]
    if not rows:
        raise CorpusError(f"{path} names no recording: give a line for each, with at least its path")
    split = _all_or_none(rows, "split")
    uses = Counter(row["path"] for _, row in rows)
    items, missing = [], []
    for where, row in rows:
        item = _item(where, row, path.parent, name, code, alone=uses[row["path"]] == 1)
        there = "://" in item.media or Path(item.media).exists()
        if there:
            items.append(item)
        else:
            missing.append(Missing(item.id, f"nothing at {item.media} ({where})"))
    refuse_twins([item.id for item in items], path)
    if not items:
        raise CorpusError(f"{path}: not one of its {len(missing)} recordings is there; first: {missing[0].reason}")
    languages = tuple(sorted({item.sign_language for item in items}))
    made = {"kind": "manifest", "named": len(rows)} | ({"splits": "manifest"} if split else {})
    return Listing(CorpusInfo(name, "1", license, source, languages, made=made), tuple(items), tuple(missing))


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix not in SUFFIXES:
        raise CorpusError(f"{path} is no manifest: give a {', '.join(SUFFIXES)} file with a line a recording")
    if not path.is_file():
        raise CorpusError(f"no manifest at {path}")
    if path.suffix != ".jsonl":
        yield from table(path, "\t" if path.suffix == ".tsv" else ",", quoted=True)
        return
    for where, line in lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{where} is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise CorpusError(f"{where} is not an object of columns and values")
        yield where, row


def _checked(where: str, row: dict[str, Any]) -> dict[str, Any]:
    """Only the values that are there, as stripped text or lists. Raises CorpusError for unknown columns."""
    for column in row:
        if column not in COLUMNS and not TEXT_COLUMN.fullmatch(column):
            nearest = difflib.get_close_matches(column, COLUMNS, n=1)
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"known are {', '.join(COLUMNS)} and text_LANGUAGE"
            raise CorpusError(f"{where}: unknown column '{column}': {hint}")
    for column, value in row.items():
        inner = value if isinstance(value, list) and column in LISTS else [value]
        if wrong := [one for one in inner if isinstance(one, list | dict | bool)]:
            raise CorpusError(f"{where}: {column} holds {json.dumps(wrong[0])}, expected text or a number")
    held = {name: value if isinstance(value, list) else str(value).strip() for name, value in row.items()
            if value is not None}  # fmt: skip
    held = {name: value for name, value in held.items() if value not in ("", [])}
    if not isinstance(held.get("path"), str):
        raise CorpusError(f"{where}: no path")
    return held


def _all_or_none(rows: list[tuple[str, dict[str, Any]]], column: str) -> bool:
    without = [where for where, row in rows if column not in row]
    if without and len(without) < len(rows):
        raise CorpusError(f"{without[0]}: no {column}, but other lines have one: give it to all lines or to none")
    return not without


def _item(where: str, row: dict[str, Any], folder: Path, name: str, code: str | None, *, alone: bool) -> Item:
    media = row["path"] if "://" in row["path"] else str(folder / row["path"])
    language = sign_language_code(row["sign_language"]) if "sign_language" in row else code
    if language is None:
        raise CorpusError(f"{where}: no sign language: add the column sign_language or pass --sign-language")
    if "label" in row and "gloss" in row:
        raise CorpusError(f"{where}: both label and gloss, which mean the same: give one")
    span, seconds = _cut(where, row, "first_frame", "end_frame", int), _cut(where, row, "start", "end", float)
    if span and seconds:
        raise CorpusError(f"{where}: both a span of frames and one of seconds: give one")
    split = OTHER_NAMES.get(row.get("split", "train"), row.get("split", "train"))
    if split not in SPLITS:
        raise CorpusError(f"{where}: unknown split '{split}', expected {', '.join(SPLITS)}")
    return Item(
        id=row.get("id") or _id(name, row["path"], None if alone else span or seconds),
        media=media,
        sign_language=language,
        source=name,
        split=split,
        signer=row.get("signer"),
        gloss=row.get("label", row.get("gloss")),
        glosses=_words(row["glosses"]) if "glosses" in row else None,
        texts=_texts(where, row),
        span=span,
        seconds=seconds,
        box=_box(where, row),
        frames=_number(where, row, "frames", int),
        fps=_number(where, row, "fps", float),
        sha256=_sha256(where, row),
    )


def _id(name: str, path: str, cut: tuple[Any, Any] | None) -> str:
    """The name, the path without its suffix and, where one recording is cut into several, the cut."""
    inner = path.rpartition("://")[2].strip("/").removeprefix("./")
    stem = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", inner)
    return f"{name}/{stem}" + (f"@{cut[0]:g}-{cut[1]:g}" if cut else "")


def _words(value: str | list[Any]) -> tuple[str, ...]:
    return tuple(value.split()) if isinstance(value, str) else tuple(map(str, value))


def _texts(where: str, row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    texts = []
    if "text" in row:
        if "language" not in row:
            raise CorpusError(f"{where}: a text without a language: add the column language, or call it text_en")
        texts.append((row["language"], row["text"]))
    for column, value in row.items():
        if found := TEXT_COLUMN.fullmatch(column):
            texts.append((found.group(1), value))
    return tuple(texts)


def _number(where: str, row: dict[str, Any], column: str, kind: type) -> Any:
    if column not in row:
        return None
    try:
        value = kind(row[column])
    except (ValueError, TypeError) as error:
        raise CorpusError(f"{where}: {column} is '{row[column]}', expected a number") from error
    if not math.isfinite(value) or value < 0 or (value == 0 and column in ("frames", "fps")):
        raise CorpusError(f"{where}: {column} is {value}, which no recording has")
    return value


def _cut(where: str, row: dict[str, Any], first: str, end: str, kind: type) -> tuple[Any, Any] | None:
    begins, ends = _number(where, row, first, kind), _number(where, row, end, kind)
    if begins is None and ends is None:
        return None
    if begins is None or ends is None:
        raise CorpusError(f"{where}: give both {first} and {end}, or neither")
    if begins >= ends:
        raise CorpusError(f"{where}: {first} {begins:g} is not before {end} {ends:g}")
    return begins, ends


def _box(where: str, row: dict[str, Any]) -> tuple[int, int, int, int] | None:
    if "box" not in row:
        return None
    values = row["box"] if isinstance(row["box"], list) else re.split(r"[\s,]+", row["box"].strip("[]() "))
    try:
        left, top, right, bottom = (int(value) for value in values)
    except (ValueError, TypeError) as error:
        raise CorpusError(f"{where}: box is '{row['box']}', expected left top right bottom in whole pixels") from error
    if not (0 <= left < right and 0 <= top < bottom):
        raise CorpusError(f"{where}: the box {left} {top} {right} {bottom} holds no pixel")
    return left, top, right, bottom


def _sha256(where: str, row: dict[str, Any]) -> str | None:
    digest = row.get("sha256")
    if digest is not None and not re.fullmatch("[0-9a-fA-F]{64}", str(digest)):
        raise CorpusError(f"{where}: sha256 is '{digest}', expected 64 hexadecimal digits")
    return None if digest is None else str(digest).lower()
