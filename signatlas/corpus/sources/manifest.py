"""Read a manifest: a CSV, TSV or JSONL file with one line per recording.

Columns: `path` (relative to the manifest, absolute, or a URI) and, optionally, `id`, `label` (or `gloss`), `glosses`
(separated by spaces), `signer`, `split`, `text` with `language` (or `text_de`, `text_en`, ...), `sign_language`,
`start` and `end` in seconds, `first_frame` and `end_frame` (the frame after the last), `box` (left top right bottom in
pixels), `frames` (expected number), `fps` (of a folder of images), `sha256`. JSONL accepts lists for glosses and box.
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
from signatlas.corpus.sources.base import Item, Listing, Missing, read_lines, read_table, require_unique_ids
from signatlas.errors import CorpusError

COLUMNS = (
    "path", "id", "label", "gloss", "glosses", "signer", "split", "text", "language", "sign_language", "start", "end",
    "first_frame", "end_frame", "box", "frames", "fps", "sha256",
)  # fmt: skip
LIST_COLUMNS = ("glosses", "box")  # in JSONL
TEXT_COLUMN = re.compile(r"text_([A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*)")
SPLIT_ALIASES = {"val": "dev", "valid": "dev", "validation": "dev", "development": "dev"}
SUFFIXES = (".csv", ".tsv", ".jsonl")


def read(
    path: Path,
    *,
    sign_language: str | None = None,
    name: str | None = None,
    license: str = "unknown",
    source: str = "unknown",
) -> Listing:
    """Return the recordings of a manifest; local files that do not exist are listed as missing.

    ``sign_language`` is the default of rows without one. ``info.made["splits"]`` is "manifest" if the rows have
    splits; otherwise every item is in train, and splits are to be assigned. Raises CorpusError, with the line, for an
    unknown column or an invalid value, and when no recording exists.
    """
    path = Path(path)
    name = name or path.stem
    code = sign_language_code(sign_language) if sign_language else None
    rows = [(location, _validate(location, row)) for location, row in _read_rows(path)]
    if not rows:
        raise CorpusError(f"{path} lists no recording: add a line for each, with at least its path")
    has_splits = _require_all_or_none(rows, "split")
    uses = Counter(row["path"] for _, row in rows)
    items, missing = [], []
    for location, row in rows:
        item = _parse_item(location, row, path.parent, name, code, alone=uses[row["path"]] == 1)
        if "://" in item.media or Path(item.media).exists():
            items.append(item)
        else:
            missing.append(Missing(item.id, f"no file {item.media} ({location})"))
    require_unique_ids([item.id for item in items], path)
    if not items:
        raise CorpusError(f"{path}: none of its {len(missing)} recordings exists; first: {missing[0].reason}")
    languages = tuple(sorted({item.sign_language for item in items}))
    made = {"kind": "manifest", "named": len(rows)} | ({"splits": "manifest"} if has_splits else {})
    return Listing(CorpusInfo(name, "1", license, source, languages, made=made), tuple(items), tuple(missing))


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix not in SUFFIXES:
        raise CorpusError(
            f"{path} is not a valid manifest: give a {', '.join(SUFFIXES)} file with one line per recording"
        )
    if not path.is_file():
        raise CorpusError(f"no manifest at {path}")
    if path.suffix != ".jsonl":
        yield from read_table(path, "\t" if path.suffix == ".tsv" else ",", quoted=True)
        return
    for location, line in read_lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{location} is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise CorpusError(f"{location} is not a JSON object")
        yield location, row


def _validate(location: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return the non-empty values, as stripped strings or lists. Raises CorpusError for unknown columns."""
    for column in row:
        if column not in COLUMNS and not TEXT_COLUMN.fullmatch(column):
            nearest = difflib.get_close_matches(column, COLUMNS, n=1)
            hint = (
                f"did you mean '{nearest[0]}'?"
                if nearest
                else f"valid columns are {', '.join(COLUMNS)} and text_LANGUAGE"
            )
            raise CorpusError(f"{location}: unknown column '{column}': {hint}")
    for column, value in row.items():
        values = value if isinstance(value, list) and column in LIST_COLUMNS else [value]
        if invalid := [v for v in values if isinstance(v, list | dict | bool)]:
            raise CorpusError(f"{location}: {column} is {json.dumps(invalid[0])}, expected text or a number")
    stripped = {name: value if isinstance(value, list) else str(value).strip() for name, value in row.items()
                if value is not None}  # fmt: skip
    stripped = {name: value for name, value in stripped.items() if value not in ("", [])}
    if not isinstance(stripped.get("path"), str):
        raise CorpusError(f"{location}: no path")
    return stripped


