"""Classes of negatives: every pair is in one of them, by thresholds that can be chosen; the command and its picture."""

import json

import numpy as np
import pytest

from cli.main import main
from signatlas.errors import FeatureError
from signatlas.plots import trajectories as plots
from signatlas.sampling.trajectories.classes import CLASSES, classes
from tests.sampling.trajectories.trajectory_data import groups, write


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write(tmp_path_factory.mktemp("run") / "reference" / "trajectories")


def negatives(made):
    """Early and late similarities of the negatives, and all checkpoints' [K, pairs]."""
    everyone = np.arange(41)
    texts = np.array(groups(41))
    where = texts[:, None] != texts
    return np.stack([made.similarity(c, everyone, everyone)[where] for c in range(3)])


def test_classes_by_the_mean_of_each_end(made):
    found, values = classes(made), negatives(made)
    assert found.pairs == values.shape[1] == 41 * 40 - 2  # clips 39 and 40 say the same
    np.testing.assert_allclose(found.thresholds, values[[0, 2]].mean(1), atol=1e-6)
    high, stays = values[0] > found.thresholds[0], values[2] > found.thresholds[1]
    members = {"H->L": high & ~stays, "H->H": high & stays, "L->H": ~high & stays, "L->L": ~high & ~stays}
    assert tuple(found.shares) == CLASSES
    for name, which in members.items():
        assert found.shares[name] == pytest.approx(which.mean())
        np.testing.assert_allclose(found.curves[name], values[:, which].mean(1), atol=1e-6)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert np.sum(found.histogram) == found.pairs
    assert found.positives[-1] > found.positives[0] + 0.3, "a clip and its text came closer"
    assert found.rule == "mean"


def test_thresholds_can_be_chosen(made):
    found, values = classes(made, quantile=0.75), negatives(made)
    assert found.shares["H->L"] + found.shares["H->H"] == pytest.approx(0.25, abs=0.001)
    assert found.shares["L->H"] + found.shares["H->H"] == pytest.approx(0.25, abs=0.001)
    given = classes(made, threshold=0.2)
    assert given.thresholds == (0.2, 0.2)
    assert given.shares["H->H"] + given.shares["H->L"] == pytest.approx((values[0] > 0.2).mean())
    none = classes(made, threshold=2.0)
    assert none.shares["L->L"] == 1
    assert none.curves["H->H"] == [None, None, None]


def test_a_sample_of_clips_is_a_function_of_the_seed(made):
    first = classes(made, clips=20, seed=1)
    assert (first.clips, first.clips_of) == (20, 41)
    assert first == classes(made, clips=20, seed=1)
    assert first != classes(made, clips=20, seed=2)


def test_clips_that_say_the_same_have_no_negatives(made, monkeypatch):
    monkeypatch.setattr(made.snapshots[0], "groups", np.zeros(41, int))
    with pytest.raises(FeatureError, match="41 clips that all say the same have no negatives"):
        classes(made)


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_the_command_finds_the_trajectories_of_a_run(made, tmp_path, capsys, monkeypatch):
    drawn = []
    real = plots.save
    monkeypatch.setattr(plots, "save", lambda picture, path: (drawn.append(picture), real(picture, path)))
    told = []
    for place in (made.path, made.path.parent, made.path.parent.parent):
        assert run("trajectories", place, "--out", tmp_path / "t.png", "--clips", 30, "--verify", "--json") == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["shares"] == told[1]["shares"] == told[2]["shares"]
    assert told[0]["fingerprint"] == made.fingerprint
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    shares, curves = drawn[0].axes[:2]
    assert [bar.get_height() for bar in shares.patches] == pytest.approx(list(told[0]["shares"].values()))
    assert curves.lines[0].get_ydata().tolist() == told[0]["curves"]["H->L"]
    assert run("trajectories", made.path, "--out", tmp_path / "t.png", "--threshold", 2) == 0
    out = capsys.readouterr().out
    assert "epochs 5, 10, 20" in out
    assert "H->H         0.0%        -        -" in out


def test_mistakes_are_told_in_one_line(made, tmp_path, capsys):
    for words, message in (
        ((tmp_path,), "no trajectories at"),
        ((made.path, "--quantile", 0.5, "--threshold", 0.5), "exclude each other"),
        ((made.path, "--out", tmp_path / "t.png" / "x.png"), "cannot be written"),
    ):
        (tmp_path / "t.png").touch()
        assert run("trajectories", *words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
