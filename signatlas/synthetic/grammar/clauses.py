"""Clauses of the grammar: what can be said of whom, where and when, and the order of its glosses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from signatlas.synthetic.grammar.predicates import PERSONS, PREDICATES, Predicate
from signatlas.synthetic.grammar.words import TIMES, Draw

OTHER = {"ich": "du", "du": "ich"}


@dataclass(frozen=True)
class Phrase:
    """A noun with its determiner: "" (none), "a", "the" or "our", of which only the last is a gloss."""

    noun: str
    determiner: str = ""

    @property
    def glosses(self) -> tuple[str, ...]:
        return ("unser", self.noun) if self.determiner == "our" else (self.noun,)


@dataclass(frozen=True)
class Clause:
    """One statement or question. ``when`` is the time that gives the tense, ``time`` the one that is signed.

    ``subject``, ``object`` and ``receiver`` are a person ("ich", "du", "wir") or a :class:`Phrase`; ``place`` and
    ``goal`` are keys of the tables of words; ``gladly`` is "loves to ..."; ``same_subject`` leaves the subject out.
    """

    predicate: str
    subject: str | Phrase
    verb: str
    signed_verb: tuple[str, ...] = ()
    when: str | None = None
    time: str | None = None
    all_day: bool = False
    place: str | None = None
    object: str | Phrase | None = None
    receiver: str | None = None
    goal: str | None = None
    gladly: bool = False
    question: bool = False
    same_subject: bool = False

    @property
    def glosses(self) -> tuple[str, ...]:
        """Time, place, subject, receiver, object, goal, verb; the subject of a question comes last."""
        subject = () if self.same_subject else _glosses(self.subject)
        return (
            *_glosses(self.time),
            *(("tag",) if self.all_day else ()),
            *_glosses(self.place),
            *(() if self.question else subject),
            *_glosses(self.receiver),
            *_glosses(self.object),
            *_glosses(self.goal),
            *self.signed_verb,
            *(("lieben",) if self.gladly else ()),
            *(subject if self.question else ()),
        )


def _glosses(part: str | Phrase | None) -> tuple[str, ...]:
    if part is None:
        return ()
    if isinstance(part, Phrase):
        return part.glosses
    return ("ich", "du") if part == "wir" else tuple(part.split())


_WEIGHTED = tuple(name for name, predicate in PREDICATES.items() for _ in range(predicate.weight))


def _part(text: str | None, subject: str | Phrase) -> str | Phrase | None:
    if text is None or text in PERSONS:
        return text
    if text == "other":
        return OTHER[str(subject)]
    determiner, _, noun = text.rpartition(" ")
    return Phrase(noun, determiner)


def clause(draw: Draw, *, subject: str | None = None, when: str | None = None, plain: bool = False) -> Clause | None:
    """A clause drawn at random, or None where the draw makes no sense.

    ``subject`` and ``when`` are given for the second of two clauses, which is ``plain``: its time is not signed, it
    asks nothing and seldom has a place.
    """
    name = draw.pick(_WEIGHTED)
    wanted = PREDICATES[name]
    if subject is not None and subject not in wanted.subjects:
        return None
    chosen = subject or draw.pick(wanted.subjects)
    who = _part(chosen, chosen)
    assert who is not None  # no predicate is without a subject
    what = _part(draw.pick(wanted.objects), who)
    place = draw.pick(wanted.places) if wanted.places and draw.chance(20 if plain else 45) else None
    if wanted.personal_places and chosen not in PERSONS:
        place = None
    receiver = OTHER.get(str(who), draw.pick(("ich", "du"))) if draw.chance(wanted.receiver) else None
    found = Clause(
        name,
        who,
        wanted.verb,
        signed_verb=(wanted.verb,) if wanted.signed is None else wanted.signed,
        when=when,
        place=place,
        object=what,
        receiver=receiver,
        goal=draw.pick(wanted.goals),
    )
    if not plain:
        found = _modified(found, wanted, draw)
    return found if _sensible(found, wanted, plain) else None


def _modified(found: Clause, wanted: Predicate, draw: Draw) -> Clause:
    """With a time, "loves to" or as a question."""
    if wanted.gladly and draw.chance(30) and found.subject in PERSONS and (found.object or wanted.verb != "trinken"):
        when = "tag" if draw.chance(25) else None
        return replace(found, gladly=True, when=when, time=when, question=found.subject == "du" and draw.chance(40))
    options = (*TIMES, *TIMES, *(("tag",) if wanted.daily else ()), None)
    when = draw.pick(options) if wanted.timed else None
    return replace(
        found,
        when=when,
        time=when,
        all_day=when in TIMES and wanted.lasting and draw.chance(20),
        question=wanted.asked and found.subject != "ich" and draw.chance(25),
    )


def _sensible(found: Clause, wanted: Predicate, second: bool) -> bool:
    glosses = found.glosses
    if len(set(glosses)) < len(glosses) or (found.receiver and isinstance(found.object, str)):
        return False
    if (wanted.needs_place and not found.place) or (found.when == "tag" and not wanted.daily):
        return False
    if wanted.needs_time and (found.when is None if second else found.time is None):
        return False
    static = found.predicate in ("love", "love there", "love somebody", "be loved")
    if static and found.when == "tag" and isinstance(found.object, Phrase) and found.object.determiner == "":
        return found.object.noun in ("bier", "fussball")
    return True
