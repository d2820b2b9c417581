"""The memory of past texts: bounded, per language, without gradients, and back from a checkpoint."""

from __future__ import annotations

import pytest
import torch

from signatlas.errors import TextError
from signatlas.losses.queue import TextQueue


def push(queue, language, first, count, length=3):
    tokens = torch.arange(first, first + count, dtype=torch.float32)[:, None, None].expand(count, length, 2)
    mask = torch.ones(count, length, dtype=torch.bool)
    queue.push(language, (tokens.clone().requires_grad_(), mask, tokens[:, 0]), torch.arange(first, first + count))


def test_it_keeps_the_last_texts_of_each_language():
    queue = TextQueue(["de", "en"], 4)
    assert queue.texts() is None
    push(queue, "de", 0, 3)
    push(queue, "de", 3, 3, length=5)
    push(queue, "en", 100, 2)
    tokens, mask, vectors, groups = queue.texts()
    assert groups.tolist() == [2, 3, 4, 5, 100, 101]
    assert tokens.shape == (6, 5, 2)
    assert mask.sum(1).tolist() == [3, 5, 5, 5, 3, 3], "shorter texts are padded, not lengthened"
    assert vectors[:, 0].tolist() == groups.tolist()
    assert not tokens.requires_grad
    assert len(queue) == 6


def test_a_checkpoint_brings_it_back():
    queue, again = TextQueue(["de", "en"], 4), TextQueue(["de", "en"], 4)
    push(queue, "en", 7, 2)
    push(queue, "de", 0, 3)
    again.load(queue.state())
    for a, b in zip(queue.texts(), again.texts(), strict=True):
        torch.testing.assert_close(a, b)


def test_it_forgets_when_the_languages_change():
    queue = TextQueue(["de"], 4)
    push(queue, "de", 0, 3)
    queue.reset(["de"])
    assert len(queue) == 3
    queue.reset(["de", "en"])
    assert len(queue) == 0
    with pytest.raises(TextError, match="fr"):
        push(queue, "fr", 0, 1)
