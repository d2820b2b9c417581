"""Inputs of sign embeddings: clip features and points of frames, lengths, padding, clips without inputs."""

from __future__ import annotations

import numpy as np
import pytest

from signatlas.corpus.format import Clip, Corpus, CorpusInfo, write_corpus
from signatlas.errors import FeatureError, PoseError
from signatlas.features import store
from signatlas.models.translator.config import BackboneConfig, SignEmbeddingConfig
from signatlas.models.translator.inputs import SignInputs, pose_inputs, prepare_poses, prepare_video
from signatlas.models.translator.sign_embedding import SignEmbedding, input_width

POSE = BackboneConfig(kind="pose", max_frames=10)


@pytest.fixture(scope="module")
def corpus(small_corpus) -> Corpus:
    return Corpus.open(small_corpus)


@pytest.fixture(scope="module")
def folder(corpus, tmp_path_factory) -> str:
    """Clip features of all clips but the first, in two streams; a clip's first value is its position in the corpus."""
    rows = corpus.metadata()[1:]
    counts = [row["num_frames"] for row in rows]
    values = [np.full((n, 6), k, np.float32) + np.arange(n)[:, None] / 64 for k, n in enumerate(counts, 1)]
    info = store.FeatureInfo(
        kind="windows", streams=("agnostic", "aware"), width=6, corpus="small",
        corpus_fingerprint=corpus.info.fingerprint,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("features") / "small"
    store.write(path, info, [row["id"] for row in rows], counts, {"agnostic": values, "aware": [-x for x in values]})
    return str(path)


def test_clip_features_are_mixed_subsampled_and_padded(corpus, folder):
    inputs = SignInputs.open(BackboneConfig(alpha=0.75, max_frames=9), corpus, features=folder)
    rows = corpus.metadata()
    assert rows[0]["id"] not in inputs and len(inputs) == len(rows) - 1 and inputs.width == 6
    assert inputs.lengths.tolist() == [min(row["num_frames"], 9) for row in rows[1:]]
    assert inputs.long_rate() == pytest.approx(np.mean([row["num_frames"] > 9 for row in rows[1:]]))
    x, mask = inputs.batch([rows[6]["id"], rows[7]["id"]])  # 14 and 8 windows
    assert x.shape == (2, 9, 6) and x.dtype == np.float32 and mask.sum(1).tolist() == [9, 8]
    np.testing.assert_allclose(x[0, [0, -1], 0], [0.5 * 6, 0.5 * (6 + 13 / 64)], atol=1e-2)
    assert (x[~mask] == 0).all()


def test_features_that_do_not_fit_are_refused(corpus, folder, tmp_path):
    with pytest.raises(FeatureError, match=r"data\.features"):
        SignInputs.open(BackboneConfig(), corpus)
    with pytest.raises(FeatureError, match=r"width 6, but the recipe has 7"):
        SignInputs.open(BackboneConfig(features=7), corpus, features=folder)
    clips = list(corpus)[:3]
    other = write_corpus(tmp_path / "other", CorpusInfo("o", "1", "x", "x", ("gsg",)), clips)
    with pytest.raises(FeatureError, match="another state of the corpus"):
        SignInputs.open(BackboneConfig(), other, features=folder)


def test_pose_inputs_equal_those_of_a_single_clip(corpus):
    inputs = SignInputs.open(POSE, corpus)
    assert inputs.width == input_width(POSE, None) == 335
    clips = {clip.id: clip for clip in corpus}
    ids = inputs.ids[3:8]
    x, mask = inputs.batch(ids)
    assert x.dtype == np.float32 and np.isfinite(x).all()
    for row, id in enumerate(ids):
        clip = clips[id]
        alone, alone_mask = prepare_poses(POSE, clip.poses, clip.width / clip.height, clip.fps)
        n = min(len(clip.poses), 10)
        assert (
            alone_mask.shape == (1, n)
            and alone_mask.all()
            and mask[row].sum() == n == inputs.lengths[inputs.ids.index(id)]
        )
        np.testing.assert_allclose(x[row, :n], alone[0], rtol=2e-3, atol=2e-3)  # stored as float16
    tokens, _ = SignEmbedding(SignEmbeddingConfig(backbone=POSE))(*map(_tensor, (x, mask)))
    assert tokens.shape == (5, 3, 128) and tokens.isfinite().all()


def _tensor(array):
    import torch

    return torch.from_numpy(array)


def test_velocities_do_not_depend_on_the_length_of_a_clip(corpus):
    clip = max(corpus, key=lambda clip: len(clip.poses))
    velocity = BackboneConfig(kind="pose", streams=("velocity",), max_frames=5)
    every = velocity.model_copy(update={"max_frames": 99})
    few, complete = (prepare_poses(b, clip.poses, 1.0, 25.0)[0][0] for b in (velocity, every))
    np.testing.assert_array_equal(few, complete[store.subsample(len(complete), 5)])


def test_a_rate_reads_fewer_frames_and_never_more_than_there_are(corpus):
    clip = max(corpus, key=lambda clip: len(clip.poses))
    positions = BackboneConfig(kind="pose", streams=("position",))
    every = pose_inputs(positions, clip.poses, 1.0, 25.0)
    half = pose_inputs(positions.model_copy(update={"rate": 12.5}), clip.poses, 1.0, 25.0)
    np.testing.assert_allclose(half, every[::2], atol=1e-6)
    for fps in (10.0, None):
        same = pose_inputs(positions.model_copy(update={"rate": 12.5}), clip.poses, 1.0, fps)
        np.testing.assert_array_equal(same, every)
    slow = SignInputs.open(positions.model_copy(update={"rate": 10.0}), corpus)
    assert [int(n) for n in slow.lengths] == [int((row["num_frames"] - 1) / 2.5) + 1 for row in corpus.metadata()]


def test_clips_with_unusable_poses_have_no_inputs(corpus, tmp_path):
    clips = list(corpus)[:3]
    broken = Clip("small/broken", "train", np.full((4, 75, 3), np.nan, np.float32), "gsg", "webcam")
    some = write_corpus(tmp_path / "some", CorpusInfo("some", "1", "x", "x", ("gsg",)), [clips[0], broken, *clips[1:]])
    inputs = SignInputs.open(POSE, some)
    assert inputs.ids == [clip.id for clip in clips] and "small/broken" not in inputs
    together, alone = inputs.batch([clips[1].id])[0], SignInputs.open(POSE, corpus).batch([clips[1].id])[0]
    np.testing.assert_array_equal(together, alone)
    with pytest.raises(FeatureError, match="clip small/broken has no inputs"):
        inputs.batch([clips[0].id, "small/broken"])
    with pytest.raises(PoseError):
        prepare_poses(POSE, broken.poses)


def test_fingerprints_depend_on_the_settings(corpus, folder):
    fingerprints = {
        SignInputs.open(backbone, corpus, features=folder).fingerprint
        for backbone in (POSE, POSE.model_copy(update={"dims": 3}), POSE.model_copy(update={"rate": 5.0}),
                         BackboneConfig())
    }  # fmt: skip
    assert len(fingerprints) == 4
    assert SignInputs.open(POSE, corpus).fingerprint in fingerprints, "the same settings, the same fingerprint"


def test_a_single_file_of_the_wrong_kind_is_refused(corpus, tmp_path):
    with pytest.raises(FeatureError, match="'features' takes no poses"):
        prepare_poses(BackboneConfig(), np.zeros((3, 75, 3), np.float32))
    with pytest.raises(FeatureError, match="'pose' takes no images"):
        prepare_video(POSE, tmp_path / "any.mp4")
