"""The evaluations people ask for: closed, open dictionary, one-shot, unseen language, or any two filters."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.signs.hubness import center, csls, inverted_softmax
from signatlas.evaluation.signs.protocols import Ranking, gallery_and_queries, leave_one_out, rank
from signatlas.evaluation.signs.space import Keep, Row, Space, similarities

PROTOCOLS = ("closed", "open", "one-shot", "unseen")
ADJUSTMENTS = ("none", "center", "csls", "inverted-softmax")
WORD_SETS = ("all", "dev", "other")
NUM_DEV_WORDS = 5
WEBCAM, DICTIONARY = "webcam", "dictionary"


class Outcome(NamedTuple):
    """One line of results: what was asked, how scores were adjusted, and the ranking."""

    setting: str
    adjustment: str
    ranking: Ranking


@dataclass(frozen=True)
class Suite:
    """What to evaluate. ``never_saw`` names the words that the model's training record says it never saw."""

    protocol: str
    split: str = "test"
    words: str = "all"
    adjustments: tuple[str, ...] = ("none",)
    never_saw: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for what, value, known in (
            ("protocol", self.protocol, PROTOCOLS),
            ("words", self.words, WORD_SETS),
            *(("adjustment", name, ADJUSTMENTS) for name in self.adjustments),
        ):
            if value not in known:
                raise UserError(f"unknown {what} '{value}', choose from {', '.join(known)}")

    @property
    def mirrors(self) -> bool:
        """Whether mirrored vectors are wanted."""
        return self.protocol == "closed"

    def reads(self, rows: Sequence[Row]) -> Keep:
        """Which clips of a corpus with these metadata rows take part. Raises UserError when a part is missing."""
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
        everything = self.protocol == "one-shot" and bool(self.never_saw)
        return lambda row: (
            row["source"] == DICTIONARY or (row["source"] == WEBCAM and (everything or row["split"] in splits))
        )

    def run(self, space: Space) -> list[Outcome]:
        """Rank the clips that :meth:`reads` accepted."""
        if self.protocol == "one-shot":
            return one_shot(space, self.split, self.words, self.adjustments, self.never_saw)
        ask = {"closed": closed, "open": open_dictionary, "unseen": unseen}[self.protocol]
        return [Outcome(setting, "none", ranking) for setting, ranking in ask(space, self.split).items()]


def closed(space: Space, split: str) -> dict[str, Ranking]:
    """Protocols A and B among the same words, and both with queries as a left-handed signer would sign them.

    "either hand" searches as the service does: each query as it is and mirrored, the better score counts. A mirrored
    query has the same figures there by construction.
    """
    queries = space.where(lambda row: row["split"] == split)
    train = space.where(lambda row: row["split"] == "train")
    plain, mirrored = rank(queries, train), rank(queries.seen_in_a_mirror(), train)
    return {
        "A: train as gallery": plain,
        "B: leave one out": rank(queries, queries),
        "A, either hand": plain.rescored(np.maximum(plain.scores, mirrored.scores)),
        "A, mirrored queries": mirrored,
        "B, mirrored queries": rank(queries.seen_in_a_mirror(), queries),
    }


def unseen(space: Space, split: str) -> dict[str, Ranking]:
    """Protocols A and B in a corpus the model was not trained on."""
    return {"A: train as gallery": gallery_and_queries(space, split), "B: leave one out": leave_one_out(space, split)}


def open_dictionary(space: Space, split: str) -> dict[str, Ranking]:
    """Held-out webcam recordings against the training ones and every dictionary entry; both may be relevant."""
    queries = space.where(lambda row: row["source"] == WEBCAM and row["split"] == split)
    gallery = space.where(lambda row: row["source"] == DICTIONARY or row["split"] == "train")
    return {"train and dictionary as gallery": rank(queries, gallery)}


def shared_words(rows: Iterable[Row]) -> list[str]:
    """Glosses with both a webcam recording and a dictionary entry, sorted."""
    sources = defaultdict(set)
    for row in rows:
        sources[row["gloss"]].add(row["source"])
    return sorted(gloss for gloss, found in sources.items() if gloss is not None and {WEBCAM, DICTIONARY} <= found)


def dev_words(shared: Iterable[str]) -> list[str]:
    """The shared words that choices may look at: the first five by sha256 of the gloss."""
    return sorted(shared, key=lambda gloss: hashlib.sha256(gloss.encode()).hexdigest())[:NUM_DEV_WORDS]


def one_shot(
    space: Space,
    split: str,
    words: str = "all",
    adjustments: Sequence[str] = ("none",),
    never_saw: Collection[str] = (),
) -> list[Outcome]:
    """Held-out webcam recordings of the shared words against dictionary entries alone, one relevant entry each.

    Adjusted scores learn from the training recordings of words that are not shared, never from queries. For words in
    ``never_saw``, all their recordings ask as well. A set of words that nobody asks for is left out.
    """
    shared = shared_words(space.rows)
    dictionary = space.where(lambda row: row["source"] == DICTIONARY)
    webcam = space.where(lambda row: row["source"] == WEBCAM)
    bank = webcam.where(lambda row: row["split"] == "train" and row["gloss"] not in shared)
    chosen = dev_words(shared)
    sets = {
        "all": (f"{len(shared)} shared words", shared),
        "dev": (f"{len(chosen)} dev words", chosen),
        "other": (f"{len(shared) - len(chosen)} other words", [w for w in shared if w not in chosen]),
    }
    asked = {
        "": webcam.where(lambda row: row["split"] == split and row["gloss"] in shared),
        ", all recordings": webcam.where(lambda row: row["gloss"] in shared and row["gloss"] in never_saw),
    }
    outcomes = []
    for adjustment in adjustments:
        for suffix, queries in asked.items():
            if suffix and not len(queries):
                continue
            ranking = adjusted(adjustment, queries, dictionary, bank)
            for title, members in sets.values() if words == "all" else [sets[words]]:
                keep = np.isin(ranking.query_glosses.astype(str), members)
                if keep.any():
                    outcomes.append(Outcome(title + suffix, adjustment, ranking.only(keep)))
    return outcomes


def adjusted(name: str, queries: Space, gallery: Space, bank: Space) -> Ranking:
    """Rank under one of ``ADJUSTMENTS``; ``bank`` holds clips of the queries' source that are not queries."""
    if name == "none":
        return rank(queries, gallery)
    if not len(bank):
        raise UserError(f"adjustment {name} learns from training recordings of other words, and there are none")
    if name == "center":
        moved = gallery.moved(center(gallery.vectors, gallery.vectors.mean(0)))
        return rank(queries.moved(center(queries.vectors, bank.vectors.mean(0))), moved)
    ranking = rank(queries, gallery)
    to_bank = similarities(gallery, bank)
    if name == "csls":
        return ranking.rescored(csls(ranking.scores, to_bank, ranking.scores))
    return ranking.rescored(inverted_softmax(ranking.scores, to_bank))
