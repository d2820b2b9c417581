"""The tiled backend against the definition in fp64: values, gradients, ragged rows, padding, memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from signatlas.similarity import blocks, fine_grained, tiled
from tests.similarity.compare import largest_differences, ragged, run

AGGREGATIONS, PADDINGS = ("mean", "max", "softmax"), ("masked", "released")
TAUS = (7e-4, 7e-3, 7e-2, 7e-1)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that a batch of a dozen has several, whole and cut."""
    monkeypatch.setattr(blocks, "CPU_TOKENS", (24, 16))


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.usefixtures("small_blocks")
def test_equals_the_definition(aggregation: Any, padding: Any, tau: float) -> None:
    batch = ragged(3, 13, 11, 9, 7, 24)
    choice = {"tau": tau, "aggregation": aggregation, "padding": padding}
    expected = run(batch, "reference", torch.float64, **choice)
    scores, gradients = largest_differences(run(batch, "tiled", **choice), expected)
    assert scores <= 1e-5
    assert gradients <= (1e-5 if tau >= 7e-3 else 2e-4)
    scores, gradients = largest_differences(run(batch, "tiled", torch.float64, **choice), expected)
    assert scores <= 1e-12 and gradients <= 1e-10


@pytest.mark.parametrize("tau", [1 / tiled.ONE_EXPONENTIAL, 0.999 / tiled.ONE_EXPONENTIAL])
def test_both_sides_of_the_largest_shared_exponential(tau: float) -> None:
    """Equal and opposite tokens reach S = 1 and -1; gradients neither underflow nor overflow."""
    batch = ragged(4, 3, 4, 5, 6, 8)
    batch[1][:3, :5] = batch[0]
    batch[1][3, :5] = -batch[0][0]
    scores, gradients = largest_differences(
        run(batch, "tiled", tau=tau), run(batch, "reference", torch.float64, tau=tau)
    )
    assert scores <= 1e-5 and gradients <= 1e-5


def test_small_gradients_keep_their_precision() -> None:
    """A loss over many pairs has gradients of 1e-9: dividing by the sums of exponentials must not lose them."""
    batch = ragged(5, 3, 3, 4, 4, 8)
    batch[1][:] = batch[0]
    gradients = []
    for backend, dtype in (("tiled", torch.float32), ("reference", torch.float64)):
        video = batch[0].to(dtype, copy=True).requires_grad_()
        video_to_text, text_to_video = fine_grained(video, batch[1].to(dtype), *batch[2:], tau=0.025, backend=backend)
        ((video_to_text + text_to_video).tril() * 1e-9).sum().backward()
        gradients.append(video.grad)
    assert gradients[0] is not None and gradients[1] is not None
    assert float((gradients[0].double() - gradients[1]).abs().max() / gradients[1].abs().max()) < 1e-5


@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 4),
    width=st.integers(1, 9),
    seed=st.integers(0, 1000),
    tau=st.sampled_from(TAUS),
    padding=st.sampled_from(PADDINGS),
    aggregation=st.sampled_from(AGGREGATIONS),
)
@example(sizes=(3, 3, 1, 4), width=1, seed=896, tau=0.0007, padding="masked", aggregation="mean")
@settings(max_examples=60, deadline=None)
def test_ragged_shapes(
    sizes: tuple[int, int, int, int], width: int, seed: int, tau: float, padding: Any, aggregation: Any
) -> None:
    batch = ragged(seed, *sizes, width)
    choice = {"tau": tau, "padding": padding, "aggregation": aggregation}
    expected = run(batch, "reference", torch.float64, **choice)
    scores, gradients = largest_differences(run(batch, "tiled", torch.float64, **choice), expected)
    # A small temperature magnifies rounding.
    assert scores <= 1e-11 and gradients <= 1e-7 * max(1, 0.07 / tau)


@pytest.mark.usefixtures("small_blocks")
def test_holes_in_a_mask() -> None:
    """A mask may leave out tokens in the middle."""
    video, text, *_ = ragged(6, 9, 8, 7, 6, 16)
    rng = torch.Generator().manual_seed(7)
    masks = [torch.rand(tokens.shape[:2], generator=rng) < 0.5 for tokens in (video, text)]
    for mask in masks:
        mask[:, 2] |= ~mask.any(1)
    batch = (video, text, masks[0], masks[1])
    for padding in PADDINGS:
        results = run(batch, "tiled", padding=padding), run(batch, "reference", torch.float64, padding=padding)
        assert max(largest_differences(*results)) <= 1e-5


