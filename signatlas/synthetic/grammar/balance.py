"""Statistics of the sampled sentences: words, lengths, entropies and predictability from context."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import log2
from typing import Any

from signatlas.synthetic.grammar.grammar import DrawnSentence, held_out, is_novel

_EDGE = ""  # padding before the first and after the last gloss


def describe(drawn: Mapping[str, Sequence[DrawnSentence]]) -> dict[str, Any]:
    """Return statistics of the sentences of :func:`.grammar.draw_sentences`, as JSON-serializable values.

    ``template_entropy`` is the minimum over words of H(template | word in sentence) / H(template); 0 means that a word
    determines the template. ``word_entropy`` is H(gloss | neighbors) / H(gloss) in train. ``cloze`` is the accuracy of
    predicting a gloss as the most frequent one in train between the same neighbors (or, if unseen, after the same
    gloss), in dev and in test sentences without held-out pairs.
    """
    train = drawn["train"]
    pairs = {pair for split in drawn.values() for sentence in split for pair in pairwise(sentence.glosses)}
    entropies = _relative_template_entropy(train)
    lowest = min(entropies, key=lambda word: entropies[word])
    return {
        "splits": {split: _describe_split(sentences) for split, sentences in drawn.items()},
        "template_entropy": {"word": lowest, "share": round(entropies[lowest], 3), "templates": len(_templates(train))},
        "word_entropy": round(_word_entropy(train), 3),
        "cloze": {
            "dev": round(_cloze(train, drawn["dev"]), 3),
            "test": round(_cloze(train, [s for s in drawn["test"] if not is_novel(s.glosses)]), 3),
            "most_frequent_gloss": round(_top_share(train), 3),
        },
        "pairs": {"all": len(pairs), "test_only": sum(held_out(*pair) for pair in pairs)},
    }


def _describe_split(sentences: Sequence[DrawnSentence]) -> dict[str, Any]:
    words = Counter(gloss for sentence in sentences for gloss in sentence.glosses)
    return {
        "sentences": len(sentences),
        "glosses": sum(words.values()),
        "lengths": dict(sorted(Counter(len(sentence.glosses) for sentence in sentences).items())),
        "words": dict(words.most_common()),
        "novel": sum(is_novel(sentence.glosses) for sentence in sentences),
    }


def _entropy(items: Iterable[Hashable]) -> float:
    """Return the entropy of the distribution of ``items``, in bits."""
    counts = Counter(items)
    total = sum(counts.values())
    return -sum(n / total * log2(n / total) for n in counts.values())


def _templates(sentences: Sequence[DrawnSentence]) -> set[str]:
    return {sentence.template for sentence in sentences}


def _relative_template_entropy(sentences: Sequence[DrawnSentence]) -> dict[str, float]:
    total = _entropy(sentence.template for sentence in sentences)
    words = sorted({gloss for sentence in sentences for gloss in sentence.glosses})
    return {
        word: _entropy(sentence.template for sentence in sentences if word in sentence.glosses) / total
        for word in words
    }


def _contexts(sentences: Sequence[DrawnSentence]) -> Iterator[tuple[str, str, str]]:
    """Yield (previous gloss, gloss, next gloss)."""
    for sentence in sentences:
        padded = (_EDGE, *sentence.glosses, _EDGE)
        yield from zip(padded, padded[1:], padded[2:], strict=False)


def _word_entropy(sentences: Sequence[DrawnSentence]) -> float:
    contexts = list(_contexts(sentences))
    neighbor_entropy = _entropy((before, after) for before, _, after in contexts)
    return (_entropy(contexts) - neighbor_entropy) / _entropy(gloss for _, gloss, _ in contexts)


def _cloze(train: Sequence[DrawnSentence], sentences: Sequence[DrawnSentence]) -> float:
    between: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for before, gloss, after in _contexts(train):
        between[before, after][gloss] += 1
        between[(before,)][gloss] += 1
    correct = [
        (between.get((before, after)) or between[(before,)]).most_common(1)[0][0] == gloss
        for before, gloss, after in _contexts(sentences)
    ]
    return sum(correct) / len(correct)


def _top_share(sentences: Sequence[DrawnSentence]) -> float:
    words = Counter(gloss for sentence in sentences for gloss in sentence.glosses)
    return words.most_common(1)[0][1] / sum(words.values())
