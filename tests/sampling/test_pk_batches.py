"""P-K batches: composition, coverage, determinism."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signatlas.errors import UserError
from signatlas.sampling import pk_batches

LABELS = np.repeat(np.arange(7), [1, 2, 3, 5, 8, 13, 21])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(1, 4), st.integers(0, 5), st.integers(1, 12))
def test_each_batch_holds_p_classes_of_k_clips(p, k, epoch, batches):
    result = pk_batches(LABELS, p, k, seed=0, epoch=epoch, batches=batches)
    assert result.shape == (batches, p * k)
    for batch in result:
        classes, counts = np.unique(LABELS[batch], return_counts=True)
        assert len(classes) == p
        assert (counts == k).all()


def test_classes_are_used_equally_often():
    result = pk_batches(LABELS, 3, 2, seed=0, epoch=0, batches=70)
    _, counts = np.unique(LABELS[result], return_counts=True)
    assert counts.max() - counts.min() <= 2 * 2


def test_a_class_repeats_a_clip_only_when_it_must():
    result = pk_batches(LABELS, 7, 3, seed=0, epoch=0, batches=7)
    drawn = result.ravel()
    last = drawn[LABELS[drawn] == 6]
    assert len(set(last.tolist())) == 21, "21 draws of a class of 21 show every clip once"


def test_batches_depend_on_seed_and_epoch_alone():
    first = pk_batches(LABELS, 4, 3, seed=1, epoch=2)
    np.random.seed(99)  # noqa: NPY002 - the global state must not matter
    np.testing.assert_array_equal(first, pk_batches(LABELS, 4, 3, seed=1, epoch=2))
    assert not np.array_equal(first, pk_batches(LABELS, 4, 3, seed=1, epoch=3))
    assert not np.array_equal(first, pk_batches(LABELS, 4, 3, seed=2, epoch=2))


def test_too_few_classes_are_refused_with_advice():
    with pytest.raises(UserError, match="need 8 classes, the training clips have 7: lower classes_per_batch"):
        pk_batches(LABELS, 8, 3, seed=0, epoch=0)
