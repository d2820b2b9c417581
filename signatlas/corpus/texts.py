"""Texts and glosses of a corpus: vocabulary, duplicates, near-duplicates, and what test shares with train.

Three degrees of sameness. *Exact*: the same string. *Folded*: the same tokens in the same order once case, accents'
encoding and punctuation are gone. *Near*: token sets with a Jaccard index (shared tokens by all tokens) of at least
0.8. Near pairs are found exactly, not by sampling: two sets that similar must share one of each other's rarest tokens
(prefix filtering; Bayardo, Ma and Srikant, WWW 2007), so only texts that share a rare token are compared.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from signatlas.corpus.clips import SPLITS

NEAR = Fraction(4, 5)
UNSPACED = ("zh", "ja", "th", "lo", "km", "my", "yue", "wuu")  # languages that put no space between words


def text_in(row: dict[str, Any], language: str) -> str:
    """The first text of a clip's row of metadata in a language; empty where there is none."""
    return next((text["text"] for text in row["texts"] or () if text["language"] == language), "")


def tokens(text: str, language: str = "en") -> tuple[str, ...]:
    """Words without case and punctuation; characters for languages that write without spaces.

    >>> tokens("Milk, please!"), tokens("我喝 tea。", "zh")
    (('milk', 'please'), ('我', '喝', 'tea'))
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    spaced = "".join(" " if unicodedata.category(c)[0] in "PSZC" else c for c in folded)
    if language.split("-")[0].lower() in UNSPACED:
        spaced = "".join(c if c.isascii() else f" {c} " for c in spaced)
    return tuple(spaced.split())


def near(texts: Sequence[Sequence[str]], marks: Sequence[int]) -> list[int]:
    """For each text the union (bitwise or) of the ``marks`` of those near to it, itself left out.

    ``texts`` are lists of tokens, best without duplicates: each is compared with every other that may be near.
    """
    found = [0] * len(texts)
    for i, j in near_pairs(texts, NEAR):
        found[i] |= marks[j]
        found[j] |= marks[i]
    return found


def near_pairs(texts: Sequence[Sequence[str]], share: Fraction) -> Iterator[tuple[int, int]]:
    """All pairs of texts, none empty, whose token sets have at least this Jaccard index; in no order."""
    often = Counter(token for text in texts for token in set(text))
    ranked = [sorted(set(text), key=lambda token: (often[token], token)) for text in texts]
    sets = [frozenset(text) for text in ranked]
    rare: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(texts)), key=lambda i: len(sets[i])):
        own, size = sets[i], len(sets[i])
        if not size:
            continue
        least = math.ceil(share * size)  # the size of the smallest set that may be near, and the tokens it must share
        prefix = ranked[i][: size - least + 1]
        for j in {j for token in prefix for j in rare[token] if len(sets[j]) >= least}:
            shared = len(own & sets[j])
            if shared * share.denominator >= share.numerator * (size + len(sets[j]) - shared):
                yield i, j
        for token in prefix:
            rare[token].append(i)


def describe_texts(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """By language what its texts are; plain values, fit for JSON. ``rows`` have ``split`` and ``texts``."""
    held: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        for text in row["texts"] or ():
            held[text["language"]].append((row["split"], text["text"]))
    return {language: _language(language, texts) for language, texts in sorted(held.items())}


def _language(language: str, texts: list[tuple[str, str]]) -> dict[str, Any]:
    """``duplicates`` count texts beyond the first of each kind, and under ``near`` those near to a different one."""
    cut = [tokens(text, language) for _, text in texts]
    bits = {split: 1 << place for place, split in enumerate(SPLITS)}
    exact: dict[str, int] = defaultdict(int)
    folded: dict[tuple[str, ...], int] = defaultdict(int)
    for (split, text), words in zip(texts, cut, strict=True):
        exact[text] |= bits[split]
        folded[words] |= bits[split]
    distinct = list(folded)
    close = dict(zip(distinct, near(distinct, list(folded.values())), strict=True))
    lengths = [len(words) for words in cut]
    parts: dict[str, list[tuple[str, tuple[str, ...]]]] = {split: [] for split in SPLITS}
    for (split, text), words in zip(texts, cut, strict=True):
        parts[split].append((text, words))
    train = bits["train"]
    return {
        "texts": len(texts),
        "vocabulary": len({word for words in cut for word in words}),
        "tokens": sum(lengths),
        "mean_tokens": round(sum(lengths) / len(texts), 2),
        "duplicates": {
            "exact": len(texts) - len(exact),
            "folded": len(texts) - len(folded),
            "near": sum(close[words] > 0 for words in cut),
        },
        "in_train": {
            split: {
                "texts": len(part),
                "exact": sum(bool(exact[text] & train) for text, _ in part),
                "folded": sum(bool(folded[words] & train) for _, words in part),
                "near": sum(bool((folded[words] | close[words]) & train) for _, words in part),
            }
            for split, part in parts.items()
            if split != "train" and part
        },
    }


def describe_glosses(rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Tokens and vocabulary of the gloss sequences, by split how much of them train has; None without sequences."""
    by_split: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    clips = 0
    for row in rows:
        if row["glosses"] is not None:
            clips += 1
            by_split[row["split"]].update(row["glosses"])
    if not clips:
        return None
    train = by_split["train"]
    every = sum(by_split.values(), Counter[str]())
    return {
        "clips": clips,
        "tokens": every.total(),
        "vocabulary": len(every),
        "once": sum(number == 1 for number in every.values()),
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
    """What the two found, for people."""
    lines = []
    for language, said in texts.items():
        same = said["duplicates"]
        lines += [
            f"texts {language}: {said['texts']}, {said['tokens']} tokens of {said['vocabulary']}, "
            f"{said['mean_tokens']:g} a text",
            f"  repeated     {same['exact']} exactly, {same['folded']} after folding; {same['near']} near another",
        ]
        lines += [
            f"  {split + ' in train':<12} {part['exact']} of {part['texts']} exactly, {part['folded']} after folding, "
            f"{part['near']} near"
            for split, part in said["in_train"].items()
        ]
    if glosses:
        lines.append(
            f"glosses: {glosses['tokens']} tokens of {glosses['vocabulary']} in {glosses['clips']} clips, "
            f"{glosses['once']} occur once"
        )
        lines += [
            f"  {split:<12} {part['tokens']} tokens of {part['vocabulary']}; in train {part['vocabulary_in_train']} "
            f"of the vocabulary, {part['tokens_in_train']} tokens"
            for split, part in glosses["splits"].items()
        ]
    return lines
