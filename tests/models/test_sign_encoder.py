"""The sign encoder: padding, mirroring, saving and loading, bad input."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from signatlas.corpus.format import Clip
from signatlas.errors import ModelError, PoseError
from signatlas.layers import AttentionPooling, Block, Transformer
from signatlas.models.sign_encoder import SignEncoder, SignEncoderConfig
from signatlas.pose import skeleton as sk

SMALL = {
    "points": "nose_hands",
    "dims": 2,
    "frames": 12,
    "width": 32,
    "depth": 2,
    "heads": 4,
    "feedforward": 48,
    "embedding": 16,
}


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return SignEncoder(SignEncoderConfig(**SMALL)).eval()


@pytest.fixture(scope="module")
def poses():
    rng = np.random.default_rng(0)
    return [rng.uniform(0.2, 0.8, (n, 75, 3)).astype(np.float32) for n in (5, 40, 1)]


@pytest.mark.parametrize("pooling", ["attention", "mean"])
def test_padding_frames_have_no_influence(pooling):
    torch.manual_seed(0)
    model = SignEncoder(SignEncoderConfig(**SMALL, pooling=pooling)).eval()
    x, present = torch.randn(3, 12, 43, 3), torch.ones(3, 12, 43, dtype=torch.bool)
    padded = torch.cat([x, 1e3 * torch.randn(3, 9, 43, 3)], dim=1)
    valid = torch.arange(21)[None].expand(3, -1) < 12
    longer = model(padded, torch.ones(3, 21, 43, dtype=torch.bool), valid)
    torch.testing.assert_close(model(x, present), longer, atol=1e-5, rtol=1e-4)


def test_block_equals_the_layer_of_torch():
    torch.manual_seed(0)
    ours, theirs = (
        Block(32, 4, 48, 0.0),
        nn.TransformerEncoderLayer(32, 4, 48, 0.0, "gelu", batch_first=True, norm_first=True),
    )
    theirs.self_attn.in_proj_weight.data, theirs.self_attn.in_proj_bias.data = ours.qkv.weight.data, ours.qkv.bias.data
    pairs = [(theirs.self_attn.out_proj, ours.out), (theirs.linear1, ours.up), (theirs.linear2, ours.down)]
    for theirs_part, ours_part in pairs:
        theirs_part.load_state_dict(ours_part.state_dict())
    theirs.train()  # the fused inference path is another implementation
    x, valid = torch.randn(2, 7, 32), torch.arange(7)[None] < torch.tensor([[7], [4]])
    expected = theirs(x, src_key_padding_mask=~valid)
    torch.testing.assert_close(ours(x, valid[:, None, None, :])[valid], expected[valid], atol=1e-5, rtol=1e-4)


def test_attention_pooling_equals_its_definition():
    torch.manual_seed(0)
    pool, x = AttentionPooling(8, 2), torch.randn(1, 5, 8)
    valid = torch.tensor([[True, True, False, True, False]])
    weight = pool.score(x)[0, valid[0]].softmax(0)
    value = pool.value(x)[0, valid[0]].view(3, 2, 4)
    torch.testing.assert_close(pool(x, valid)[0], (weight[:, :, None] * value).sum(0).reshape(-1))


def test_gradients_of_the_trunk():
    torch.manual_seed(0)
    trunk = Transformer(8, 1, 2, 8, 0.0, 16).double()
    pool = AttentionPooling(8, 2).double()
    valid = torch.arange(4)[None] < torch.tensor([[4], [3]])
    x = torch.randn(2, 4, 8, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pool(trunk(x, valid), valid), (x,))


def test_embeddings_are_unit_vectors_for_any_batch(encoder, poses):
    together, alone = encoder.embed(poses), np.concatenate([encoder.embed([p]) for p in poses])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(encoder.embed(poses, batch_size=1), together, atol=1e-5)
    assert encoder.embed([]).shape == (0, 16)


def test_dropout_is_off_when_embedding(poses):
    torch.manual_seed(0)
    model = SignEncoder(SignEncoderConfig(**SMALL, dropout=0.5)).train()
    np.testing.assert_array_equal(model.embed(poses), model.embed(poses))
    assert model.training, "the mode is restored"


def test_a_mirrored_query_is_the_other_hands_performance(encoder, poses):
    other_hand = [(p * np.array([-1, 1, 1], np.float32) + np.array([1, 0, 0], np.float32))[:, sk.MIRROR] for p in poses]
    np.testing.assert_allclose(encoder.embed(poses, mirror=True), encoder.embed(other_hand), atol=1e-5)
    np.testing.assert_allclose(
        encoder.embed(poses, aspect=1.5, mirror=True), encoder.embed(other_hand, aspect=1.5), atol=1e-4
    )


def test_a_clip_uses_its_own_aspect_or_that_of_its_source(poses):
    model = SignEncoder(SignEncoderConfig(**SMALL, aspect={"webcam": 1.5})).eval()
    clips = [
        Clip("a", "test", poses[0], "gsg", "webcam"),
        Clip("b", "test", poses[0], "gsg", "elsewhere", width=300, height=200),
        Clip("c", "test", poses[0], "gsg", "elsewhere"),
    ]
    a, b, c = model.embed_clips(clips)
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert not np.allclose(a, c, atol=1e-3)


def test_a_saved_model_loads_the_same(encoder, poses, tmp_path):
    encoder.save_pretrained(tmp_path / "model", "# card")
    loaded = SignEncoder.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.embed(poses), encoder.embed(poses))
    assert not loaded.training
    assert loaded.config == encoder.config
    assert sorted(f.name for f in (tmp_path / "model").iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_damaged_model_folders_are_one_line(encoder, tmp_path):
    with pytest.raises(ModelError, match="no model at"):
        SignEncoder.from_pretrained(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"config\.json and model\.safetensors missing"):
        SignEncoder.from_pretrained(tmp_path / "empty")
    encoder.save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="damaged"):
        SignEncoder.from_pretrained(tmp_path / "model")
    weights.write_bytes(whole)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"width": 64}))
    with pytest.raises(ModelError, match="do not fit"):
        SignEncoder.from_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"widht": 64}))
    with pytest.raises(ModelError, match="widht"):
        SignEncoder.from_pretrained(tmp_path / "model")


def test_unusable_clips_are_refused(encoder):
    with pytest.raises(PoseError, match="empty"):
        encoder.embed([np.zeros((0, 75, 3), np.float32)])
    with pytest.raises(PoseError, match="neither face nor hands"):
        encoder.embed([np.full((3, 75, 3), np.nan, np.float32)])


def test_coordinates_without_a_finite_embedding_are_refused(encoder, poses):
    huge = np.where(np.arange(75)[:, None] % 2, 3e38, -3e38) * np.ones((4, 75, 3), np.float32)
    for mirror in (False, True):
        with pytest.raises(
            PoseError, match=r"^the poses give no finite embedding: are the coordinates in image units\?$"
        ):
            encoder.embed([huge], mirror=mirror)
    with pytest.raises(PoseError, match=r"^clip 2 of 3: the poses give no finite embedding"):
        encoder.embed([poses[0], huge, poses[1]])


def test_clips_without_hands_are_embedded(encoder, poses):
    """A corpus may have some; only queries need a hand."""
    body_only = poses[0].copy()
    body_only[:, sk.NUM_BODY :] = np.nan
    np.testing.assert_allclose(np.linalg.norm(encoder.embed([body_only]), axis=1), 1, rtol=1e-5)


def test_weights_that_are_not_finite_are_named(poses):
    model = SignEncoder(SignEncoderConfig(**SMALL))
    with torch.no_grad():
        model.project.weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="weights are not finite"):
        model.embed(poses[:1])
