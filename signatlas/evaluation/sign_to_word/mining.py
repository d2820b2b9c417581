"""A dictionary mined from sentences: for each word the windows that answer to it best, judged by true gloss spans."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from signatlas.corpus.sources.dgs import fold_gloss
from signatlas.evaluation.sign_to_word.pairs import Pair, gloss_at

DRAWS = 200  # random dictionaries that a mined one is compared with


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Window(_Part):
    """One mined window: the clip, the frame in its middle, its cosine with the word, the true gloss there."""

    id: str
    frame: float
    score: float
    gloss: str | None


class Word(_Part):
    """What was mined for a word that ``count`` clips say. Shares are of its windows; None without true spans.

    ``purity``: in a span of ``majority``, the commonest gloss among them. ``chance``: the same of one random window of
    each of the same clips, whose own commonest gloss is taken. ``named``: in a span of the gloss that has the word's
    name, ``named_chance`` of random windows; None where there is no such gloss.
    """

    word: str
    count: int
    score: float
    majority: str | None
    purity: float | None
    chance: float | None
    named: float | None
    named_chance: float | None
    windows: tuple[Window, ...]


class Mined:
    """Collects the best window of each word in each clip, then makes the dictionary."""

    def __init__(self, least: int = 5, most: int = 20):
        self.least, self.most = least, most
        self._found: dict[str, list[tuple[Window, np.ndarray, list[str | None]]]] = defaultdict(list)
        self._spellings: dict[str, Counter[str]] = defaultdict(Counter)
        self.glosses: set[str] = set()
        self.judged = False

    def add(self, pair: Pair) -> None:
        """Take the best window for each word of the pair; a word said twice counts once."""
        around = [gloss_at(pair.row, frame) for frame in pair.frames]
        self.glosses.update(pair.row["glosses"] or ())
        self.judged |= bool(pair.row["gloss_spans"])
        best: dict[str, tuple[float, int]] = {}
        for column, word in enumerate(pair.map.words):
            if not any(c.isalnum() for c in word):
                continue
            key = word.casefold()
            self._spellings[key][word] += 1
            place = int(pair.map.cosines[:, column].argmax())
            best[key] = max(best.get(key, (-2.0, 0)), (float(pair.map.cosines[place, column]), place))
        for key, (score, place) in best.items():
            window = Window(id=pair.row["id"], frame=float(pair.frames[place]), score=score, gloss=around[place])
            self._found[key].append((window, pair.tokens[place], around))

    def words(self, seed: int = 0) -> list[tuple[Word, np.ndarray]]:
        """Words said by at least ``least`` clips, most frequent first, each with the tokens [n, E] of its windows."""
        rng = np.random.default_rng(seed)
        made = []
        for key, found in sorted(self._found.items(), key=lambda item: (-len(item[1]), item[0])):
            if len(found) >= self.least:
                kept = sorted(found, key=lambda f: (-f[0].score, f[0].id))[: self.most]
                spelling = self._spellings[key].most_common(1)[0][0]
                word = self._word(spelling, len(found), [w for w, _, _ in kept], [a for _, _, a in kept], rng)
                made.append((word, np.stack([tokens for _, tokens, _ in kept])))
        return made

    def _word(
        self,
        word: str,
        count: int,
        windows: Sequence[Window],
        around: Sequence[Sequence[str | None]],
        rng: np.random.Generator,
    ) -> Word:
        score = float(np.mean([w.score for w in windows]))
        judged: dict[str, Any] = dict.fromkeys(("majority", "purity", "chance", "named", "named_chance"))
        if self.judged:
            majority, share = commonest([w.gloss for w in windows])
            drawn = [[glosses[rng.integers(len(glosses))] for glosses in around] for _ in range(DRAWS)]
            chance = float(np.mean([commonest(glosses)[1] for glosses in drawn]))
            judged |= {"majority": majority, "purity": share, "chance": chance}
            gloss = named(word, self.glosses)
            if gloss is not None:
                judged["named"] = float(np.mean([w.gloss == gloss for w in windows]))
                judged["named_chance"] = float(np.mean([np.mean([g == gloss for g in a]) for a in around]))
        return Word(word=word, count=count, score=score, windows=tuple(windows), **judged)


def commonest(glosses: Sequence[str | None]) -> tuple[str | None, float]:
    """The commonest gloss and its share of all windows, those outside any span included; (None, 0) without one."""
    counted = Counter(gloss for gloss in glosses if gloss is not None)
    if not counted:
        return None, 0.0
    gloss, number = min(counted.items(), key=lambda item: (-item[1], item[0]))
    return gloss, number / len(glosses)


def named(word: str, glosses: Iterable[str]) -> str | None:
    """The gloss that has the name of a word, without regard to case, umlauts and accents."""
    folded = fold_gloss(word)
    return min((gloss for gloss in glosses if fold_gloss(gloss) == folded), default=None)


def figures(words: Sequence[Word]) -> dict[str, float | int | None]:
    """Means over words, each word alike."""

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
