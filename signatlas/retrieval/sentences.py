"""Search an index of clips by a text, or one of texts by a clip, in this process, without Ray."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property

import numpy as np

from signatlas.errors import FeatureError, SnapshotError
from signatlas.features.store import FeatureStore
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval.entries import check_same
from signatlas.retrieval.index_version import Snapshot
from signatlas.retrieval.merge import Ranked, merge
from signatlas.retrieval.search import Catalog
from signatlas.retrieval.two_stage import CANDIDATES, Accept, Query, queries, rank


class SentenceSearch:
    """All shards of a snapshot of clips or texts. ``scored`` counts the pairs that were scored token by token."""

    def __init__(self, snapshot: Snapshot):
        if snapshot.manifest.kind == "signs":
            raise SnapshotError(
                f"{snapshot.path} is an index of single signs, searched with --clip or --pose; "
                "sentences are found in an index that was built with a dual encoder"
            )
        self.snapshot, self.catalog = snapshot, Catalog(snapshot)
        self.shards = [snapshot.shard(n) for n in range(len(snapshot.manifest.shards))]
        self.scored = 0

    @cached_property
    def model(self) -> DualEncoder:
        return self.snapshot.dual_encoder()

    def rank(
        self, asked: Iterable[Query], k: int, candidates: int = CANDIDATES, accept: Accept | None = None
    ) -> list[Ranked]:
        """The ``k`` best (id, score) of each query; ``candidates`` are scored exactly in each shard."""
        answers = []
        for query in asked:
            found = [rank(shard, query, self.model.config.similarity, k, candidates, accept) for shard in self.shards]
            self.scored += sum(f.scored for f in found)
            answers.append(merge([f.ranked for f in found], k))
        return answers

    def by_texts(self, texts: list[str]) -> list[Query]:
        """Queries of texts, for an index of clips. Raises TextError and SnapshotError."""
        if self.snapshot.manifest.kind != "clips":
            raise SnapshotError(f"{self.snapshot.path} is an index of texts: search it with --clip or --pose")
        return queries(self.model, "text", self.model.embed_texts(texts))

    def by_features(self, features: np.ndarray) -> Query:
        """The query of one video from its clip features float32 [windows, width], for an index of texts."""
        self.require_texts()
        mask = np.ones((1, len(features)), bool)
        return queries(self.model, "video", self.model.embed_features([(features[None], mask)]))[0]

    def require_texts(self) -> None:
        if self.snapshot.manifest.kind != "texts":
            raise SnapshotError(
                f"{self.snapshot.path} is an index of clips, searched with --text; "
                "to search by a clip build one of texts: 'signatlas index build --entries texts'"
            )


def of_language(language: str | None) -> Accept | None:
    """Whether an entry is a text of this language, by its id (`clip#de`, `clip#de-2`); None: all are taken."""
    if language is None:
        return None
    return lambda id: id.rpartition("#")[2] in (language, *(f"{language}-{n}" for n in range(2, 10)))


def features_of(snapshot: Snapshot, model: DualEncoder, folder: str | os.PathLike[str], id: str) -> np.ndarray:
    """Clip features float32 [windows, width] of one clip, mixed and subsampled as the model takes them.

    Raises FeatureError for features of another corpus, of another width or without this clip.
    """
    store, sign = FeatureStore.open(folder), model.config.sign
    if store.info.corpus_fingerprint != snapshot.manifest.corpus.fingerprint:
        raise FeatureError(f"{folder} holds features of another corpus ({store.info.corpus}) than the index")
    if store.info.width != model.features:
        raise FeatureError(f"{folder} holds features {store.info.width} wide, the model takes {model.features}")
    check_same(store, snapshot.manifest.corpus.fingerprint, model)
    return store.of(int(store.positions([id])[0]), alpha=sign.alpha, limit=sign.max_clips)
