"""Items of a sentence evaluation: videos, sentences with their texts by language, and subsets of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from signatlas.corpus.texts import tokens
from signatlas.errors import TextError
from signatlas.evaluation.sentences.protocol import DirectionScores, PairScores, directions
from signatlas.text.language import check_language

Row = dict[str, Any]
# How2Sign has several signers of a sentence: SENTENCE_NAME is the sentence's id, the signer and the view.
# CSL-Daily has several signers and takes of a sentence: S000001_P0004_T00 is the sentence's id, the signer, the take.
TAKE_SUFFIXES = {"how2sign": re.compile(r"-\d+-rgb_front$"), "csl-daily": re.compile(r"_P\d+_T\d+$")}


@dataclass(frozen=True)
class SentenceItems:
    """V videos of T sentences. ``texts`` has the T texts by language; ``rows`` are the videos' metadata [V]."""

    rows: tuple[Row, ...]
    group_of_video: np.ndarray
    sentence_ids: tuple[str, ...]
    texts: dict[str, list[str]]
    left_out: int  # videos that lack a text in one of the languages

    @property
    def video_ids(self) -> list[str]:
        return [row["id"] for row in self.rows]

    @property
    def group_of_text(self) -> np.ndarray:
        return np.arange(len(self.sentence_ids))

    def text_labels(self, language: str) -> np.ndarray:
        """Return int [T], equal for texts that are identical but for case, punctuation and encoding."""
        labels: dict[tuple[str, ...], int] = {}
        return np.array([labels.setdefault(tokens(text, language), len(labels)) for text in self.texts[language]])


def first_text(row: Row, language: str) -> str | None:
    """Return the row's first text in ``language`` that has a word, or None."""
    texts = (text["text"] for text in row["texts"] or () if text["language"] == language)
    return next((text for text in texts if tokens(text, language)), None)


def sentence_id(row: Row) -> str:
    """Return the id of the sentence that a video signs: its own id without signer and take, where a corpus has them."""
    suffix = TAKE_SUFFIXES.get(row["source"])
    return suffix.sub("", row["id"]) if suffix else str(row["id"])


def collect_items(rows: Iterable[Row], languages: Sequence[str], source: str) -> SentenceItems:
    """Return the videos among ``rows`` that have a text in every language; errors name the ``source`` of the rows.

    A sentence of several videos has the text of the first. Raises TextError when a language has no text.
    """
    rows = list(rows)
    available = sorted({text["language"] for row in rows for text in row["texts"] or ()})
    if not available:
        raise TextError(f"{source} has no texts, so it cannot be searched by text: choose another --split or --corpus")
    try:
        languages = list(dict.fromkeys(check_language(code, available) for code in languages))
    except TextError as error:
        raise TextError(f"{source} has {error}; choose --languages from these") from error
    usable = [row for row in rows if all(first_text(row, code) for code in languages)]
    if not usable:
        raise TextError(f"{source}: no clip has texts in all of {', '.join(languages)}; evaluate one at a time")
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(sentence_id(row), len(numbers)) for row in usable])
    _, first = np.unique(groups, return_index=True)
    texts = {code: [first_text(usable[i], code) or "" for i in first] for code in languages}
    return SentenceItems(tuple(usable), groups, tuple(numbers), texts, len(rows) - len(usable))


def subsets(items: SentenceItems, train: Iterable[Row]) -> dict[str, np.ndarray]:
    """Return subsets of the videos by their overlap with training, bool [V] each, without empty ones.

    ``new``: neither the gloss sequence nor a text (folded, in any of the languages) occurs in training, ``seen`` the
    rest. ``real signs``: every gloss is signed with its word's own sign, ``assigned signs`` the rest. ``own
    recordings``: composed of recordings that no training clip contains, ``shared recordings`` the rest, and ``mostly
    own`` where fewer than half of the recordings are shared.
    """
    train = list(train)
    codes = list(items.texts)
    train_glosses = {tuple(row["glosses"]) for row in train if row["glosses"]}
    train_texts = {(code, tokens(first_text(row, code) or "", code)) for row in train for code in codes}
    train_recordings = {id for row in train for id in row["exemplars"] or ()}

    def is_seen(row: Row) -> bool:
        same_text = any((code, tokens(first_text(row, code) or "", code)) in train_texts for code in codes)
        return same_text or tuple(row["glosses"] or ()) in train_glosses

    def masks(name: str, rest: str, values: list[bool | None]) -> dict[str, np.ndarray]:
        return {name: np.array([v is True for v in values]), rest: np.array([v is False for v in values])}

    shared = [_share_of_known(row["exemplars"], train_recordings) for row in items.rows]
    kinds = [row["gloss_kinds"] for row in items.rows]
    by_name = {
        **masks("new", "seen", [not is_seen(row) for row in items.rows]),
        **masks("real signs", "assigned signs", [None if not k else set(k) == {"real"} for k in kinds]),
        **masks("own recordings", "shared recordings", [None if s is None else s == 0 for s in shared]),
        "mostly own": np.array([s is not None and s < 0.5 for s in shared]),
    }
    return {name: mask for name, mask in by_name.items() if mask.any()}


def _share_of_known(ids: Sequence[str] | None, known: Collection[str]) -> float | None:
    return sum(id in known for id in ids) / len(ids) if ids else None


def narrow(pairs: PairScores, videos: np.ndarray, *, whole_gallery: bool) -> dict[str, DirectionScores] | None:
    """Return both directions for the sentences all of whose videos are in the mask ``videos`` bool [V], or None.

    With ``whole_gallery`` the gallery is that of all queries, so metrics are comparable; otherwise it holds these
    sentences alone, which makes smaller subsets easier.
    """
    outside = np.unique(pairs.group_of_video[~videos])
    groups = np.setdiff1d(np.intersect1d(pairs.group_of_video, pairs.group_of_text), outside)
    if not len(groups):
        return None
    if not whole_gallery:
        return directions(*pairs.only(groups))
    both = directions(*pairs)
    return {
        "T2V": both["T2V"].only(np.isin(pairs.group_of_text, groups)),
        "V2T": both["V2T"].only(np.isin(pairs.group_of_video, groups)),
    }
