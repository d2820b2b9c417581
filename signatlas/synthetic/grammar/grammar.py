"""Sampling of the sentences of ``multi-composed`` from a small grammar over the 30 words with many recordings.

The order of glosses (greeting, time, place, subject, receiver, object, goal, verb; the subject of a question last) is a
convention of this project and not the grammar of a sign language; see docs/composition.md.
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

__all__ = ["WORDS", "DrawnSentence", "draw_sentences", "held_out", "is_novel", "sentences"]
MIN_GLOSSES, MAX_GLOSSES = 3, 8
HELD_OUT_PERCENT = 8  # share of gloss pairs that are adjacent in test only
NOVEL_SHARE = 0.5  # share of test sentences with such a pair
CANDIDATES = 8  # drawn sentences from which the one with the rarest words is taken
_MAX_DRAWS = 2000  # draws without a new sentence after which the grammar counts as exhausted


@dataclass(frozen=True)
class DrawnSentence:
    """Sampled sentence: template, glosses, German and English text."""

    template: str
    glosses: tuple[str, ...]
    german: str
    english: str


def held_out(first: str, second: str) -> bool:
    """Return whether ``second`` follows ``first`` in test sentences only, by a hash of the pair, for every seed.

    "hunger haben" is never held out, because hunger occurs in no other pair.
    """
    digest = hashlib.sha256(f"multi-composed pair {first} {second}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < HELD_OUT_PERCENT and (first, second) != ("hunger", "haben")


def is_novel(glosses: tuple[str, ...]) -> bool:
    """Return whether a sentence contains a pair that no training or development sentence contains."""
    return any(held_out(a, b) for a, b in pairwise(glosses))


def _simple_texts(c: Clause, draw: Draw) -> tuple[str, str]:
    """Return German and English text of a clause, with its full stop or question mark."""
    de, en = german.parts(c, draw), english.parts(c, draw)
    if c.question:
        return german.question(de) + "?", english.question(en) + "?"
    fronts = ["", *(["time"] if c.time and not c.gladly else [])]
    if c.place and not c.all_day and not c.gladly and c.verb != "lieben":
        fronts.append("place")
    de_front = draw.pick(fronts) if de.time != "täglich" else ""
    en_front = "" if c.gladly or c.time == "tag" else draw.pick(fronts)
    if c.predicate in ("shine", "be our day") and de.time != "täglich":
        de_front = "time"  # the subject is new information and comes late
    return german.statement(de, front=de_front) + ".", english.statement(en, front=en_front) + "."


def _simple(draw: Draw) -> DrawnSentence | None:
    c = clause(draw)
    if c is None:
        return None
    de, en = _simple_texts(c, draw)
    kind = "question" if c.question else "statement"
    return DrawnSentence(f"{kind}: {c.predicate}{' gladly' if c.gladly else ''}", c.glosses, de, en)


def _greeting(draw: Draw) -> DrawnSentence | None:
    """Draw a greeting and a clause; the greeting may be to a place or the world."""
    drawn_clause = (draw.pick((_simple, _simple, _joined, _same_subject)))(draw)
    if drawn_clause is None:
        return None
    addressee = draw.pick((None, None, "welt", "mainz", "deutschland"))
    if addressee is None:
        # "Hallo Mainz" is the greeting of a place.
        if drawn_clause.glosses[0] in ("welt", "mainz", "deutschland"):
            return None
        de, en = draw.pick(("Hallo, ", "Hallo! ")), draw.pick(("Hello, ", "Hello! ", "Hi, ", "Hi! "))
        glosses: tuple[str, ...] = ("hallo", *drawn_clause.glosses)
    else:
        addressee_de, addressee_en = WORDS[addressee].german[0], WORDS[addressee].english[0]
        de, en = (
            draw.pick((f"Hallo {addressee_de}, ", f"Hallo {addressee_de}! ")),
            draw.pick((f"Hello {addressee_en}, ", f"Hello {addressee_en}! ")),
        )
        glosses = ("hallo", addressee, *drawn_clause.glosses)
    clause_texts = [
        _capitalize(text) if start.endswith("! ") else text
        for start, text in ((de, drawn_clause.german), (en, drawn_clause.english))
    ]
    return DrawnSentence(
        f"greeting{' to ' + addressee if addressee else ''}, {drawn_clause.template}",
        glosses,
        de + clause_texts[0],
        en + clause_texts[1],
    )


def _first_clause(draw: Draw, subjects: tuple[str, ...] = PERSONS) -> Clause | None:
    """Draw a clause that another one may follow: a statement with a person as its subject."""
    drawn_clause = clause(draw)
    if drawn_clause is None or drawn_clause.question or drawn_clause.gladly or drawn_clause.subject not in subjects:
        return None
    return drawn_clause


def _joined(draw: Draw) -> DrawnSentence | None:
    """Draw two clauses with different subjects and the same time."""
    first = _first_clause(draw, ("ich", "du"))
    if first is None:
        return None
    second = clause(draw, subject="du" if first.subject == "ich" else "ich", when=first.when, plain=True)
    if second is None:
        return None
    link, en_link = draw.pick(((" und ", " and "), (", aber ", ", but "), (", während ", " while ")))
    de, en = german.parts(first, draw), english.parts(first, draw)
    # English has no future after "while".
    english_clause = replace(second, when="heute") if "while" in en_link and second.when == "morgen" else second
    de_second, en_second = german.parts(second, draw), english.parts(english_clause, draw)
    front = "time" if first.time and de.time != "täglich" and draw.chance(60) else ""
    en_front = "time" if first.time and first.time != "tag" and draw.chance(60) else ""
    last = german.subordinate(de_second) if "während" in link else german.statement(de_second)
    return DrawnSentence(
        f"joined: {first.predicate}, {second.predicate}",
        first.glosses + second.glosses,
        f"{german.statement(de, front=front)}{link}{last}.",
        f"{english.statement(en, front=en_front)}{en_link}{english.statement(en_second)}.",
    )


def _same_subject(draw: Draw) -> DrawnSentence | None:
    """Draw two clauses with the same subject; if the first is about hunger, the second is its consequence."""
    first = _first_clause(draw)
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
    de_last, en_last = f" und {german.without_subject(de_second)}", f" and {english.without_subject(en_second)}"
    if first.predicate == "hungry" and second.verb in ("essen", "trinken", "rennen"):
        de_second, en_second = (
            replace(de_second, subject=_german_subject(first, de)),
            replace(en_second, subject=_english_subject(first, en)),
        )
        de_last, en_last = f", deshalb {_after_therefore(de_second)}", f", so {english.statement(en_second)}"
    return DrawnSentence(
        f"same subject: {first.predicate}, {second.predicate}",
        first.glosses + second.glosses,
        german.statement(de, front=front) + de_last + ".",
        english.statement(en, front=en_front) + en_last + ".",
    )


def _after_therefore(p: german.Parts) -> str:
    return german.statement(p, front="deshalb").removeprefix("deshalb ")


def _german_subject(c: Clause, p: german.Parts) -> str:
    return "wir" if c.subject == "wir" else p.subject


def _english_subject(c: Clause, p: english.Parts) -> str:
    return "we" if c.subject == "wir" else p.subject


def _contrast(draw: Draw) -> DrawnSentence | None:
    """Draw two clauses with the same subject and different times."""
    first = _first_clause(draw)
    if first is None or first.time not in TIMES or first.all_day:
        return None
    other = draw.pick([time for time in TIMES if time != first.time])
    second = clause(draw, subject=str(first.subject), when=other, plain=True)
    if second is None:
        return None
    second = replace(second, time=other, same_subject=True)
    de, en = german.parts(first, draw), english.parts(first, draw)
    de_second, en_second = german.parts(second, draw), english.parts(second, draw)
    de_second = replace(de_second, subject=_german_subject(first, de))
    en_second = replace(en_second, subject=_english_subject(first, en))
    link, en_link = draw.pick(((", aber ", ", but "), (" und ", " and ")))
    return DrawnSentence(
        f"contrast: {first.predicate}, {second.predicate}",
        first.glosses + second.glosses,
        f"{german.statement(de, front=draw.pick(('', 'time')))}{link}{german.statement(de_second, front='time')}.",
        f"{english.statement(en, front=draw.pick(('', 'time')))}{en_link}"
        f"{english.statement(en_second, front=draw.pick(('', 'time')))}.",
    )


_KINDS: tuple[Callable[[Draw], DrawnSentence | None], ...] = (
    _simple, _simple, _simple, _simple, _simple, _greeting, _greeting, _joined, _joined, _same_subject, _contrast,
)  # fmt: skip


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


def _has_repetition(glosses: tuple[str, ...]) -> bool:
    """Return whether a gloss other than ich and du occurs twice, or any gloss twice in a row."""
    counts = Counter(glosses)
    repeated = any(n > 1 for gloss, n in counts.items() if gloss not in ("ich", "du"))
    return repeated or any(a == b for a, b in pairwise(glosses))


def sentence(draw: Draw) -> DrawnSentence | None:
    """Draw a sentence at random; None if the draw gives no valid one."""
    drawn = draw.pick(_KINDS)(draw)
    if drawn is None or not MIN_GLOSSES <= len(drawn.glosses) <= MAX_GLOSSES or _has_repetition(drawn.glosses):
        return None
    return replace(drawn, german=_capitalize(drawn.german), english=_capitalize(drawn.english))


class _Pool:
    """Source of sentences that differ from all previous ones in glosses and in both texts."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._taken: set[object] = set()

    def take(self, novel: bool, counts: Counter[str]) -> DrawnSentence:
        """Draw up to ``CANDIDATES`` new sentences and return the one whose words are the rarest in ``counts``."""
        best, best_score = None, -1.0
        candidates = 0
        for _ in range(_MAX_DRAWS):
            candidate = sentence(self._draw)
            if candidate is None or is_novel(candidate.glosses) != novel or self._known(candidate):
                continue
            score = sum(1 / (1 + counts[g]) for g in candidate.glosses) / len(candidate.glosses)
            if score > best_score:
                best, best_score = candidate, score
            candidates += 1
            if candidates == CANDIDATES:
                break
        if best is None:
            raise UserError("the grammar of multi-composed has no more sentences: choose fewer")
        self._taken |= {best.glosses, best.german, best.english}
        return best

    def _known(self, candidate: DrawnSentence) -> bool:
        return not self._taken.isdisjoint((candidate.glosses, candidate.german, candidate.english))


