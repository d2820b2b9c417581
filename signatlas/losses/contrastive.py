"""Contrastive losses of signing and text: CiCo, CLIP and 1-to-K (CiCo, Eq. 3 and supplement, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from signatlas.losses.queue import TextQueue
from signatlas.losses.ranks import SINGLE_PROCESS, Ranks, sum_over_ranks
from signatlas.losses.sharded_cross_entropy import EXCLUDED, cross_entropy
from signatlas.losses.targets import Identical, Targets, pair_targets
from signatlas.similarity import Aggregation, Backend, Kind, Padding, Tokens, directed_scores

Weighting = Literal["balance", "depart"]
Pair = tuple[Tensor, Tensor]  # video-to-text and text-to-video


@dataclass(kw_only=True, eq=False)
class ContrastiveLoss:
    """Contrastive loss over the global batch of all ranks.

    With c(M) and r(M) the cross-entropies over the columns and rows of a matrix of logits, V those of video-to-text
    and T those of text-to-video, ``weighting="balance"`` is 1/2 {b r(V) + (1-b) c(V) + b c(T) + (1-b) r(T)} and
    ``"depart"`` 1/2 {b (r(V) + c(V)) + (1-b) (r(T) + c(T))}. A pooled similarity has one matrix, V = T: the loss is
    CLIP's, 1/2 {r(V) + c(V)}.

    Each rank calls it with its own videos and texts and gets the loss of the whole batch, whose gradients flow into
    the rank's own videos and texts. Summed over ranks they are those of one process with the whole batch: where
    gradients are averaged (DistributedDataParallel, DeepSpeed), multiply the loss by ``ranks.size``.
    """

    kind: Kind = "fine_grained"
    """Token by token (CiCo), ``"cls"`` vectors (CLIP), or ``"mean"`` of the tokens."""
    tau: float = 0.07
    aggregation: Aggregation = "mean"
    padding: Padding = "masked"
    backend: Backend = "auto"
    beta: float = 0.5
    weighting: Weighting = "balance"
    identical: Identical = "none"
    """Pairs of a video and a text identical to its own: left out (``mask``), positive (``share``), or negative."""
    queue: TextQueue | None = None
    """Past texts as further negatives of video-to-text; filled by every call that records gradients."""
    ranks: Ranks = SINGLE_PROCESS
    """Processes that share the batch: ``DistributedRanks()`` with torch.distributed."""
    gather: bool = True
    """False: each rank contrasts its own pairs only, and the loss is the mean over ranks (GFSLT-VLP)."""

    def __post_init__(self) -> None:
        for name, choices in (("kind", Kind), ("weighting", Weighting), ("identical", Identical)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} {getattr(self, name)!r}: use one of {', '.join(get_args(choices))}")

    def __call__(
        self,
        video: Tokens,
        text: Tokens,
        *,
        logit_scale: Tensor | float,
        groups: Tensor | None = None,
        text_augmented: Tokens | None = None,
        text_length: int | None = None,
    ) -> Tensor:
        """Return the loss, a scalar in fp32 or the wider type of the tokens.

        ``video`` are this rank's A videos, ``text`` their K * A texts, language after language: text k * A + a belongs
        to video a (1-to-K with K > 1). ``text_augmented`` has the same texts augmented; they replace ``text`` in
        text-to-video, and in both directions of a pooled similarity. ``groups`` int64 [K * A] are equal for identical
        texts of all ranks; needed by ``identical`` and ``queue``. ``logit_scale`` is the multiplier itself. All ranks
        must have the same A; ``text_length`` pads texts to a length that all of them know (found by communication
        where it is None).

        Raises ValueError for shapes that do not fit and for groups that are missing.
        """
        ranks = self.ranks if self.gather else SINGLE_PROCESS
        videos = len(video.mask)
        languages = len(text.mask) // max(videos, 1)
        self._check(videos, text, languages, groups, text_augmented)
        text, *views = _gathered([text] if text_augmented is None else [text, text_augmented], text_length, ranks)
        logits = self._logits(video, text, views[0] if views else None, logit_scale)
        device = logits[0].device
        # Columns come rank after rank, and within a rank language after language.
        columns = torch.arange(ranks.size * videos, device=device).view(ranks.size, 1, videos)
        owner = columns.expand(-1, languages, -1).reshape(-1)
        numbers = torch.arange(len(owner), device=device) if groups is None else ranks.gather(groups.to(device))
        targets = pair_targets(
            owner, numbers, ranks.size * videos, first=ranks.rank * videos, count=videos, identical=self.identical,
            dtype=logits[0].dtype,
        )  # fmt: skip
        negatives = self._negatives(video, numbers, targets, logit_scale)
        loss = self._weighted(logits, targets, negatives, ranks)
        if self.queue is not None and torch.is_grad_enabled():
            self._push(self.queue, text, numbers, ranks, languages)
        return loss if self.gather else sum_over_ranks(loss / self.ranks.size, self.ranks)

    def _check(
        self, videos: int, text: Tokens, languages: int, groups: Tensor | None, text_augmented: Tokens | None
    ) -> None:
        texts = len(text.mask)
        if not texts or texts != videos * languages:
            raise ValueError(f"{videos} videos and {texts} texts: each video needs one text in each language")
        if text_augmented is not None and len(text_augmented.mask) != texts:
            raise ValueError(f"{len(text_augmented.mask)} augmented texts of {texts}: they must be pairs")
        if groups is not None and groups.shape != (texts,):
            raise ValueError(f"groups of shape {tuple(groups.shape)} for {texts} texts: give one number a text")
        if groups is None and (self.identical != "none" or self.queue is not None):
            setting = "a queue" if self.identical == "none" else f"identical='{self.identical}'"
            raise ValueError(f"{setting} needs groups, one number a text, equal for identical texts")
        if self.queue is not None and len(self.queue.languages) != languages:
            raise ValueError(f"texts in {languages} languages, but the queue has {', '.join(self.queue.languages)}")

    def _logits(self, video: Tokens, text: Tokens, augmented: Tokens | None, scale: Tensor | float) -> Pair:
        """Return both matrices of logits [A, N]: one matrix twice for a pooled similarity."""
        if augmented is None or self.kind != "fine_grained":
            scores = directed_scores(video, text if augmented is None else augmented, self, backend=self.backend)
        else:
            video_to_text, _ = directed_scores(video, text, self, backend=self.backend, only="video_to_text")
            _, text_to_video = directed_scores(video, augmented, self, backend=self.backend, only="text_to_video")
            scores = video_to_text, text_to_video
        first = _scaled(scores[0], scale)
        return first, first if scores[1] is scores[0] else _scaled(scores[1], scale)

    def _negatives(self, video: Tokens, groups: Tensor, targets: Targets, scale: Tensor | float) -> Pair | None:
        """Return logits [A, Q] of the queue's texts; those identical to a text of the video are excluded."""
        past = None if self.queue is None else self.queue.entries()
        if past is None:
            return None
        device = groups.device
        text, past_groups = Tokens(*(None if part is None else part.to(device) for part in past[0])), past[1].to(device)
        scores = directed_scores(video, text, self, backend=self.backend)
        same = groups[:, None] == past_groups[None]  # [N, Q]
        excluded = (targets.rows > 0).float() @ same.float() > 0
        first, second = (_scaled(score, scale).masked_fill(excluded, EXCLUDED) for score in scores)
        return first, second

    def _weighted(self, logits: Pair, targets: Targets, negatives: Pair | None, ranks: Ranks) -> Tensor:
        """Return the weighted sum of the row and column cross-entropies."""
        first = cross_entropy(logits[0], targets, negatives[0] if negatives else None, ranks)
        if logits[1] is logits[0]:
            return 0.5 * (first[0] + first[1])
        second, beta = cross_entropy(logits[1], targets, negatives[1] if negatives else None, ranks), self.beta
        if self.weighting == "balance":
            return 0.5 * (beta * first[0] + (1 - beta) * first[1] + beta * second[1] + (1 - beta) * second[0])
        return 0.5 * (beta * (first[0] + first[1]) + (1 - beta) * (second[0] + second[1]))

    @staticmethod
    def _push(queue: TextQueue, text: Tokens, groups: Tensor, ranks: Ranks, languages: int) -> None:
        """Append the texts of all ranks to the queue, as they are: augmented ones are not kept."""
        rows = torch.arange(len(groups), device=groups.device).view(ranks.size, languages, -1)
        for number, language in enumerate(queue.languages):
            index = rows[:, number].reshape(-1)
            queue.push(language, text.rows(index), groups[index])


