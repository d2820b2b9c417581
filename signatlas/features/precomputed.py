"""Import of precomputed clip features from `.npy` and `.pkl` files, without running code from pickles."""

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

KEYS = ("feature", "features")  # of the array in a dict; CiCo's releases use "feature"
ENDINGS = (".npy", ".pkl", ".pickle")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise FeatureError(f"it contains text in {encoding}, which numpy arrays do not use")
    return text.encode(encoding)


def _allowed() -> dict[tuple[str, str], Any]:
    """Return the callables that pickles of numpy arrays may use, under their numpy 1 and numpy 2 names."""
    from numpy.core import multiarray

    calls: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
    calls["_codecs", "encode"] = _encode
    for package in ("numpy.core", "numpy._core"):
        for name in ("_reconstruct", "scalar"):
            calls[f"{package}.multiarray", name] = getattr(multiarray, name)
    return calls


class _ArraysOnly(pickle.Unpickler):
    """An unpickler of arrays, numbers, text, lists, tuples and dicts; any other name is an error."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            function: Callable[..., Any] = _allowed()[module, name]
        except KeyError as error:
            raise FeatureError(f"it uses {module}.{name}, which numpy arrays do not need; no code was run") from error
        return function


def read(path: Path) -> Any:
    """Return the content of a .npy file, or of a pickle of arrays, dicts, lists, text and numbers.

    Raises FeatureError.
    """
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return _ArraysOnly(io.BytesIO(path.read_bytes())).load()
    except FeatureError as error:
        raise FeatureError(f"{path} was rejected: {error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise FeatureError(f"{path} contains no readable features: {error or type(error).__name__}") from error


def matrix(value: Any, source: str) -> np.ndarray:
    """Return features float32 [windows, width] from an array, or from a dict or list with one. Raises FeatureError."""
    if isinstance(value, Mapping):
        key = next((key for key in KEYS if key in value), None)
        if key is None and len(value) != 1:
            raise FeatureError(f"{source} is a dict of {', '.join(map(str, value))[:80]}: 'feature' is missing")
        value = value[key] if key is not None else next(iter(value.values()))
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise ValueError
        array = array.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise FeatureError(f"{source} is not an array of numbers") from error
    array = array.reshape([size for size in array.shape if size != 1] if array.ndim > 2 else array.shape)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or 0 in array.shape:
        raise FeatureError(f"{source} has shape {list(array.shape)}, expected [windows, width]")
    if not np.isfinite(array).all() or np.abs(array).max() > np.finfo(np.float16).max:
        raise FeatureError(f"{source} contains NaN, infinite or huge values: recompute it or leave the clip out")
    return array


def _identity(value: Any) -> Any:
    return value


@dataclass
class Source:
    """Features of one stream: a loader per file name or key."""

    path: Path
    loaders: dict[str, Callable[[], Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Source:
        """Open a folder with one file per clip, or one pickle with a dict from id to array. Raises FeatureError."""
        location = Path(path)
        if location.is_dir():
            files = sorted(f for f in location.rglob("*") if f.suffix in ENDINGS and f.is_file())
            if not files:
                raise FeatureError(f"{location} contains no .npy or .pkl files")
            names = [f.relative_to(location).with_suffix("").as_posix() for f in files]
            if len(set(names)) < len(names):
                duplicate = next(n for n in names if names.count(n) > 1)
                raise FeatureError(f"{location} contains {duplicate} twice, as .npy and .pkl: remove one")
            return cls(location, {name: partial(read, f) for name, f in zip(names, files, strict=True)})
        if not location.is_file():
            raise FeatureError(f"no features at {location}: give a folder of .npy or .pkl, or one .pkl")
        arrays = read(location)
        if not isinstance(arrays, Mapping) or not all(isinstance(key, str) for key in arrays):
            raise FeatureError(f"{location} is not a dict from clip id to array")
        return cls(location, {name: partial(_identity, value) for name, value in arrays.items()})

    def names(self, ids: list[str]) -> dict[str, str]:
        """Return the matching name per clip id: the id or a suffix of it (`train/x` or `x` for `corpus/train/x`)."""
        matches: dict[str, str] = {}
        for id in ids:
            parts = id.split("/")
            suffixes = ("/".join(parts[n:]) for n in range(len(parts)))
            name = next((suffix for suffix in suffixes if suffix in self.loaders), None)
            if name is not None:
                matches[id] = name
        return matches


@dataclass(frozen=True)
class ImportResult:
    """Imported features, ids of clips without features, and names that match no clip."""

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
) -> ImportResult:
    """Import features of ``corpus`` from ``first`` (domain-agnostic) and ``second`` (domain-aware).

    Raises FeatureError, also for clips without features unless ``allow_missing``; names that match no clip are
    returned.
    """
    sources = {"agnostic": Source.open(first)} | ({"aware": Source.open(second)} if second is not None else {})
    ids = [row["id"] for row in corpus.metadata()]
    names = {stream: source.names(ids) for stream, source in sources.items()}
    _check_unique(names)
    imported = [id for id in ids if all(id in matches for matches in names.values())]
    missing = tuple(id for id in ids if any(id not in matches for matches in names.values()))
    if not imported or (missing and not allow_missing):
        paths = " and ".join(str(source.path) for source in sources.values())
        raise FeatureError(
            f"{paths}: features are missing for {len(missing)} of {len(ids)} clips, first {missing[0]}: "
            "compute them, or leave these clips out with --allow-missing"
        )
    used = {name for matches in names.values() for name in matches.values()}
    unknown = tuple(sorted({name for source in sources.values() for name in source.loaders} - used))
    counts, width = _sizes(sources, names, imported, limit)
    info = store.FeatureInfo(
        kind="precomputed", streams=tuple(sources), width=width, corpus=corpus.info.name,
        corpus_fingerprint=corpus.info.fingerprint, window=window, stride=stride, limit=limit,
        made={stream: source.path.name for stream, source in sources.items()},
    )  # fmt: skip

    def stream(name: str) -> Iterator[np.ndarray]:
        for id in imported:
            array = _array(sources[name], names[name][id])
            yield array[store.subsample(len(array), limit)]

    features = store.write(out, info, imported, counts, {name: stream(name) for name in sources}, overwrite=overwrite)
    return ImportResult(features, missing, unknown)


def _array(source: Source, name: str) -> np.ndarray:
    return matrix(source.loaders[name](), f"{source.path}: {name}")


def _check_unique(names: Mapping[str, Mapping[str, str]]) -> None:
    """Raise FeatureError if two clips match the same name, as ids with a common suffix can."""
    for matches in names.values():
        owner: dict[str, str] = {}
        for id, name in matches.items():
            if owner.setdefault(name, id) != id:
                raise FeatureError(
                    f"features '{name}' match two clips, {owner[name]} and {id}: name each file after the full clip id"
                )


def _sizes(
    sources: Mapping[str, Source], names: Mapping[str, Mapping[str, str]], ids: list[str], limit: int | None
) -> tuple[list[int], int]:
    """Return the windows per clip and the width; read every file, so that bad ones fail before writing."""
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
