"""Protocols of sign search: closed, open dictionary, one-shot, unseen language, or any two filters."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.ranking import Ranking
from signatlas.evaluation.signs.hubness import center, csls, inverted_softmax
from signatlas.evaluation.signs.space import Row, RowFilter, Space, similarities

PROTOCOLS = ("closed", "open", "one-shot", "unseen")
ADJUSTMENTS = ("none", "center", "csls", "inverted-softmax")
WORD_SETS = ("all", "dev", "other")
NUM_DEV_WORDS = 5
WEBCAM, DICTIONARY = "webcam", "dictionary"


class Outcome(NamedTuple):
    """A ranking, with the setting of the protocol and the score adjustment that gave it."""

    setting: str
    adjustment: str
    ranking: Ranking


def rank(queries: Space, gallery: Space) -> Ranking:
    """Score every query against the gallery; clips with the query's gloss are relevant.

    A query that is in the gallery is removed from its own gallery. Either all queries are in it or none: otherwise
    galleries would differ in size. Raises UserError for that and for no queries or an empty gallery.
    """
    if not len(queries) or not len(gallery):
        raise UserError(f"{len(queries)} queries against {len(gallery)} clips: neither may be empty; check the filters")
    scores = similarities(queries, gallery)
    relevant = queries.glosses[:, None] == gallery.glosses[None]
    relevant &= np.array([gloss is not None for gloss in queries.glosses])[:, None]
    ids = np.broadcast_to(gallery.ids, scores.shape)
    same_clip = queries.ids[:, None] == gallery.ids[None]
    if same_clip.any():
        if not (same_clip.sum(1) == 1).all():
            raise UserError(
                f"{int(same_clip.any(1).sum())} of {len(queries)} queries are in the gallery themselves: "
                "choose filters so that all or none are"
            )
        shape = (len(queries), len(gallery) - 1)
        ids, scores, relevant = (part[~same_clip].reshape(shape) for part in (ids, scores, relevant))
    return Ranking(queries.ids, ids, scores, relevant, queries.glosses)


def gallery_and_queries(space: Space, split: str, gallery_split: str = "train") -> Ranking:
    """Rank the clips of ``gallery_split`` for each clip of ``split`` (protocol A)."""
    return rank(space.where(lambda row: row["split"] == split), space.where(lambda row: row["split"] == gallery_split))


def leave_one_out(space: Space, split: str) -> Ranking:
    """Rank all other clips of ``split`` for each clip of it (protocol B)."""
    part = space.where(lambda row: row["split"] == split)
    return rank(part, part)


@dataclass(frozen=True)
class SignEvaluation:
    """A protocol and its settings. ``excluded_glosses`` are the words that the model was not trained on."""

    protocol: str
    split: str = "test"
    words: str = "all"
    adjustments: tuple[str, ...] = ("none",)
    excluded_glosses: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for setting, value, known in (
            ("protocol", self.protocol, PROTOCOLS),
            ("words", self.words, WORD_SETS),
            *(("adjustment", name, ADJUSTMENTS) for name in self.adjustments),
        ):
            if value not in known:
                raise UserError(f"unknown {setting} '{value}', choose from {', '.join(known)}")

    @property
    def needs_mirrored(self) -> bool:
        """Whether the space must have mirrored vectors."""
        return self.protocol == "closed"

    def clip_filter(self, rows: Sequence[Row]) -> RowFilter:
        """Return which clips of a corpus with these metadata rows take part.

        Raises UserError when the corpus lacks a source that the protocol needs.
        """
        sources = {row["source"] for row in rows}
        splits = {"train", self.split}
        if self.protocol == "unseen" or (self.protocol == "closed" and WEBCAM not in sources):
            return lambda row: row["split"] in splits
        if self.protocol == "closed":
            return lambda row: row["source"] == WEBCAM and row["split"] in splits
        if missing := {WEBCAM, DICTIONARY} - sources:
            raise UserError(
                f"protocol {self.protocol} needs clips of source {' and '.join(sorted(missing))}; "
                f"this corpus has {', '.join(sorted(sources))}. Choose --protocol closed or a corpus such as dgs"
            )
        all_splits = self.protocol == "one-shot" and bool(self.excluded_glosses)
        return lambda row: (
            row["source"] == DICTIONARY or (row["source"] == WEBCAM and (all_splits or row["split"] in splits))
        )

    def run(self, space: Space) -> list[Outcome]:
        """Rank the clips that :meth:`clip_filter` accepts."""
        if self.protocol == "one-shot":
            return one_shot(space, self.split, self.words, self.adjustments, self.excluded_glosses)
        protocol = {"closed": closed, "open": open_dictionary, "unseen": unseen}[self.protocol]
        return [Outcome(setting, "none", ranking) for setting, ranking in protocol(space, self.split).items()]


def closed(space: Space, split: str) -> dict[str, Ranking]:
    """Rank by protocols A and B among the same words, also with mirrored queries, as a left-handed signer signs.

    "either hand" searches as the service does: each query as it is and mirrored, keeping the better score. There,
    mirrored queries have the same metrics by construction.
    """
    queries = space.where(lambda row: row["split"] == split)
    train = space.where(lambda row: row["split"] == "train")
    plain, mirrored = rank(queries, train), rank(queries.swap_mirrored(), train)
    return {
        "A: train as gallery": plain,
        "B: leave one out": rank(queries, queries),
        "A, either hand": plain.rescored(np.maximum(plain.scores, mirrored.scores)),
        "A, mirrored queries": mirrored,
        "B, mirrored queries": rank(queries.swap_mirrored(), queries),
    }


def unseen(space: Space, split: str) -> dict[str, Ranking]:
    """Rank by protocols A and B in a corpus that the model was not trained on."""
    return {"A: train as gallery": gallery_and_queries(space, split), "B: leave one out": leave_one_out(space, split)}


def open_dictionary(space: Space, split: str) -> dict[str, Ranking]:
    """Rank training recordings and all dictionary entries for held-out webcam recordings; both may be relevant."""
    queries = space.where(lambda row: row["source"] == WEBCAM and row["split"] == split)
    gallery = space.where(lambda row: row["source"] == DICTIONARY or row["split"] == "train")
    return {"train and dictionary as gallery": rank(queries, gallery)}


def shared_words(rows: Iterable[Row]) -> list[str]:
    """Return the glosses that have both a webcam recording and a dictionary entry, sorted."""
    sources = defaultdict(set)
    for row in rows:
        sources[row["gloss"]].add(row["source"])
    return sorted(gloss for gloss, names in sources.items() if gloss is not None and {WEBCAM, DICTIONARY} <= names)


def dev_words(shared: Iterable[str]) -> list[str]:
    """Return the shared words for model selection: the first five by sha256 of the gloss."""
    return sorted(shared, key=lambda gloss: hashlib.sha256(gloss.encode()).hexdigest())[:NUM_DEV_WORDS]


def one_shot(
    space: Space,
    split: str,
    words: str = "all",
    adjustments: Sequence[str] = ("none",),
    excluded_glosses: Collection[str] = (),
) -> list[Outcome]:
    """Rank dictionary entries alone for held-out webcam recordings of the shared words, one relevant entry each.

    Score adjustments use the training recordings of words that are not shared, never queries. All recordings of
    ``excluded_glosses`` are queries of a further setting. Word sets without a query are left out.
    """
    shared = shared_words(space.rows)
    dictionary = space.where(lambda row: row["source"] == DICTIONARY)
    webcam = space.where(lambda row: row["source"] == WEBCAM)
    bank = webcam.where(lambda row: row["split"] == "train" and row["gloss"] not in shared)
    dev = dev_words(shared)
    sets = {
        "all": (f"{len(shared)} shared words", shared),
        "dev": (f"{len(dev)} dev words", dev),
        "other": (f"{len(shared) - len(dev)} other words", [w for w in shared if w not in dev]),
    }
    query_sets = {
        "": webcam.where(lambda row: row["split"] == split and row["gloss"] in shared),
        ", all recordings": webcam.where(lambda row: row["gloss"] in shared and row["gloss"] in excluded_glosses),
    }
    outcomes = []
    for adjustment in adjustments:
        for suffix, queries in query_sets.items():
            if suffix and not len(queries):
                continue
            ranking = adjusted(adjustment, queries, dictionary, bank)
            for title, members in sets.values() if words == "all" else [sets[words]]:
                keep = np.isin(ranking.query_glosses.astype(str), members)
                if keep.any():
                    outcomes.append(Outcome(title + suffix, adjustment, ranking.only(keep)))
    return outcomes


def adjusted(name: str, queries: Space, gallery: Space, bank: Space) -> Ranking:
    """Rank with one of ``ADJUSTMENTS``; ``bank`` holds clips of the queries' source that are not queries."""
    if name == "none":
        return rank(queries, gallery)
    if not len(bank):
        raise UserError(f"adjustment {name} needs training recordings of words that are not shared: there are none")
    if name == "center":
        centered = gallery.with_vectors(center(gallery.vectors, gallery.vectors.mean(0)))
        return rank(queries.with_vectors(center(queries.vectors, bank.vectors.mean(0))), centered)
    ranking = rank(queries, gallery)
    to_bank = similarities(gallery, bank)
    if name == "csls":
        return ranking.rescored(csls(ranking.scores, to_bank, ranking.scores))
    return ranking.rescored(inverted_softmax(ranking.scores, to_bank))
