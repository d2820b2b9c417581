"""Statistics of texts and glosses: vocabulary, duplicates, near-duplicates, overlap of the splits with train.

Three degrees of duplication. *Exact*: the same string. *Folded*: the same tokens in the same order, after Unicode
normalization, case folding and removal of punctuation. *Near*: token sets with a Jaccard index (size of the
intersection by size of the union) of at least 0.8. All near pairs are found, without sampling: two such sets share one
of their rarest tokens, so only texts with a rare token in common are compared (prefix filtering; Bayardo, Ma and
Srikant, WWW 2007).
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from signatlas.corpus.clips import SPLITS

NEAR = Fraction(4, 5)  # Jaccard index
UNSPACED = ("zh", "ja", "th", "lo", "km", "my", "yue", "wuu")  # languages written without spaces between words


def text_in(row: dict[str, Any], language: str) -> str:
    """Return the first text in a language of a row of ``Corpus.metadata``; empty if there is none."""
    return next((text["text"] for text in row["texts"] or () if text["language"] == language), "")


def tokens(text: str, language: str = "en") -> tuple[str, ...]:
    """Return case-folded words without punctuation; single characters for languages written without spaces.

    >>> tokens("Milk, please!"), tokens("我喝 tea。", "zh")
    (('milk', 'please'), ('我', '喝', 'tea'))
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    spaced = "".join(" " if unicodedata.category(c)[0] in "PSZC" else c for c in folded)
    if language.split("-")[0].lower() in UNSPACED:
        spaced = "".join(c if c.isascii() else f" {c} " for c in spaced)
    return tuple(spaced.split())


def near_marks(texts: Sequence[Sequence[str]], marks: Sequence[int]) -> list[int]:
    """Return for each text the bitwise or of the ``marks`` of its near-duplicates, without its own.

    ``texts`` are lists of tokens, preferably distinct: duplicates are compared with each other too.
    """
    near = [0] * len(texts)
    for i, j in near_pairs(texts, NEAR):
        near[i] |= marks[j]
        near[j] |= marks[i]
    return near


def near_pairs(texts: Sequence[Sequence[str]], share: Fraction) -> Iterator[tuple[int, int]]:
    """Yield all pairs of non-empty texts whose token sets have at least this Jaccard index, in no particular order."""
    frequency = Counter(token for text in texts for token in set(text))
    ranked = [sorted(set(text), key=lambda token: (frequency[token], token)) for text in texts]
    sets = [frozenset(text) for text in ranked]
    by_rare_token: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(texts)), key=lambda i: len(sets[i])):
        size = len(sets[i])
        if not size:
            continue
        min_size = math.ceil(share * size)  # of a near set, and of its intersection with this one
        prefix = ranked[i][: size - min_size + 1]
        for j in {j for token in prefix for j in by_rare_token[token] if len(sets[j]) >= min_size}:
            shared = len(sets[i] & sets[j])
            if shared * share.denominator >= share.numerator * (size + len(sets[j]) - shared):
                yield i, j
        for token in prefix:
            by_rare_token[token].append(i)


def describe_texts(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return statistics of the texts by language, as JSON-ready values; ``rows`` are those of ``Corpus.metadata``."""
    by_language: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        for text in row["texts"] or ():
            by_language[text["language"]].append((row["split"], text["text"]))
    return {language: _describe_language(language, texts) for language, texts in sorted(by_language.items())}


def _describe_language(language: str, texts: list[tuple[str, str]]) -> dict[str, Any]:
    """Describe (split, text) pairs. Exact and folded duplicates count copies after the first, near ones every text."""
    tokenized = [tokens(text, language) for _, text in texts]
    bits = {split: 1 << index for index, split in enumerate(SPLITS)}
    exact: dict[str, int] = defaultdict(int)
    folded: dict[tuple[str, ...], int] = defaultdict(int)
    for (split, text), words in zip(texts, tokenized, strict=True):
        exact[text] |= bits[split]
        folded[words] |= bits[split]
    distinct = list(folded)
    near = dict(zip(distinct, near_marks(distinct, list(folded.values())), strict=True))
    lengths = [len(words) for words in tokenized]
    parts: dict[str, list[tuple[str, tuple[str, ...]]]] = {split: [] for split in SPLITS}
    for (split, text), words in zip(texts, tokenized, strict=True):
        parts[split].append((text, words))
    train = bits["train"]
    return {
        "texts": len(texts),
        "vocabulary": len({word for words in tokenized for word in words}),
        "tokens": sum(lengths),
        "mean_tokens": round(sum(lengths) / len(texts), 2),
        "duplicates": {
            "exact": len(texts) - len(exact),
            "folded": len(texts) - len(folded),
            "near": sum(near[words] > 0 for words in tokenized),
        },
        "in_train": {
            split: {
                "texts": len(part),
                "exact": sum(bool(exact[text] & train) for text, _ in part),
                "folded": sum(bool(folded[words] & train) for _, words in part),
                "near": sum(bool((folded[words] | near[words]) & train) for _, words in part),
            }
            for split, part in parts.items()
            if split != "train" and part
        },
    }


def describe_glosses(rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return tokens and vocabulary of the gloss sequences and their overlap with train; None without sequences."""
    by_split: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    clips = 0
    for row in rows:
        if row["glosses"] is not None:
            clips += 1
            by_split[row["split"]].update(row["glosses"])
    if not clips:
        return None
    train = by_split["train"]
    total = sum(by_split.values(), Counter[str]())
    return {
        "clips": clips,
        "tokens": total.total(),
        "vocabulary": len(total),
        "once": sum(number == 1 for number in total.values()),
        "splits": {
            split: {
                "tokens": counts.total(),
                "vocabulary": len(counts),
                "vocabulary_in_train": len(counts.keys() & train.keys()),
                "tokens_in_train": sum(number for gloss, number in counts.items() if gloss in train),
            }
            for split, counts in by_split.items()
            if counts
        },
    }


def as_lines(texts: dict[str, Any], glosses: dict[str, Any] | None) -> list[str]:
    """Return the results of :func:`describe_texts` and :func:`describe_glosses` as lines of text."""
    lines = []
    for language, stats in texts.items():
        duplicates = stats["duplicates"]
        lines += [
            f"texts {language}: {stats['texts']}; {stats['tokens']} tokens, {stats['mean_tokens']:g} per text, "
            f"vocabulary {stats['vocabulary']}",
            f"  duplicates   {duplicates['exact']} exact, {duplicates['folded']} folded, {duplicates['near']} near",
        ]
        lines += [
            f"  {split + ' in train':<12} of {part['texts']}: {part['exact']} exact, {part['folded']} folded, "
            f"{part['near']} near"
            for split, part in stats["in_train"].items()
        ]
    if glosses:
        lines.append(
            f"glosses: {glosses['tokens']} tokens, vocabulary {glosses['vocabulary']}, in {glosses['clips']} clips; "
            f"{glosses['once']} occur once"
        )
        lines += [
            f"  {split:<12} {part['tokens']} tokens, vocabulary {part['vocabulary']}; "
            f"in train: {part['tokens_in_train']} tokens, {part['vocabulary_in_train']} of the vocabulary"
            for split, part in glosses["splits"].items()
        ]
    return lines
