"""Score pseudo-labels against true gloss spans: precision, recall, and precision of shuffled labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from signatlas.corpus.format import Corpus
from signatlas.features.pseudo_labels import PseudoLabel

Row = Mapping[str, Any]
Span = tuple[str, int, int]  # class name, first frame, frame after the last
SHUFFLES = 20


def class_of_gloss(corpus: Corpus) -> dict[str, str]:
    """Return gloss -> word of the recordings it is composed of, where a composed corpus has it; else nothing."""
    signs = corpus.info.made.get("signs", {})
    return {gloss: sign["word"] for gloss, sign in signs.items() if isinstance(sign, dict) and "word" in sign}


def true_spans(rows: Sequence[Row], class_names: Mapping[str, str]) -> dict[str, list[Span]]:
    """Return by clip id the spans of its true glosses, each with the name of its class."""
    spans = {}
    for row in rows:
        if row["glosses"] and row["gloss_spans"]:
            pairs = zip(row["glosses"], row["gloss_spans"], strict=True)
            spans[row["id"]] = [(class_names.get(gloss, gloss), int(first), int(end)) for gloss, (first, end) in pairs]
    return spans


def span_windows(
    spans: Mapping[str, Sequence[Span]],
    ids: Sequence[str],
    lengths: np.ndarray,
    window: int,
    classes: Sequence[str],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a window centered on each true span of a known class: clip index in ``ids``, first frame, class [N]."""
    number = {name: i for i, name in enumerate(classes)}
    rows = []
    for clip, id in enumerate(ids):
        for name, first, end in spans.get(id, ()):
            if name in number:
                last = max(0, int(lengths[clip]) - window)
                rows.append((clip, min(max(0, round((first + end - window) / 2)), last), number[name]))
    table = np.array(rows, np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def score_segments(
    segments: Sequence[PseudoLabel],
    spans: Mapping[str, Sequence[Span]],
    vocabulary: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the quality of segments of clips with known ``spans``.

    ``precision``: share of segments whose middle is in a true span of their class. ``recall``: share of the true spans
    of classes in ``vocabulary`` that contain such a middle. ``inside``: share of segments whose middle is in any span.
    ``chance``: precision when the classes are shuffled among the segments, the mean of several shuffles. ``glosses``:
    the same for each class, most frequent first.
    """
    known = set(vocabulary)
    segments = [segment for segment in segments if segment.id in spans]
    hits = [_matching_span(segment, segment.name, spans[segment.id]) for segment in segments]
    recalled = {(segment.id, hit) for segment, hit in zip(segments, hits, strict=True) if hit is not None}
    targets = [
        (id, i, name) for id, in_clip in spans.items() for i, (name, _, _) in enumerate(in_clip) if name in known
    ]
    by_class: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])  # segments, correct ones, spans, recalled ones
    for segment, hit in zip(segments, hits, strict=True):
        by_class[segment.name][0] += 1
        by_class[segment.name][1] += hit is not None
    for id, i, name in targets:
        by_class[name][2] += 1
        by_class[name][3] += (id, i) in recalled
    return {
        "segments": len(segments),
        "spans": sum(len(in_clip) for in_clip in spans.values()),
        "spans_in_vocabulary": len(targets),
        "precision": _share(sum(hit is not None for hit in hits), len(segments)),
        "recall": _share(len(recalled), len(targets)),
        "inside": _share(sum(_in_any_span(segment, spans[segment.id]) for segment in segments), len(segments)),
        "chance": _chance(segments, spans, seed),
        "glosses": {
            name: {"segments": s, "precision": _share(correct, s), "spans": n, "recall": _share(r, n)}
            for name, (s, correct, n, r) in sorted(by_class.items(), key=lambda item: (-item[1][2], item[0]))
        },
    }


def _share(part: int, whole: int) -> float | None:
    """Return ``part / whole``, or None for a whole of 0."""
    return part / whole if whole else None


def _matching_span(segment: PseudoLabel, name: str, in_clip: Sequence[Span]) -> int | None:
    """Return the index of the true span of class ``name`` that contains the segment's middle, or None."""
    middle = (segment.start + segment.end) / 2
    return next((i for i, (true, first, end) in enumerate(in_clip) if true == name and first <= middle < end), None)


def _in_any_span(segment: PseudoLabel, in_clip: Sequence[Span]) -> bool:
    middle = (segment.start + segment.end) / 2
    return any(first <= middle < end for _, first, end in in_clip)


def _chance(segments: Sequence[PseudoLabel], spans: Mapping[str, Sequence[Span]], seed: int) -> float | None:
    if not segments:
        return None
    rng = np.random.default_rng(seed)
    names = [segment.name for segment in segments]
    correct = 0
    for _ in range(SHUFFLES):
        shuffled = [names[i] for i in rng.permutation(len(names)).tolist()]
        correct += sum(
            _matching_span(segment, name, spans[segment.id]) is not None
            for segment, name in zip(segments, shuffled, strict=True)
        )
    return correct / (SHUFFLES * len(segments))
