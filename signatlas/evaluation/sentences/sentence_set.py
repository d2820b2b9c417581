"""Who takes part in a sentence evaluation: videos, sentences, their texts by language, and subsets of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from signatlas.corpus.texts import tokens
from signatlas.errors import TextError
from signatlas.evaluation.sentences.protocol import Asked, Paired, directions
from signatlas.text.language import check_language

Row = dict[str, Any]
# How2Sign films a sentence with several signers: SENTENCE_NAME is the sentence's id, the signer and the view.
# CSL-Daily has several signers and takes of a sentence: S000001_P0004_T00 is the sentence's id, the signer, the take.
TAKES = {"how2sign": re.compile(r"-\d+-rgb_front$"), "csl-daily": re.compile(r"_P\d+_T\d+$")}


@dataclass(frozen=True)
class SentenceSet:
    """V videos of T sentences. ``texts`` has by language the T texts; ``rows`` are the videos' metadata [V]."""

    rows: tuple[Row, ...]
    group_of_video: np.ndarray
    sentence_ids: tuple[str, ...]
    texts: dict[str, list[str]]
    left_out: int  # videos without a text in each of the languages

    @property
    def video_ids(self) -> list[str]:
        return [row["id"] for row in self.rows]

    @property
    def group_of_text(self) -> np.ndarray:
        return np.arange(len(self.sentence_ids))

    def same(self, language: str) -> np.ndarray:
        """int [T], equal for texts that are the same once case, punctuation and encoding are gone."""
        seen: dict[tuple[str, ...], int] = {}
        return np.array([seen.setdefault(tokens(text, language), len(seen)) for text in self.texts[language]])


def text_of(row: Row, language: str) -> str | None:
    """The row's first text in ``language`` that has a word, or None."""
    held = (text["text"] for text in row["texts"] or () if text["language"] == language)
    return next((text for text in held if tokens(text, language)), None)


def sentence_of(row: Row) -> str:
    """The id of the sentence that a video signs: its own id, but for takes of one sentence in some corpora."""
    takes = TAKES.get(row["source"])
    return takes.sub("", row["id"]) if takes else str(row["id"])


def sentence_set(rows: Iterable[Row], languages: Sequence[str], where: str) -> SentenceSet:
    """The videos among ``rows`` that have a text in each of the languages; ``where`` names them in errors.

    A sentence of several videos has the text of the first of them. Raises TextError when a language has no text.
    """
    rows = list(rows)
    found = sorted({text["language"] for row in rows for text in row["texts"] or ()})
    if not found:
        raise TextError(f"{where} has no texts: nothing can be asked; choose another --split or --corpus")
    try:
        languages = list(dict.fromkeys(check_language(code, found) for code in languages))
    except TextError as error:
        raise TextError(f"{where} has {error}; choose --languages from these") from error
    kept = [row for row in rows if all(text_of(row, code) for code in languages)]
    if not kept:
        raise TextError(f"{where}: no clip has texts in all of {', '.join(languages)}; evaluate one at a time")
    place: dict[str, int] = {}
    groups = np.array([place.setdefault(sentence_of(row), len(place)) for row in kept])
    _, first = np.unique(groups, return_index=True)
    texts = {code: [text_of(kept[i], code) or "" for i in first] for code in languages}
    return SentenceSet(tuple(kept), groups, tuple(place), texts, len(rows) - len(kept))


def subsets(asked: SentenceSet, train: Iterable[Row]) -> dict[str, np.ndarray]:
    """Parts of the videos, bool [V] each, that tell recall of what training showed from more; empty ones left out.

    ``new``: neither the gloss sequence nor a text (folded, in any of the languages) occurs in training, ``seen`` the
    rest. ``real signs``: every gloss is signed with its word's own sign, ``assigned signs`` the rest. ``own
    recordings``: composed of recordings that no training clip is made of, ``shared recordings`` the rest, and
    ``mostly own`` where fewer than half of the recordings are shared.
    """
    train = list(train)
    codes = list(asked.texts)
    glosses = {tuple(row["glosses"]) for row in train if row["glosses"]}
    texts = {(code, tokens(text_of(row, code) or "", code)) for row in train for code in codes}
    recordings = {id for row in train for id in row["exemplars"] or ()}

    def seen(row: Row) -> bool:
        told = any((code, tokens(text_of(row, code) or "", code)) in texts for code in codes)
        return told or tuple(row["glosses"] or ()) in glosses

    def masks(name: str, rest: str, values: list[bool | None]) -> dict[str, np.ndarray]:
        return {name: np.array([v is True for v in values]), rest: np.array([v is False for v in values])}

    shared = [_share(row["exemplars"], recordings) for row in asked.rows]
    kinds = [row["gloss_kinds"] for row in asked.rows]
    found = {
        **masks("new", "seen", [not seen(row) for row in asked.rows]),
        **masks("real signs", "assigned signs", [None if not k else set(k) == {"real"} for k in kinds]),
        **masks("own recordings", "shared recordings", [None if s is None else s == 0 for s in shared]),
        "mostly own": np.array([s is not None and s < 0.5 for s in shared]),
    }
    return {name: mask for name, mask in found.items() if mask.any()}


def _share(ids: Sequence[str] | None, known: Collection[str]) -> float | None:
    return sum(id in known for id in ids) / len(ids) if ids else None


def narrowed(paired: Paired, videos: np.ndarray, *, whole: bool) -> dict[str, Asked] | None:
    """Both directions for the sentences all of whose videos are among ``videos``, bool [V]; None when there is none.

    ``whole``: against the whole gallery, so that a figure is comparable with that of all queries; otherwise the
    gallery too holds these sentences alone, which makes smaller subsets easier.
    """
    outside = np.unique(paired.group_of_video[~videos])
    groups = np.setdiff1d(np.intersect1d(paired.group_of_video, paired.group_of_text), outside)
    if not len(groups):
        return None
    if not whole:
        return directions(*paired.only(groups))
    both = directions(*paired)
    return {
        "T2V": both["T2V"].only(np.isin(paired.group_of_text, groups)),
        "V2T": both["V2T"].only(np.isin(paired.group_of_video, groups)),
    }