def _require_all_or_none(rows: list[tuple[str, dict[str, Any]]], column: str) -> bool:
    without = [location for location, row in rows if column not in row]
    if without and len(without) < len(rows):
        raise CorpusError(f"{without[0]}: no {column}, but other lines have one: add it to all lines or to none")
    return not without


def _parse_item(location: str, row: dict[str, Any], folder: Path, name: str, code: str | None, *, alone: bool) -> Item:
    media = row["path"] if "://" in row["path"] else str(folder / row["path"])
    language = sign_language_code(row["sign_language"]) if "sign_language" in row else code
    if language is None:
        raise CorpusError(f"{location}: no sign language: add the column sign_language or pass --sign-language")
    if "label" in row and "gloss" in row:
        raise CorpusError(f"{location}: label and gloss are synonyms: give one of them")
    span, seconds = (
        _parse_span(location, row, "first_frame", "end_frame", int),
        _parse_span(location, row, "start", "end", float),
    )
    if span and seconds:
        raise CorpusError(f"{location}: give the time span in frames or in seconds, not both")
    split = SPLIT_ALIASES.get(row.get("split", "train"), row.get("split", "train"))
    if split not in SPLITS:
        raise CorpusError(f"{location}: unknown split '{split}', expected {', '.join(SPLITS)}")
    return Item(
        id=row.get("id") or _make_id(name, row["path"], None if alone else span or seconds),
        media=media,
        sign_language=language,
        source=name,
        split=split,
        signer=row.get("signer"),
        gloss=row.get("label", row.get("gloss")),
        glosses=_split_glosses(row["glosses"]) if "glosses" in row else None,
        texts=_parse_texts(location, row),
        span=span,
        seconds=seconds,
        box=_parse_box(location, row),
        frames=_parse_number(location, row, "frames", int),
        fps=_parse_number(location, row, "fps", float),
        sha256=_parse_sha256(location, row),
    )


def _make_id(name: str, path: str, span: tuple[Any, Any] | None) -> str:
    """Return the corpus name, the path without suffix and, if several items share a recording, the time span."""
    inner = path.rpartition("://")[2].strip("/").removeprefix("./")
    stem = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", inner)
    return f"{name}/{stem}" + (f"@{span[0]:g}-{span[1]:g}" if span else "")


def _split_glosses(value: str | list[Any]) -> tuple[str, ...]:
    return tuple(value.split()) if isinstance(value, str) else tuple(map(str, value))


def _parse_texts(location: str, row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    texts = []
    if "text" in row:
        if "language" not in row:
            raise CorpusError(f"{location}: text without language: add the column language, or name the column text_en")
        texts.append((row["language"], row["text"]))
    for column, value in row.items():
        if match := TEXT_COLUMN.fullmatch(column):
            texts.append((match.group(1), value))
    return tuple(texts)


def _parse_number(location: str, row: dict[str, Any], column: str, kind: type) -> Any:
    if column not in row:
        return None
    try:
        value = kind(row[column])
    except (ValueError, TypeError) as error:
        raise CorpusError(f"{location}: {column} is '{row[column]}', expected a number") from error
    if not math.isfinite(value) or value < 0 or (value == 0 and column in ("frames", "fps")):
        raise CorpusError(f"{location}: {column} is {value}, which is out of range")
    return value


def _parse_span(location: str, row: dict[str, Any], first: str, end: str, kind: type) -> tuple[Any, Any] | None:
    begins, ends = _parse_number(location, row, first, kind), _parse_number(location, row, end, kind)
    if begins is None and ends is None:
        return None
    if begins is None or ends is None:
        raise CorpusError(f"{location}: give both {first} and {end}, or neither")
    if begins >= ends:
        raise CorpusError(f"{location}: {first} {begins:g} is not before {end} {ends:g}")
    return begins, ends


def _parse_box(location: str, row: dict[str, Any]) -> tuple[int, int, int, int] | None:
    if "box" not in row:
        return None
    values = row["box"] if isinstance(row["box"], list) else re.split(r"[\s,]+", row["box"].strip("[]() "))
    try:
        left, top, right, bottom = (int(value) for value in values)
    except (ValueError, TypeError) as error:
        raise CorpusError(
            f"{location}: box is '{row['box']}', expected four integers, left top right bottom in pixels"
        ) from error
    if not (0 <= left < right and 0 <= top < bottom):
        raise CorpusError(f"{location}: the box {left} {top} {right} {bottom} is empty")
    return left, top, right, bottom


def _parse_sha256(location: str, row: dict[str, Any]) -> str | None:
    digest = row.get("sha256")
    if digest is not None and not re.fullmatch("[0-9a-fA-F]{64}", str(digest)):
        raise CorpusError(f"{location}: sha256 is '{digest}', expected 64 hexadecimal digits")
    return None if digest is None else str(digest).lower()