def fine_grained_contrastive(
    video: Tensor,
    text: Tensor,
    video_mask: Tensor,
    text_mask: Tensor,
    *,
    logit_scale: Tensor | float,
    tau: float = 0.07,
    beta: float = 0.5,
    text_augmented: Tensor | None = None,
    text_augmented_mask: Tensor | None = None,
    weighting: Weighting = "balance",
    aggregation: Aggregation = "mean",
    padding: Padding = "masked",
    identical: Identical = "none",
    groups: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Return CiCo's loss of B videos [B, L, D] and their texts [B, T, D], a scalar (CiCo, Eq. 3).

    The masks, bool [B, L] and [B, T], are True where a token is. ``logit_scale`` is the multiplier itself.
    Text-to-video takes the augmented texts where they are given. ``groups`` int64 [B] are equal for identical texts.
    See :class:`ContrastiveLoss`.
    """
    _check_pairs(len(video), len(text))
    if text_augmented is not None and text_augmented_mask is None:
        raise ValueError("text_augmented needs text_augmented_mask")
    loss = ContrastiveLoss(
        tau=tau, aggregation=aggregation, padding=padding, backend=backend, beta=beta, weighting=weighting,
        identical=identical,
    )  # fmt: skip
    augmented = None
    if text_augmented is not None and text_augmented_mask is not None:
        augmented = Tokens(text_augmented, text_augmented_mask)
    pair = Tokens(video, video_mask), Tokens(text, text_mask)
    return loss(*pair, logit_scale=logit_scale, groups=groups, text_augmented=augmented)


def clip_contrastive(
    video: Tensor,
    text: Tensor,
    *,
    logit_scale: Tensor | float,
    identical: Identical = "none",
    groups: Tensor | None = None,
) -> Tensor:
    """Return CLIP's loss of B video and B text vectors [B, D]: the mean of both cross-entropies (Radford et al. 2021).

    See :class:`ContrastiveLoss`.
    """
    _check_pairs(len(video), len(text))
    loss = ContrastiveLoss(kind="cls", identical=identical)
    return loss(_vectors(video), _vectors(text), logit_scale=logit_scale, groups=groups)


def one_to_k_contrastive(
    video: Tensor, texts: Tensor, *, logit_scale: Tensor | float, groups: Tensor | None = None
) -> Tensor:
    """Return the 1-to-K contrastive loss of B video vectors [B, D] and their texts in K languages [K, B, D].

    A video's target is 1/K on each of its texts; each of the K * B texts has its one video. Identical texts (equal
    ``groups`` [K, B]) share the target. With K = 1 it is :func:`clip_contrastive`. See :class:`ContrastiveLoss`.
    """
    languages, videos, _ = texts.shape
    _check_pairs(len(video), videos)
    numbers = torch.arange(languages * videos, device=video.device) if groups is None else groups.reshape(-1)
    loss = ContrastiveLoss(kind="cls", identical="share")
    return loss(_vectors(video), _vectors(texts.flatten(0, 1)), logit_scale=logit_scale, groups=numbers)


def _check_pairs(videos: int, texts: int) -> None:
    if videos != texts:
        raise ValueError(f"{videos} videos and {texts} texts: they must be pairs")


def _vectors(vectors: Tensor) -> Tokens:
    """Return vectors [B, D] as rows of one token."""
    mask = torch.ones(len(vectors), 1, dtype=torch.bool, device=vectors.device)
    return Tokens(vectors[:, None], mask, vectors)


def _scaled(scores: Tensor, scale: Tensor | float) -> Tensor:
    """Return logits in fp32 or wider."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return scores * (scale.to(scores.dtype) if isinstance(scale, Tensor) else scale)


def _gathered(views: Sequence[Tokens], length: int | None, ranks: Ranks) -> list[Tokens]:
    """Return each view of the texts with the rows of all ranks, rank after rank, padded to one length."""
    if ranks.size == 1:
        return list(views)
    if length is None:
        longest = max(view.tokens.shape[1] for view in views)
        length = int(ranks.max(torch.tensor(longest, device=views[0].tokens.device)))
    padded = [view.padded(length) for view in views]
    joined = padded[0] if len(views) == 1 else Tokens(*(_concatenated(parts) for parts in zip(*padded, strict=True)))
    gathered = Tokens(
        ranks.gather(joined.tokens),
        ranks.gather(joined.mask.to(torch.uint8)).bool(),
        None if joined.cls is None else ranks.gather(joined.cls),
    )
    if len(views) == 1:
        return [gathered]
    rows = torch.arange(len(gathered.mask), device=gathered.mask.device).view(ranks.size, len(views), -1)
    return [gathered.rows(rows[:, number].reshape(-1)) for number in range(len(views))]


def _concatenated(parts: Sequence[Tensor]) -> Tensor:
    return None if parts[0] is None else torch.cat(list(parts))
