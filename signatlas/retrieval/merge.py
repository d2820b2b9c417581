"""Join what shards found into one ranking: by score descending, equal scores by id ascending."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Ranked = list[tuple[str, float]]


def merge(rankings: Iterable[Sequence[tuple[str, float]]], k: int) -> Ranked:
    """The best ``k`` (id, score) of several rankings; an id that occurs twice keeps its best score.

    Deterministic: the same neighbors in any distribution over rankings give the same list.
    """
    best: dict[str, float] = {}
    for ranking in rankings:
        for id, score in ranking:
            if score > best.get(id, float("-inf")):
                best[id] = score
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))[:k]
