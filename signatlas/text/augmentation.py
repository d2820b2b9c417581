"""Easy data augmentation of training texts: synonyms, swaps, deletions (Wei and Zou 2019, section 2)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from signatlas.corpus.texts import UNSPACED
from signatlas.text.encoders.config import AugmentationConfig
from signatlas.text.thesaurus import Thesaurus

logger = logging.getLogger(__name__)

_WORD = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)
_CHARACTER = re.compile(r"[!-~]+|.", re.DOTALL)  # a run of ASCII characters counts as one
# Stop words, which the paper excludes from synonym replacement.
_GERMAN = (
    "ab aber alle als also am an auch auf aus bei bin bis da damit dann das dass dein dem den denn der des "
    "dich die dies diese dieser dieses dir doch dort du durch ein eine einem einen einer eines er es euch euer "
    "für gegen hat hatte hier ich ihm ihn ihr im in ins ist ja kein keine man mein mich mir mit nach nicht "
    "noch nun nur ob oder ohne sehr sein sich sie sind so um und uns unser unter vom von vor war warum was "
    "wenn wer wie wir wird wo zu zum zur zwischen über "
)
_ENGLISH = (
    "a about all am an and any are as at be been but by can did do does for from had has have he her here him "
    "his how i if in into is it its me more my no not of off on or our out she so some such than that the "
    "their them then there these they this those to too under up us very was we were what when where which who "
    "why will with you your "
)
STOP = {"de": frozenset(_GERMAN.split()), "en": frozenset(_ENGLISH.split())}


class Word(NamedTuple):
    """A word and the punctuation around it, which keeps its position when words are swapped."""

    before: str
    core: str
    after: str

    def __str__(self) -> str:
        return self.before + self.core + self.after


class Augmenter:
    """Random augmentation of texts, deterministic for a generator.

    Mode ``swap`` swaps two random words, ``strength`` times the number of words, at least once. Mode ``full`` applies
    swap, deletion (of each word with probability ``strength``) or synonym replacement (of a fraction ``strength`` of
    the words, at least one), each equally likely; without a thesaurus of the language it has no synonym replacement
    and logs one warning. ``folders`` are searched for thesauri, see :class:`Thesaurus`.
    """

    def __init__(self, config: AugmentationConfig, folders: Sequence[str | os.PathLike[str]] = ()):
        self.config, self.folders = config, tuple(str(folder) for folder in folders)

    def __call__(self, text: str, language: str, rng: np.random.Generator) -> str:
        """Return the augmented text, never empty. In languages without spaces a character is a word.

        ``language`` is a BCP 47 code.
        """
        if self.config.mode == "none" or rng.random() >= self.config.probability:
            return text
        code = language.split("-")[0].lower()
        separator = "" if code in UNSPACED else " "
        words = [_split(part) for part in (text.split() if separator else _CHARACTER.findall(text))]
        if not any(word.core for word in words):
            return text
        words = self._augmented(words, language, rng)
        return separator.join(map(str, words))

    def _augmented(self, words: list[Word], language: str, rng: np.random.Generator) -> list[Word]:
        if self.config.mode == "swap":
            return swapped(words, self.config.strength, rng)
        thesaurus = _thesaurus(language, self.folders)
        method = rng.integers(3 if thesaurus else 2)
        if method == 0:
            return swapped(words, self.config.strength, rng)
        if method == 1 or thesaurus is None:
            return with_deletions(words, self.config.strength, rng)
        return with_synonyms(words, self.config.strength, rng, thesaurus, language)


def swapped(words: Sequence[Word], strength: float, rng: np.random.Generator) -> list[Word]:
    """Random swap: swap two words, ``strength`` times their number, at least once."""
    words = list(words)
    positions = [i for i, word in enumerate(words) if word.core]
    if len(positions) < 2:
        return words
    for _ in range(_count(strength, len(positions))):
        i, j = (positions[k] for k in rng.choice(len(positions), 2, replace=False))
        words[i], words[j] = words[i]._replace(core=words[j].core), words[j]._replace(core=words[i].core)
    return words


def with_deletions(words: Sequence[Word], strength: float, rng: np.random.Generator) -> list[Word]:
    """Random deletion: delete each word with probability ``strength``; at least one random word is kept."""
    positions = [i for i, word in enumerate(words) if word.core]
    deleted = {i for i in positions if rng.random() < strength}
    if len(deleted) == len(positions):
        deleted.discard(positions[int(rng.integers(len(positions)))])
    return [word for i, word in enumerate(words) if i not in deleted]


def with_synonyms(
    words: Sequence[Word], strength: float, rng: np.random.Generator, thesaurus: Thesaurus, language: str
) -> list[Word]:
    """Synonym replacement: replace a fraction ``strength`` of the words, no stop words, by random synonyms.

    German nouns are replaced by nouns only, recognized by their capital. A text without a known word is unchanged.
    """
    words = list(words)
    code = language.split("-")[0].lower()
    lowercase = all(word.core == word.core.lower() for word in words)
    remaining = _count(strength, sum(bool(word.core) for word in words))
    for i in (int(k) for k in rng.permutation(len(words))):
        core = words[i].core
        if remaining == 0 or not core or core.lower() in STOP.get(code, ()):
            continue
        synonyms = thesaurus.synonyms(core)
        if code == "de" and not lowercase and i > 0:
            synonyms = [term for term in synonyms if term[0].isupper() == core[0].isupper()]
        if not synonyms:
            continue
        term = synonyms[int(rng.integers(len(synonyms)))]
        if lowercase:
            term = term.lower()
        elif core[0].isupper() and (i == 0 or code != "de"):
            term = term[0].upper() + term[1:]
        words[i], remaining = words[i]._replace(core=term), remaining - 1
    return words


def _count(strength: float, number: int) -> int:
    return max(1, int(strength * number))


def _split(part: str) -> Word:
    match = _WORD.match(part)
    assert match is not None  # the pattern matches any string
    return Word(*match.groups())


@lru_cache(maxsize=16)
def _thesaurus(language: str, folders: tuple[str, ...]) -> Thesaurus | None:
    thesaurus = Thesaurus.find(language, folders)
    if thesaurus is None:
        logger.warning(
            "no thesaurus of language '%s' is installed (Debian packages: mythes-de, mythes-en-us): texts are "
            "augmented by swap and deletion only",
            language,
        )
    return thesaurus
