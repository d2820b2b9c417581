"""Clip features that others computed: a `.npy` or `.pkl` a clip, or one `.pkl` of all, read without foreign code."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError
from signatlas.features import store

KEYS = ("feature", "features")  # of the array in a dict; CiCo's releases say "feature"
ENDINGS = (".npy", ".pkl", ".pickle")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise FeatureError(f"text in {encoding}, which no array has")
    return text.encode(encoding)


def _allowed() -> dict[tuple[str, str], Any]:
    """All that pickles of numpy arrays call, by the names of numpy 1 and 2. Whatever else one names is refused."""
    from numpy.core import multiarray

    calls: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
    calls["_codecs", "encode"] = _encode
    for package in ("numpy.core", "numpy._core"):
        for name in ("_reconstruct", "scalar"):
            calls[f"{package}.multiarray", name] = getattr(multiarray, name)
    return calls


class _ArraysOnly(pickle.Unpickler):
    """Knows arrays, numbers, text, lists, tuples and dicts; stops at the first other name."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            found: Callable[..., Any] = _allowed()[module, name]
        except KeyError as error:
            raise FeatureError(f"it names {module}.{name}, which no array needs; nothing of it was run") from error
        return found


def read(path: Path) -> Any:
    """The content of a .npy, or of a pickle of arrays, dicts, lists, text and numbers. Raises FeatureError."""
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return _ArraysOnly(io.BytesIO(path.read_bytes())).load()
    except FeatureError as error:
        raise FeatureError(f"{path} is refused: {error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise FeatureError(f"{path} holds no features that can be read: {error or type(error).__name__}") from error


def matrix(held: Any, where: str) -> np.ndarray:
    """Features float32 [windows, width] from an array, or a dict or list that holds it. Raises FeatureError."""
    if isinstance(held, Mapping):
        key = next((key for key in KEYS if key in held), None)
        if key is None and len(held) != 1:
            raise FeatureError(f"{where} is a dict of {', '.join(map(str, held))[:80]}: 'feature' is missing")
        held = held[key] if key is not None else next(iter(held.values()))
    try:
        array = np.asarray(held)
        if array.dtype.kind not in "fiu":
            raise ValueError
        array = array.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise FeatureError(f"{where} holds no array of numbers") from error
    array = array.reshape([size for size in array.shape if size != 1] if array.ndim > 2 else array.shape)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or 0 in array.shape:
        raise FeatureError(f"{where} has shape {list(array.shape)}, expected [windows, width]")
    if not np.isfinite(array).all() or np.abs(array).max() > np.finfo(np.float16).max:
        raise FeatureError(f"{where} holds NaN, infinite or huge values: compute it again or leave it out")
    return array


def _itself(value: Any) -> Any:
    return value


@dataclass
class Source:
    """Features of one stream by clip id. ``names`` are those that lie there, to be told of what fits no clip."""

    path: Path
    get: dict[str, Callable[[], Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Source:
        """A folder with a file a clip, or one pickle with a dict id -> array. Raises FeatureError."""
        where = Path(path)
        if where.is_dir():
            files = sorted(f for f in where.rglob("*") if f.suffix in ENDINGS and f.is_file())
            if not files:
                raise FeatureError(f"{where} holds no .npy or .pkl")
            names = [f.relative_to(where).with_suffix("").as_posix() for f in files]
            if len(set(names)) < len(names):
                twice = next(n for n in names if names.count(n) > 1)
                raise FeatureError(f"{where} holds {twice} twice, as .npy and .pkl: remove one")
            return cls(where, {name: partial(read, f) for name, f in zip(names, files, strict=True)})
        if not where.is_file():
            raise FeatureError(f"no features at {where}: give a folder of .npy or .pkl, or one .pkl")
        held = read(where)
        if not isinstance(held, Mapping) or not all(isinstance(key, str) for key in held):
            raise FeatureError(f"{where} is no dict of clip ids and arrays")
        return cls(where, {name: partial(_itself, value) for name, value in held.items()})

    def names(self, ids: list[str]) -> dict[str, str]:
        """Clip id -> name here: the id itself or its end, from a slash on (`corpus/train/x` is `train/x` or `x`)."""
        found: dict[str, str] = {}
        for id in ids:
            parts = id.split("/")
            ends = ("/".join(parts[n:]) for n in range(len(parts)))
            name = next((end for end in ends if end in self.get), None)
            if name is not None:
                found[id] = name
        return found


@dataclass(frozen=True)
class Imported:
    """What came of an import: the features, clips without any, and names that are no clip's."""

    store: store.FeatureStore
    missing: tuple[str, ...]
    unknown: tuple[str, ...]


def import_features(
    corpus: Corpus,
    out: str | os.PathLike[str],
    first: str | os.PathLike[str],
    second: str | os.PathLike[str] | None = None,
    *,
    window: int | None = 16,
    stride: int | None = 1,
    limit: int | None = None,
    allow_missing: bool = False,
    overwrite: bool = False,
) -> Imported:
    """Features of ``corpus`` from ``first`` (domain-agnostic) and ``second`` (domain-aware). Raises FeatureError.

    Clips without features are an error unless ``allow_missing``; names that fit no clip are counted.
    """
    sources = {"agnostic": Source.open(first)} | ({"aware": Source.open(second)} if second is not None else {})
    ids = [row["id"] for row in corpus.metadata()]
    names = {stream: source.names(ids) for stream, source in sources.items()}
    _refuse_shared(names)
    kept = [id for id in ids if all(id in found for found in names.values())]
    missing = tuple(id for id in ids if any(id not in found for found in names.values()))
    if not kept or (missing and not allow_missing):
        where = " and ".join(str(source.path) for source in sources.values())
        raise FeatureError(
            f"{where}: no features of {len(missing)} of {len(ids)} clips, the first is {missing[0]}: "
            "compute them, or leave these clips out with --allow-missing"
        )
    used = {name for found in names.values() for name in found.values()}
    unknown = tuple(sorted({name for source in sources.values() for name in source.get} - used))
    counts, width = _sizes(sources, names, kept, limit)
    info = store.FeatureInfo(
        kind="precomputed", streams=tuple(sources), width=width, corpus=corpus.info.name,
        corpus_fingerprint=corpus.info.fingerprint, window=window, stride=stride, limit=limit,
        made={stream: source.path.name for stream, source in sources.items()},
    )  # fmt: skip

    def stream(name: str) -> Iterator[np.ndarray]:
        for id in kept:
            array = _array(sources[name], names[name][id])
            yield array[store.subsample(len(array), limit)]

    made = store.write(out, info, kept, counts, {name: stream(name) for name in sources}, overwrite=overwrite)
    return Imported(made, missing, unknown)


def _array(source: Source, name: str) -> np.ndarray:
    return matrix(source.get[name](), f"{source.path}: {name}")


def _refuse_shared(names: Mapping[str, Mapping[str, str]]) -> None:
    """Two clips must not be taken for one another because their ids end alike."""
    for found in names.values():
        owner: dict[str, str] = {}
        for id, name in found.items():
            if owner.setdefault(name, id) != id:
                raise FeatureError(
                    f"features '{name}' fit two clips, {owner[name]} and {id}: name the file like the id"
                )


def _sizes(
    sources: Mapping[str, Source], names: Mapping[str, Mapping[str, str]], ids: list[str], limit: int | None
) -> tuple[list[int], int]:
    """Windows kept of each clip and the width; reads everything once, so that a bad file shows before writing."""
    counts: list[int] = []
    width = 0
    for id in ids:
        shapes = {stream: _array(sources[stream], names[stream][id]).shape for stream in sources}
        windows = {shape[0] for shape in shapes.values()}
        if len(windows) > 1:
            raise FeatureError(f"clip {id} has {' and '.join(map(str, sorted(windows)))} windows in the two streams")
        for stream, shape in shapes.items():
            width = width or shape[1]
            if shape[1] != width:
                raise FeatureError(f"{sources[stream].path}: {names[stream][id]} is {shape[1]} wide, others {width}")
        counts.append(len(store.subsample(windows.pop(), limit)))
    return counts, width