@pytest.mark.parametrize("tau", [7e-3, 7e-2])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_more_padding_changes_nothing(aggregation: Any, tau: float) -> None:
    """Masked padding may have any value, also NaN, and gets no gradient."""
    batch = ragged(8, 5, 6, 7, 4, 12)
    plain = run(batch, "tiled", tau=tau, aggregation=aggregation)
    padded = tuple(F.pad(tokens, (0, 0, 0, 3), value=float("nan")) for tokens in batch[:2])
    masks = tuple(F.pad(mask, (0, 3)) for mask in batch[2:])
    results = run((*padded, *masks), "tiled", tau=tau, aggregation=aggregation)  # type: ignore[arg-type]
    assert torch.equal(results[0], plain[0]) and torch.equal(results[1], plain[1])
    for whole, part, mask in zip(results[2:], plain[2:], masks, strict=True):
        assert torch.equal(whole[:, : part.shape[1]], part)
        assert not whole[~mask].any()


@pytest.mark.parametrize("tau", [7e-3, 7e-2])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_gradcheck(aggregation: Any, padding: Any, tau: float) -> None:
    """Against finite differences, both directions and each alone (random tokens have no ties for the maximum)."""
    video, text, video_mask, text_mask = ragged(9, 3, 4, 4, 3, 5)
    inputs = tuple(F.normalize(tokens.double(), dim=-1).requires_grad_() for tokens in (video, text))
    for directions in ((True, True), (True, False), (False, True)):
        choice = tiled.Settings(tau, aggregation, padding, *directions)

        def scores(v: torch.Tensor, t: torch.Tensor, choice: tiled.Settings = choice) -> Any:
            pair = tiled.fine_grained(v, t, video_mask, text_mask, choice)
            return tuple(score for score in pair if score is not None)

        assert torch.autograd.gradcheck(scores, inputs, eps=1e-7, atol=1e-5)


def test_gradients_of_one_side_only() -> None:
    batch = ragged(10, 4, 5, 6, 3, 8)
    expected = run(batch, "tiled")
    rng = torch.Generator().manual_seed(99)
    weights = [torch.randn(4, 5, generator=rng) for _ in range(2)]
    for number in range(2):
        tokens = [part.clone().requires_grad_(side == number) for side, part in enumerate(batch[:2])]
        scores = fine_grained(*tokens, *batch[2:], backend="tiled")
        sum((s * w).sum() for s, w in zip(scores, weights, strict=True)).backward()  # type: ignore[union-attr]
        grad = tokens[number].grad
        assert grad is not None and tokens[1 - number].grad is None
        assert torch.allclose(grad.double(), expected[2 + number], atol=1e-6)


class Largest(TorchDispatchMode):
    """The entries of the largest tensor that any operation under it makes."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for tensor in outputs if isinstance(outputs, tuple | list) else [outputs]:
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return outputs


@pytest.mark.parametrize("tau", [7e-3, 7e-2])
def test_memory_does_not_grow_with_pairs(monkeypatch: pytest.MonkeyPatch, tau: float) -> None:
    """Nothing larger than a block or the tokens is allocated, and what is saved for backward is O(B (L + T) D)."""
    monkeypatch.setattr(blocks, "CPU_TOKENS", (64, 32))
    L, T, D, largest_entries, saved_entries = 16, 8, 8, [], []
    for B in (16, 32):
        video, text, *masks = ragged(11, B, B, L, T, D, full=True)
        video, text = F.normalize(video, dim=-1).requires_grad_(), F.normalize(text, dim=-1).requires_grad_()
        saved: list[int] = []

        def keep(tensor: torch.Tensor, saved: list[int] = saved) -> torch.Tensor:
            saved.append(tensor.numel())
            return tensor

        with Largest() as largest, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            video_to_text, text_to_video = tiled.fine_grained(
                video, text, *masks, tiled.Settings(tau, "mean", "masked")
            )
            (video_to_text + text_to_video).sum().backward()  # type: ignore[operator]
        largest_entries.append(largest.entries)
        saved_entries.append(sum(saved))
        assert largest.entries <= max(B * L * D, 64 * 32) < B * B * L * T / 8
    assert saved_entries[1] == 2 * saved_entries[0] == 2 * 16 * (L + T) * (D + 1)
    assert largest_entries[1] <= 2 * largest_entries[0]
