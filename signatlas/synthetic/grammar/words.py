"""The 30 words of the grammar and their German and English forms."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from numpy.random import Philox

T = TypeVar("T")


class Draw:
    """Random choices that depend on a key only: raw numbers of Philox are the same everywhere."""

    def __init__(self, key: str) -> None:
        self._bits = Philox(key=int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big"))

    def below(self, count: int) -> int:
        """Return an integer from 0 to ``count`` - 1."""
        return int(self._bits.random_raw()) % count

    def pick(self, options: Sequence[T]) -> T:
        """Return one of ``options``."""
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        """Return True with a probability of ``percent`` / 100."""
        return self.below(100) < percent


@dataclass(frozen=True)
class Word:
    """Word of the grammar: part of speech, and its forms in both languages."""

    kind: str
    german: tuple[str, ...]
    english: tuple[str, ...]


@dataclass(frozen=True)
class Noun:
    """Noun; ``gender`` is m, f or n; ``plural`` marks English words that are plural (trousers)."""

    german: tuple[str, ...]
    gender: str
    english: tuple[str, ...]
    plural: bool = False


@dataclass(frozen=True)
class GermanVerb:
    """German verb; ``present`` and ``preterite`` are the forms for ich, du, er and wir."""

    infinitive: str
    present: tuple[str, str, str, str]
    preterite: tuple[str, str, str, str]
    participle: str
    auxiliary: str = "haben"


@dataclass(frozen=True)
class EnglishVerb:
    """English verb; a stative verb has no progressive form."""

    base: str
    third: str
    past: str
    ing: str
    stative: bool = False


NOUNS = {
    "bier": Noun(("Bier",), "n", ("beer",)),
    "computer": Noun(("Computer", "Rechner"), "m", ("computer",)),
    "deutschland": Noun(("Deutschland",), "n", ("Germany",)),
    "essen": Noun(("Essen",), "n", ("food",)),
    "foto": Noun(("Foto", "Bild"), "n", ("photo", "picture")),
    "fussball": Noun(("Fußball",), "m", ("soccer", "football")),
    "haus": Noun(("Haus",), "n", ("house",)),
    "hose": Noun(("Hose",), "f", ("trousers", "pants"), plural=True),
    "hunger": Noun(("Hunger",), "m", ("hunger",)),
    "land": Noun(("Land",), "n", ("country",)),
    "mainz": Noun(("Mainz",), "n", ("Mainz",)),
    "software": Noun(("Software",), "f", ("software",)),
    "sonne": Noun(("Sonne",), "f", ("sun",)),
    "tag": Noun(("Tag",), "m", ("day",)),
    "universitaet": Noun(("Universität", "Uni"), "f", ("university",)),
    "welt": Noun(("Welt",), "f", ("world",)),
    "wetter": Noun(("Wetter",), "n", ("weather",)),
}


def _german(infinitive: str, present: str, preterite: str, participle: str, auxiliary: str = "haben") -> GermanVerb:
    ich, du, er, wir = present.split()
    was, were_you, was_he, were = preterite.split()
    return GermanVerb(infinitive, (ich, du, er, wir), (was, were_you, was_he, were), participle, auxiliary)


# Verbs with their synonyms; moegen, scheinen, sein and spielen occur in texts only.
GERMAN_VERBS = {
    "essen": (_german("essen", "esse isst isst essen", "aß aßt aß aßen", "gegessen"),),
    "haben": (_german("haben", "habe hast hat haben", "hatte hattest hatte hatten", "gehabt"),),
    "lernen": (_german("lernen", "lerne lernst lernt lernen", "lernte lerntest lernte lernten", "gelernt"),),
    "lieben": (_german("lieben", "liebe liebst liebt lieben", "liebte liebtest liebte liebten", "geliebt"),),
    "rennen": (
        _german("rennen", "renne rennst rennt rennen", "rannte ranntest rannte rannten", "gerannt", "sein"),
        _german("laufen", "laufe läufst läuft laufen", "lief liefst lief liefen", "gelaufen", "sein"),
    ),
    "trinken": (_german("trinken", "trinke trinkst trinkt trinken", "trank trankst trank tranken", "getrunken"),),
    "zeigen": (_german("zeigen", "zeige zeigst zeigt zeigen", "zeigte zeigtest zeigte zeigten", "gezeigt"),),
    "moegen": (_german("mögen", "mag magst mag mögen", "mochte mochtest mochte mochten", "gemocht"),),
    "scheinen": (
        _german("scheinen", "scheine scheinst scheint scheinen", "schien schienst schien schienen", "geschienen"),
    ),
    "sein": (_german("sein", "bin bist ist sind", "war warst war waren", "gewesen", "sein"),),
    "spielen": (_german("spielen", "spiele spielst spielt spielen", "spielte spieltest spielte spielten", "gespielt"),),
}
ENGLISH_VERBS = {
    "essen": (
        EnglishVerb("eat", "eats", "ate", "eating"),
        EnglishVerb("have a meal", "has a meal", "had a meal", "having a meal"),
    ),
    "haben": (EnglishVerb("have", "has", "had", "having", stative=True),),
    "lernen": (
        EnglishVerb("study", "studies", "studied", "studying"),
        EnglishVerb("learn", "learns", "learned", "learning"),
    ),
    "lieben": (EnglishVerb("love", "loves", "loved", "loving", stative=True),),
    "rennen": (EnglishVerb("run", "runs", "ran", "running"),),
    "trinken": (EnglishVerb("drink", "drinks", "drank", "drinking"),),
    "zeigen": (EnglishVerb("show", "shows", "showed", "showing"),),
    "scheinen": (EnglishVerb("shine", "shines", "shone", "shining"),),
    "sein": (EnglishVerb("be", "is", "was", "being", stative=True),),
    "spielen": (EnglishVerb("play", "plays", "played", "playing"),),
}
TIMES = ("gestern", "heute", "morgen")
# Places of an action, in German and English. A key of two words stands for two glosses.
PLACES = {
    "mainz": (("in Mainz",), ("in Mainz",)),
    "deutschland": (("in Deutschland",), ("in Germany",)),
    "universitaet": (("an der Universität", "an der Uni"), ("at the university",)),
    "unser universitaet": (("an unserer Universität", "an unserer Uni"), ("at our university",)),
    "haus": (("zu Hause", "im Haus"), ("at home", "in the house")),
    "unser haus": (("in unserem Haus",), ("in our house",)),
    "land": (("auf dem Land",), ("in the country", "in the countryside")),
    "unser land": (("in unserem Land",), ("in our country",)),
    "welt": (("überall auf der Welt", "auf der ganzen Welt"), ("all over the world", "everywhere in the world")),
    "sonne": (("in der Sonne",), ("in the sun",)),
    "computer": (("am Computer", "am Rechner"), ("at the computer",)),
    "unser computer": (("an unserem Computer", "an unserem Rechner"), ("at our computer",)),
}
# Goals of running, in German and English.
GOALS = {
    "mainz": (("nach Mainz",), ("to Mainz",)),
    "deutschland": (("durch Deutschland",), ("through Germany", "across Germany")),
    "universitaet": (("zur Universität", "zur Uni"), ("to the university",)),
    "unser universitaet": (("zu unserer Universität", "zu unserer Uni"), ("to our university",)),
    "haus": (("nach Hause", "zum Haus"), ("home", "to the house")),
    "unser haus": (("zu unserem Haus",), ("to our house",)),
    "land": (("durch das Land",), ("through the country", "across the country")),
    "unser land": (("durch unser Land",), ("through our country", "across our country")),
    "welt": (("um die Welt",), ("around the world", "round the world")),
    "sonne": (("in die Sonne",), ("into the sun",)),
    "computer": (("zum Computer", "zum Rechner"), ("to the computer",)),
}
WORDS: dict[str, Word] = {
    **{gloss: Word("noun", noun.german, noun.english) for gloss, noun in NOUNS.items()},
    **{
        gloss: Word(
            "verb", tuple(v.infinitive for v in GERMAN_VERBS[gloss]), tuple(v.base for v in ENGLISH_VERBS[gloss])
        )
        for gloss in ("haben", "lernen", "lieben", "rennen", "trinken", "zeigen")
    },
    "essen": Word("verb and noun", ("essen", "Essen"), ("eat", "have a meal", "food")),
    "tag": Word("noun and time", ("Tag", "jeden Tag", "täglich", "den ganzen Tag"), ("day", "every day", "all day")),
    "gestern": Word("time", ("gestern",), ("yesterday",)),
    "heute": Word("time", ("heute",), ("today",)),
    "morgen": Word("time", ("morgen",), ("tomorrow",)),
    "ich": Word("person", ("ich", "mich", "mir"), ("I", "me")),
    "du": Word("person", ("du", "dich", "dir"), ("you",)),
    "unser": Word("possessive", ("unser", "unsere", "unseren", "unserem", "unserer"), ("our",)),
    "hallo": Word("greeting", ("hallo",), ("hello", "hi")),
}
