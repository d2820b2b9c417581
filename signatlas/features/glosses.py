"""Gloss oracle features: an upper bound for sentence retrieval with perfect sign recognition."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError
from signatlas.features import store


def gloss_vector(gloss: str, width: int, seed: int) -> np.ndarray:
    """Return a random unit vector float32 [width] that depends only on gloss, width and seed."""
    key = hashlib.sha256(f"{seed}\n{gloss}".encode()).digest()
    values = np.random.Generator(np.random.Philox(key=np.frombuffer(key[:16], np.uint64))).standard_normal(width)
    return np.asarray(values / np.linalg.norm(values), np.float32)


def write_gloss_features(
    corpus: Corpus, out: str | os.PathLike[str], *, width: int = 64, seed: int = 0, overwrite: bool = False
) -> store.FeatureStore:
    """Write features with one row per true gloss of each clip, in order.

    Raises FeatureError for a clip without glosses.
    """
    rows = corpus.metadata()
    glosses_per_clip = [row["glosses"] or ([row["gloss"]] if row["gloss"] else []) for row in rows]
    for row, glosses in zip(rows, glosses_per_clip, strict=True):
        if not glosses:
            raise FeatureError(f"clip {row['id']} of {corpus.path} has no glosses: every clip needs them")
    vectors = {
        gloss: gloss_vector(gloss, width, seed) for gloss in {g for glosses in glosses_per_clip for g in glosses}
    }
    info = store.FeatureInfo(
        kind="glosses", streams=("agnostic",), width=width, corpus=corpus.info.name,
        corpus_fingerprint=corpus.info.fingerprint, made={"seed": str(seed), "glosses": str(len(vectors))},
    )  # fmt: skip
    parts = (np.stack([vectors[gloss] for gloss in glosses]) for glosses in glosses_per_clip)
    ids, counts = [row["id"] for row in rows], [len(glosses) for glosses in glosses_per_clip]
    return store.write(out, info, ids, counts, {"agnostic": parts}, overwrite=overwrite)