def _slot(left: dict[tuple[str, bool], int], number: int) -> tuple[str, bool]:
    """Return the key of slot ``number`` if each key of ``left`` has as many consecutive slots as its count."""
    for key, count in left.items():
        if number < count:
            return key
        number -= count
    raise ValueError(f"slot {number} is beyond the total of the counts")


def draw_sentences(
    seed: int = 0, *, train: int = 3000, dev: int = 300, test: int = 300
) -> dict[str, list[DrawnSentence]]:
    """Draw the sentences of :func:`sentences`, by split, with their templates."""
    if min(train, dev, test) < 0:
        raise UserError(f"{min(train, dev, test)} sentences: choose numbers of at least 0")
    draw = Draw(f"multi-composed sentences {seed}")
    pool = _Pool(draw)
    drawn: dict[str, list[DrawnSentence]] = {"train": [], "dev": [], "test": []}
    counts: dict[str, Counter[str]] = {split: Counter() for split in drawn}
    novel = round(test * NOVEL_SHARE)
    left = {("train", False): train, ("dev", False): dev, ("test", False): test - novel, ("test", True): novel}
    while total := sum(left.values()):
        # Splits alternate in proportion to their sizes, so that the last one does not get only leftover sentences.
        split, is_new = _slot(left, draw.below(total))
        left[split, is_new] -= 1
        taken = pool.take(is_new, counts[split])
        counts[split].update(taken.glosses)
        drawn[split].append(taken)
    return drawn


def sentences(seed: int = 0, *, train: int = 3000, dev: int = 300, test: int = 300) -> list[Sentence]:
    """Return sentences with ids such as ``multi/train/000012`` and texts in German (de) and English (en).

    All differ in glosses and in both texts; half of the test sentences contain pairs that no other split contains.
    The result depends on the arguments only. Raises UserError if the grammar has fewer sentences.
    """
    return [
        Sentence(
            f"multi/{split}/{number:06d}", split, sentence.glosses, (("de", sentence.german), ("en", sentence.english))
        )
        for split, split_sentences in draw_sentences(seed, train=train, dev=dev, test=test).items()
        for number, sentence in enumerate(split_sentences)
    ]
