"""How even the sentences of the grammar are: words, lengths, and what context alone gives away."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import log2
from typing import Any

from signatlas.synthetic.grammar.grammar import Drawn, held_out, is_novel

_EDGE = ""  # before the first and after the last gloss


def describe(drawn: Mapping[str, Sequence[Drawn]]) -> dict[str, Any]:
    """What the sentences of :func:`.grammar.draw_sentences` are like; plain values, fit for JSON.

    ``template_entropy`` is H(template | word is in the sentence) / H(template), the lowest of all words: at 0 the word
    would determine the template. ``word_entropy`` is H(gloss | neighbors) / H(gloss) in train. ``cloze`` is how often
    the most frequent gloss of train between the same two neighbors (or else after the same one) is the right one in
    dev, and in those test sentences that have no new neighbors.
    """
    train = drawn["train"]
    pairs = {pair for split in drawn.values() for said in split for pair in pairwise(said.glosses)}
    shares = _template_shares(train)
    lowest = min(shares, key=lambda word: shares[word])
    return {
        "splits": {split: _split(held) for split, held in drawn.items()},
        "template_entropy": {"word": lowest, "share": round(shares[lowest], 3), "templates": len(_templates(train))},
        "word_entropy": round(_word_entropy(train), 3),
        "cloze": {
            "dev": round(_cloze(train, drawn["dev"]), 3),
            "test": round(_cloze(train, [s for s in drawn["test"] if not is_novel(s.glosses)]), 3),
            "most_frequent_gloss": round(_top_share(train), 3),
        },
        "pairs": {"all": len(pairs), "test_only": sum(held_out(*pair) for pair in pairs)},
    }


def _split(held: Sequence[Drawn]) -> dict[str, Any]:
    words = Counter(gloss for said in held for gloss in said.glosses)
    return {
        "sentences": len(held),
        "glosses": sum(words.values()),
        "lengths": dict(sorted(Counter(len(said.glosses) for said in held).items())),
        "words": dict(words.most_common()),
        "novel": sum(is_novel(said.glosses) for said in held),
    }


def _entropy(items: Iterable[Hashable]) -> float:
    """Bits, of the shares of equal items."""
    counts = Counter(items)
    total = sum(counts.values())
    return -sum(n / total * log2(n / total) for n in counts.values())


def _templates(held: Sequence[Drawn]) -> set[str]:
    return {said.template for said in held}


def _template_shares(held: Sequence[Drawn]) -> dict[str, float]:
    whole = _entropy(said.template for said in held)
    words = sorted({gloss for said in held for gloss in said.glosses})
    return {word: _entropy(said.template for said in held if word in said.glosses) / whole for word in words}


def _contexts(held: Sequence[Drawn]) -> Iterator[tuple[str, str, str]]:
    """(gloss before, gloss, gloss after)."""
    for said in held:
        padded = (_EDGE, *said.glosses, _EDGE)
        yield from zip(padded, padded[1:], padded[2:], strict=False)


def _word_entropy(held: Sequence[Drawn]) -> float:
    contexts = list(_contexts(held))
    around = _entropy((before, after) for before, _, after in contexts)
    return (_entropy(contexts) - around) / _entropy(gloss for _, gloss, _ in contexts)


def _cloze(train: Sequence[Drawn], held: Sequence[Drawn]) -> float:
    between: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for before, gloss, after in _contexts(train):
        between[before, after][gloss] += 1
        between[(before,)][gloss] += 1
    right = [
        (between.get((before, after)) or between[(before,)]).most_common(1)[0][0] == gloss
        for before, gloss, after in _contexts(held)
    ]
    return sum(right) / len(right)


def _top_share(held: Sequence[Drawn]) -> float:
    words = Counter(gloss for said in held for gloss in said.glosses)
    return words.most_common(1)[0][1] / sum(words.values())
