"""Top-k accuracy."""

import numpy as np

from signatlas.metrics.classification import top_k_accuracy


def test_a_label_counts_if_it_is_among_the_first_k():
    ranked, labels = np.array([[2, 0, 1], [1, 2, 0], [0, 1, 2], [1, 0, 2]]), np.array([2, 2, 2, 2])
    assert [top_k_accuracy(ranked, labels, k) for k in (1, 2, 3)] == [0.25, 0.5, 1.0]
