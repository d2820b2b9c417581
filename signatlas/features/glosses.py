"""The gloss oracle: what sentence retrieval could do if every sign were recognized."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError
from signatlas.features import store


def vector(gloss: str, width: int, seed: int) -> np.ndarray:
    """A random vector float32 [width] of length one: a function of gloss, width and seed, on every machine."""
    key = hashlib.sha256(f"{seed}\n{gloss}".encode()).digest()
    values = np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], np.uint64))).standard_normal(width)
    return np.asarray(values / np.linalg.norm(values), np.float32)


def make(
    corpus: Corpus, out: str | os.PathLike[str], *, width: int = 64, seed: int = 0, overwrite: bool = False
) -> store.FeatureStore:
    """Features with one row a true gloss of each clip, in order. Raises FeatureError for a clip without glosses."""
    rows = corpus.metadata()
    glosses = [row["glosses"] or ([row["gloss"]] if row["gloss"] else []) for row in rows]
    for row, found in zip(rows, glosses, strict=True):
        if not found:
            raise FeatureError(f"clip {row['id']} of {corpus.path} has no glosses: the oracle needs them of every clip")
    vectors = {gloss: vector(gloss, width, seed) for gloss in {g for found in glosses for g in found}}
    info = store.FeatureInfo(
        kind="glosses", streams=("agnostic",), width=width, corpus=corpus.info.name,
        corpus_fingerprint=corpus.info.fingerprint, made={"seed": str(seed), "glosses": str(len(vectors))},
    )  # fmt: skip
    parts = (np.stack([vectors[gloss] for gloss in found]) for found in glosses)
    ids, counts = [row["id"] for row in rows], [len(found) for found in glosses]
    return store.write(out, info, ids, counts, {"agnostic": parts}, overwrite=overwrite)
