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
_CHARACTER = re.compile(r"[!-~]+|.", re.DOTALL)  # with words of Latin letters kept together
# Words of grammar, which the paper leaves out of synonym replacement.
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
    """A word and the punctuation around it, which stays where it is when words are swapped."""

    before: str
    core: str
    after: str

    def __str__(self) -> str:
        return self.before + self.core + self.after


class Augmenter:
    """Changes a text with a probability; the same generator gives the same text.

    ``swap``: two words change places, ``strength`` times the number of words, at least once. ``full``: one of swap,
    deletion (of each word with probability ``strength``) and synonyms (of ``strength`` of the words, at least one),
    each as likely. Where no thesaurus of the language is installed, full has swap and deletion only, and says so once.
    ``folders`` may hold further thesauri, see :class:`Thesaurus`.
    """

    def __init__(self, config: AugmentationConfig, folders: Sequence[str | os.PathLike[str]] = ()):
        self.config, self.folders = config, tuple(str(folder) for folder in folders)

    def __call__(self, text: str, language: str, rng: np.random.Generator) -> str:
        """``text`` (BCP-47 ``language``), changed or not; never emptied. Without spaces a character is a word."""
        if self.config.mode == "none" or rng.random() >= self.config.probability:
            return text
        code = language.split("-")[0].lower()
        between = "" if code in UNSPACED else " "
        words = [_split(part) for part in (text.split() if between else _CHARACTER.findall(text))]
        if not any(word.core for word in words):
            return text
        words = self._changed(words, language, rng)
        return between.join(map(str, words))

    def _changed(self, words: list[Word], language: str, rng: np.random.Generator) -> list[Word]:
        if self.config.mode == "swap":
            return swapped(words, self.config.strength, rng)
        thesaurus = _thesaurus(language, self.folders)
        way = rng.integers(3 if thesaurus else 2)
        if way == 0:
            return swapped(words, self.config.strength, rng)
        if way == 1 or thesaurus is None:
            return shortened(words, self.config.strength, rng)
        return with_synonyms(words, self.config.strength, rng, thesaurus, language)


def swapped(words: Sequence[Word], strength: float, rng: np.random.Generator) -> list[Word]:
    """Random swap: two words change places, as often as ``strength`` times their number, at least once."""
    words = list(words)
    places = [i for i, word in enumerate(words) if word.core]
    if len(places) < 2:
        return words
    for _ in range(_times(strength, len(places))):
        i, j = (places[k] for k in rng.choice(len(places), 2, replace=False))
        words[i], words[j] = words[i]._replace(core=words[j].core), words[j]._replace(core=words[i].core)
    return words


def shortened(words: Sequence[Word], strength: float, rng: np.random.Generator) -> list[Word]:
    """Random deletion: each word goes with probability ``strength``; one, drawn at random, stays in any case."""
    places = [i for i, word in enumerate(words) if word.core]
    goes = {i for i in places if rng.random() < strength}
    if len(goes) == len(places):
        goes.discard(places[int(rng.integers(len(places)))])
    return [word for i, word in enumerate(words) if i not in goes]


def with_synonyms(
    words: Sequence[Word], strength: float, rng: np.random.Generator, thesaurus: Thesaurus, language: str
) -> list[Word]:
    """Synonym replacement: of so many words, none of them a stop word, by a synonym drawn at random.

    German nouns are replaced by nouns only (as far as capitals tell). A text without a known word is left as it is.
    """
    words = list(words)
    code = language.split("-")[0].lower()
    plain = all(word.core == word.core.lower() for word in words)
    left = _times(strength, sum(bool(word.core) for word in words))
    for i in (int(k) for k in rng.permutation(len(words))):
        core = words[i].core
        if left == 0 or not core or core.lower() in STOP.get(code, ()):
            continue
        found = thesaurus.synonyms(core)
        if code == "de" and not plain and i > 0:
            found = [term for term in found if term[0].isupper() == core[0].isupper()]
        if not found:
            continue
        term = found[int(rng.integers(len(found)))]
        if plain:
            term = term.lower()
        elif core[0].isupper() and (i == 0 or code != "de"):
            term = term[0].upper() + term[1:]
        words[i], left = words[i]._replace(core=term), left - 1
    return words


def _times(strength: float, number: int) -> int:
    return max(1, int(strength * number))


def _split(part: str) -> Word:
    found = _WORD.match(part)
    assert found is not None  # the pattern takes any string
    return Word(*found.groups())


@lru_cache(maxsize=16)
def _thesaurus(language: str, folders: tuple[str, ...]) -> Thesaurus | None:
    found = Thesaurus.find(language, folders)
    if found is None:
        logger.warning(
            "no thesaurus of '%s' is installed (Debian: mythes-de, mythes-en-us): texts are varied by swap and "
            "deletion only",
            language,
        )
    return found
