"""Protocols of sign search: galleries, queries and relevant clips, on a small corpus in two parts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from signatlas.corpus.format import Corpus
from signatlas.errors import UserError
from signatlas.evaluation.ranking import summarize
from signatlas.evaluation.signs.protocols import (
    SignEvaluation,
    dev_words,
    gallery_and_queries,
    leave_one_out,
    rank,
    shared_words,
)
from signatlas.evaluation.signs.space import Space, keypoint_space, parse_filter


def space(count: int = 12, words: int = 3, seed: int = 0) -> Space:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        {"id": f"clip {i}", "gloss": f"w{i % words}", "split": "train" if i < count // 2 else "test", "source": "s"}
        for i in range(count)
    ]
    return Space(rows, vectors)


def test_gallery_is_the_train_split() -> None:
    ranking = gallery_and_queries(space(), "test")
    assert ranking.query_ids.tolist() == [f"clip {i}" for i in range(6, 12)]
    assert ranking.gallery_ids.shape == (6, 6)
    assert set(ranking.gallery_ids[0]) == {f"clip {i}" for i in range(6)}
    assert ranking.relevant[0].tolist() == [True, False, False, True, False, False]


def test_leave_one_out_removes_each_query_from_its_own_gallery() -> None:
    part = space()
    ranking = leave_one_out(part, "test")
    assert ranking.scores.shape == (6, 5)
    for query, gallery, scores, relevant in zip(
        ranking.query_ids, ranking.gallery_ids, ranking.scores, ranking.relevant, strict=True
    ):
        assert query not in gallery
        assert len(set(gallery)) == 5
        index = {id: i for i, id in enumerate(part.ids)}
        query_row = index[query]
        others = [index[id] for id in gallery]
        np.testing.assert_allclose(scores, part.vectors[others] @ part.vectors[query_row], atol=1e-6)
        assert relevant.tolist() == [part.glosses[o] == part.glosses[query_row] for o in others]


def test_a_mirrored_query_does_not_find_its_own_clip() -> None:
    part = space()
    both = Space(part.rows, part.vectors, part.vectors[::-1].copy())
    ranking = rank(both.swap_mirrored(), both)
    assert ranking.scores.shape == (12, 11)
    assert not any(query in gallery for query, gallery in zip(ranking.query_ids, ranking.gallery_ids, strict=True))


def test_partly_overlapping_and_empty_filters_raise() -> None:
    part = space()
    with pytest.raises(UserError, match="3 of 6 queries are in the gallery"):
        rank(part.where(lambda row: row["split"] == "test"), Space(part.rows[:9], part.vectors[:9]))
    with pytest.raises(UserError, match="0 queries against 12 clips"):
        rank(part.where(parse_filter("split=dev")), part)


def test_clips_without_a_gloss_are_never_relevant() -> None:
    part = space()
    for row in part.rows[:2] + part.rows[6:8]:
        row["gloss"] = None
    ranking = gallery_and_queries(part, "test")
    assert not ranking.relevant[:2].any()
    assert summarize(ranking, samples=10)["left_out"] == 2


@pytest.fixture(scope="module")
def keypoints(two_part_corpus: Corpus) -> Space:
    return keypoint_space(two_part_corpus, mirror=True)


def shared() -> list[str]:
    return [f"wort {n}" for n in range(8)]


def test_shared_and_dev_words(keypoints: Space) -> None:
    assert shared_words(keypoints.rows) == shared()
    by_hash = sorted(shared(), key=lambda word: hashlib.sha256(word.encode()).hexdigest())
    assert dev_words(shared()) == by_hash[:5]


def test_closed_uses_webcam_recordings_alone(two_part_corpus: Corpus, keypoints: Space) -> None:
    settings = SignEvaluation("closed")
    part = keypoints.where(settings.clip_filter(two_part_corpus.metadata()))
    outcomes = {outcome.setting: outcome.ranking for outcome in settings.run(part)}
    assert outcomes["A: train as gallery"].scores.shape == (20, 40)
    assert outcomes["B: leave one out"].scores.shape == (20, 19)
    assert outcomes["B, mirrored queries"].scores.shape == (20, 19)
    metrics = {name: summarize(ranking, samples=20)["metrics"]["mAP"] for name, ranking in outcomes.items()}
    assert metrics["A: train as gallery"] > 0.9
    assert metrics["A, mirrored queries"] < metrics["A: train as gallery"]


def test_open_counts_recordings_and_the_entry_as_relevant(two_part_corpus: Corpus, keypoints: Space) -> None:
    settings = SignEvaluation("open")
    (outcome,) = settings.run(keypoints.where(settings.clip_filter(two_part_corpus.metadata())))
    assert outcome.ranking.scores.shape == (20, 40 + 30)
    words = outcome.ranking.query_glosses
    expected = [5 if word in shared() else 4 for word in words]
    assert outcome.ranking.relevant.sum(1).tolist() == expected


def test_one_shot_ranks_dictionary_entries_alone(two_part_corpus: Corpus, keypoints: Space) -> None:
    settings = SignEvaluation("one-shot")
    outcomes = settings.run(keypoints.where(settings.clip_filter(two_part_corpus.metadata())))
    assert [outcome.setting for outcome in outcomes] == ["8 shared words", "5 dev words", "3 other words"]
    sizes = [outcome.ranking.scores.shape for outcome in outcomes]
    assert sizes == [(16, 30), (10, 30), (6, 30)]
    for outcome in outcomes:
        assert (outcome.ranking.relevant.sum(1) == 1).all()
        assert all(id.startswith("dictionary/") for id in outcome.ranking.gallery_ids.ravel())
        assert all(id.startswith("web/") and id[-1] in "67" for id in outcome.ranking.query_ids)
    assert set(outcomes[1].ranking.query_glosses) == set(dev_words(shared()))
    assert not set(outcomes[1].ranking.query_glosses) & set(outcomes[2].ranking.query_glosses)


def test_one_shot_dev_words_use_dev_recordings(two_part_corpus: Corpus, keypoints: Space) -> None:
    settings = SignEvaluation("one-shot", split="dev", words="dev")
    (outcome,) = settings.run(keypoints.where(settings.clip_filter(two_part_corpus.metadata())))
    assert len(outcome.ranking.query_ids) == 10
    assert all(id[-1] in "45" for id in outcome.ranking.query_ids)


def test_one_shot_also_queries_all_recordings_of_excluded_glosses(two_part_corpus: Corpus, keypoints: Space) -> None:
    settings = SignEvaluation("one-shot", excluded_glosses=frozenset(shared()))
    outcomes = settings.run(keypoints.where(settings.clip_filter(two_part_corpus.metadata())))
    queries = {outcome.setting: len(outcome.ranking.query_ids) for outcome in outcomes}
    assert queries["8 shared words"] == 16
    assert queries["8 shared words, all recordings"] == 8 * 8
    assert queries["3 other words, all recordings"] == 3 * 8


def test_adjustments_keep_queries_and_galleries(two_part_corpus: Corpus, keypoints: Space) -> None:
    unit = keypoints.vectors / np.linalg.norm(keypoints.vectors, axis=1, keepdims=True)
    part = Space(keypoints.rows, unit)
    names = ("none", "center", "csls", "inverted-softmax")
    outcomes = SignEvaluation("one-shot", words="other", adjustments=names).run(part)
    assert [outcome.adjustment for outcome in outcomes] == list(names)
    for outcome in outcomes[1:]:
        assert outcome.ranking.gallery_ids.tolist() == outcomes[0].ranking.gallery_ids.tolist()
        assert not np.allclose(outcome.ranking.scores, outcomes[0].ranking.scores)


def test_unseen_uses_every_source(two_part_corpus: Corpus, keypoints: Space) -> None:
    settings = SignEvaluation("unseen")
    outcomes = settings.run(keypoints.where(settings.clip_filter(two_part_corpus.metadata())))
    assert outcomes[0].ranking.scores.shape == (20 + 8, 40 + 22)
    assert outcomes[1].ranking.scores.shape == (28, 27)


def test_a_corpus_without_a_dictionary_raises(two_part_corpus: Corpus) -> None:
    rows = two_part_corpus.source("webcam").metadata()
    with pytest.raises(UserError, match="needs clips of source dictionary"):
        SignEvaluation("one-shot").clip_filter(rows)


@pytest.mark.parametrize("options", [{"protocol": "closd"}, {"protocol": "open", "words": "few"}])
def test_unknown_names_raise(options: dict[str, str]) -> None:
    with pytest.raises(UserError, match="choose from"):
        SignEvaluation(**options)  # type: ignore[arg-type]
