"""The queue of past texts: bounded, per language, without gradients, restored from a checkpoint."""

from __future__ import annotations

import pytest
import torch

from signatlas.errors import TextError
from signatlas.losses import TextQueue
from signatlas.similarity import Tokens


def push(queue, language, first, count, length=3, vectors=True):
    tokens = torch.arange(first, first + count, dtype=torch.float32)[:, None, None].expand(count, length, 2)
    mask = torch.ones(count, length, dtype=torch.bool)
    text = Tokens(tokens.clone().requires_grad_(), mask, *([tokens[:, 0]] if vectors else []))
    queue.push(language, text, torch.arange(first, first + count))


def test_it_keeps_the_last_texts_of_each_language():
    queue = TextQueue(["de", "en"], 4)
    assert queue.entries() is None
    push(queue, "de", 0, 3)
    push(queue, "de", 3, 3, length=5)
    push(queue, "en", 100, 2)
    text, groups = queue.entries()
    assert groups.tolist() == [2, 3, 4, 5, 100, 101]
    assert text.tokens.shape == (6, 5, 2)
    assert text.mask.sum(1).tolist() == [3, 5, 5, 5, 3, 3], "shorter texts are padded, not lengthened"
    assert text.cls[:, 0].tolist() == groups.tolist()
    assert not text.tokens.requires_grad
    assert len(queue) == 6


def test_texts_without_vectors():
    queue = TextQueue(["de"], 4)
    push(queue, "de", 0, 3, vectors=False)
    text, groups = queue.entries()
    assert text.cls is None
    assert groups.tolist() == [0, 1, 2]


def test_a_checkpoint_restores_it():
    queue, restored = TextQueue(["de", "en"], 4), TextQueue(["de", "en"], 4)
    push(queue, "en", 7, 2)
    push(queue, "de", 0, 3)
    restored.load_state_dict(queue.state_dict())
    for a, b in zip(queue.entries(), restored.entries(), strict=True):
        torch.testing.assert_close(a, b)


def test_it_is_emptied_when_the_languages_change():
    queue = TextQueue(["de"], 4)
    push(queue, "de", 0, 3)
    queue.reset(["de"])
    assert len(queue) == 3
    queue.reset(["de", "en"])
    assert len(queue) == 0
    with pytest.raises(TextError, match="fr"):
        push(queue, "fr", 0, 1)
