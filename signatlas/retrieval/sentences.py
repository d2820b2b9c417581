"""Search an index of clips by a text, or one of texts by a clip, in this process, without Ray."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval.faiss_index import DEFAULT_EFFORT, Effort
from signatlas.retrieval.filters import Filter
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.queries import PoseQuery
from signatlas.retrieval.query_encoder import SentenceEncoder
from signatlas.retrieval.search import Catalog, Hit
from signatlas.retrieval.shard import Ranked, merge
from signatlas.retrieval.two_stage import CANDIDATES, Query, rank
from signatlas.text.language import check_language

UNRELIABLE_UNKNOWN_RATE = 0.5


class SentenceResult(NamedTuple):
    """Hits of one query, its number of tokens, and the number of pairs scored token by token."""

    hits: list[Hit]
    tokens: int
    scored: int


class SentenceSearch(SentenceEncoder):
    """Search in all shards of an index of clips or texts; ``scored`` counts the pairs scored token by token."""

    def __init__(self, index_version: IndexVersion):
        super().__init__(index_version)
        self.catalog = Catalog(index_version)
        self.shards = [index_version.shard(n) for n in range(len(index_version.manifest.shards))]
        self.scored = 0

    def rank(
        self,
        queries: Iterable[Query],
        k: int,
        candidates: int = CANDIDATES,
        *,
        language: str | None = None,
        filter: Filter | None = None,
        effort: Effort = DEFAULT_EFFORT,
    ) -> list[Ranked]:
        """Return the ``k`` best (id, score) of each query; ``candidates`` of each shard are scored exactly.

        Only entries that meet the ``filter`` and have a text in ``language`` are ranked.
        """
        rankings = []
        allowed, similarity = self.catalog.allowed(filter, language=language), self.model.config.similarity
        for query in queries:
            results = [
                rank(shard, query, similarity, k, candidates, some, effort)
                for shard, some in zip(self.shards, allowed, strict=True)
            ]
            self.scored += sum(result.scored for result in results)
            rankings.append(merge([result.ranked for result in results], k))
        return rankings

    def search_text(
        self,
        text: str,
        *,
        k: int = 10,
        candidates: int = CANDIDATES,
        language: str | None = None,
        filter: Filter | None = None,
        effort: Effort = DEFAULT_EFFORT,
    ) -> SentenceResult:
        """Return the ``k`` clips that match a text best. Raises TextError for a language not in training."""
        if language is not None:
            check_language(language, self.model.record.get("languages", ()))
        return self._search(self.encode_texts([text])[0], k, candidates, filter=filter, effort=effort)

    def search_clip(
        self,
        clip: PoseQuery,
        *,
        k: int = 10,
        candidates: int = CANDIDATES,
        language: str | None = None,
        features: str | os.PathLike[str] | None = None,
        filter: Filter | None = None,
        effort: Effort = DEFAULT_EFFORT,
    ) -> SentenceResult:
        """Return the ``k`` texts that match a clip best; only texts of ``language`` that meet the ``filter``, if given.

        The clip's features come from the folder ``features``, else from the one the index was built with, else they
        are computed from its poses. Raises FeatureError, PoseError, TextError.
        """
        self.require_texts()
        if language is not None:
            language = check_language(language, self.index_version.manifest.languages)
        query = self.encode_clip(clip, features)
        return self._search(query, k, candidates, language=language, filter=filter, effort=effort)

    def _search(self, query: Query, k: int, candidates: int, **options: Any) -> SentenceResult:
        before = self.scored
        ranked = self.rank([query], k, candidates, **options)[0]
        return SentenceResult(self.catalog.hits(ranked), len(query.tokens), self.scored - before)


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
