"""German texts of clauses: articles, cases, conjugation and word order."""

from __future__ import annotations

from dataclasses import dataclass

from signatlas.synthetic.grammar.clauses import Clause, Phrase
from signatlas.synthetic.grammar.words import GERMAN_VERBS, GOALS, NOUNS, PLACES, Draw, GermanVerb

_THE = {"nom": {"m": "der", "f": "die", "n": "das"}, "acc": {"m": "den", "f": "die", "n": "das"}}
_A = {"nom": {"m": "ein", "f": "eine", "n": "ein"}, "acc": {"m": "einen", "f": "eine", "n": "ein"}}
_PERSONS = {
    "nom": {"ich": "ich", "du": "du"},
    "acc": {"ich": "mich", "du": "dich"},
    "dat": {"ich": "mir", "du": "dir"},
}
_INDEX = {"ich": 0, "du": 1, "wir": 3}
_PRETERITE = ("haben", "sein", "mögen")  # verbs used in the preterite instead of the perfect


@dataclass(frozen=True)
class Parts:
    """Parts of a German clause, to be put in order by the functions below."""

    subject: str
    finite: str
    pronouns: tuple[str, ...]  # placed before time and place
    time: str
    place: str
    middle: tuple[str, ...]
    end: tuple[str, ...]
    infinitive: str = ""  # "zu ..." clause after a comma
    early: str = ""  # pronoun placed between the verb and a noun subject


def noun_phrase(phrase: Phrase, case: str, draw: Draw) -> str:
    """Return a noun with its article in the nominative ("nom") or accusative ("acc")."""
    noun = NOUNS[phrase.noun]
    word = draw.pick(noun.german)
    if phrase.determiner == "":
        return word
    article = {"the": _THE, "a": _A, "our": _A}[phrase.determiner][case][noun.gender]
    return f"{'unser' + article[3:] if phrase.determiner == 'our' else article} {word}"


def _subject(subject: str | Phrase, draw: Draw) -> str:
    if isinstance(subject, Phrase):
        return noun_phrase(subject, "nom", draw)
    return draw.pick(("wir beide", "du und ich")) if subject == "wir" else _PERSONS["nom"][subject]


def _conjugate(verb: GermanVerb, subject: str | Phrase, when: str | None, draw: Draw) -> tuple[str, tuple[str, ...]]:
    """Return the finite form, and the words at the end of the clause."""
    index = _INDEX.get(str(subject), 2)
    if when == "gestern":
        short = draw.chance(50) and (index != 1 or verb.infinitive == "lieben")
        if verb.infinitive in _PRETERITE or short:
            return verb.preterite[index], ()
        return GERMAN_VERBS[verb.auxiliary][0].present[index], (verb.participle,)
    if when == "morgen" and draw.chance(50):
        return ("werde", "wirst", "wird", "werden")[index], (verb.infinitive,)
    return verb.present[index], ()


def _object(clause: Clause, draw: Draw) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the object as pronouns before time and place, or as a noun phrase after them."""
    if clause.object is None:
        return (), ()
    if isinstance(clause.object, str):
        return (_PERSONS["acc"][clause.object],), ()
    if clause.object.determiner == "do":
        return (), ({"fussball": "Fußball spielen", "rennen": "rennen"}[clause.object.noun],)
    if clause.object == Phrase("sonne"):
        return (), (draw.pick(("Sonne", "Sonnenschein")),)
    return (), (noun_phrase(clause.object, "acc", draw),)


def parts(clause: Clause, draw: Draw) -> Parts:
    """Return the parts of a clause; synonyms are drawn at random."""
    verb = draw.pick(GERMAN_VERBS[clause.verb])
    pronouns, middle = _object(clause, draw)
    place = draw.pick(PLACES[clause.place][0]) if clause.place else ""
    if clause.verb == "haben" and clause.object == Phrase("hunger") and draw.chance(30):
        verb, middle = GERMAN_VERBS["sein"][0], ("hungrig",)
    if clause.verb == "lieben":
        if isinstance(clause.object, Phrase) and clause.when != "morgen" and draw.chance(30):
            verb, middle = GERMAN_VERBS["moegen"][0], (*middle, place, "sehr")
        else:
            middle = (*middle, place)
        place = ""
    if clause.goal:
        table = PLACES if clause.verb == "sein" else GOALS
        middle = (*middle, draw.pick(table[clause.goal][0]))
    if clause.predicate == "be sunny":
        middle = (*middle, "sonnig")
    time = {None: "", "tag": draw.pick(("jeden Tag", "täglich"))}.get(clause.time, clause.time or "")
    if clause.all_day:
        place = f"den ganzen Tag {place}".strip()
    subject = _subject(clause.subject, draw)
    receiver = _PERSONS["dat"][clause.receiver] if clause.receiver else ""
    if receiver and not isinstance(clause.subject, Phrase):
        pronouns, receiver = (*pronouns, receiver), ""
    if clause.gladly:
        return _gladly(clause, verb, Parts(subject, "", pronouns, time, place, middle, ()), draw)
    finite, end = _conjugate(verb, clause.subject, clause.when, draw)
    return Parts(subject, finite, pronouns, time, place, middle, end, early=receiver)


def _gladly(clause: Clause, verb: GermanVerb, p: Parts, draw: Draw) -> Parts:
    """Return the parts of "liebe es, ... zu rennen" or "renne gern ..."."""
    if draw.chance(50):
        finite, _ = _conjugate(GERMAN_VERBS["lieben"][0], clause.subject, None, draw)
        infinitive = _join(*p.pronouns, p.time, p.place, *p.middle, "zu", verb.infinitive)
        return Parts(p.subject, finite, ("es",), "", "", (), (), infinitive)
    gladly = draw.pick(("gern", "sehr gern"))
    middle = (p.place, gladly, *p.middle) if clause.object else (gladly, p.place, *p.middle)
    return Parts(p.subject, verb.present[_INDEX[str(clause.subject)]], p.pronouns, p.time, "", middle, ())


def _join(*pieces: str) -> str:
    return " ".join(piece for piece in pieces if piece)


def statement(p: Parts, *, front: str = "") -> str:
    """Return a verb-second clause, with the subject or ``front`` ("time", "place" or another word) first."""
    infinitive = f", {p.infinitive}" if p.infinitive else ""
    if not front:
        return _join(p.subject, p.finite, p.early, *p.pronouns, p.time, p.place, *p.middle, *p.end) + infinitive
    first = {"time": p.time, "place": p.place}.get(front, front)
    time, place = ("" if front == name else value for name, value in (("time", p.time), ("place", p.place)))
    return _join(first, p.finite, p.early, p.subject, *p.pronouns, time, place, *p.middle, *p.end) + infinitive


def question(p: Parts) -> str:
    """Return a verb-first clause without question mark."""
    infinitive = f", {p.infinitive}" if p.infinitive else ""
    return _join(p.finite, p.early, p.subject, *p.pronouns, p.time, p.place, *p.middle, *p.end) + infinitive


def subordinate(p: Parts) -> str:
    """Return a verb-last clause, as after "während"."""
    return _join(p.subject, p.early, *p.pronouns, p.time, p.place, *p.middle, *p.end, p.finite)


def without_subject(p: Parts) -> str:
    """Return the clause without its subject, as after "und"."""
    return _join(p.finite, p.early, *p.pronouns, p.time, p.place, *p.middle, *p.end)
