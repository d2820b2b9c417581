"""Predicates of the grammar: subjects, objects, places and goals of each verb."""

from __future__ import annotations

from dataclasses import dataclass

from signatlas.synthetic.grammar.words import PLACES

PERSONS = ("ich", "du", "wir")


def _of(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


@dataclass(frozen=True)
class Predicate:
    """Verb with its possible subjects, objects, places and goals; phrases are written "our foto", bare nouns "bier".

    ``signed`` are the glosses of the verb, None for the verb itself; empty for verbs that occur in texts only. None in
    ``objects`` and ``goals`` means without one; the object "other" is the other of ich and du.
    """

    verb: str
    subjects: tuple[str, ...] = PERSONS
    objects: tuple[str | None, ...] = (None,)
    places: tuple[str, ...] = ()
    goals: tuple[str | None, ...] = (None,)
    signed: tuple[str, ...] | None = None
    receiver: int = 0  # percentage of clauses with a receiver
    lasting: bool = False  # may be combined with 'all day'
    gladly: bool = False  # may be combined with 'love to'
    daily: bool = True  # may be combined with 'every day'
    timed: bool = True  # may have a time
    may_ask: bool = True  # may be a question
    needs_time: bool = False
    needs_place: bool = False
    personal_places: bool = False  # only clauses about persons have a place
    weight: int = 2  # relative frequency in sampling


TOWNS = ("mainz", "deutschland", "unser land")
SITES = (*TOWNS, "universitaet", "unser universitaet", "haus", "unser haus", "land", "sonne")
DESKS = (*SITES, "computer", "unser computer")
_LIKED = _of(
    "bier, fussball, mainz, deutschland, our land, our haus, the computer, our software, our foto, the foto, our hose, "
    "the hose, the sonne, the wetter, our welt, the welt, the universitaet, our universitaet, our tag, the tag, "
    "the essen, our essen, our bier, the software"
)
_SHOWN = _of(
    "a foto, our foto, the foto, our haus, mainz, deutschland, our land, our computer, our software, the software, "
    "our universitaet, the welt, our hose, the hose, a hose, the sonne, our bier, our essen, the wetter, our wetter"
)
_PICTURED = _of(
    "the wetter, our wetter, the welt, mainz, deutschland, a haus, our haus, our land, the sonne, the universitaet, "
    "fussball, ich, du, the tag"
)
_OWNED = _of(
    "bier, a computer, our computer, a foto, our foto, the foto, a hose, our hose, the hose, a haus, software, "
    "our software, our essen, the essen"
)
_GOALS = _of(
    "mainz, deutschland, universitaet, unser universitaet, haus, unser haus, land, unser land, welt, sonne, computer"
)
PREDICATES = {
    "eat": Predicate("essen", places=DESKS, lasting=True, weight=3),
    "drink": Predicate(
        "trinken", objects=("bier", "bier", "our bier", None), places=SITES, lasting=True, gladly=True, weight=6
    ),
    "hungry": Predicate("haben", objects=("hunger",), places=DESKS, lasting=True, weight=9),
    "have": Predicate("haben", objects=_OWNED, places=SITES, daily=False, weight=3),
    "have sun": Predicate(
        "haben",
        subjects=_of("wir, mainz, deutschland, our land, our universitaet, our haus, du, ich"),
        objects=("sonne",),
        places=_of("mainz, deutschland, haus, land, universitaet"),
        personal_places=True,
        lasting=True,
    ),
    "hold": Predicate(
        "haben",
        subjects=_of("our universitaet, the universitaet, our haus, our land, mainz, deutschland"),
        objects=_of("a computer, our computer, software, our software, bier, the essen"),
        daily=False,
    ),
    "learn": Predicate("lernen", places=DESKS, lasting=True, gladly=True, weight=5),
    "learn to": Predicate("lernen", objects=("do fussball", "do rennen"), places=SITES, lasting=True, weight=6),
    "love": Predicate("lieben", objects=_LIKED, weight=4),
    "love there": Predicate(
        "lieben",
        objects=_of("the wetter, the sonne, the essen, bier, the universitaet, fussball, the tag"),
        places=(*TOWNS, "land", "welt"),
        needs_place=True,
    ),
    "love somebody": Predicate("lieben", subjects=("ich", "du"), objects=("other",), weight=1),
    "be loved": Predicate(
        "lieben",
        subjects=_of("mainz, deutschland, our land, the welt, our universitaet"),
        objects=_of("fussball, bier, the sonne, our essen, our foto, our software, our wetter, ich, du"),
    ),
    "run": Predicate("rennen", places=SITES, lasting=True, gladly=True, weight=4),
    "run to": Predicate("rennen", goals=_GOALS, gladly=True, weight=5),
    "show": Predicate("zeigen", subjects=("ich", "du"), objects=_SHOWN, places=SITES, receiver=100, weight=5),
    "picture": Predicate(
        "zeigen",
        subjects=_of("the foto, our foto, the computer, our computer, the software, our software"),
        objects=_PICTURED,
        receiver=40,
        weight=6,
    ),
    "shine": Predicate(
        "scheinen",
        subjects=("the sonne",),
        places=(*TOWNS, "land", "welt", "universitaet"),
        signed=(),
        lasting=True,
        may_ask=False,
        needs_time=True,
        needs_place=True,
    ),
    "play": Predicate("spielen", objects=("fussball",), places=DESKS, signed=(), lasting=True, weight=3),
    "be at": Predicate(
        "sein",
        subjects=(
            *PERSONS,
            *_of("our computer, the computer, the bier, our bier, the essen, the foto, our foto, our hose, the hose"),
        ),
        goals=tuple(place for place in PLACES if place != "welt"),
        signed=(),
        lasting=True,
        needs_time=True,
        weight=3,
    ),
    "lie in": Predicate(
        "sein",
        subjects=_of("our haus, our universitaet, the universitaet, our land"),
        goals=("mainz", "deutschland"),
        signed=(),
        timed=False,
        may_ask=False,
        weight=1,
    ),
    "be sunny": Predicate(
        "sein",
        subjects=("the wetter", "our wetter"),
        signed=("sonne",),
        lasting=True,
        needs_time=True,
        places=(*TOWNS, "land", "welt", "universitaet"),
        weight=6,
    ),
    "be our day": Predicate(
        "sein",
        subjects=("our tag",),
        places=_of("mainz, deutschland, universitaet, haus, sonne, land"),
        signed=(),
        daily=False,
        may_ask=False,
        needs_time=True,
        needs_place=True,
        weight=1,
    ),
}
