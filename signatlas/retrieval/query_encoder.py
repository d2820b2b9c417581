"""Encode queries with the model of an index version: recordings for signs and texts, sentences for clips."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from signatlas.errors import FeatureError, IndexVersionError, PoseError, UserError
from signatlas.features.store import FeatureStore
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.models.sliding import SlidingEncoder
from signatlas.pose.normalize import check_query
from signatlas.retrieval.entries import check_model_features
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.queries import PoseQuery
from signatlas.retrieval.two_stage import Query, encode_queries


class SentenceEncoder:
    """Encodes queries for an index of clips or texts with its dual encoder."""

    def __init__(self, index_version: IndexVersion):
        if index_version.manifest.kind == "signs":
            raise IndexVersionError(
                f"{index_version.path} is an index of single signs, searched with --clip or --pose; "
                "to search sentences, build an index with a dual encoder"
            )
        self.index_version = index_version
        self._stores: dict[str, FeatureStore] = {}

    @cached_property
    def model(self) -> DualEncoder:
        """The index's dual encoder."""
        return self.index_version.dual_encoder()

    @cached_property
    def sliding(self) -> SlidingEncoder:
        """The model's own sign encoders. Raises FeatureError where it has none."""
        sign = self.model.config.sign
        return SlidingEncoder(self.index_version.path / "model", self.model, alpha=sign.alpha, limit=sign.max_windows)

    def encode_texts(self, texts: list[str]) -> list[Query]:
        """Return queries for an index of clips. Raises TextError and IndexVersionError."""
        if self.index_version.manifest.kind != "clips":
            raise IndexVersionError(f"{self.index_version.path} is an index of texts: search it with --clip or --pose")
        return encode_queries(self.model, "text", self.model.embed_texts(texts))

    def encode_features(self, features: np.ndarray) -> Query:
        """Return the query of one video's clip features float32 [windows, width], for an index of texts."""
        self.require_texts()
        mask = np.ones((1, len(features)), bool)
        return encode_queries(self.model, "video", self.model.embed_features([(features[None], mask)]))[0]

    def encode_clip(self, clip: PoseQuery, features: str | os.PathLike[str] | None = None) -> Query:
        """Return the query of one recording, for an index of texts.

        The clip's features come from the folder ``features``, else from the one the index was built with, else they
        are computed from its poses. Raises FeatureError, PoseError.
        """
        return self.encode_features(self._features(clip, features))

    def require_texts(self) -> None:
        """Raise IndexVersionError unless the entries are texts."""
        if self.index_version.manifest.kind != "texts":
            raise IndexVersionError(
                f"{self.index_version.path} is an index of clips, searched with --text; "
                "to search by a clip, build an index of texts: 'signatlas index build --entries texts'"
            )

    def stored_features(self, folder: str | os.PathLike[str], id: str) -> np.ndarray:
        """Read a clip's features float32 [windows, width], mixed and subsampled as the model takes them.

        Raises FeatureError for features of another corpus, of another width or without this clip.
        """
        store, sign = self._store(os.fspath(folder)), self.model.config.sign
        return store.of(int(store.positions([id])[0]), alpha=sign.alpha, limit=sign.max_windows)

    def _store(self, folder: str) -> FeatureStore:
        if folder not in self._stores:
            store = FeatureStore.open(folder)
            fingerprint = self.index_version.manifest.corpus.fingerprint
            if store.info.corpus_fingerprint != fingerprint:
                raise FeatureError(f"{folder} contains features of another corpus ({store.info.corpus}) than the index")
            check_model_features(store, fingerprint, self.model)
            self._stores[folder] = store
        return self._stores[folder]

    def _features(self, clip: PoseQuery, folder: str | os.PathLike[str] | None) -> np.ndarray:
        indexed = self.index_version.manifest.features
        if folder is None and clip.id is not None and indexed is not None and Path(indexed.path).is_dir():
            folder = indexed.path
        if folder is None:
            check_query(clip.poses)
            return self.sliding.features(clip.poses, clip.aspect, clip.source)
        if clip.id is None:
            raise FeatureError(f"{folder} contains features of a corpus's clips, not of a file: omit --features")
        return self.stored_features(folder, clip.id)


class SignQuery(NamedTuple):
    """A recording to embed: poses float32 [frames, 75, 3], width/height and source where known, and which sides."""

    poses: np.ndarray
    aspect: float | None = None
    source: str | None = None
    mirror: bool = True  # also as a signer of the other hand would perform it


class SignQueryEncoder:
    """Embeds recordings for an index of signs."""

    def __init__(self, index_version: IndexVersion, *, verify: bool = False, device: str = "cpu"):
        self.encoder = index_version.encoder(verify=verify).to(device)

    def embed(self, queries: list[SignQuery]) -> list[np.ndarray | UserError]:
        """Return unit vectors float32 [1 or 2, E] of each recording, or its PoseError; one batch for each side.

        The last bits of a vector depend on the size of the batch.
        """
        results: list[np.ndarray | UserError] = [np.zeros((0, 0), np.float32)] * len(queries)
        valid = []
        for number, query in enumerate(queries):
            try:
                check_query(query.poses)
                valid.append(number)
            except PoseError as error:
                results[number] = error
        sides = [(n, side) for side in (False, True) for n in valid if not side or queries[n].mirror]
        vectors: dict[int, list[np.ndarray]] = {n: [] for n in valid}
        for side in (False, True):
            chosen = [n for n, s in sides if s is side]
            for n, vector in zip(chosen, self._side([queries[n] for n in chosen], side), strict=True):
                if isinstance(vector, UserError):
                    results[n] = vector
                else:
                    vectors[n].append(vector)
        for n in valid:
            if not isinstance(results[n], UserError):
                results[n] = np.stack(vectors[n])
        return results

    def _side(self, queries: list[SignQuery], mirror: bool) -> list[np.ndarray | UserError]:
        aspects = [q.aspect or self.encoder.aspect_of(q.source, None, None) for q in queries]
        try:
            return list(self.encoder.embed([q.poses for q in queries], aspect=aspects, mirror=mirror))
        except PoseError as error:
            if len(queries) == 1:
                return [error]
        return [self._side([query], mirror)[0] for query in queries]
