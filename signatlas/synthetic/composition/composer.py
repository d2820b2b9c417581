"""Composer of continuous clips from sentences of glosses and a lexicon of isolated signs, with exact gloss spans."""

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
PICTURE_SIZE = 512  # pixels per side of the square picture of a composed clip
MAX_EDGE_CUT = 0.08  # largest share of a sign that is cut off at either end


@dataclass(frozen=True)
class Word:
    """Lexicon word used for a gloss, and whether it is the sign of that gloss (real) or an unrelated one (assigned)."""

    word: str
    kind: str = REAL


@dataclass(frozen=True)
class Settings:
    """Settings of a composed corpus, saved in its corpus.json.

    ``pace`` is the length of a sentence of unknown length, as a share of that of its exemplars and transitions.
    """

    name: str
    sign_language: str
    signers: int = 24
    seed: int = 0
    pace: float = 0.5
    variation: Variation = field(default_factory=Variation)


class Composer:
    """Composes clips from sentences. ``words`` maps glosses to words of the lexicon (default: the gloss itself)."""

    def __init__(self, lexicon: Lexicon, settings: Settings, words: Mapping[str, Word] | None = None):
        self.lexicon, self.settings = lexicon, settings
        self.words = words
        self.signers = style.make_signers(settings.signers, settings.seed, settings.variation)

    def word_of(self, gloss: str) -> Word:
        """Return the word used for a gloss. Raises CorpusError if there is none."""
        word = Word(gloss) if self.words is None else self.words.get(gloss)
        if word is None or word.word not in self.lexicon.words:
            raise CorpusError(f"no sign for the gloss '{gloss}': add it to the lexicon or to the table of words")
        return word

    def check(self, sentence: Sentence) -> None:
        """Raise CorpusError if a sentence cannot be composed."""
        if not sentence.glosses:
            raise CorpusError(f"sentence {sentence.id} has no gloss: remove it")
        if sentence.frames is not None and sentence.frames < len(sentence.glosses):
            raise CorpusError(f"sentence {sentence.id}: {len(sentence.glosses)} signs in {sentence.frames} frames")
        for gloss in sentence.glosses:
            self.word_of(gloss)

    def compose(self, sentence: Sentence) -> Clip:
        """Return the clip of a sentence; it depends on the seed only. Raises CorpusError if it cannot be composed."""
        self.check(sentence)
        rng = generator(self.settings.seed, "sentence", sentence.id)
        pool = self.signers[sentence.split]
        signer = pool[int(rng.integers(len(pool)))]
        words = [self.word_of(gloss) for gloss in sentence.glosses]
        exemplars = [self._choose(word.word, sentence.split, rng) for word in words]
        motion, spans = self.compose_motion(exemplars, signer, sentence.frames, rng)
        nose = np.array(signer.nose) + signer.palm * style.head_motion(len(motion), signer, rng)
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
            width=PICTURE_SIZE,
            height=PICTURE_SIZE,
        )

    def _choose(self, word: str, split: str, rng: np.random.Generator) -> Exemplar:
        recordings = self.lexicon.recordings(word, split)
        return recordings[int(rng.integers(len(recordings)))]

    def compose_motion(
        self, exemplars: list[Exemplar], signer: Signer, frames: int | None, rng: np.random.Generator
    ) -> tuple[Motion, list[tuple[int, int]]]:
        """Return motion and gloss spans of a sentence performed by ``signer``, in palms relative to the nose."""
        variation = self.settings.variation
        signs = [style.perform_sign(e.motion, signer, variation, rng) for e in exemplars]
        paces = np.exp(rng.normal(0, variation.pace, len(signs)))
        spans, total = blend.schedule(signs, paces.tolist(), signer, frames, self.settings.pace)
        placed = [
            blend.PlacedSign(self._resample(sign, end - first, rng), first)
            for sign, (first, end) in zip(signs, spans, strict=True)
        ]
        motion = blend.join_signs(placed, total, signer, self.lexicon.relaxed)
        wrists, shapes = style.motion_noise(total, signer, rng)
        roll = style.rotation(signer.roll)
        seen = style.detected_hands(total, signer, rng)
        motion = Motion((motion.wrists + wrists) @ roll, (motion.shapes + shapes) @ roll, seen)
        return (motion.mirrored() if signer.left_handed else motion), spans

    def _resample(self, sign: Motion, frames: int, rng: np.random.Generator) -> Motion:
        """Resample a sign to ``frames`` frames, with a random cut at either end."""
        first, last = rng.uniform(0, MAX_EDGE_CUT, 2) * np.array([1, -1]) + np.array([0, 1])
        phases = first + (last - first) * style.time_warp(frames, self.settings.variation, rng)
        return sign.at(phases * (len(sign) - 1))
