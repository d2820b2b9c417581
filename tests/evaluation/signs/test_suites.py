"""What closed, open, one-shot and unseen ask, on a small corpus in two parts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from signatlas.corpus.format import Corpus
from signatlas.errors import UserError
from signatlas.evaluation.signs.baseline import KeypointEncoder, keypoint_space
from signatlas.evaluation.signs.protocols import report
from signatlas.evaluation.signs.space import Space
from signatlas.evaluation.signs.suites import Suite, dev_words, shared_words


@pytest.fixture(scope="module")
def keypoints(two_part_corpus: Corpus) -> Space:
    return keypoint_space(two_part_corpus, mirror=True)


def shared() -> list[str]:
    return [f"wort {n}" for n in range(8)]


def test_shared_and_dev_words(keypoints: Space) -> None:
    assert shared_words(keypoints.rows) == shared()
    by_hash = sorted(shared(), key=lambda word: hashlib.sha256(word.encode()).hexdigest())
    assert dev_words(shared()) == by_hash[:5]


def test_closed_reads_the_webcam_part_alone(two_part_corpus: Corpus, keypoints: Space) -> None:
    suite = Suite("closed")
    part = keypoints.where(suite.reads(two_part_corpus.metadata()))
    outcomes = {outcome.setting: outcome.ranking for outcome in suite.run(part)}
    assert outcomes["A: train as gallery"].scores.shape == (20, 40)
    assert outcomes["B: leave one out"].scores.shape == (20, 19)
    assert outcomes["B, mirrored queries"].scores.shape == (20, 19)
    figures = {name: report(ranking, samples=20)["metrics"]["mAP"] for name, ranking in outcomes.items()}
    assert figures["A: train as gallery"] > 0.9
    assert figures["A, mirrored queries"] < figures["A: train as gallery"]


def test_open_counts_recordings_and_the_entry_as_relevant(two_part_corpus: Corpus, keypoints: Space) -> None:
    suite = Suite("open")
    (outcome,) = suite.run(keypoints.where(suite.reads(two_part_corpus.metadata())))
    assert outcome.ranking.scores.shape == (20, 40 + 30)
    words = outcome.ranking.query_glosses
    expected = [5 if word in shared() else 4 for word in words]
    assert outcome.ranking.relevant.sum(1).tolist() == expected


def test_one_shot_asks_the_dictionary_alone(two_part_corpus: Corpus, keypoints: Space) -> None:
    suite = Suite("one-shot")
    outcomes = suite.run(keypoints.where(suite.reads(two_part_corpus.metadata())))
    assert [outcome.setting for outcome in outcomes] == ["8 shared words", "5 dev words", "3 other words"]
    sizes = [outcome.ranking.scores.shape for outcome in outcomes]
    assert sizes == [(16, 30), (10, 30), (6, 30)]
    for outcome in outcomes:
        assert (outcome.ranking.relevant.sum(1) == 1).all()
        assert all(id.startswith("dictionary/") for id in outcome.ranking.gallery_ids.ravel())
        assert all(id.startswith("web/") and id[-1] in "67" for id in outcome.ranking.query_ids)
    assert set(outcomes[1].ranking.query_glosses) == set(dev_words(shared()))
    assert not set(outcomes[1].ranking.query_glosses) & set(outcomes[2].ranking.query_glosses)


def test_one_shot_choices_look_at_dev_recordings_of_dev_words(two_part_corpus: Corpus, keypoints: Space) -> None:
    suite = Suite("one-shot", split="dev", words="dev")
    (outcome,) = suite.run(keypoints.where(suite.reads(two_part_corpus.metadata())))
    assert len(outcome.ranking.query_ids) == 10
    assert all(id[-1] in "45" for id in outcome.ranking.query_ids)


def test_one_shot_of_words_never_seen_asks_all_their_recordings_too(two_part_corpus: Corpus, keypoints: Space) -> None:
    suite = Suite("one-shot", never_saw=frozenset(shared()))
    outcomes = suite.run(keypoints.where(suite.reads(two_part_corpus.metadata())))
    found = {outcome.setting: len(outcome.ranking.query_ids) for outcome in outcomes}
    assert found["8 shared words"] == 16
    assert found["8 shared words, all recordings"] == 8 * 8
    assert found["3 other words, all recordings"] == 3 * 8


def test_adjustments_keep_queries_and_galleries(two_part_corpus: Corpus, keypoints: Space) -> None:
    unit = keypoints.vectors / np.linalg.norm(keypoints.vectors, axis=1, keepdims=True)
    part = Space(keypoints.rows, unit)
    names = ("none", "center", "csls", "inverted-softmax")
    outcomes = Suite("one-shot", words="other", adjustments=names).run(part)
    assert [outcome.adjustment for outcome in outcomes] == list(names)
    for outcome in outcomes[1:]:
        assert outcome.ranking.gallery_ids.tolist() == outcomes[0].ranking.gallery_ids.tolist()
        assert not np.allclose(outcome.ranking.scores, outcomes[0].ranking.scores)


def test_unseen_uses_every_source(two_part_corpus: Corpus, keypoints: Space) -> None:
    suite = Suite("unseen")
    outcomes = suite.run(keypoints.where(suite.reads(two_part_corpus.metadata())))
    assert outcomes[0].ranking.scores.shape == (20 + 8, 40 + 22)
    assert outcomes[1].ranking.scores.shape == (28, 27)


def test_a_corpus_without_a_dictionary_is_refused(two_part_corpus: Corpus) -> None:
    rows = two_part_corpus.source("webcam").metadata()
    with pytest.raises(UserError, match="needs clips of source dictionary"):
        Suite("one-shot").reads(rows)


@pytest.mark.parametrize("options", [{"protocol": "closd"}, {"protocol": "open", "words": "few"}])
def test_unknown_names_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(UserError, match="choose from"):
        Suite(**options)  # type: ignore[arg-type]


def test_keypoint_vectors_do_not_see_position_or_distance(two_part_corpus: Corpus) -> None:
    from dataclasses import replace

    clip = next(iter(two_part_corpus))
    moved = replace(clip, poses=(clip.poses * 0.7 + np.float32(0.1)).astype(np.float32))
    vectors = KeypointEncoder().embed_clips([clip, moved])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)
    assert not np.isnan(vectors).any()
