"""Clauses of the grammar, their random sampling and the order of their glosses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from signatlas.synthetic.grammar.predicates import PERSONS, PREDICATES, Predicate
from signatlas.synthetic.grammar.words import TIMES, Draw

OTHER = {"ich": "du", "du": "ich"}


@dataclass(frozen=True)
class Phrase:
    """Noun with its determiner: "" (none), "a", "the" or "our"; only "our" has a gloss."""

    noun: str
    determiner: str = ""

    @property
    def glosses(self) -> tuple[str, ...]:
        return ("unser", self.noun) if self.determiner == "our" else (self.noun,)


@dataclass(frozen=True)
class Clause:
    """Statement or question. ``when`` is the time that determines the tense, ``time`` the time with a gloss.

    ``subject``, ``object`` and ``receiver`` are a person ("ich", "du", "wir") or a :class:`Phrase`; ``place`` and
    ``goal`` are keys of the tables of words; ``gladly`` means "loves to ..."; ``same_subject`` omits the subject.
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
        """Glosses in order: time, place, subject, receiver, object, goal, verb; the subject of a question is last."""
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


_WEIGHTED_NAMES = tuple(name for name, predicate in PREDICATES.items() for _ in range(predicate.weight))


def _parse_part(phrase: str | None, subject: str | Phrase) -> str | Phrase | None:
    if phrase is None or phrase in PERSONS:
        return phrase
    if phrase == "other":
        return OTHER[str(subject)]
    determiner, _, noun = phrase.rpartition(" ")
    return Phrase(noun, determiner)


def clause(draw: Draw, *, subject: str | None = None, when: str | None = None, plain: bool = False) -> Clause | None:
    """Draw a clause at random; None if the result makes no sense.

    ``subject`` and ``when`` are set for the second of two clauses, which is ``plain``: it has no gloss for its time, is
    not a question and rarely has a place.
    """
    name = draw.pick(_WEIGHTED_NAMES)
    predicate = PREDICATES[name]
    if subject is not None and subject not in predicate.subjects:
        return None
    subject_text = subject or draw.pick(predicate.subjects)
    subject_part = _parse_part(subject_text, subject_text)
    assert subject_part is not None  # every predicate has subjects
    object_part = _parse_part(draw.pick(predicate.objects), subject_part)
    place = draw.pick(predicate.places) if predicate.places and draw.chance(20 if plain else 45) else None
    if predicate.personal_places and subject_text not in PERSONS:
        place = None
    receiver = OTHER.get(str(subject_part), draw.pick(("ich", "du"))) if draw.chance(predicate.receiver) else None
    drawn = Clause(
        name,
        subject_part,
        predicate.verb,
        signed_verb=(predicate.verb,) if predicate.signed is None else predicate.signed,
        when=when,
        place=place,
        object=object_part,
        receiver=receiver,
        goal=draw.pick(predicate.goals),
    )
    if not plain:
        drawn = _add_modifier(drawn, predicate, draw)
    return drawn if _is_sensible(drawn, predicate, plain) else None


def _add_modifier(drawn: Clause, predicate: Predicate, draw: Draw) -> Clause:
    """Add a time or "loves to", or turn the clause into a question."""
    if (
        predicate.gladly
        and draw.chance(30)
        and drawn.subject in PERSONS
        and (drawn.object or predicate.verb != "trinken")
    ):
        when = "tag" if draw.chance(25) else None
        return replace(drawn, gladly=True, when=when, time=when, question=drawn.subject == "du" and draw.chance(40))
    options = (*TIMES, *TIMES, *(("tag",) if predicate.daily else ()), None)
    when = draw.pick(options) if predicate.timed else None
    return replace(
        drawn,
        when=when,
        time=when,
        all_day=when in TIMES and predicate.lasting and draw.chance(20),
        question=predicate.may_ask and drawn.subject != "ich" and draw.chance(25),
    )


def _is_sensible(drawn: Clause, predicate: Predicate, plain: bool) -> bool:
    """Return whether a clause has no repeated gloss, and all and only the parts its predicate allows."""
    glosses = drawn.glosses
    if len(set(glosses)) < len(glosses) or (drawn.receiver and isinstance(drawn.object, str)):
        return False
    if (predicate.needs_place and not drawn.place) or (drawn.when == "tag" and not predicate.daily):
        return False
    if predicate.needs_time and (drawn.when is None if plain else drawn.time is None):
        return False
    static = drawn.predicate in ("love", "love there", "love somebody", "be loved")
    if static and drawn.when == "tag" and isinstance(drawn.object, Phrase) and drawn.object.determiner == "":
        return drawn.object.noun in ("bier", "fussball")
    return True
