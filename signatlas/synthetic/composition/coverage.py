"""How much of what is signed is signed with the real sign of its gloss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from signatlas.corpus.clips import SPLITS
from signatlas.corpus.sentences import Sentence
from signatlas.synthetic.composition.matching import ALIAS_KINDS, REAL, RULES, Match


def coverage(sentences: Iterable[Sentence], matches: Mapping[str, Match]) -> dict[str, Any]:
    """Of each split and of all: glosses (``tokens``) and different ones (``types``) by kind, rule and alias.

    Plain values, fit for JSON. ``kinds`` are "real <source of the recording>" and "assigned". ``without_gloss`` are the
    ids of sentences that have none. ``shared_words`` are lexicon words that sign more than one gloss.
    """
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    signed: Counter[str] = Counter()
    without = []
    for sentence in sentences:
        if sentence.glosses:
            signed[sentence.split] += 1
            counts[sentence.split].update(sentence.glosses)
        else:
            without.append(sentence.id)
    whole = sum(counts.values(), Counter[str]())
    parts = {split: held for split, held in counts.items() if held} | {"all": whole}
    by_word: dict[str, list[str]] = {}
    for gloss in sorted(whole):
        by_word.setdefault(matches[gloss].word, []).append(gloss)
    return {
        "splits": {
            name: {"sentences": signed[name] if name != "all" else sum(signed.values())} | _part(held, matches)
            for name, held in parts.items()
        },
        "without_gloss": without,
        "shared_words": {word: glosses for word, glosses in by_word.items() if len(glosses) > 1},
    }


def _part(counts: Counter[str], matches: Mapping[str, Match]) -> dict[str, Any]:
    kinds = sorted({_kind(match) for match in matches.values()}, key=_last)
    return {
        "tokens": sum(counts.values()),
        "types": len(counts),
        "kinds": {kind: _share(counts, {g for g, m in matches.items() if _kind(m) == kind}) for kind in kinds},
        "rules": {rule: _share(counts, {g for g, m in matches.items() if m.rule == rule}) for rule in RULES},
        "aliases": {kind: _share(counts, {g for g, m in matches.items() if m.alias == kind}) for kind in ALIAS_KINDS},
    }


def _kind(match: Match) -> str:
    return f"real {match.source}" if match.kind == REAL else match.kind


def _last(kind: str) -> tuple[bool, str]:
    return not kind.startswith(REAL), kind


def _share(counts: Counter[str], wanted: set[str]) -> dict[str, float]:
    held = {gloss: n for gloss, n in counts.items() if gloss in wanted}
    tokens = sum(held.values())
    return {"tokens": tokens, "types": len(held), "share": round(tokens / max(1, sum(counts.values())), 4)}
