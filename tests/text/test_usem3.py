"""The adapter reads pieces and embeddings of USE-m3 as they are."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.text import usem3


def test_pieces_are_those_of_a_known_sentence():
    assert usem3.pieces(["Morgen Regen im Norden.", ""]) == [["▁Morgen", "▁Regen", "▁im", "▁Norden", "."], []]


def test_a_character_that_use_does_not_know_stands_as_itself():
    assert usem3.pieces(["🙂"]) == [["▁", "🙂"]]


def test_embeddings_agree_with_the_table_that_the_package_makes_of_its_chunks():
    from usem3.backends.numpy import NumpyBackend

    held = NumpyBackend(str(usem3.resource("weights.npz")), None)
    words = ["<unk>", "▁Haus", "▁house", "▁morgen", "no such piece"]
    ids = np.array([usem3.processor().piece_to_id(word) for word in words])
    chunk = ids % len(held.scale)
    expected = held.table[ids] * held.scale[chunk, None] + held.lo[chunk, None]
    np.testing.assert_allclose(usem3.embeddings(words), expected, rtol=1e-6)
    assert ids[4] == ids[0] == 0


@pytest.mark.parametrize(("german", "english"), [("▁Haus", "▁house"), ("▁Regen", "▁rain"), ("▁Norden", "▁north")])
def test_a_translation_is_nearer_than_other_words(german, english):
    """No fact of the package's code: with rows mixed up or scales swapped, translations would not be neighbors."""
    others = ["▁computer", "▁beer", "▁Freund", "▁laufen", "▁und", "▁price", "▁Musik", "▁house", "▁rain", "▁north"]
    vectors = usem3.embeddings([german, *others])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = vectors[1:] @ vectors[0]
    assert others[int(near.argmax())] == english


def test_sentence_vectors_are_of_unit_length_and_join_languages():
    german, english, other = usem3.sentence_vectors(["Morgen regnet es.", "It will rain tomorrow.", "I like beer."])
    assert np.linalg.norm(german) == pytest.approx(1, abs=1e-3)
    assert german @ english > german @ other + 0.2
    assert usem3.sentence_vectors([]).shape == (0, 512)
