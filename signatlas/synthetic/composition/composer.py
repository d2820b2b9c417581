"""Compose: a sentence of glosses becomes a continuous clip of real isolated signs with exact gloss spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from signatlas.corpus.clips import Clip
from signatlas.corpus.sentences import Sentence
from signatlas.errors import CorpusError
from signatlas.synthetic.composition import blend, style
from signatlas.synthetic.composition.calibration import FPS
from signatlas.synthetic.composition.lexicon import Exemplar, Lexicon
from signatlas.synthetic.composition.motion import Motion, to_poses
from signatlas.synthetic.composition.style import Signer, Variation, generator

REAL, ASSIGNED = "real", "assigned"
SIZE = 512  # pixels a side of the square picture that a composed clip pretends to be
EDGE = 0.08  # of a sign at either end may give way to what comes before and after


@dataclass(frozen=True)
class Word:
    """The lexicon word that signs a gloss, and whether it is that word's sign (real) or another's (assigned)."""

    word: str
    kind: str = REAL


@dataclass(frozen=True)
class Settings:
    """``pace`` is how long a sentence of unknown length takes, as a share of its exemplars and the ways between."""

    name: str
    sign_language: str
    signers: int = 24
    seed: int = 0
    pace: float = 0.5
    variation: Variation = field(default_factory=Variation)


class Composer:
    """Composes clips; one for each worker. ``words`` says which word of the lexicon signs a gloss (default: itself)."""

    def __init__(self, lexicon: Lexicon, settings: Settings, words: Mapping[str, Word] | None = None):
        self.lexicon, self.settings = lexicon, settings
        self.words = words
        self.signers = style.signers(settings.signers, settings.seed, settings.variation)

    def word(self, gloss: str) -> Word:
        """Raises CorpusError for a gloss that nothing signs."""
        found = Word(gloss) if self.words is None else self.words.get(gloss)
        if found is None or found.word not in self.lexicon.words:
            raise CorpusError(f"no sign for the gloss '{gloss}': add it to the lexicon or to the table of signs")
        return found

    def check(self, sentence: Sentence) -> None:
        """Raises CorpusError for a sentence that cannot be signed."""
        if not sentence.glosses:
            raise CorpusError(f"sentence {sentence.id} has no gloss: leave it out")
        if sentence.frames is not None and sentence.frames < len(sentence.glosses):
            raise CorpusError(f"sentence {sentence.id}: {len(sentence.glosses)} signs in {sentence.frames} frames")
        for gloss in sentence.glosses:
            self.word(gloss)

    def compose(self, sentence: Sentence) -> Clip:
        """The clip of a sentence: always the same for one seed. Raises CorpusError for one that cannot be signed."""
        self.check(sentence)
        rng = generator(self.settings.seed, "sentence", sentence.id)
        pool = self.signers[sentence.split]
        signer = pool[int(rng.integers(len(pool)))]
        words = [self.word(gloss) for gloss in sentence.glosses]
        exemplars = [self._choose(word.word, sentence.split, rng) for word in words]
        motion, spans = self.sentence(exemplars, signer, sentence.frames, rng)
        nose = np.array(signer.nose) + signer.palm * style.head(len(motion), signer, rng)
        return Clip(
            id=sentence.id,
            split=sentence.split,
            poses=to_poses(motion, nose, signer.palm),
            sign_language=self.settings.sign_language,
            source=self.settings.name,
            signer=signer.name,
            signer_kind="synthetic",
            glosses=sentence.glosses,
            gloss_spans=tuple(spans),
            gloss_kinds=tuple(word.kind for word in words),
            exemplars=tuple(e.id for e in exemplars),
            texts=sentence.texts,
            fps=FPS,
            width=SIZE,
            height=SIZE,
        )

    def _choose(self, word: str, split: str, rng: np.random.Generator) -> Exemplar:
        held = self.lexicon.recordings(word, split)
        return held[int(rng.integers(len(held)))]

    def sentence(
        self, exemplars: list[Exemplar], signer: Signer, frames: int | None, rng: np.random.Generator
    ) -> tuple[Motion, list[tuple[int, int]]]:
        """Motion and gloss spans of one sentence, in palms about the nose, as the picture shows this signer."""
        variation = self.settings.variation
        signs = [style.performed(e.motion, signer, variation, rng) for e in exemplars]
        paces = np.exp(rng.normal(0, variation.pace, len(signs)))
        spans, total = blend.schedule(signs, paces.tolist(), signer, frames, self.settings.pace)
        placed = [
            blend.Placed(self._timed(sign, end - first, rng), first)
            for sign, (first, end) in zip(signs, spans, strict=True)
        ]
        motion = blend.joined(placed, total, signer, self.lexicon.relaxed)
        wrists, shapes = style.unrest(total, signer, rng)
        turn = style.rotation(signer.roll)
        seen = style.found(total, signer, rng)
        motion = Motion((motion.wrists + wrists) @ turn, (motion.shapes + shapes) @ turn, seen)
        return (motion.mirrored() if signer.left_handed else motion), spans

    def _timed(self, sign: Motion, frames: int, rng: np.random.Generator) -> Motion:
        """A sign in ``frames`` frames, its ends cut a little."""
        first, last = rng.uniform(0, EDGE, 2) * np.array([1, -1]) + np.array([0, 1])
        places = first + (last - first) * style.bent(frames, self.settings.variation, rng)
        return sign.at(places * (len(sign) - 1))
