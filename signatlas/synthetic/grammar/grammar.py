"""A small grammar of our own over the 30 words with many recordings: sentences of ``multi-composed``.

The order of glosses (greeting, time, place, subject, receiver, object, goal, verb; the subject of a question last) is a
convention of ours and not the grammar of any sign language. docs/composition.md describes it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from signatlas.corpus.sentences import Sentence
from signatlas.errors import UserError
from signatlas.synthetic.grammar import english, german
from signatlas.synthetic.grammar.clauses import Clause, clause
from signatlas.synthetic.grammar.predicates import PERSONS
from signatlas.synthetic.grammar.words import TIMES, WORDS, Draw

__all__ = ["WORDS", "Drawn", "draw_sentences", "held_out", "is_novel", "sentences"]
MIN_GLOSSES, MAX_GLOSSES = 3, 8
HELD_OUT_PERCENT = 8  # of all pairs of glosses: they are neighbors in test alone
NOVEL_SHARE = 0.5  # of the test sentences have such a pair
CANDIDATES = 8  # of so many sentences the one with the rarest words is taken
_TRIES = 2000  # draws without a new sentence after which there are none left


@dataclass(frozen=True)
class Drawn:
    """A sentence as it was made: its template, its glosses, its German and its English."""

    template: str
    glosses: tuple[str, ...]
    german: str
    english: str


def held_out(first: str, second: str) -> bool:
    """Whether ``second`` follows ``first`` in test sentences alone, by a hash of the two, whatever the seed.

    "hunger haben" is not: hunger is said in no other way.
    """
    digest = hashlib.sha256(f"multi-composed pair {first} {second}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < HELD_OUT_PERCENT and (first, second) != ("hunger", "haben")


def is_novel(glosses: tuple[str, ...]) -> bool:
    """Whether a sentence has two neighbors that occur in no training or development sentence."""
    return any(held_out(a, b) for a, b in pairwise(glosses))


def _simple_texts(c: Clause, draw: Draw) -> tuple[str, str]:
    """German and English of one clause, with its full stop or question mark."""
    de, en = german.parts(c, draw), english.parts(c, draw)
    if c.question:
        return german.question(de) + "?", english.question(en) + "?"
    fronts = ["", *(["time"] if c.time and not c.gladly else [])]
    if c.place and not c.all_day and not c.gladly and c.verb != "lieben":
        fronts.append("place")
    de_front = draw.pick(fronts) if de.time != "täglich" else ""
    en_front = "" if c.gladly or c.time == "tag" else draw.pick(fronts)
    if c.predicate in ("shine", "be our day") and de.time != "täglich":
        de_front = "time"  # they are news and come late
    return german.statement(de, front=de_front) + ".", english.statement(en, front=en_front) + "."


def _simple(draw: Draw) -> Drawn | None:
    c = clause(draw)
    if c is None:
        return None
    de, en = _simple_texts(c, draw)
    kind = "question" if c.question else "statement"
    return Drawn(f"{kind}: {c.predicate}{' gladly' if c.gladly else ''}", c.glosses, de, en)


def _greeting(draw: Draw) -> Drawn | None:
    """Hallo, and a clause; perhaps to a place or the world."""
    said = (draw.pick((_simple, _simple, _joined, _same_subject)))(draw)
    if said is None:
        return None
    whom = draw.pick((None, None, "welt", "mainz", "deutschland"))
    if whom is None:
        # "Hallo Mainz" would be another sentence.
        if said.glosses[0] in ("welt", "mainz", "deutschland"):
            return None
        de, en = draw.pick(("Hallo, ", "Hallo! ")), draw.pick(("Hello, ", "Hello! ", "Hi, ", "Hi! "))
        glosses: tuple[str, ...] = ("hallo", *said.glosses)
    else:
        to_de, to_en = WORDS[whom].german[0], WORDS[whom].english[0]
        de, en = (
            draw.pick((f"Hallo {to_de}, ", f"Hallo {to_de}! ")),
            draw.pick((f"Hello {to_en}, ", f"Hello {to_en}! ")),
        )
        glosses = ("hallo", whom, *said.glosses)
    begun = [_upper(text) if start.endswith("! ") else text for start, text in ((de, said.german), (en, said.english))]
    return Drawn(f"greeting{' to ' + whom if whom else ''}, {said.template}", glosses, de + begun[0], en + begun[1])


def _first(draw: Draw, subjects: tuple[str, ...] = PERSONS) -> Clause | None:
    """A clause that another one may follow: with a person as its subject, no question."""
    found = clause(draw)
    if found is None or found.question or found.gladly or found.subject not in subjects:
        return None
    return found


def _joined(draw: Draw) -> Drawn | None:
    """Two clauses with two subjects at one time."""
    first = _first(draw, ("ich", "du"))
    if first is None:
        return None
    second = clause(draw, subject="du" if first.subject == "ich" else "ich", when=first.when, plain=True)
    if second is None:
        return None
    link, en_link = draw.pick(((" und ", " and "), (", aber ", ", but "), (", während ", " while ")))
    de, en = german.parts(first, draw), english.parts(first, draw)
    # English has no future after "while".
    now = replace(second, when="heute") if "while" in en_link and second.when == "morgen" else second
    de_second, en_second = german.parts(second, draw), english.parts(now, draw)
    front = "time" if first.time and de.time != "täglich" and draw.chance(60) else ""
    en_front = "time" if first.time and first.time != "tag" and draw.chance(60) else ""
    last = german.subordinate(de_second) if "während" in link else german.statement(de_second)
    return Drawn(
        f"joined: {first.predicate}, {second.predicate}",
        first.glosses + second.glosses,
        f"{german.statement(de, front=front)}{link}{last}.",
        f"{english.statement(en, front=en_front)}{en_link}{english.statement(en_second)}.",
    )


def _same_subject(draw: Draw) -> Drawn | None:
    """Two things that one does; with hunger, one because of the other."""
    first = _first(draw)
    if first is None:
        return None
    second = clause(draw, subject=str(first.subject), when=first.when, plain=True)
    if second is None or second.predicate == first.predicate:
        return None
    second = replace(second, same_subject=True)
    de, en = german.parts(first, draw), english.parts(first, draw)
    de_second, en_second = german.parts(second, draw), english.parts(second, draw)
    front = "time" if first.time and de.time != "täglich" and draw.chance(60) else ""
    en_front = "time" if first.time and first.time != "tag" and draw.chance(60) else ""
    de_last, en_last = f" und {german.continued(de_second)}", f" and {english.continued(en_second)}"
    if first.predicate == "hungry" and second.verb in ("essen", "trinken", "rennen"):
        de_second, en_second = (
            replace(de_second, subject=_pronoun(first, de)),
            replace(en_second, subject=_we(first, en)),
        )
        de_last, en_last = f", deshalb {_after_therefore(de_second)}", f", so {english.statement(en_second)}"
    return Drawn(
        f"same subject: {first.predicate}, {second.predicate}",
        first.glosses + second.glosses,
        german.statement(de, front=front) + de_last + ".",
        english.statement(en, front=en_front) + en_last + ".",
    )


def _after_therefore(p: german.Parts) -> str:
    return german.statement(p, front="deshalb").removeprefix("deshalb ")


def _pronoun(c: Clause, p: german.Parts) -> str:
    return "wir" if c.subject == "wir" else p.subject


def _we(c: Clause, p: english.Parts) -> str:
    return "we" if c.subject == "wir" else p.subject


def _contrast(draw: Draw) -> Drawn | None:
    """One thing at one time, another at another."""
    first = _first(draw)
    if first is None or first.time not in TIMES or first.all_day:
        return None
    other = draw.pick([time for time in TIMES if time != first.time])
    second = clause(draw, subject=str(first.subject), when=other, plain=True)
    if second is None:
        return None
    second = replace(second, time=other, same_subject=True)
    de, en = german.parts(first, draw), english.parts(first, draw)
    de_second, en_second = german.parts(second, draw), english.parts(second, draw)
    de_second = replace(de_second, subject=_pronoun(first, de))
    en_second = replace(en_second, subject=_we(first, en))
    link, en_link = draw.pick(((", aber ", ", but "), (" und ", " and ")))
    return Drawn(
        f"contrast: {first.predicate}, {second.predicate}",
        first.glosses + second.glosses,
        f"{german.statement(de, front=draw.pick(('', 'time')))}{link}{german.statement(de_second, front='time')}.",
        f"{english.statement(en, front=draw.pick(('', 'time')))}{en_link}"
        f"{english.statement(en_second, front=draw.pick(('', 'time')))}.",
    )


_KINDS: tuple[Callable[[Draw], Drawn | None], ...] = (
    _simple, _simple, _simple, _simple, _simple, _greeting, _greeting, _joined, _joined, _same_subject, _contrast,
)  # fmt: skip


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _repeats(glosses: tuple[str, ...]) -> bool:
    """Whether anything but ich and du is signed twice, or the same sign twice in a row."""
    counts = Counter(glosses)
    again = any(n > 1 for gloss, n in counts.items() if gloss not in ("ich", "du"))
    return again or any(a == b for a, b in pairwise(glosses))


def sentence(draw: Draw) -> Drawn | None:
    """A sentence drawn at random, or None where the draw makes none."""
    said = draw.pick(_KINDS)(draw)
    if said is None or not MIN_GLOSSES <= len(said.glosses) <= MAX_GLOSSES or _repeats(said.glosses):
        return None
    return replace(said, german=_upper(said.german), english=_upper(said.english))


class _Pool:
    """Sentences that differ from all that were taken, in glosses and in both texts."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._taken: set[object] = set()

    def take(self, novel: bool, counts: Counter[str]) -> Drawn:
        """Of some new sentences the one whose words are the rarest in ``counts``."""
        best, best_score = None, -1.0
        found = 0
        for _ in range(_TRIES):
            said = sentence(self._draw)
            if said is None or is_novel(said.glosses) != novel or self._known(said):
                continue
            score = sum(1 / (1 + counts[g]) for g in said.glosses) / len(said.glosses)
            if score > best_score:
                best, best_score = said, score
            found += 1
            if found == CANDIDATES:
                break
        if best is None:
            raise UserError("the grammar of multi-composed has no more sentences: ask for fewer")
        self._taken |= {best.glosses, best.german, best.english}
        return best

    def _known(self, said: Drawn) -> bool:
        return not self._taken.isdisjoint((said.glosses, said.german, said.english))


