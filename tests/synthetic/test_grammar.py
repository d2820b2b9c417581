"""The grammar: sampled sentences, splits, German and English texts, and statistics."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest

from signatlas.corpus.sentences import Sentence
from signatlas.errors import UserError
from signatlas.synthetic.grammar import balance, english, german, grammar
from signatlas.synthetic.grammar.clauses import Clause, Phrase
from signatlas.synthetic.grammar.words import Draw


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[grammar.DrawnSentence]]:
    return grammar.draw_sentences(0)


@pytest.fixture(scope="module")
def sentences() -> list[Sentence]:
    return grammar.sentences(0)


def test_ids_counts_and_languages(sentences: list[Sentence]) -> None:
    assert Counter(s.split for s in sentences) == {"train": 3000, "dev": 300, "test": 300}
    assert len({s.id for s in sentences}) == 3600
    assert sentences[12].id == "multi/train/000012"
    assert all([tag for tag, _ in s.texts] == ["de", "en"] and s.frames is None for s in sentences)
    assert all(3 <= len(s.glosses) <= 8 for s in sentences)


def test_sentences_differ_in_glosses_and_in_both_texts(sentences: list[Sentence]) -> None:
    assert len({s.glosses for s in sentences}) == len(sentences)
    assert len({s.texts[0][1] for s in sentences}) == len(sentences)
    assert len({s.texts[1][1] for s in sentences}) == len(sentences)


def test_every_word_is_in_every_split_and_none_is_rare(sentences: list[Sentence]) -> None:
    for split in ("train", "dev", "test"):
        counts = Counter(g for s in sentences if s.split == split for g in s.glosses)
        assert set(counts) == set(grammar.WORDS)
        assert max(counts.values()) <= 6 * min(counts.values())
    assert len(grammar.WORDS) == 30


def test_held_out_pairs_are_in_test_only(sentences: list[Sentence]) -> None:
    pairs = {
        split: {p for s in sentences if s.split == split for p in pairwise(s.glosses)}
        for split in ("train", "dev", "test")
    }
    held_out = {p for p in pairs["test"] if grammar.held_out(*p)}
    assert len(held_out) >= 20
    assert not held_out & (pairs["train"] | pairs["dev"])
    assert sum(grammar.is_novel(s.glosses) for s in sentences if s.split == "test") == 150
    assert pairs["train"] - held_out == pairs["train"]


def test_sentences_depend_on_the_seed_only() -> None:
    def digest(seed: int) -> str:
        return hashlib.sha256(repr(grammar.sentences(seed, train=40, dev=5, test=6)).encode()).hexdigest()

    code = (
        "import hashlib; from signatlas.synthetic.grammar import grammar;"
        "print(hashlib.sha256(repr(grammar.sentences(3, train=40, dev=5, test=6)).encode()).hexdigest())"
    )
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True
        )
        assert done.stdout.strip() == digest(3), done.stderr
    assert digest(3) != digest(4)


def test_too_many_sentences_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        grammar, "_KINDS", (lambda draw: grammar.DrawnSentence("one", ("ich", "bier", "haben"), "a", "b"),)
    )
    with pytest.raises(UserError, match="no more sentences"):
        grammar.sentences(train=2, dev=0, test=0)
    with pytest.raises(UserError, match="at least 0"):
        grammar.sentences(train=-2)


WRONG = {
    "de": (
        r"  | ,| \.|None|^[a-zäöü]|[^.?]$",
        r"\b(?<!und )(ich|Ich) (hast|hat|bist|ist|isst|lernst|wirst|zeigst|magst|haben|sind)\b",
        r"\b(du|Du) (habe|hat|bin|ist|esse|lerne|werde|zeige|mag)\b",
        r"\b(den|dem|das|ein|einen|unser|unseren) (Universität|Uni|Hose|Welt|Software|Sonne)\b",
        r"\b(die|den|eine|einen|unsere|unseren) (Foto|Bild|Haus|Land|Wetter|Essen|Bier)\b",
        r"\b(die|das|eine|unsere) (Computer|Rechner|Tag)\b",
    ),
    "en": (
        r"  | ,| \.|None|^[a-z]|[^.?]$",
        r"(?<![Yy]ou and )\bI (are|is|has|does|were)\b",
        r"\b(you|You) (am|is|has|does|was)\b",
        r"^(\w+ )?[Yy]ou and I (am|was)\b",
        r"\b(trousers|pants) (is|was|has|does)\b|\b([Ii]s|[Ww]as|[Dd]oes|[Hh]as) (the|our) (trousers|pants)\b",
        r"^(The|Our) (photo|picture|computer|software|weather|university|sun|food) (are|were|have|do|love|show)\b",
        r"\ba (trousers|pants|food|software|sun)\b",
    ),
}


@pytest.mark.parametrize("language", ["de", "en"])
def test_no_sentence_breaks_agreement(sentences: list[Sentence], language: str) -> None:
    for pattern in WRONG[language]:
        matches = [text for s in sentences for tag, text in s.texts if tag == language and re.search(pattern, text)]
        assert matches == [], pattern


def texts_of(clause: Clause, *, front: str = "") -> tuple[set[str], set[str]]:
    """Return all German and English texts of a clause over many draws."""
    de, en = set(), set()
    for number in range(300):
        draw = Draw(f"test {number}")
        p, q = german.parts(clause, draw), english.parts(clause, draw)
        de.add(german.question(p) if clause.question else german.statement(p, front=front))
        en.add(english.question(q) if clause.question else english.statement(q, front=front))
    return de, en


def test_past_and_future_in_both_languages() -> None:
    drink = Clause("drink", "du", "trinken", ("trinken",), when="gestern", time="gestern", object=Phrase("bier"))
    assert drink.glosses == ("gestern", "du", "bier", "trinken")
    assert texts_of(drink) == ({"du hast gestern Bier getrunken"}, {"you drank beer yesterday"})
    run = Clause("run to", "ich", "rennen", ("rennen",), when="gestern", time="gestern", goal="welt")
    assert "gestern bin ich um die Welt gelaufen" in texts_of(run, front="time")[0]
    later = Clause("hungry", "wir", "haben", ("haben",), when="morgen", time="morgen", object=Phrase("hunger"))
    de, en = texts_of(later)
    assert {"wir beide haben morgen Hunger", "du und ich werden morgen hungrig sein"} <= de
    assert en == {
        f"{who} {will} be hungry tomorrow" for who in ("you and I", "both of us") for will in ("will", "are going to")
    }


def test_the_subject_of_a_question_is_the_last_gloss() -> None:
    show = Clause(
        "show", "du", "zeigen", ("zeigen",), when="heute", time="heute", place="universitaet", receiver="ich",
        object=Phrase("computer", "our"), question=True,
    )  # fmt: skip
    assert show.glosses == ("heute", "universitaet", "ich", "unser", "computer", "zeigen", "du")
    de, en = texts_of(show)
    assert "zeigst du mir heute an der Universität unseren Computer" in de
    assert en == {"are you showing me our computer at the university today"}
    photo = Clause("picture", Phrase("foto", "the"), "zeigen", ("zeigen",), receiver="du", object=Phrase("haus", "a"))
    assert texts_of(photo)[0] == {"das Foto zeigt dir ein Haus", "das Bild zeigt dir ein Haus"}
    assert texts_of(photo)[1] == {"the photo shows you a house", "the picture shows you a house"}


def test_loving_to_do_something() -> None:
    gladly = Clause("run", "ich", "rennen", ("rennen",), place="sonne", gladly=True)
    assert gladly.glosses == ("sonne", "ich", "rennen", "lieben")
    de, en = texts_of(gladly)
    assert {"ich liebe es, in der Sonne zu rennen", "ich laufe gern in der Sonne"} <= de
    assert {"I love to run in the sun", "I enjoy running in the sun"} <= en


def test_verb_last_after_waehrend() -> None:
    c = Clause("drink", "du", "trinken", ("trinken",), when="gestern", object=Phrase("bier", "our"))
    assert german.subordinate(german.parts(c, Draw("x"))) == "du unser Bier getrunken hast"


def test_words_are_hard_to_predict_from_context(drawn: dict[str, list[grammar.DrawnSentence]]) -> None:
    stats = balance.describe(drawn)
    assert stats["splits"]["test"]["novel"] == 150
    assert stats["template_entropy"]["share"] > 0.3
    assert stats["word_entropy"] > 0.3
    assert stats["cloze"]["most_frequent_gloss"] < stats["cloze"]["dev"] < 0.6
    assert 0.03 < stats["pairs"]["test_only"] / stats["pairs"]["all"] < 0.12


def test_predictable_words_are_measured() -> None:
    sentences = [
        grammar.DrawnSentence(f"t{n % 2}", ("ich", ("bier", "foto")[n % 2], "haben"), f"{n}", f"{n}") for n in range(20)
    ]
    stats = balance.describe({"train": sentences, "dev": sentences, "test": sentences})
    assert stats["template_entropy"]["share"] == 0
    assert stats["cloze"]["dev"] == pytest.approx(5 / 6, abs=0.001)
