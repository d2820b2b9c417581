"""CiCo's, CLIP's and the 1-to-K loss against their definitions; ranks, the queue and a plain training loop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from signatlas.losses import (
    ContrastiveLoss,
    TextQueue,
    clip_contrastive,
    fine_grained_contrastive,
    one_to_k_contrastive,
)
from signatlas.similarity import Tokens, fine_grained
from tests.losses.ranks import ThreadRanks, run

REPOSITORY = Path(__file__).parents[2]


def batch(B=5, L=7, T=4, D=6, seed=0):
    """Videos, texts, their masks (two rows are padded), and augmented texts, in float64."""
    g = torch.Generator().manual_seed(seed)
    video, text, augmented = (torch.randn(B, n, D, generator=g, dtype=torch.float64) for n in (L, T, T))
    video_mask, text_mask = torch.ones(B, L, dtype=torch.bool), torch.ones(B, T, dtype=torch.bool)
    video_mask[0, 3:], text_mask[1, 2:] = False, False
    return video, text, video_mask, text_mask, augmented


def ce(logits, dim):
    """Mean over rows (dim 1) or columns (dim 0) of -log softmax at the diagonal."""
    return -(logits.log_softmax(dim).diagonal()).mean()


# --- the three functions


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("weighting", ["balance", "depart"])
def test_fine_grained_loss_equals_its_definition(beta, weighting):
    video, text, video_mask, text_mask, augmented = batch()
    i2t = 20 * fine_grained(video, text, video_mask, text_mask)[0]
    t2i = 20 * fine_grained(video, augmented, video_mask, text_mask)[1]
    b = beta
    if weighting == "balance":
        expected = b * ce(i2t, 1) + (1 - b) * ce(i2t, 0) + b * ce(t2i, 0) + (1 - b) * ce(t2i, 1)
    else:
        expected = b * (ce(i2t, 1) + ce(i2t, 0)) + (1 - b) * (ce(t2i, 1) + ce(t2i, 0))
    loss = fine_grained_contrastive(
        video, text, video_mask, text_mask, logit_scale=20.0, beta=beta, weighting=weighting,
        text_augmented=augmented, text_augmented_mask=text_mask,
    )  # fmt: skip
    assert float(loss) == pytest.approx(float(expected) / 2, rel=1e-12)


def test_both_weightings_are_equal_at_beta_one_half():
    video, text, video_mask, text_mask, _ = batch()
    losses = [
        fine_grained_contrastive(video, text, video_mask, text_mask, logit_scale=9.0, weighting=w)
        for w in ("balance", "depart")
    ]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-12)


def test_gradcheck_of_the_fine_grained_loss():
    video, text, video_mask, text_mask, augmented = batch(B=3, L=3, T=2, D=4)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)

    def loss(v, t, a, s):
        return fine_grained_contrastive(
            v, t, video_mask, text_mask, logit_scale=s, text_augmented=a, text_augmented_mask=text_mask,
            identical="mask", groups=torch.tensor([0, 1, 0]), beta=0.3,
        )  # fmt: skip

    inputs = [x.clone().requires_grad_() for x in (video, text, augmented)]
    assert torch.autograd.gradcheck(loss, (*inputs, scale))


def test_more_padding_changes_nothing():
    video, text, video_mask, text_mask, _ = batch()
    short = fine_grained_contrastive(video, text, video_mask, text_mask, logit_scale=20.0)
    video, text = F.pad(video, (0, 0, 0, 5), value=7.0), F.pad(text, (0, 0, 0, 3), value=-3.0)
    longer = fine_grained_contrastive(
        video, text, F.pad(video_mask, (0, 5)), F.pad(text_mask, (0, 3)), logit_scale=20.0
    )
    assert float(short) == pytest.approx(float(longer), rel=1e-12)


def test_clip_is_the_mean_of_both_cross_entropies():
    g = torch.Generator().manual_seed(1)
    video, text = torch.randn(6, 5, generator=g), torch.randn(6, 5, generator=g)
    logits = 10 * F.normalize(video, dim=1) @ F.normalize(text, dim=1).T
    labels = torch.arange(6)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    assert float(clip_contrastive(video, text, logit_scale=10.0)) == pytest.approx(float(expected), rel=1e-6)


def test_one_to_one_is_clip():
    g = torch.Generator().manual_seed(2)
    video, text = torch.randn(6, 5, generator=g), torch.randn(6, 5, generator=g)
    loss = one_to_k_contrastive(video, text[None], logit_scale=10.0)
    assert float(loss) == pytest.approx(float(clip_contrastive(video, text, logit_scale=10.0)), rel=1e-6)


def test_one_to_k_against_its_definition():
    """Video to text: 1/K on each of its own texts among K*B; text to video: its one video among B."""
    K, B, g = 3, 4, torch.Generator().manual_seed(3)
    video, texts = torch.randn(B, 5, generator=g), torch.randn(K, B, 5, generator=g)
    logits = 8 * F.normalize(video, dim=-1) @ F.normalize(texts.reshape(K * B, -1), dim=-1).T
    to_text = -sum(logits.log_softmax(1)[b, k * B + b] / K for b in range(B) for k in range(K)) / B
    to_video = -sum(logits.log_softmax(0)[b, k * B + b] for b in range(B) for k in range(K)) / (K * B)
    loss = one_to_k_contrastive(video, texts, logit_scale=8.0)
    assert float(loss) == pytest.approx(float(to_text + to_video) / 2, rel=1e-6)


def test_the_order_of_languages_does_not_matter():
    g = torch.Generator().manual_seed(4)
    video, texts = torch.randn(4, 5, generator=g), torch.randn(3, 4, 5, generator=g)
    loss = one_to_k_contrastive(video, texts, logit_scale=8.0)
    reordered = one_to_k_contrastive(video, texts[[2, 0, 1]], logit_scale=8.0)
    assert float(loss) == pytest.approx(float(reordered), rel=1e-6)


# --- ContrastiveLoss


def plain_scores(video: Tokens, text: Tokens, kind: str, tau: float = 0.07) -> tuple[np.ndarray, np.ndarray]:
    """Video-to-text and text-to-video scores [A, N], pair by pair, from the definition (CiCo, Eq. 2)."""

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def softmax(x, axis):
        e = np.exp(x)
        return e / e.sum(axis, keepdims=True)

    sides = [[unit(t[m]) for t, m in zip(s.tokens.numpy(), s.mask.numpy(), strict=True)] for s in (video, text)]
    if kind != "fine_grained":
        vectors = [s.cls.numpy() if kind == "cls" else np.stack([r.mean(0) for r in rows])
                   for s, rows in zip((video, text), sides, strict=True)]  # fmt: skip
        scores = unit(vectors[0]) @ unit(vectors[1]).T
        return scores, scores
    both = np.empty((2, len(sides[0]), len(sides[1])))
    for a, clips in enumerate(sides[0]):
        for b, words in enumerate(sides[1]):
            S = clips @ words.T
            both[0, a, b] = (S * softmax(S / tau, 1)).sum(1).mean()
            both[1, a, b] = (S * softmax(S / tau, 0)).sum(0).mean()
    return both[0], both[1]


def plain_loss(
    video: Tokens, text: Tokens, groups: list[int], augmented: Tokens | None = None,
    past: tuple[Tokens, list[int]] | None = None, *, kind: str, identical: str, beta: float, weighting: str,
    scale: float,
) -> float:  # fmt: skip
    """The loss of a whole batch with loops over videos and texts; text n belongs to video n modulo A."""
    A, N = len(video.mask), len(text.mask)
    V, T = plain_scores(video, text, kind)
    if augmented is not None:
        other = plain_scores(video, augmented, kind)
        V, T = (V, other[1]) if kind == "fine_grained" else other
    past_scores = plain_scores(video, past[0], kind) if past else (np.empty((A, 0)),) * 2
    own_groups = [[groups[n] for n in range(a, N, A)] for a in range(A)]
    terms = []
    for logits, more in ((scale * V, scale * past_scores[0]), (scale * T, scale * past_scores[1])):
        rows = columns = 0.0
        for a in range(A):
            left_out = [identical == "mask" and n % A != a and groups[n] in own_groups[a] for n in range(N)]
            candidates = [logits[a, n] for n in range(N) if not left_out[n]]
            candidates += [more[a, q] for q in range(more.shape[1]) if past and past[1][q] not in own_groups[a]]
            target = np.zeros(N)
            for n in range(a, N, A):
                members = [m for m in range(N) if groups[m] == groups[n]] if identical == "share" else [n]
                target[members] += A / N / len(members)
            rows += (np.log(np.exp(candidates).sum()) - target @ logits[a]) / A
        for n in range(N):
            left_out = [identical == "mask" and n % A != a and groups[n] in own_groups[a] for a in range(A)]
            candidates = [logits[a, n] for a in range(A) if not left_out[a]]
            owners = [a for a in range(A) if groups[n] in own_groups[a]] if identical == "share" else [n % A]
            columns += (np.log(np.exp(candidates).sum()) - logits[owners, n].mean()) / N
        terms.append((rows, columns))
    (r, c), (r2, c2) = terms
    if kind != "fine_grained":
        return (r + c) / 2
    if weighting == "balance":
        return (beta * r + (1 - beta) * c + beta * c2 + (1 - beta) * r2) / 2
    return (beta * (r + c) + (1 - beta) * (r2 + c2)) / 2


def tokens(rows: int, length: int, seed: int, width: int = 6) -> Tokens:
    """Random tokens in float64 with masks of random lengths."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, length + 1, (rows, 1), generator=g)
    return Tokens(
        torch.randn(rows, length, width, generator=g, dtype=torch.float64), torch.arange(length) < lengths,
        torch.randn(rows, width, generator=g, dtype=torch.float64),
    )  # fmt: skip


