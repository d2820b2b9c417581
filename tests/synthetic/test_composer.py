from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from signatlas.corpus.clips import clip_digest
from signatlas.corpus.sentences import Sentence
from signatlas.errors import CorpusError
from signatlas.pose import skeleton as sk
from signatlas.synthetic.composition.composer import ASSIGNED, Composer, Settings, Word
from signatlas.synthetic.composition.lexicon import Lexicon
from signatlas.synthetic.composition.motion import from_poses
from signatlas.synthetic.composition.style import Signer, Variation, generator, make_signers, motion_noise
from tests.synthetic.conftest import SINGLE

STILL = Variation().scaled(0)


def sentence(*glosses: str, split: str = "train", frames: int | None = None, id: str = "s/1") -> Sentence:
    return Sentence(id, split, glosses, (("de", "ein Satz"), ("en", "a sentence")), frames)


@pytest.fixture
def composer(lexicon: Lexicon) -> Composer:
    return Composer(lexicon, Settings("made", "gsg", signers=9))


def test_clips_record_glosses_exemplars_and_signer(composer: Composer, lexicon: Lexicon) -> None:
    source = sentence("many0", "one3", "one4", "many1", split="test")
    clip = composer.compose(source)
    assert clip.glosses == source.glosses and clip.texts == source.texts and clip.signer_kind == "synthetic"
    assert clip.gloss_kinds == ("real",) * 4
    assert clip.fps == 25 and clip.width == clip.height
    by_id = {e.id: e for e in lexicon.exemplars}
    assert [by_id[e].word for e in clip.exemplars or ()] == list(source.glosses)
    assert by_id[(clip.exemplars or ())[0]].split == "test", "words with several recordings use those of the split"
    assert clip.signer and clip.signer.startswith("synthetic-test-")
    assert np.isnan(clip.poses[..., 2]).all() and np.isnan(clip.poses[:, 1 : sk.NUM_BODY]).all()
    assert np.isfinite(clip.poses[:, sk.NOSE, :2]).all()


@pytest.mark.parametrize("frames", [4, 7, 30, 61, 200])
def test_lengths_are_exact_and_spans_ordered_and_disjoint(composer: Composer, frames: int) -> None:
    clip = composer.compose(sentence("many0", "one1", "one2", "many3", frames=frames))
    assert clip.num_frames == frames
    spans = clip.gloss_spans or ()
    assert all(first < end for first, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert spans[0][0] >= 0 and spans[-1][1] <= frames


def test_spans_contain_the_motion_of_the_exemplars(lexicon: Lexicon) -> None:
    """Without variation, hands follow the path of the exemplar inside its span."""
    composer = Composer(lexicon, Settings("made", "gsg", signers=3, variation=STILL))
    clip = composer.compose(sentence("one0", "one2", frames=120))
    motion = from_poses(clip.poses)
    assert motion is not None
    signer = next(s for s in composer.signers["train"] if s.name == clip.signer)
    for number, (first, end) in enumerate(clip.gloss_spans or ()):
        exemplar = lexicon.recordings((clip.glosses or ())[number], "train")[0].motion
        hand = 0 if signer.left_handed else 1
        path = motion.wrists[first:end, hand] * (1 if not signer.left_handed else np.array([-1, 1]))
        rotated = path @ np.array(
            [[np.cos(signer.roll), -np.sin(signer.roll)], [np.sin(signer.roll), np.cos(signer.roll)]]
        )
        reference = exemplar.wrists[:, 1] * signer.reach
        # Amplitude and scale differ between signers; the shape of the path does not.
        for axis in (0, 1):
            actual = np.interp(np.linspace(0, 1, 50), np.linspace(0, 1, len(path)), rotated[:, axis])
            expected = np.interp(np.linspace(0, 1, 50), np.linspace(0, 1, len(reference)), reference[:, axis])
            if expected.std() > 0.5:
                assert np.corrcoef(actual, expected)[0, 1] > 0.85


def test_clips_depend_on_the_seed_and_not_on_the_order(composer: Composer, lexicon: Lexicon) -> None:
    sentences = [sentence(*SINGLE[i : i + 4], id=f"s/{i}") for i in range(4)]
    digests = [clip_digest(composer.compose(s)) for s in sentences]
    other = Composer(lexicon, composer.settings)
    assert [clip_digest(other.compose(s)) for s in reversed(sentences)] == digests[::-1]
    assert len(set(digests)) == 4
    reseeded = Composer(lexicon, replace(composer.settings, seed=1))
    assert clip_digest(reseeded.compose(sentences[0])) != digests[0]


def test_assigned_signs_are_marked(lexicon: Lexicon) -> None:
    words = {"REGEN": Word("one1"), "UNGEFAEHR": Word("one2", ASSIGNED)}
    clip = Composer(lexicon, Settings("made", "gsg"), words).compose(sentence("REGEN", "UNGEFAEHR"))
    assert clip.gloss_kinds == ("real", "assigned")


def test_sentences_without_signs_glosses_or_frames_are_refused(composer: Composer) -> None:
    with pytest.raises(CorpusError, match=r"no sign for the gloss 'unheard'"):
        composer.compose(sentence("many0", "unheard"))
    with pytest.raises(CorpusError, match="has no gloss"):
        composer.compose(sentence())
    with pytest.raises(CorpusError, match="3 signs in 2 frames"):
        composer.compose(sentence("one1", "one2", "one3", frames=2))


def test_signers_are_disjoint_between_splits_and_reproducible() -> None:
    by_split = make_signers(24, 0, Variation())
    names = [{s.name for s in split_signers} for split_signers in by_split.values()]
    assert [len(n) for n in names] == [16, 4, 4] and len(set.union(*names)) == 24
    same = Signer.make("synthetic-dev-01", 0, Variation())
    assert same.palm == by_split["dev"][1].palm
    assert len({s.palm for split_signers in by_split.values() for s in split_signers}) == 24
    with pytest.raises(ValueError, match="2 signers"):
        make_signers(2, 0, Variation())


def test_left_handed_signers_sign_with_the_left_hand(lexicon: Lexicon) -> None:
    composer = Composer(lexicon, Settings("made", "gsg", signers=3, variation=STILL))
    right = replace(composer.signers["train"][0], left_handed=False)
    clips = []
    for left_handed in (False, True):
        composer.signers["train"] = [replace(right, left_handed=left_handed)]
        poses = composer.compose(sentence("one1", "one3", frames=60)).poses[..., :2]
        clips.append(poses - poses[:, sk.NOSE, None])
    np.testing.assert_allclose(clips[0][:, sk.MIRROR] * np.array([-1, 1]), clips[1], atol=1e-5)


def test_motion_noise_has_the_configured_deviation() -> None:
    signer = replace(Signer.make("x", 0, Variation()), wander=0.5, tremble=0.0)
    wrists, _ = motion_noise(20_000, signer, generator("test"))
    assert wrists.std() == pytest.approx(0.5, rel=0.05)
    signer = replace(signer, wander=0.0, tremble=0.1)
    wrists, shapes = motion_noise(2_000, signer, generator("test"))
    assert wrists.std() == pytest.approx(0.1, rel=0.05) and shapes.std() == pytest.approx(0.1, rel=0.05)
