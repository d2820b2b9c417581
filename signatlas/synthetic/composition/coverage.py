"""Coverage of the glosses of a composed corpus by real signs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from signatlas.corpus.clips import SPLITS
from signatlas.corpus.sentences import Sentence
from signatlas.synthetic.composition.matching import ALIAS_KINDS, REAL, RULES, Match


def coverage(sentences: Iterable[Sentence], matches: Mapping[str, Match]) -> dict[str, Any]:
    """Count glosses (``tokens``) and distinct glosses (``types``) by kind, rule and alias, per split and in all.

    Returns JSON-serializable values. ``kinds`` are "real <source of the recording>" and "assigned"; ``without_gloss``
    are the ids of sentences without a gloss; ``shared_words`` are lexicon words used for more than one gloss.
    """
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    signed: Counter[str] = Counter()
    without_gloss = []
    for sentence in sentences:
        if sentence.glosses:
            signed[sentence.split] += 1
            counts[sentence.split].update(sentence.glosses)
        else:
            without_gloss.append(sentence.id)
    total = sum(counts.values(), Counter[str]())
    parts = {split: split_counts for split, split_counts in counts.items() if split_counts} | {"all": total}
    by_word: dict[str, list[str]] = {}
    for gloss in sorted(total):
        by_word.setdefault(matches[gloss].word, []).append(gloss)
    return {
        "splits": {
            name: {"sentences": signed[name] if name != "all" else sum(signed.values())}
            | _split_coverage(split_counts, matches)
            for name, split_counts in parts.items()
        },
        "without_gloss": without_gloss,
        "shared_words": {word: glosses for word, glosses in by_word.items() if len(glosses) > 1},
    }


def _split_coverage(counts: Counter[str], matches: Mapping[str, Match]) -> dict[str, Any]:
    kinds = sorted({_kind(match) for match in matches.values()}, key=_assigned_last)
    return {
        "tokens": sum(counts.values()),
        "types": len(counts),
        "kinds": {kind: _share(counts, {g for g, m in matches.items() if _kind(m) == kind}) for kind in kinds},
        "rules": {rule: _share(counts, {g for g, m in matches.items() if m.rule == rule}) for rule in RULES},
        "aliases": {kind: _share(counts, {g for g, m in matches.items() if m.alias == kind}) for kind in ALIAS_KINDS},
    }


def _kind(match: Match) -> str:
    return f"real {match.source}" if match.kind == REAL else match.kind


def _assigned_last(kind: str) -> tuple[bool, str]:
    return not kind.startswith(REAL), kind


def _share(counts: Counter[str], glosses: set[str]) -> dict[str, float]:
    selected = {gloss: n for gloss, n in counts.items() if gloss in glosses}
    tokens = sum(selected.values())
    return {"tokens": tokens, "types": len(selected), "share": round(tokens / max(1, sum(counts.values())), 4)}