A, K = 8, 2
GROUPS = [0, 1, 2, 3, 0, 5, 6, 7, 10, 11, 12, 13, 0, 15, 16, 11]  # texts 0, 4 and 12 are identical, and 9 and 15


def global_batch() -> tuple[Tokens, Tokens, Tokens]:
    """Eight videos, their texts in two languages, language after language, and these augmented."""
    return tokens(A, 5, 1), tokens(K * A, 4, 2), tokens(K * A, 4, 3)


def calls(ranks: ThreadRanks | None, kind: str, identical: Any, weighting: Any, varied: bool, queue: bool):
    """Two calls of the loss on this rank's rows; both values, and the gradients of the second by the inputs."""
    rank, size = (ranks.rank, ranks.size) if ranks else (0, 1)
    settings: dict[str, Any] = {"kind": kind, "identical": identical, "weighting": weighting, "beta": 0.3}
    if queue:
        settings["queue"] = TextQueue(["de", "en"], 5)
    loss = ContrastiveLoss(**settings) if ranks is None else ContrastiveLoss(**settings, ranks=ranks)
    video, text, augmented = global_batch()
    video_rows = np.arange(A).reshape(size, -1)[rank]
    text_rows = np.concatenate([video_rows + k * A for k in range(K)])
    inputs = [x.rows(index) for x, index in ((video, video_rows), (text, text_rows), (augmented, text_rows))]
    leaves = [part.requires_grad_() for x in inputs for part in (x.tokens, x.cls)]
    scale = torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
    values = [
        loss(
            inputs[0], inputs[1], logit_scale=scale, groups=torch.tensor(GROUPS)[text_rows],
            text_augmented=inputs[2] if varied else None,
        )
        for _ in range(2)
    ]  # fmt: skip
    gradients = torch.autograd.grad(values[1], [*leaves, scale], allow_unused=True)
    return [float(v.detach()) for v in values], gradients


