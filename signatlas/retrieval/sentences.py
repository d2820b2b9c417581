"""Search an index of clips by a text, or one of texts by a clip, in this process, without Ray."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from signatlas.errors import FeatureError, IndexVersionError
from signatlas.features.store import FeatureStore
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval.entries import check_model_features
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.queries import PoseQuery
from signatlas.retrieval.search import Catalog, Hit
from signatlas.retrieval.shard import Ranked, merge
from signatlas.retrieval.two_stage import CANDIDATES, Accept, Query, encode_queries, rank
from signatlas.text.language import check_language

UNRELIABLE_UNKNOWN_RATE = 0.5


class SentenceResult(NamedTuple):
    """Hits of one query, its number of tokens, and the number of pairs scored token by token."""

    hits: list[Hit]
    tokens: int
    scored: int


class SentenceSearch:
    """Search in all shards of an index of clips or texts; ``scored`` counts the pairs scored token by token."""

    def __init__(self, index_version: IndexVersion):
        if index_version.manifest.kind == "signs":
            raise IndexVersionError(
                f"{index_version.path} is an index of single signs, searched with --clip or --pose; "
                "to search sentences, build an index with a dual encoder"
            )
        self.index_version, self.catalog = index_version, Catalog(index_version)
        self.shards = [index_version.shard(n) for n in range(len(index_version.manifest.shards))]
        self.scored = 0

    @cached_property
    def model(self) -> DualEncoder:
        return self.index_version.dual_encoder()

    def rank(
        self, queries: Iterable[Query], k: int, candidates: int = CANDIDATES, accept: Accept | None = None
    ) -> list[Ranked]:
        """Return the ``k`` best (id, score) of each query; ``candidates`` of each shard are scored exactly."""
        rankings = []
        for query in queries:
            results = [rank(shard, query, self.model.config.similarity, k, candidates, accept) for shard in self.shards]
            self.scored += sum(result.scored for result in results)
            rankings.append(merge([result.ranked for result in results], k))
        return rankings

    def search_text(
        self, text: str, *, k: int = 10, candidates: int = CANDIDATES, language: str | None = None
    ) -> SentenceResult:
        """Return the ``k`` clips that match a text best. Raises TextError for a language not in training."""
        if language is not None:
            check_language(language, self.model.record.get("languages", ()))
        return self._search(self.encode_texts([text])[0], k, candidates, None)

    def search_clip(
        self,
        clip: PoseQuery,
        *,
        k: int = 10,
        candidates: int = CANDIDATES,
        language: str | None = None,
        features: str | os.PathLike[str] | None = None,
    ) -> SentenceResult:
        """Return the ``k`` texts that match a clip best; only texts of ``language``, if given.

        The clip's features come from the folder ``features``, else from the one the index was built with, else they
        are computed from its poses. Raises FeatureError, PoseError, TextError.
        """
        self.require_texts()
        if language is not None:
            language = check_language(language, self.index_version.manifest.languages)
        query = self.encode_features(self._features(clip, features))
        return self._search(query, k, candidates, accept_language(language))

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
        store, sign = FeatureStore.open(folder), self.model.config.sign
        fingerprint = self.index_version.manifest.corpus.fingerprint
        if store.info.corpus_fingerprint != fingerprint:
            raise FeatureError(f"{folder} contains features of another corpus ({store.info.corpus}) than the index")
        check_model_features(store, fingerprint, self.model)
        return store.of(int(store.positions([id])[0]), alpha=sign.alpha, limit=sign.max_windows)

    def _features(self, clip: PoseQuery, folder: str | os.PathLike[str] | None) -> np.ndarray:
        indexed = self.index_version.manifest.features
        if folder is None and clip.id is not None and indexed is not None and Path(indexed.path).is_dir():
            folder = indexed.path
        if folder is None:
            from signatlas.models.sliding import SlidingEncoder

            sign = self.model.config.sign
            encoder = SlidingEncoder(
                self.index_version.path / "model", self.model, alpha=sign.alpha, limit=sign.max_windows
            )
            return encoder.features(clip.poses, clip.aspect, clip.source)
        if clip.id is None:
            raise FeatureError(f"{folder} contains features of a corpus's clips, not of a file: omit --features")
        return self.stored_features(folder, clip.id)

    def _search(self, query: Query, k: int, candidates: int, accept: Accept | None) -> SentenceResult:
        before = self.scored
        ranked = self.rank([query], k, candidates, accept)[0]
        return SentenceResult(self.catalog.hits(ranked), len(query.tokens), self.scored - before)


def accept_language(language: str | None) -> Accept | None:
    """Return a filter that accepts texts of a language by their id (`clip#de`, `clip#de-2`); None accepts all."""
    if language is None:
        return None
    return lambda id: id.rpartition("#")[2] in (language, *(f"{language}-{n}" for n in range(2, 10)))


def text_notes(model: DualEncoder, text: str) -> list[str]:
    """Return notes on truncation and on tokens that did not occur in training."""
    encoder: Any = model.text
    notes = []
    if encoder.long_rate([text]) > 0:
        limit = model.config.text.max_tokens
        notes.append(f"the text is longer than the model's {limit} tokens: {limit} of them, evenly spread, are used")
    unknown = encoder.unknown_rate([text])
    if unknown >= UNRELIABLE_UNKNOWN_RATE:
        notes.append(f"{unknown:.0%} of the text's tokens did not occur in training: the result is unreliable")
    return notes
