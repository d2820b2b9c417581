"""Template matching of a lexicon's exemplars against composed clips: how far one gets without learning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from signatlas.corpus.clips import Clip
from signatlas.pose.normalize import mirror
from signatlas.synthetic.composition.lexicon import Exemplar, Lexicon
from signatlas.synthetic.composition.motion import LEFT, RIGHT, Motion, from_poses, to_poses, uses
from signatlas.synthetic.composition.style import REST, generator
from signatlas.synthetic.composition.trimming import left_handed
from signatlas.synthetic.probes.template_matching import Recognizer, hand_features, wer

TEMPLATES_A_WORD = 5
FEW = 500  # templates; with more, fewer clips, as each takes a second
CLIPS, CLIPS_OF_MANY = (40, 300), (10, 100)  # of dev and of test


def match(
    lexicon: Lexicon, signs: Mapping[str, Mapping[str, Any]], dev: Sequence[Clip], test: Sequence[Clip], seed: int
) -> dict[str, Any]:
    """Word error rate on ``test`` with what was best on ``dev``; ``missed`` is the share of signs not recognized, of
    those with recordings of their own in each split and of those whose only recording all splits share.

    ``signs`` is what corpus.json says of each gloss. Two glosses with one sign count as the same.
    """
    glosses = {sign["word"]: gloss for gloss, sign in signs.items()}
    chosen = _templates(lexicon, seed)
    recognizer = Recognizer(
        tuple(hand_features(_plain(e.motion, lexicon.relaxed), 1.0) for e in chosen),
        tuple(glosses[e.word] for e in chosen),
    )
    most_dev, most_test = CLIPS if len(chosen) <= FEW else CLIPS_OF_MANY
    dev, test = dev[:most_dev], test[:most_test]
    said = [[glosses[signs[g]["word"]] for g in clip.glosses or ()] for clip in (*dev, *test)]
    tuned = recognizer.tune([_features(clip) for clip in dev], said[: len(dev)])
    heard = [recognizer.recognize(_features(clip), tuned.penalty, tuned.filler) for clip in test]
    shared = {gloss for gloss, sign in signs.items() if sign["shared"]}
    return {
        "wer": wer(said[len(dev) :], heard),
        "missed": missed(said[len(dev) :], heard, shared),
        "penalty": tuned.penalty,
        "filler": tuned.filler,
        "clips": len(test),
        "templates": len(chosen),
    }


def missed(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]], shared: set[str]
) -> dict[str, float]:
    """Share of reference glosses that were substituted or deleted, by whether their recordings are shared."""
    import jiwer

    labels = {gloss for side in (references, hypotheses) for glosses in side for gloss in glosses}
    numbers = {label: str(number) for number, label in enumerate(sorted(labels))}  # a label may hold spaces
    said, heard = ([" ".join(numbers[w] for w in words) for words in side] for side in (references, hypotheses))
    total: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for reference, chunks in zip(references, jiwer.process_words(said, heard).alignments, strict=True):
        kinds = ["shared" if gloss in shared else "own" for gloss in reference]
        total.update(kinds)
        for chunk in chunks:
            if chunk.type == "equal":
                right.update(kinds[chunk.ref_start_idx : chunk.ref_end_idx])
    return {kind: 1 - right[kind] / count for kind, count in sorted(total.items())}


def _templates(lexicon: Lexicon, seed: int) -> list[Exemplar]:
    """Up to ``TEMPLATES_A_WORD`` training recordings of each word."""
    rng = generator(seed, "templates")
    chosen: list[Exemplar] = []
    for word in lexicon.words:
        held = lexicon.recordings(word, "train")
        chosen += [held[i] for i in rng.permutation(len(held))[:TEMPLATES_A_WORD]]
    return chosen


def _plain(motion: Motion, relaxed: np.ndarray) -> np.ndarray:
    """An exemplar as a signer of middling build would show it, a hand that takes no part hanging down."""
    wrists, shapes = motion.wrists.copy(), motion.shapes.copy()
    for hand in (LEFT, RIGHT):
        if not uses(motion, hand):
            wrists[:, hand], shapes[:, hand] = REST[hand], relaxed[hand]
    there = np.ones((len(motion), 2), bool)
    return to_poses(Motion(wrists, shapes, there), np.full((len(motion), 2), (0.5, 0.27)), 0.05)


def _features(clip: Clip) -> np.ndarray:
    """Features of a composed clip; that of a left-handed signer is mirrored, as the lexicon is right-handed."""
    motion = from_poses(clip.poses)
    turned = motion is not None and left_handed(motion)
    middle = np.array([0.5, 0, 0], np.float32)
    return hand_features(mirror(clip.poses - middle) + middle if turned else clip.poses, 1.0)
