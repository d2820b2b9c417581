"""Filters of a search: which entries of an index may be hits, decided before the best are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema

from signatlas.config import Strict
from signatlas.errors import UserError

MAX_VALUES, MAX_CHARACTERS = 1000, 1024


def _values(value: Any) -> Any:
    """Return one value as a tuple of one, in the order that makes equal filters equal."""
    values = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    if any(isinstance(v, bool) for v in values):
        raise ValueError("true and false are no values of a filter")
    try:
        for v in values:
            str(v).encode()
        return tuple(sorted(set(values)))
    except UnicodeEncodeError:
        raise ValueError("the text contains half of a surrogate pair, which is no character") from None
    except TypeError:  # neither text nor numbers: pydantic says so
        return tuple(values)


def _one_or_several(item: dict[str, Any]) -> WithJsonSchema:
    several = {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_VALUES}
    return WithJsonSchema({"anyOf": [item, several, {"type": "null"}]})


_Count = Field(min_length=1, max_length=MAX_VALUES)
Texts = Annotated[tuple[Annotated[str, Field(max_length=MAX_CHARACTERS)], ...], BeforeValidator(_values), _Count]
Numbers = Annotated[tuple[Annotated[int, Field(ge=0, le=100)], ...], BeforeValidator(_values), _Count]
_TEXT = _one_or_several({"type": "string", "maxLength": MAX_CHARACTERS})
_NUMBER = _one_or_several({"type": "integer", "minimum": 0, "maximum": 100})


class Filter(Strict):
    """Conditions on entries, all of which must hold; of several values of one condition, any.

    A value that no entry has is no mistake: it finds nothing. An entry without a value (an unknown signer) meets no
    condition on it.
    """

    corpus: Annotated[Texts | None, _TEXT] = Field(None, description="name of the corpus")
    source: Annotated[Texts | None, _TEXT] = Field(None, description="part of the corpus")
    split: Annotated[Texts | None, _TEXT] = Field(None, description="train, dev or test")
    sign_language: Annotated[Texts | None, _TEXT] = Field(None, description="ISO 639-3: gsg, ase")
    text_language: Annotated[Texts | None, _TEXT] = Field(None, description="BCP 47: an entry with a text in it")
    signer: Annotated[Texts | None, _TEXT] = None
    gloss: Annotated[Texts | None, _TEXT] = Field(None, description="of a single sign")
    hands: Annotated[Numbers | None, _NUMBER] = Field(None, description="number of signing hands: 1 or 2")
    movement: Annotated[Texts | None, _TEXT] = Field(
        None, description="of a single sign: none, straight, arc, circle, back_and_forth"
    )
    location: Annotated[Texts | None, _TEXT] = Field(None, description="of a single sign: head, chest, waist")

    def conditions(self) -> dict[str, tuple[Any, ...]]:
        """Return the values of each condition that was given."""
        return {name: value for name in KEYS if (value := getattr(self, name)) is not None}

    @classmethod
    def parse(cls, conditions: Iterable[str]) -> Filter | None:
        """Return the filter of texts ``KEY=VALUE``; a key that comes again adds a value. Raises UserError."""
        values: dict[str, list[str]] = {}
        for condition in conditions:
            key, equals, value = condition.partition("=")
            if not equals or not value:
                raise UserError(f"'{condition[:100]}' is not a filter: give KEY=VALUE, such as gloss=Haus")
            values.setdefault(key, []).append(value)
        return cls.of(values) if values else None

    @classmethod
    def of(cls, values: dict[str, Any]) -> Filter:
        """Return the filter of these values. Raises UserError for its first mistake."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            key = str(first["loc"][0])[:100] if first["loc"] else ""
            if first["type"] == "extra_forbidden":
                raise UserError(f"no filter '{key}': there are {', '.join(KEYS)}") from error
            raise UserError(f"filter {key}: {first['msg'].removeprefix('Value error, ')}") from error


KEYS = tuple(Filter.model_fields)
SIGNING_KEYS = ("signer", "gloss", "hands", "movement", "location")  # of recordings, not of texts
LISTED_KEYS = ("corpus", "source", "split", "sign_language", "text_language", "hands", "movement", "location")


def misfit(filter: Filter | None, kind: str) -> str | None:
    """Return why a filter does not fit an index of ``kind`` (signs, clips or texts), or None if it does."""
    if filter is None or kind != "texts":
        return None
    wrong = [key for key in SIGNING_KEYS if key in filter.conditions()]
    if not wrong:
        return None
    return f"filter.{wrong[0]}: the entries of an index of texts are texts, not recordings"


def mask(rows: pa.Table, filter: Filter | None, language: str | None = None) -> np.ndarray | None:
    """Return which of the ``rows`` (of ``ROW_SCHEMA``) meet the filter, bool [N]; None stands for all of them.

    With ``language``, they also need a text in it.
    """
    conditions = list(filter.conditions().items()) if filter is not None else []
    if language is not None:
        conditions.append(("text_language", (language,)))
    if not conditions:
        return None
    return np.logical_and.reduce([_meets(rows, key, values) for key, values in conditions])


class MaskCache:
    """Masks of the last filters, of one table of rows: another table empties it."""

    def __init__(self, size: int = 16):
        self.size = size
        self._rows: pa.Table | None = None
        self._masks: dict[tuple[Filter | None, str | None], np.ndarray | None] = {}

    def mask(
        self, rows: pa.Table, filter: Filter | None, language: str | None = None, there: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Return :func:`mask`, of the rows that are ``there`` bool [N] (default: all). It must not be changed."""
        if rows is not self._rows:
            self._rows, self._masks = rows, {}
        key = filter, language
        if key not in self._masks:
            if len(self._masks) >= self.size:
                self._masks.pop(next(iter(self._masks)))
            meets = mask(rows, filter, language)
            self._masks[key] = there if meets is None else meets if there is None else meets & there
        return self._masks[key]


def _meets(rows: pa.Table, key: str, values: Sequence[Any]) -> np.ndarray:
    if key == "text_language":
        return _with_text_in(rows["texts"], values)
    column = rows[key]
    met = pc.is_in(column, value_set=pa.array(values, column.type))
    return np.asarray(met.to_numpy(zero_copy_only=False), bool)


def _with_text_in(texts: pa.ChunkedArray, languages: Sequence[str]) -> np.ndarray:
    """Return which lists of texts have one in any of the languages, bool [N]."""
    lists = texts.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # of no rows
        return np.zeros(len(texts), bool)
    matches = pc.is_in(pc.struct_field(pc.list_flatten(lists), [0]), value_set=pa.array(languages, pa.string()))
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    met = np.zeros(len(lists), bool)
    met[parents[matches.to_numpy(zero_copy_only=False).astype(bool)]] = True
    return met


def available(rows: pa.Table) -> dict[str, list[Any]]:
    """Return the sorted values of the keys with few of them (``LISTED_KEYS``) that some of the rows have."""
    found: dict[str, list[Any]] = {}
    for key in LISTED_KEYS:
        if key == "text_language":
            lists = rows["texts"].combine_chunks()
            values = [] if isinstance(lists, pa.ChunkedArray) else pc.struct_field(pc.list_flatten(lists), [0])
        else:
            values = rows[key]
        unique = pc.unique(values).to_pylist() if len(values) else []
        found[key] = sorted(value for value in unique if value is not None)
    return found
