"""Probes find shortcuts that exist, and none where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.corpus.clips import Clip
from signatlas.corpus.sentences import Sentence
from signatlas.synthetic.composition.composer import Composer, Settings
from signatlas.synthetic.composition.lexicon import Lexicon
from signatlas.synthetic.composition.motion import from_poses, to_poses
from signatlas.synthetic.probes import probes
from tests.synthetic.conftest import SEVERAL, SINGLE, recordings


def frames(separation: float, seed: int) -> probes.Frames:
    rng = np.random.default_rng(seed)
    labels = rng.random(2000) < 0.2
    return probes.Frames(rng.normal(0, 1, (2000, 5)) + separation * labels[:, None], labels)


@pytest.mark.parametrize(("separation", "low", "high"), [(0.0, 0.45, 0.55), (3.0, 0.98, 1.0)])
def test_balanced_accuracy_and_auc(separation: float, low: float, high: float) -> None:
    train, test = frames(separation, 0), frames(separation, 1)
    assert low <= probes.balanced_accuracy(train, test) <= high
    for boosted in (False, True):
        assert low <= probes.auc(train, test, boosted=boosted) <= high


def test_the_source_probe_separates_uncalibrated_cameras() -> None:
    clips = list(recordings())
    special = frozenset(c.id for c in clips if c.source == "webcam")
    both = probes.source_frames(clips, special)
    assert both.labels.sum() == sum(c.num_frames for c in clips if c.id in special)
    assert probes.balanced_accuracy(both, both) > 0.9


def composed(lexicon: Lexicon, number: int = 30) -> list[Clip]:
    rng = np.random.default_rng(0)
    composer = Composer(lexicon, Settings("made", "gsg", signers=9))
    return [
        composer.compose(
            Sentence(f"s/{i}", "train", tuple(rng.choice(SEVERAL + SINGLE, 6).tolist()), (("de", "Satz"),), 90)
        )
        for i in range(number)
    ]


def test_the_source_probe_ignores_frames_between_signs(lexicon: Lexicon) -> None:
    clips = composed(lexicon, 4)
    special = frozenset(e.id for e in lexicon.exemplars if e.word in SEVERAL)
    frames_ = probes.source_frames(clips, special)
    assert len(frames_.labels) == sum(end - first for c in clips for first, end in c.gloss_spans or ())
    expected = [exemplar in special for c in clips for (first, end), exemplar in
              zip(c.gloss_spans or (), c.exemplars or (), strict=True) for _ in range(first, end)]  # fmt: skip
    np.testing.assert_array_equal(frames_.labels, expected)


def with_jumps(clip: Clip) -> Clip:
    """Return the clip without transitions: each frame outside a span repeats the end of the previous sign."""
    from dataclasses import replace

    motion = from_poses(clip.poses)
    assert motion is not None
    source = np.arange(len(motion))
    for (_, end), (begin, _) in zip((clip.gloss_spans or ())[:-1], (clip.gloss_spans or ())[1:], strict=True):
        source[end:begin] = end - 1
    poses = to_poses(motion.at(source.astype(float)), np.full((len(motion), 2), (0.5, 0.3)), 0.03)
    return replace(clip, poses=poses)


def test_the_seam_probe_finds_signs_without_transitions(lexicon: Lexicon) -> None:
    clips = composed(lexicon)
    blended = [probes.seam_frames(half) for half in (clips[::2], clips[1::2])]
    jumping = [with_jumps(clip) for clip in clips]
    cut = [probes.seam_frames(half) for half in (jumping[::2], jumping[1::2])]
    assert probes.auc(*cut, boosted=True) > probes.auc(*blended, boosted=True) + 0.03
    assert probes.auc(*cut) > 0.7


def test_the_seam_probe_marks_two_frames_about_each_boundary(lexicon: Lexicon) -> None:
    clip = composed(lexicon, 1)[0]
    frames_ = probes.seam_frames([clip])
    spans = clip.gloss_spans or ()
    inner = range(spans[0][0] + 3, spans[-1][1] - 3)
    edges = [edge for first, end in spans for edge in (first, end - 1)]
    np.testing.assert_array_equal(frames_.labels, [min(abs(t - e) for e in edges) <= 2 for t in inner])
    wide = probes.seam_frames([clip], window=3)
    assert wide.features.shape == (len(frames_.labels), 7 * frames_.features.shape[1])


def test_a_subset_keeps_features_and_labels_together() -> None:
    whole = frames(9.0, 0)
    part = probes.subset(whole, 100)
    assert len(part.labels) == 100
    np.testing.assert_array_equal(part.features.mean(1) > 4.5, part.labels)
