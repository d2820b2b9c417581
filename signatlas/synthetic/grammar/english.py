"""English texts of clauses: tenses, agreement and word order."""

from __future__ import annotations

from dataclasses import dataclass

from signatlas.synthetic.grammar.clauses import Clause, Phrase
from signatlas.synthetic.grammar.words import ENGLISH_VERBS, GOALS, NOUNS, PLACES, Draw, EnglishVerb

_OBJECTS = {"ich": "me", "du": "you"}


@dataclass(frozen=True)
class Parts:
    """Parts of an English clause. In a question, ``helper`` comes before the subject and ``verb`` after it."""

    subject: str
    finite: str  # of a statement
    helper: str
    verb: str
    rest: tuple[str, ...]
    place: str
    time: str


def noun_phrase(phrase: Phrase, draw: Draw) -> str:
    """Return a noun with its article."""
    noun = NOUNS[phrase.noun]
    word = draw.pick(noun.english)
    if phrase.determiner == "a" and noun.plural:
        return f"a pair of {word}"
    return f"{phrase.determiner} {word}".strip()


def _subject(subject: str | Phrase, draw: Draw) -> str:
    if isinstance(subject, Phrase):
        return noun_phrase(subject, draw)
    return draw.pick(("you and I", "both of us")) if subject == "wir" else {"ich": "I", "du": "you"}[subject]


def _person(subject: str | Phrase) -> int:
    """Return 0 for I, 1 for you and plurals, 2 for he, she, it."""
    if isinstance(subject, Phrase):
        return 1 if NOUNS[subject.noun].plural else 2
    return 0 if subject == "ich" else 1


def _conjugate(verb: EnglishVerb, subject: str | Phrase, when: str | None, draw: Draw) -> tuple[str, str, str]:
    """Return the finite form, and helper and verb of a question."""
    person = _person(subject)
    be = ("am", "are", "is")[person]
    if when == "morgen":
        if draw.chance(50):
            return f"will {verb.base}", "will", verb.base
        return f"{be} going to {verb.base}", be, f"going to {verb.base}"
    if verb.base.startswith("be"):
        rest = verb.base[2:]
        form = ("was", "were", "was")[person] if when == "gestern" else be
        return form + rest, form, rest.strip()
    if when == "gestern":
        return verb.past, "did", verb.base
    if when == "heute" and not verb.stative:
        return f"{be} {verb.ing}", be, verb.ing
    return (verb.third, "does", verb.base) if person == 2 else (verb.base, "do", verb.base)


def _love_to(verb: EnglishVerb, draw: Draw) -> EnglishVerb:
    phrase = draw.pick((f"love to {verb.base}", f"love {verb.ing}", f"really like to {verb.base}", f"enjoy {verb.ing}"))
    return EnglishVerb(phrase, phrase, phrase, phrase, stative=True)


def parts(clause: Clause, draw: Draw) -> Parts:
    """Return the parts of a clause; synonyms are drawn at random."""
    verb = draw.pick(ENGLISH_VERBS[clause.verb])
    if clause.verb == "essen" and (clause.all_day or clause.when in (None, "tag")):
        verb = ENGLISH_VERBS["essen"][0]  # 'have a meal' happens once
    rest: tuple[str, ...] = (_OBJECTS[clause.receiver],) if clause.receiver else ()
    if clause.object == Phrase("hunger"):
        verb = EnglishVerb("be hungry", "is hungry", "was hungry", "being hungry", stative=True)
    elif isinstance(clause.object, str):
        rest = (*rest, _OBJECTS[clause.object])
    elif clause.object is not None and clause.object.determiner == "do":
        verb = ENGLISH_VERBS["lernen"][1]
        rest = (
            *rest,
            {"fussball": f"to play {draw.pick(('soccer', 'football'))}", "rennen": "to run"}[clause.object.noun],
        )
    elif clause.object == Phrase("sonne"):
        rest = (*rest, draw.pick(("sunshine", "sun")))
    elif clause.object is not None:
        rest = (*rest, noun_phrase(clause.object, draw))
    if clause.verb == "lieben" and isinstance(clause.object, Phrase) and draw.chance(30):
        verb = EnglishVerb("really like", "really likes", "really liked", "really liking", stative=True)
    if clause.predicate == "be sunny":
        rest = (*rest, "sunny")
    if clause.goal:
        table = PLACES if clause.verb == "sein" else GOALS
        rest = (*rest, draw.pick(table[clause.goal][1]))
    if clause.gladly:
        verb = _love_to(verb, draw)
    finite, helper, base = _conjugate(verb, clause.subject, clause.when, draw)
    time = {None: "", "tag": "every day", "gestern": "yesterday", "heute": "today", "morgen": "tomorrow"}[clause.time]
    place = draw.pick(PLACES[clause.place][1]) if clause.place else ""
    if clause.all_day:
        place = f"{place} all day".strip()
    return Parts(_subject(clause.subject, draw), finite, helper, base, rest, place, time)


def _join(*pieces: str) -> str:
    return " ".join(piece for piece in pieces if piece)


def statement(p: Parts, *, front: str = "") -> str:
    """Return subject, verb, object, place, time; ``front`` ("time" or "place") moves that part to the start."""
    first = {"": "", "time": p.time, "place": p.place}[front]
    place, time = "" if front == "place" else p.place, "" if front == "time" else p.time
    return _join(first, p.subject, p.finite, *p.rest, place, time)


def question(p: Parts) -> str:
    """Return the question, helper first, without question mark."""
    return _join(p.helper, p.subject, p.verb, *p.rest, p.place, p.time)


def without_subject(p: Parts) -> str:
    """Return the clause without its subject, as after "and"."""
    return _join(p.finite, *p.rest, p.place, p.time)
