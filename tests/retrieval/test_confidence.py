"""Thresholds of confidence: which recordings they come from, and how many wrong answers exceed them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from signatlas.retrieval.confidence import (
    ABSENT_SHARES,
    WORDS,
    Confidence,
    Recordings,
    Selection,
    calibrate,
    select_recordings,
)
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.search import SignSearch
from signatlas.retrieval.shard import merge

ABSENT = Selection((), ("dev",), True)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def sides(vectors: np.ndarray) -> np.ndarray:
    """400 recordings of absent signs, as recorded and mirrored [2, 400, E]."""
    rng = np.random.default_rng(0)
    return unit(vectors[rng.integers(0, 120, (2, 400))] + rng.normal(0, 0.05, (2, 400, vectors.shape[1])))


def test_entries_calibrate_without_their_own_gloss(vectors: np.ndarray, rows: pa.Table) -> None:
    glosses = rows["gloss"].to_pylist()
    confidence = calibrate(vectors, glosses)
    scores = vectors @ vectors.T
    scores[np.array(glosses)[:, None] == np.array(glosses)[None]] = -np.inf
    wrong = scores.max(1)
    assert confidence.recordings == 120 and confidence.mirror == "none" and confidence.splits == ()
    words = [confidence.word(float(s)) for s in wrong]
    assert words.count("probable") <= 0.01 * 120 + 1
    assert words.count("probable") + words.count("possible") <= 0.1 * 120 + 1
    verdicts = [confidence.verdict(float(s)) for s in wrong]
    assert abs(verdicts.count("not found") - 60) <= 2
    assert confidence.verdict(None) == "not found" and confidence.verdict(1.0) == confidence.word(1.0)
    assert calibrate(vectors, ["one word"] * 120).word(0.9) is None


def test_one_in_a_hundred_searches_by_either_hand_for_an_absent_sign_is_probable(
    vectors: np.ndarray, rows: pa.Table, sides: np.ndarray
) -> None:
    confidence = calibrate(vectors, rows["gloss"].to_pylist(), Recordings(ABSENT, sides, ["absent"] * 400))
    best = [float(max((side[q] @ vectors.T).max() for side in sides)) for q in range(400)]
    verdicts = [confidence.verdict(s) for s in best]
    assert {word: verdicts.count(word) / 400 for word in WORDS} == ABSENT_SHARES
    assert (confidence.recordings, confidence.mirror, confidence.splits) == (400, "best", ("dev",))
    assert confidence.rule.startswith("best scores of dev recordings whose gloss is not in the index, searched by eith")


def test_thresholds_of_one_hand_are_too_low_for_either_hand(
    vectors: np.ndarray, rows: pa.Table, sides: np.ndarray
) -> None:
    glosses = rows["gloss"].to_pylist()
    one, either = (calibrate(vectors, glosses, Recordings(ABSENT, s, ["absent"] * 400)) for s in (sides[:1], sides))
    assert one.mirror == "none" and either.mirror == "best"
    best = np.max([(side @ vectors.T).max(1) for side in sides], axis=0)
    shares = [np.mean([c.verdict(float(s)) != "not found" for s in best]) for c in (one, either)]
    assert shares[1] == 0.5 and shares[0] > 0.6


def test_the_scores_are_those_of_a_search_by_either_hand(
    write: Callable[..., IndexVersion], vectors: np.ndarray, rows: pa.Table, sides: np.ndarray, tmp_path: Path
) -> None:
    """An absent sign's best score, through shards, FAISS and merging, is what the percentiles are taken of."""
    absent = Recordings(ABSENT, sides, ["absent"] * 400)
    index = write(tmp_path, shards=3, calibration=absent)
    search = SignSearch(index)
    rankings = [search.rank(side, 5) for side in sides]
    best = [merge([rankings[0][q], rankings[1][q]], 5)[0][1] for q in range(400)]
    assert index.manifest.confidence == calibrate(vectors, rows["gloss"].to_pylist(), absent)
    assert index.manifest.confidence.probable == pytest.approx(np.percentile(best, 99), abs=1e-5)
    assert index.manifest.confidence.found == pytest.approx(np.percentile(best, 50), abs=1e-5)


def test_recordings_of_indexed_glosses_leave_their_own_gloss_out(vectors: np.ndarray, rows: pa.Table) -> None:
    """They are searched without entries that have no gloss either, as these may show the same sign."""
    glosses: list[str | None] = rows["gloss"].to_pylist()
    glosses[::7] = [None] * len(glosses[::7])
    chosen = [n for n, gloss in enumerate(glosses) if gloss is not None][:100]
    recordings = Recordings(Selection((), ("dev",), False), vectors[None, chosen], [glosses[n] for n in chosen])
    expected = [
        max(float(vectors[n] @ vectors[m]) for m in range(120) if glosses[m] not in (None, glosses[n])) for n in chosen
    ]
    assert calibrate(vectors, glosses, recordings).possible == pytest.approx(np.percentile(expected, 90), abs=1e-5)
    absent = recordings._replace(selection=ABSENT, glosses=["absent"] * 100)
    assert calibrate(vectors, glosses, absent).found == pytest.approx(1)  # each finds itself


def corpus_rows(**counts: int) -> list[dict[str, str | None]]:
    """``absent_dev=3`` are three dev recordings of signs that are not in the index, ``known_dev`` of signs that are."""
    rows: list[dict[str, str | None]] = [{"id": "no gloss", "gloss": None, "split": "dev"}]
    for name, count in counts.items():
        kind, split = name.split("_")
        rows += [{"id": f"{name}/{n:04d}", "gloss": f"{kind} {n % 5}", "split": split} for n in range(count)]
    return rows


INDEXED = {f"known_train/{n:04d}": f"known {n % 5}" for n in range(50)} | {"unlabeled": None}


@pytest.mark.parametrize(
    ("counts", "splits", "absent", "number"),
    [
        ({"absent_dev": 100, "absent_train": 900, "known_dev": 400}, ("dev",), True, 100),
        ({"absent_dev": 99, "absent_train": 900, "absent_test": 500, "known_dev": 400}, ("dev", "train"), True, 999),
        ({"absent_train": 2500}, ("train",), True, 1000),
        ({"absent_dev": 40, "absent_train": 40, "absent_test": 500, "known_dev": 150}, ("dev",), False, 150),
        ({"known_dev": 99, "known_train": 50, "absent_test": 500}, ("train",), False, 50),
    ],
)
def test_dev_is_preferred_and_test_is_never_used(
    counts: dict[str, int], splits: tuple[str, ...], absent: bool, number: int
) -> None:
    selection = select_recordings(corpus_rows(**counts), INDEXED)
    assert (selection.splits, selection.absent, len(set(selection.ids))) == (splits, absent, number)
    assert list(selection.ids) == sorted(selection.ids) and "no gloss" not in selection.ids
    assert select_recordings(corpus_rows(**counts)[::-1], INDEXED) == selection


def test_manifests_of_before_are_read_as_calibrated_for_one_hand(
    write: Callable[..., IndexVersion], tmp_path: Path
) -> None:
    path = write(tmp_path, version="v1").path / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("mirror", "splits"):
        del manifest["confidence"][name]
    path.write_text(json.dumps(manifest))
    confidence = IndexVersion.open(tmp_path, "v1").manifest.confidence
    assert (confidence.mirror, confidence.splits, confidence.recordings) == ("none", (), 120)
    assert Confidence.model_validate_json(confidence.model_dump_json()) == confidence
