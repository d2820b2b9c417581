"""Pseudo-labels against true gloss spans: precision, recall, and what shuffled labels would reach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.features.pseudo_labels import Found

Row = Mapping[str, Any]
SHUFFLES = 20


def class_of_gloss(corpus: Corpus) -> dict[str, str]:
    """Gloss -> the word of the recordings it is signed with, where a composed corpus says it; else nothing."""
    signs = corpus.info.made.get("signs", {})
    return {gloss: sign["word"] for gloss, sign in signs.items() if isinstance(sign, dict) and "word" in sign}


def true_spans(rows: Sequence[Row], words: Mapping[str, str]) -> dict[str, list[tuple[str, int, int]]]:
    """Clip id -> (class name, first frame, frame after the last) of each true gloss."""
    spans = {}
    for row in rows:
        if row["glosses"] and row["gloss_spans"]:
            pairs = zip(row["glosses"], row["gloss_spans"], strict=True)
            spans[row["id"]] = [(words.get(gloss, gloss), int(first), int(end)) for gloss, (first, end) in pairs]
    return spans


def span_windows(
    spans: Mapping[str, Sequence[tuple[str, int, int]]],
    ids: Sequence[str],
    lengths: np.ndarray,
    window: int,
    classes: Sequence[str],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A window about the middle of each true span of a known class: clip number in ``ids``, first frame, class [N]."""
    number = {name: i for i, name in enumerate(classes)}
    rows = []
    for clip, id in enumerate(ids):
        for name, first, end in spans.get(id, ()):
            if name in number:
                last = max(0, int(lengths[clip]) - window)
                rows.append((clip, min(max(0, round((first + end - window) / 2)), last), number[name]))
    table = np.array(rows, np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def judge(
    found: Sequence[Found],
    spans: Mapping[str, Sequence[tuple[str, int, int]]],
    vocabulary: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """How good segments of clips with known ``spans`` are.

    ``precision``: share of segments whose middle lies in a true span of their class. ``recall``: share of the true
    spans of classes in ``vocabulary`` that hold such a middle. ``inside``: share of segments whose middle lies in any
    span, of whatever class. ``chance``: precision with the classes dealt anew among the segments, the mean of some
    shuffles. ``glosses``: the same for each class, most frequent first.
    """
    known = set(vocabulary)
    found = [f for f in found if f.id in spans]
    hits = [_place(f, f.name, spans[f.id]) for f in found]
    reached = {(f.id, hit) for f, hit in zip(found, hits, strict=True) if hit is not None}
    wanted = [(id, i, name) for id, held in spans.items() for i, (name, _, _) in enumerate(held) if name in known]
    by_class: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])  # segments, right ones, spans, reached ones
    for f, hit in zip(found, hits, strict=True):
        by_class[f.name][0] += 1
        by_class[f.name][1] += hit is not None
    for id, i, name in wanted:
        by_class[name][2] += 1
        by_class[name][3] += (id, i) in reached
    return {
        "segments": len(found),
        "spans": sum(len(held) for held in spans.values()),
        "spans_in_vocabulary": len(wanted),
        "precision": _share(sum(hit is not None for hit in hits), len(found)),
        "recall": _share(len(reached), len(wanted)),
        "inside": _share(sum(_anywhere(f, spans[f.id]) for f in found), len(found)),
        "chance": _chance(found, spans, seed),
        "glosses": {
            name: {"segments": s, "precision": _share(right, s), "spans": n, "recall": _share(got, n)}
            for name, (s, right, n, got) in sorted(by_class.items(), key=lambda item: (-item[1][2], item[0]))
        },
    }


def _share(part: int, whole: int) -> float | None:
    """None where there is nothing to judge."""
    return part / whole if whole else None


def _place(found: Found, name: str, held: Sequence[tuple[str, int, int]]) -> int | None:
    """Number of the true span of class ``name`` that the segment's middle lies in."""
    middle = (found.start + found.end) / 2
    return next((i for i, (true, first, end) in enumerate(held) if true == name and first <= middle < end), None)


def _anywhere(found: Found, held: Sequence[tuple[str, int, int]]) -> bool:
    middle = (found.start + found.end) / 2
    return any(first <= middle < end for _, first, end in held)


def _chance(found: Sequence[Found], spans: Mapping[str, Sequence[tuple[str, int, int]]], seed: int) -> float | None:
    if not found:
        return None
    rng = np.random.default_rng(seed)
    names = [f.name for f in found]
    right = 0
    for _ in range(SHUFFLES):
        dealt = [names[i] for i in rng.permutation(len(names)).tolist()]
        right += sum(_place(f, name, spans[f.id]) is not None for f, name in zip(found, dealt, strict=True))
    return right / (SHUFFLES * len(found))