def _slot(left: dict[tuple[str, bool], int], number: int) -> tuple[str, bool]:
    """The key under which place ``number`` falls when each key has as many places as it counts."""
    for key, count in left.items():
        if number < count:
            return key
        number -= count
    raise ValueError(f"there is no place {number}")


def draw_sentences(seed: int = 0, *, train: int = 3000, dev: int = 300, test: int = 300) -> dict[str, list[Drawn]]:
    """As :func:`sentences`, by split, with the template each was made by."""
    if min(train, dev, test) < 0:
        raise UserError(f"{min(train, dev, test)} sentences cannot be made: give numbers from 0 up")
    draw = Draw(f"multi-composed sentences {seed}")
    pool = _Pool(draw)
    drawn: dict[str, list[Drawn]] = {"train": [], "dev": [], "test": []}
    counts: dict[str, Counter[str]] = {split: Counter() for split in drawn}
    novel = round(test * NOVEL_SHARE)
    left = {("train", False): train, ("dev", False): dev, ("test", False): test - novel, ("test", True): novel}
    while total := sum(left.values()):
        # The splits take turns in proportion to their sizes: none is left with what the others did not want.
        split, is_new = _slot(left, draw.below(total))
        left[split, is_new] -= 1
        said = pool.take(is_new, counts[split])
        counts[split].update(said.glosses)
        drawn[split].append(said)
    return drawn


def sentences(seed: int = 0, *, train: int = 3000, dev: int = 300, test: int = 300) -> list[Sentence]:
    """Sentences with ids ``multi/train/000012``, texts in German (de) and English (en), no frames.

    All differ in their glosses and in both texts; half of the test sentences have neighbors that no other split has.
    Depends on the arguments alone. Raises UserError when the grammar has not as many.
    """
    return [
        Sentence(f"multi/{split}/{number:06d}", split, said.glosses, (("de", said.german), ("en", said.english)))
        for split, held in draw_sentences(seed, train=train, dev=dev, test=test).items()
        for number, said in enumerate(held)
    ]