CASES = [
    ("fine_grained", "mask", "balance", True, True),
    ("fine_grained", "share", "depart", True, False),
    ("fine_grained", "none", "balance", False, True),
    ("cls", "share", "balance", False, True),
    ("cls", "mask", "balance", True, False),
    ("mean", "mask", "balance", False, False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_loss_equals_a_plain_implementation(case):
    kind, identical, weighting, varied, queue = case
    video, text, augmented = global_batch()
    settings = {"kind": kind, "identical": identical, "weighting": weighting, "beta": 0.3, "scale": 9.0}
    views = text, GROUPS, augmented if varied else None
    values, _ = calls(None, *case)
    assert values[0] == pytest.approx(plain_loss(video, *views, **settings), rel=1e-10)
    past = [n for k in range(K) for n in range(k * A + A - 5, k * A + A)]  # the last five texts of each language
    memory = (text.rows(past), [GROUPS[n] for n in past]) if queue else None
    assert values[1] == pytest.approx(plain_loss(video, *views, memory, **settings), rel=1e-10)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_values_and_gradients_do_not_depend_on_the_number_of_ranks(case, size):
    """Columns are ordered by rank, then by language."""
    values, expected = calls(None, *case)
    ranks = run(size, lambda ranks: calls(ranks, *case))
    for rank, (rank_values, _) in enumerate(ranks):
        assert rank_values == pytest.approx(values, rel=1e-12), rank
    for number, gradient in enumerate(expected):
        parts = [gradients[number] for _, gradients in ranks]
        if gradient is None:  # not used; gathered beside a view that is used, its gradient is zero
            assert all(part is None or not part.any() for part in parts)
            continue
        if gradient.ndim == 0:  # the logit scale, on every rank
            torch.testing.assert_close(sum(parts), gradient)
            continue
        gathered = torch.empty_like(gradient)
        for rank, part in enumerate(parts):
            rows = np.arange(A).reshape(size, -1)[rank]
            gathered[np.concatenate([rows + k * A for k in range(len(gradient) // A)])] = part
        torch.testing.assert_close(gathered, gradient, rtol=1e-9, atol=1e-12)


def test_without_gathering_the_loss_is_the_mean_of_each_ranks_own():
    """GFSLT-VLP: two ranks of four pairs are two losses of four."""
    video, text, _ = global_batch()

    def half(rank: int) -> tuple[Tokens, Tokens]:
        rows = slice(4 * rank, 4 * rank + 4)
        return video.rows(rows), text.rows(rows)

    def local(ranks: ThreadRanks) -> tuple[float, torch.Tensor]:
        pair = half(ranks.rank)
        pair[0].tokens.requires_grad_()
        loss = ContrastiveLoss(ranks=ranks, gather=False)(*pair, logit_scale=9.0)
        return float(loss.detach()), torch.autograd.grad(loss, pair[0].tokens)[0]

    results = run(2, local)
    losses = [ContrastiveLoss()(*half(rank), logit_scale=9.0) for rank in range(2)]
    assert results[0][0] == results[1][0] == pytest.approx(float(sum(losses)) / 2, rel=1e-12)
    pair = half(1)
    pair[0].tokens.requires_grad_()
    expected = torch.autograd.grad(ContrastiveLoss()(*pair, logit_scale=9.0) / 2, pair[0].tokens)[0]
    torch.testing.assert_close(results[1][1], expected)


def test_gradcheck_with_languages_augmented_texts_and_shared_targets():
    parts = tokens(3, 3, 5, 4), tokens(6, 2, 6, 4), tokens(6, 2, 7, 4)
    loss = ContrastiveLoss(identical="share", beta=0.3, weighting="depart")

    def value(v, t, a, s):
        video, text, augmented = (Tokens(x, p.mask, p.cls) for x, p in zip((v, t, a), parts, strict=True))
        groups = torch.tensor([0, 1, 0, 3, 4, 1])
        return loss(video, text, logit_scale=s, groups=groups, text_augmented=augmented)

    inputs = [part.tokens.requires_grad_() for part in parts]
    assert torch.autograd.gradcheck(value, (*inputs, torch.tensor(3.0, dtype=torch.float64, requires_grad=True)))


@pytest.mark.parametrize("name", ["dense", "padded"])
def test_golden_vectors_of_the_released_loss(mirror: Path | None, name: str):
    """CiCo's released similarity, then its loss: the mean of both directions' cross-entropies at beta 1/2."""
    if mirror is None:
        pytest.skip("needs the mirror of the public sources: SIGNATLAS_MIRROR")
    golden = {
        key: torch.from_numpy(value) for key, value in np.load(mirror.parent / f"golden/cico_{name}_a.npz").items()
    }
    video = Tokens(golden["video"], golden["video_mask"].bool())
    text, augmented = (Tokens(golden[key], golden["text_mask"].bool()) for key in ("text", "text_aug"))
    loss = ContrastiveLoss(tau=float(golden["tau"]), padding="released")
    value = loss(video, text, logit_scale=float(golden["logit_scale"]), text_augmented=augmented)
    i2t, t2i = golden["i2t"], golden["t2i"]
    expected = (ce(i2t, 1) + ce(i2t, 0) + ce(t2i, 1) + ce(t2i, 0)) / 4
    assert float(value) == pytest.approx(float(expected), rel=1e-9)


def test_half_precision_tokens_give_a_loss_in_fp32():
    video, text, _ = (Tokens(x.tokens.bfloat16(), x.mask, x.cls.bfloat16()) for x in global_batch())
    for kind in ("fine_grained", "cls", "mean"):
        value = ContrastiveLoss(kind=kind)(video, text.rows(slice(A)), logit_scale=torch.tensor(9.0).bfloat16())
        assert value.dtype == torch.float32


def test_evaluation_leaves_the_queue_as_it_is():
    video, text, _ = global_batch()
    loss = ContrastiveLoss(queue=TextQueue(["de"], 20))
    pair, groups = (video, text.rows(slice(A))), torch.arange(A)
    with torch.no_grad():
        loss(*pair, logit_scale=9.0, groups=groups)
    assert loss.queue is not None and len(loss.queue) == 0
    loss(*pair, logit_scale=9.0, groups=groups)
    assert len(loss.queue) == A


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clip_contrastive(torch.ones(2, 3), torch.ones(3, 3), logit_scale=1.0), "must be pairs"),
        (lambda: clip_contrastive(torch.ones(2, 3), torch.ones(2, 3), logit_scale=1.0, identical="mask"), "groups"),
        (lambda: clip_contrastive(torch.ones(2, 3), torch.ones(2, 4), logit_scale=1.0), "4"),
        (lambda: fine_grained_contrastive(*batch()[:4], logit_scale=1.0, text_augmented=batch()[4]), "_mask"),
        (lambda: ContrastiveLoss(kind="clip"), "kind 'clip': use one of fine_grained, cls, mean"),
        (lambda: ContrastiveLoss()(tokens(2, 3, 0), tokens(3, 3, 0), logit_scale=1.0), "2 videos and 3 texts"),
        (
            lambda: ContrastiveLoss()(
                tokens(2, 3, 0), tokens(2, 3, 0), logit_scale=1.0, text_augmented=tokens(3, 3, 0)
            ),
            "3 augmented texts of 2",
        ),
        (
            lambda: ContrastiveLoss()(tokens(2, 3, 0), tokens(2, 3, 0), logit_scale=1.0, groups=torch.zeros(3)),
            "one number a text",
        ),
        (
            lambda: ContrastiveLoss(queue=TextQueue(["de"], 3))(tokens(2, 3, 0), tokens(2, 3, 0), logit_scale=1.0),
            "a queue needs groups",
        ),
        (
            lambda: ContrastiveLoss(queue=TextQueue(["de"], 3))(
                tokens(2, 3, 0), tokens(4, 3, 0), logit_scale=1.0, groups=torch.arange(4)
            ),
            "2 languages, but the queue has de",
        ),
    ],
)
def test_mistakes_are_reported(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- without Ray

TRAINING_LOOP = """
import sys
sys.modules["ray"] = sys.modules["deepspeed"] = None  # an import of either raises ImportError
import torch
from signatlas.losses import ContrastiveLoss, TextQueue
from signatlas.similarity import Tokens

torch.manual_seed(0)
videos, texts = torch.randn(64, 6, 12), torch.randn(64, 4, 12)
texts[:, :3] += videos[:, :3].roll(1, dims=-1)
mask = {n: torch.ones(16, n, dtype=torch.bool) for n in (6, 4)}
sign, word, scale = torch.nn.Linear(12, 16), torch.nn.Linear(12, 16), torch.nn.Parameter(torch.tensor(2.0))
optimizer = torch.optim.AdamW([*sign.parameters(), *word.parameters(), scale], lr=1e-2)
loss = ContrastiveLoss(identical="mask", queue=TextQueue(["de"], 16))
values = []
for step in range(100):
    rows = torch.randperm(64)[:16]
    video, text = Tokens(sign(videos[rows]), mask[6]), Tokens(word(texts[rows]), mask[4])
    value = loss(video, text, logit_scale=scale.exp(), groups=rows)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    values.append(value.item())
assert sum(values[-10:]) < 0.6 * sum(values[:10]), values
"""

TWO_RANKS = """
import os, sys
import torch
import torch.distributed as dist
from signatlas.losses import DistributedRanks
from tests.losses.test_contrastive import A, GROUPS, K, calls

ranks = DistributedRanks()
assert (ranks.rank, ranks.size) == (0, 1)
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=int(sys.argv[1]), world_size=2)
assert (ranks.rank, ranks.size) == (int(sys.argv[1]), 2)
values, gradients = calls(ranks, "fine_grained", "mask", "balance", True, True)
torch.save((values, gradients), f"{sys.argv[2]}.{ranks.rank}")
dist.barrier()
os._exit(0)
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_a_plain_torch_loop_lowers_the_loss_without_ray():
    process = python(TRAINING_LOOP)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output


def test_ranks_of_torch_distributed_equal_ranks_as_threads(tmp_path):
    expected = run(2, lambda ranks: calls(ranks, "fine_grained", "mask", "balance", True, True))
    processes = [python(TWO_RANKS, str(rank), str(tmp_path / "store")) for rank in range(2)]
    output = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], output
    for rank, (values, gradients) in enumerate(expected):
        actual_values, actual = torch.load(f"{tmp_path / 'store'}.{rank}")
        assert actual_values == pytest.approx(values, rel=1e-12)
        for a, b in zip(actual, gradients, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b)
