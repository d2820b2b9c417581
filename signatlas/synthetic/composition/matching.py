"""Matching of glosses to words of a lexicon: folding, a table of aliases, and unused signs for the rest."""

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
# Words with two entries in the dictionary: which of the two signs is meant is unknown.
AMBIGUOUS_WORDS = frozenset({"muecke", "vorstellungsgespraech"})
STEM = 4  # assigned words must not start with a real word of this length or more: Wolken looks like Wolke

# loc-: signed at a location; lh-, rh-: with one hand; qu-: as a question. These do not change the meaning. cl-
# (classifier), neg- and negalp- (negation) and poss- (possessive) do, and are kept.
_PREFIXES = re.compile(r"^(?:(?:loc|lh|rh|qu)-)+")
_MARKER = re.compile(r"__[^_]*__")
_REPEATED = re.compile(r"(?:\++|-?plusplus)$")  # repetition of the sign
_VARIANT = re.compile(r"(?<=[a-z])\d+$")  # number of a variant


@dataclass(frozen=True)
class Match:
    """Word of the lexicon for a gloss. ``kind`` is real or assigned, ``rule`` one of ``RULES``.

    ``source`` is the source of the word in the lexicon; ``alias`` the kind of alias, if that was the rule.
    """

    word: str
    kind: str
    rule: str
    source: str
    alias: str | None = None


def fold(gloss: str) -> str:
    """Fold an annotated gloss to the spelling of the dictionary's words, without annotation marks.

    Lower case, ß -> ss, ä -> ae, ö -> oe, ü -> ue, other accents dropped (as ``fold_gloss``). Markers between double
    underscores, the prefixes loc-, lh-, rh- and qu-, a final + or -PLUSPLUS and the number of a variant are removed.
    Hyphens inside a gloss and the prefixes poss-, cl-, neg- and negalp- are kept: they change the meaning. A gloss that
    consists of markers only gives "".

    >>> fold("loc-SÜD"), fold("HABEN2"), fold("WOLKE++"), fold("neg-REGEN")
    ('sued', 'haben', 'wolke', 'neg-regen')
    """
    plain = _MARKER.sub("", fold_gloss(gloss)).strip()
    return _VARIANT.sub("", _REPEATED.sub("", _PREFIXES.sub("", plain)))


@cache
def aliases() -> dict[str, tuple[str, str]]:
    """Return the table of aliases.yaml: folded gloss -> (word, kind of alias)."""
    return {gloss: (word, kind) for kind in ALIAS_KINDS for gloss, word in _table()[kind].items()}


@cache
def homographs() -> frozenset[str]:
    """Return folded glosses that are spelled like a word of the dictionary but have another meaning."""
    return frozenset(_table()["homograph"])


@cache
def _table() -> dict[str, dict[str, str]]:
    import yaml

    table: dict[str, dict[str, str]] = yaml.safe_load(files(__package__).joinpath("aliases.yaml").read_text("utf-8"))
    return table


def match_glosses(
    gloss_counts: Mapping[str, int],
    words: Mapping[str, str],
    multi: Collection[str] = (),
    seed: int = 0,
    *,
    excluded: Collection[str] = AMBIGUOUS_WORDS,
) -> dict[str, Match]:
    """Match every gloss to a word of the lexicon.

    ``gloss_counts`` are counts over all splits; ``words`` maps folded words of the lexicon to their source; ``multi``
    are words with many recordings. Glosses without a word, by folding or by an alias, are assigned an unused word: the
    most frequent ones get the unmatched words of ``multi``, the others get words in the order of a hash of ``seed``,
    except those of ``excluded`` and those that start like a word in use. Several glosses may share a real word, but not
    an assigned one. Raises CorpusError if there are too few unused words.
    """
    matches = {gloss: real for gloss in sorted(gloss_counts) if (real := _real_match(gloss, words)) is not None}
    unmatched = sorted(gloss_counts.keys() - matches.keys(), key=lambda gloss: (-gloss_counts[gloss], gloss))
    used = {real.word for real in matches.values()}
    unused = _unused(words, used, excluded)
    with_many = _shuffled((word for word in multi if word in words and word not in used), seed)
    others = _shuffled(unused - set(multi), seed)
    spare = [*with_many, *others]
    if len(spare) < len(unmatched):
        raise CorpusError(
            f"{len(unmatched)} glosses have no sign of their own and the lexicon has {len(spare)} unused signs: "
            "choose a lexicon with more words"
        )
    for gloss, word in zip(unmatched, spare, strict=False):
        matches[gloss] = Match(word, ASSIGNED, ASSIGNED, words[word])
    return matches


def _real_match(gloss: str, words: Mapping[str, str]) -> Match | None:
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


def _unused(words: Mapping[str, str], used: Collection[str], excluded: Collection[str]) -> set[str]:
    """Return words that may be assigned: neither in use nor similar in spelling to a word in use."""
    stems = {word for word in used if len(word) >= STEM}
    similar = {word for word in words for end in range(STEM, len(word)) if word[:end] in stems}
    similar |= {stem[:end] for stem in stems for end in range(STEM, len(stem))}
    return set(words) - set(used) - set(excluded) - similar


def _shuffled(words: Iterable[str], seed: int) -> list[str]:
    """Sort words by the SHA-256 of seed and word."""
    return sorted(words, key=lambda word: hashlib.sha256(f"{seed} {word}".encode()).digest())
