"""Features against plain forms of their definitions."""

import numpy as np
import pytest
import torch

from signatlas.pose import features
from signatlas.pose import skeleton as sk

STREAMS = ("position", "shape", "velocity", "bones", "bone_velocity", "presence")


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(size=(2, 5, 43, 3))).float(), torch.from_numpy(rng.random((2, 5, 43)) < 0.7)


@pytest.mark.parametrize("points", ["all", "upper", "nose_hands"])
@pytest.mark.parametrize("dims", [2, 3])
def test_width_matches_the_features(points, dims):
    total = len(features.POINT_SETS[points])
    x, present = torch.zeros(1, 4, total, 3), torch.ones(1, 4, total, dtype=torch.bool)
    for streams in (("position",), ("shape", "presence"), STREAMS):
        built = features.build(x, present, points=points, dims=dims, streams=streams)
        assert built.shape == (1, 4, features.width(points, dims, streams))


def test_streams_match_their_definitions(batch):
    x, present = batch
    (velocity,) = (features.build(x, present, points="nose_hands", dims=3, streams=["velocity"]),)
    shape = features.build(x, present, points="nose_hands", dims=3, streams=["shape"]).view(2, 5, 42, 3)
    bones = features.build(x, present, points="nose_hands", dims=3, streams=["bones"]).view(2, 5, 43, 3)
    assert (velocity[:, 0] == 0).all()
    torch.testing.assert_close(velocity.view(2, 5, 43, 3)[:, 3], (x[:, 3] - x[:, 2]) * 4.0)
    # left hand: points 1..21 of the set, right hand: 22..42
    torch.testing.assert_close(shape[:, :, 8], (x[:, :, 9] - x[:, :, 1]) * features.PALMS_PER_UNIT)
    torch.testing.assert_close(shape[:, :, 21 + 8], (x[:, :, 30] - x[:, :, 22]) * features.PALMS_PER_UNIT)
    torch.testing.assert_close(bones[:, :, 1 + 6], x[:, :, 1 + 6] - x[:, :, 1 + 5])  # index pip minus mcp


def test_two_dimensions_ignore_z(batch):
    x, present = batch
    deeper = x.clone()
    deeper[..., 2] += 100
    flat = [features.build(v, present, points="nose_hands", dims=2, streams=STREAMS) for v in (x, deeper)]
    torch.testing.assert_close(*flat)


def test_presence_has_one_value_per_hand(batch):
    x, present = batch
    present[:, :, 1:22] = False
    built = features.build(x, present, points="nose_hands", dims=2, streams=["presence"])
    assert built.shape[-1] == 3
    assert (built[..., 1] == 0).all()


def test_every_point_has_a_parent_in_its_set():
    for name, point_set in features.POINT_SETS.items():
        parent = features.parents(name)
        assert parent[0] == 0, "the nose is the root"
        assert all(0 <= p < len(point_set) for p in parent)
        assert (point_set[-42:] == np.arange(33, 75)).all(), "hands come last"


def test_mirror_index_pairs_left_with_right():
    assert (sk.MIRROR[sk.MIRROR] == np.arange(75)).all()
    assert sk.POINT_NAMES[sk.MIRROR[33 + 8]] == "right_hand.index_tip"
