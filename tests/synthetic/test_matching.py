"""Matching of glosses to words: folding, aliases, assigned signs, and coverage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from signatlas.corpus.composed import coverage_lines
from signatlas.corpus.sentences import Sentence
from signatlas.corpus.sources.dgs import csv_files, fold_gloss
from signatlas.errors import CorpusError
from signatlas.synthetic.composition.coverage import coverage
from signatlas.synthetic.composition.matching import AMBIGUOUS_WORDS, Match, aliases, fold, homographs, match_glosses

WORDS = {
    "wolke": "dictionary", "wolken": "dictionary", "sueden": "dictionary", "14": "dictionary", "wind": "dictionary",
    "reif": "dictionary", "tiger": "dictionary", "lampe": "dictionary", "muecke": "dictionary", "haben": "webcam",
    "hose": "webcam", "bier": "webcam",
}  # fmt: skip
MULTI = ("haben", "hose", "bier")


@pytest.mark.parametrize(
    ("gloss", "folded"),
    [
        ("REGEN", "regen"),
        ("Süden", "sueden"),
        ("STRAẞE", "strasse"),
        ("loc-NORD", "nord"),
        ("lh-loc-WIND", "wind"),
        ("qu-WETTER", "wetter"),
        ("HABEN2", "haben"),
        ("WOLKE+", "wolke"),
        ("WOLKE-PLUSPLUS", "wolke"),
        ("__EMOTION__", ""),
        ("__LEFT__WIND", "wind"),
        ("neg-REGEN", "neg-regen"),
        ("negalp-KEIN", "negalp-kein"),
        ("poss-MEIN", "poss-mein"),
        ("cl-KOMMEN", "cl-kommen"),
        ("C+M", "c+m"),
        ("BADEN-WUERTTEMBERG", "baden-wuerttemberg"),
        ("16:9", "16:9"),
        ("2000", "2000"),
    ],
)
def test_folding(gloss: str, folded: str) -> None:
    assert fold(gloss) == folded
    assert fold(folded) == folded


def test_each_rule_of_matching() -> None:
    matches = match_glosses({"WIND": 3, "loc-WOLKE": 2, "SUED": 5, "VIERZEHN": 1, "GRAD": 9}, WORDS, MULTI)
    assert matches["WIND"] == Match("wind", "real", "same", "dictionary")
    assert matches["loc-WOLKE"] == Match("wolke", "real", "folded", "dictionary")
    assert matches["SUED"] == Match("sueden", "real", "alias", "dictionary", "compass")
    assert matches["VIERZEHN"] == Match("14", "real", "alias", "dictionary", "number")
    assert matches["GRAD"].kind == matches["GRAD"].rule == "assigned"
    assert matches["GRAD"].word in MULTI


def test_frequent_glosses_get_words_with_many_recordings() -> None:
    matches = match_glosses({"HABEN": 1, "GRAD": 9, "NACHT": 8, "IX": 7, "MITTE": 6}, WORDS, MULTI, seed=4)
    assert {matches["GRAD"].word, matches["NACHT"].word} == {"hose", "bier"}
    assert matches["IX"].source == matches["MITTE"].source == "dictionary"


def test_assigned_signs_are_unique_and_unlike_real_words() -> None:
    counts = {"WOLKE": 4, "neg-WOLKE": 1, "IX": 7, "MITTE": 6}
    for seed in range(20):
        matches = match_glosses(counts, WORDS, (), seed)
        assigned = [m.word for m in matches.values() if m.kind == "assigned"]
        assert len(set(assigned)) == 3
        assert not set(assigned) & {"wolke", "wolken", *AMBIGUOUS_WORDS}
    assert match_glosses(counts, WORDS, (), 0) != match_glosses(counts, WORDS, (), 1)


def test_homographs_are_not_matched() -> None:
    assert match_glosses({"REIF": 1}, WORDS, ("hose",))["REIF"].rule == "assigned"
    assert homographs() == {"baden", "reif"}


def test_two_glosses_may_share_a_real_word() -> None:
    matches = match_glosses({"HABEN": 2, "HABEN2": 1}, WORDS)
    assert {m.word for m in matches.values()} == {"haben"}
    assert [matches[g].rule for g in ("HABEN", "HABEN2")] == ["same", "folded"]


def test_too_few_signs_are_refused() -> None:
    with pytest.raises(CorpusError, match="2 glosses have no sign of their own and the lexicon has 1 unused signs"):
        match_glosses({"A": 1, "B": 1}, {"hose": "webcam"})


def test_matching_depends_on_the_seed_only() -> None:
    code = (
        "import json; from signatlas.synthetic.composition.matching import match_glosses;"
        "words = {f'wort{n}': 'dictionary' for n in range(90)};"
        "matches = match_glosses({f'X{n}': 1 for n in range(40)}, words, seed=7);"
        "print(json.dumps({g: m.word for g, m in matches.items()}))"
    )
    answers = [
        json.loads(subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": hashed},
                                  capture_output=True, text=True, check=True).stdout)
        for hashed in ("1", "2")
    ]  # fmt: skip
    assert answers[0] == answers[1]
    assert len(set(answers[0].values())) == 40


def test_aliases_are_folded_words_of_the_dictionary(mirror: Path | None) -> None:
    for gloss, (word, kind) in aliases().items():
        assert (fold_gloss(gloss), fold_gloss(word)) == (gloss, word)
        assert gloss != word, kind
    if mirror is not None:
        from signatlas.corpus.sources.archive import Archive
        from signatlas.corpus.sources.dgs import find_mirror

        path = find_mirror(mirror)
        assert path is not None
        names = csv_files(Archive(path))
        entries = {fold_gloss(Path(n).stem if n.startswith("2D") else Path(n).parent.name) for n in names}
        assert {word for word, _ in aliases().values()} - entries == set()
        assert set(aliases()) & entries == set()
        assert homographs() <= entries


def sentences() -> list[Sentence]:
    rows = [
        ("a", "train", "WIND WIND SUED GRAD"),
        ("b", "train", "HABEN"),
        ("c", "dev", "GRAD HABEN"),
        ("d", "test", ""),
    ]
    return [Sentence(name, split, tuple(glosses.split()), ()) for name, split, glosses in rows]


def test_coverage_by_kind_rule_and_alias() -> None:
    counts = Counter(g for s in sentences() for g in s.glosses)
    report = coverage(sentences(), match_glosses(counts, WORDS, MULTI))
    assert list(report["splits"]) == ["train", "dev", "all"]
    train = report["splits"]["train"]
    assert (train["sentences"], train["tokens"], train["types"]) == (2, 5, 4)
    assert train["kinds"] == {
        "real dictionary": {"tokens": 3, "types": 2, "share": 0.6},
        "real webcam": {"tokens": 1, "types": 1, "share": 0.2},
        "assigned": {"tokens": 1, "types": 1, "share": 0.2},
    }
    assert train["rules"]["same"] == {"tokens": 3, "types": 2, "share": 0.6}
    assert train["aliases"]["compass"]["tokens"] == 1
    assert report["splits"]["all"]["tokens"] == 7
    assert report["without_gloss"] == ["d"]
    assert json.loads(json.dumps(report)) == report


def test_coverage_lines_list_each_kind() -> None:
    counts = Counter(g for s in sentences() for g in s.glosses)
    table = "\n".join(coverage_lines(coverage(sentences(), match_glosses(counts, WORDS, MULTI))))
    assert "real webcam" in table
    assert "60.0% (2)" in table
    assert table.splitlines()[-1] == "without a gloss, not composed: d"


def test_shared_words_are_listed() -> None:
    said = [Sentence("a", "train", ("HABEN", "HABEN2"), ())]
    assert coverage(said, match_glosses({"HABEN": 1, "HABEN2": 1}, WORDS))["shared_words"] == {
        "haben": ["HABEN", "HABEN2"]
    }
