"""Mine a dictionary from sentences: the best windows of signing for each word, scored by true gloss spans."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from signatlas.corpus.sources.dgs import fold_gloss
from signatlas.evaluation.sign_to_word.maps import MappedVideo, gloss_at

DRAWS = 200  # random dictionaries that a mined one is compared with


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class MinedWindow(_Record):
    """One mined window: its clip, middle frame, cosine with the word, and the true gloss at that frame."""

    id: str
    frame: float
    score: float
    gloss: str | None


class MinedWord(_Record):
    """The windows mined for a word that occurs in ``count`` texts, and their quality; None without true spans.

    ``purity``: share of windows in a span of ``majority``, their most common gloss. ``chance``: the same for one random
    window of each of the same clips. ``named``: share of windows in a span of the gloss with the word's name,
    ``named_chance`` for random windows; None where there is no such gloss.
    """

    word: str
    count: int
    score: float
    majority: str | None
    purity: float | None
    chance: float | None
    named: float | None
    named_chance: float | None
    windows: tuple[MinedWindow, ...]


class DictionaryMiner:
    """Collects the best window of each word in each video, then builds the dictionary."""

    def __init__(self, min_count: int = 5, max_windows: int = 20):
        self.min_count, self.max_windows = min_count, max_windows
        self._candidates: dict[str, list[tuple[MinedWindow, np.ndarray, list[str | None]]]] = defaultdict(list)
        self._spellings: dict[str, Counter[str]] = defaultdict(Counter)
        self.glosses: set[str] = set()
        self.has_spans = False

    def add(self, video: MappedVideo) -> None:
        """Add the best window for each word of a video's text; a repeated word counts once."""
        glosses = [gloss_at(video.row, frame) for frame in video.frames]
        self.glosses.update(video.row["glosses"] or ())
        self.has_spans |= bool(video.row["gloss_spans"])
        best: dict[str, tuple[float, int]] = {}
        for column, word in enumerate(video.map.words):
            if not any(c.isalnum() for c in word):
                continue
            key = word.casefold()
            self._spellings[key][word] += 1
            row = int(video.map.cosines[:, column].argmax())
            best[key] = max(best.get(key, (-2.0, 0)), (float(video.map.cosines[row, column]), row))
        for key, (score, row) in best.items():
            window = MinedWindow(id=video.row["id"], frame=float(video.frames[row]), score=score, gloss=glosses[row])
            self._candidates[key].append((window, video.tokens[row], glosses))

    def words(self, seed: int = 0) -> list[tuple[MinedWord, np.ndarray]]:
        """Return the words of at least ``min_count`` texts, most frequent first, with the tokens [n, E] of windows."""
        rng = np.random.default_rng(seed)
        words = []
        for key, candidates in sorted(self._candidates.items(), key=lambda item: (-len(item[1]), item[0])):
            if len(candidates) >= self.min_count:
                best = sorted(candidates, key=lambda c: (-c[0].score, c[0].id))[: self.max_windows]
                spelling = self._spellings[key].most_common(1)[0][0]
                word = self._word(spelling, len(candidates), [w for w, _, _ in best], [g for _, _, g in best], rng)
                words.append((word, np.stack([tokens for _, tokens, _ in best])))
        return words

    def _word(
        self,
        word: str,
        count: int,
        windows: Sequence[MinedWindow],
        clip_glosses: Sequence[Sequence[str | None]],
        rng: np.random.Generator,
    ) -> MinedWord:
        score = float(np.mean([w.score for w in windows]))
        quality: dict[str, Any] = dict.fromkeys(("majority", "purity", "chance", "named", "named_chance"))
        if self.has_spans:
            majority, share = most_common_gloss([w.gloss for w in windows])
            random_glosses = [[glosses[rng.integers(len(glosses))] for glosses in clip_glosses] for _ in range(DRAWS)]
            chance = float(np.mean([most_common_gloss(glosses)[1] for glosses in random_glosses]))
            quality |= {"majority": majority, "purity": share, "chance": chance}
            gloss = gloss_named(word, self.glosses)
            if gloss is not None:
                quality["named"] = float(np.mean([w.gloss == gloss for w in windows]))
                quality["named_chance"] = float(np.mean([np.mean([g == gloss for g in each]) for each in clip_glosses]))
        return MinedWord(word=word, count=count, score=score, windows=tuple(windows), **quality)


def most_common_gloss(glosses: Sequence[str | None]) -> tuple[str | None, float]:
    """Return the most common gloss and its share of all windows (None: outside any span); (None, 0) without a gloss."""
    counts = Counter(gloss for gloss in glosses if gloss is not None)
    if not counts:
        return None, 0.0
    gloss, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return gloss, count / len(glosses)


def gloss_named(word: str, glosses: Iterable[str]) -> str | None:
    """Return the gloss with the name of a word, ignoring case, umlauts and accents, or None."""
    folded = fold_gloss(word)
    return min((gloss for gloss in glosses if fold_gloss(gloss) == folded), default=None)


def summarize(words: Sequence[MinedWord]) -> dict[str, float | int | None]:
    """Return means over words, each word with the same weight."""

    def mean(name: str) -> float | None:
        values = [value for word in words if (value := getattr(word, name)) is not None]
        return float(np.mean(values)) if values else None

    return {
        "words": len(words),
        "windows": sum(len(word.windows) for word in words),
        "purity": mean("purity"),
        "chance": mean("chance"),
        "named_words": sum(word.named is not None for word in words),
        "named": mean("named"),
        "named_chance": mean("named_chance"),
    }
