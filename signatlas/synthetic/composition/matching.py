"""Which sign stands for which gloss: a folding rule, a small table of aliases, and unused signs for the rest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from signatlas.corpus.sources.dgs import fold_gloss
from signatlas.errors import CorpusError

ALIAS_KINDS = ("number", "compass", "inflection", "synonym")
RULES = ("same", "folded", "alias", "assigned")
REAL, ASSIGNED = "real", "assigned"
# Two entries each: which of the two would be signed is not known.
TWICE = frozenset({"muecke", "vorstellungsgespraech"})
STEM = 4  # letters of a real word that no assigned word may begin with: Wolken would be seen as Wolke

# loc-: signed at a place; lh-, rh-: with one hand; qu-: as a question. None changes what the sign means. cl- (a
# classifier), neg- and negalp- (negated) and poss- (possessive) do: they stay.
_PREFIXES = re.compile(r"^(?:(?:loc|lh|rh|qu)-)+")
_MARKER = re.compile(r"__[^_]*__")
_REPEATED = re.compile(r"(?:\++|-?plusplus)$")  # the sign is repeated
_VARIANT = re.compile(r"(?<=[a-z])\d+$")  # the annotators' number of a variant


@dataclass(frozen=True)
class Match:
    """The word of the lexicon that signs a gloss. ``kind`` is real or assigned, ``rule`` one of ``RULES``.

    ``source`` is the part of the lexicon that holds the word; ``alias`` the kind of alias, where that was the rule.
    """

    word: str
    kind: str
    rule: str
    source: str
    alias: str | None = None


def fold(gloss: str) -> str:
    """The word that an annotated gloss is: folded as the dictionary's words, without the annotators' marks.

    Lower case, ß -> ss, ä -> ae, ö -> oe, ü -> ue, other accents dropped (as ``fold_gloss``); markers between double
    underscores, the prefixes loc-, lh-, rh- and qu-, a final + or -PLUSPLUS and the number of a variant are taken off.
    Hyphens inside a gloss and the prefixes poss-, cl-, neg- and negalp- stay: they are part of what it means. A gloss
    of markers alone is "".

    >>> fold("loc-SÜD"), fold("HABEN2"), fold("WOLKE++"), fold("neg-REGEN")
    ('sued', 'haben', 'wolke', 'neg-regen')
    """
    plain = _MARKER.sub("", fold_gloss(gloss)).strip()
    return _VARIANT.sub("", _REPEATED.sub("", _PREFIXES.sub("", plain)))


@cache
def aliases() -> dict[str, tuple[str, str]]:
    """Folded gloss -> (word, kind of alias), as in aliases.yaml."""
    return {gloss: (word, kind) for kind in ALIAS_KINDS for gloss, word in _table()[kind].items()}


@cache
def homographs() -> frozenset[str]:
    """Folded glosses that are spelt like a word of the dictionary and mean something else."""
    return frozenset(_table()["homograph"])


@cache
def _table() -> dict[str, dict[str, str]]:
    import yaml

    table: dict[str, dict[str, str]] = yaml.safe_load(files(__package__).joinpath("aliases.yaml").read_text("utf-8"))
    return table


def match(
    gloss_counts: Mapping[str, int],
    words: Mapping[str, str],
    multi: Collection[str] = (),
    seed: int = 0,
    *,
    leave_out: Collection[str] = TWICE,
) -> dict[str, Match]:
    """A sign for every gloss, the same wherever it occurs.

    ``gloss_counts`` are over all splits, so that no split decides alone; ``words`` maps the folded words of the lexicon
    to the part that holds them, ``multi`` are those with many recordings. A gloss that is no word, by folding or by an
    alias, is assigned an unused sign: the unmatched words of ``multi`` go to the most frequent such glosses, then come
    other words in the order of a hash of ``seed``, none of ``leave_out`` and none that begins like a word in use. Two
    glosses may be one real word, never one assigned word. Raises CorpusError when there are too few unused signs.
    """
    found = {gloss: real for gloss in sorted(gloss_counts) if (real := _real(gloss, words)) is not None}
    waiting = sorted(gloss_counts.keys() - found.keys(), key=lambda gloss: (-gloss_counts[gloss], gloss))
    used = {real.word for real in found.values()}
    free = _unused(words, used, leave_out)
    first = _shuffled((word for word in multi if word in words and word not in used), seed)
    rest = _shuffled(free - set(multi), seed)
    spare = [*first, *rest]
    if len(spare) < len(waiting):
        raise CorpusError(
            f"{len(waiting)} glosses have no sign of their own and the lexicon has {len(spare)} unused ones: "
            "choose a lexicon with more words"
        )
    for gloss, word in zip(waiting, spare, strict=False):
        found[gloss] = Match(word, ASSIGNED, ASSIGNED, words[word])
    return found


def _real(gloss: str, words: Mapping[str, str]) -> Match | None:
    same, folded = fold_gloss(gloss), fold(gloss)
    if folded in homographs():
        return None
    for word, rule in ((same, "same"), (folded, "folded")):
        if word in words:
            return Match(word, REAL, rule, words[word])
    for key in (same, folded):
        word, kind = aliases().get(key, ("", ""))
        if word in words:
            return Match(word, REAL, "alias", words[word], kind)
    return None


def _unused(words: Mapping[str, str], used: Collection[str], leave_out: Collection[str]) -> set[str]:
    """Words that may be assigned: neither in use nor near to a word in use, so that no sign is seen as another's."""
    stems = {word for word in used if len(word) >= STEM}
    near = {word for word in words for end in range(STEM, len(word)) if word[:end] in stems}
    near |= {stem[:end] for stem in stems for end in range(STEM, len(stem))}
    return set(words) - set(used) - set(leave_out) - near


def _shuffled(words: Iterable[str], seed: int) -> list[str]:
    """In the order of sha256 of seed and word."""
    return sorted(words, key=lambda word: hashlib.sha256(f"{seed} {word}".encode()).digest())
