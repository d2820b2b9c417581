"""Classes of negatives: every pair is in one of them, by thresholds that can be set; the command and its figure."""

import json

import numpy as np
import pytest

from cli.main import main
from signatlas.errors import FeatureError
from signatlas.plots import trajectories as plots
from signatlas.sampling.trajectories import classify_negatives
from signatlas.sampling.trajectories.classes import CLASSES
from tests.sampling.trajectories.trajectory_data import groups, write


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory):
    return write(tmp_path_factory.mktemp("run") / "reference" / "trajectories")


def negatives(trajectories):
    """Similarities of the negatives at all checkpoints [K, pairs]."""
    clips = np.arange(41)
    texts = np.array(groups(41))
    negative = texts[:, None] != texts
    return np.stack([trajectories.similarity(checkpoint, clips, clips)[negative] for checkpoint in range(3)])


def test_classes_by_the_mean_at_each_end(trajectories):
    result, values = classify_negatives(trajectories), negatives(trajectories)
    assert result.pairs == values.shape[1] == 41 * 40 - 2  # clips 39 and 40 have the same text
    np.testing.assert_allclose(result.thresholds, values[[0, 2]].mean(1), atol=1e-6)
    early, late = values[0] > result.thresholds[0], values[2] > result.thresholds[1]
    members = {"H->L": early & ~late, "H->H": early & late, "L->H": ~early & late, "L->L": ~early & ~late}
    assert tuple(result.shares) == CLASSES
    for name, mask in members.items():
        assert result.shares[name] == pytest.approx(mask.mean())
        np.testing.assert_allclose(result.curves[name], values[:, mask].mean(1), atol=1e-6)
    assert sum(result.shares.values()) == pytest.approx(1)
    assert np.sum(result.histogram) == result.pairs
    assert result.positives[-1] > result.positives[0] + 0.3, "a clip and its text become more similar"
    assert result.rule == "mean"


def test_thresholds_can_be_set(trajectories):
    result, values = classify_negatives(trajectories, quantile=0.75), negatives(trajectories)
    assert result.shares["H->L"] + result.shares["H->H"] == pytest.approx(0.25, abs=0.001)
    assert result.shares["L->H"] + result.shares["H->H"] == pytest.approx(0.25, abs=0.001)
    result = classify_negatives(trajectories, threshold=0.2)
    assert result.thresholds == (0.2, 0.2)
    assert result.shares["H->H"] + result.shares["H->L"] == pytest.approx((values[0] > 0.2).mean())
    result = classify_negatives(trajectories, threshold=2.0)
    assert result.shares["L->L"] == 1
    assert result.curves["H->H"] == [None, None, None]


def test_a_sample_of_clips_depends_on_the_seed_alone(trajectories):
    first = classify_negatives(trajectories, clips=20, seed=1)
    assert (first.clips, first.clips_of) == (20, 41)
    assert first == classify_negatives(trajectories, clips=20, seed=1)
    assert first != classify_negatives(trajectories, clips=20, seed=2)


def test_clips_with_identical_texts_have_no_negatives(trajectories, monkeypatch):
    monkeypatch.setattr(trajectories.token_caches[0], "groups", np.zeros(41, int))
    with pytest.raises(FeatureError, match="41 clips with identical texts have no negatives"):
        classify_negatives(trajectories)


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_the_command_finds_the_trajectories_of_a_run(trajectories, tmp_path, capsys, monkeypatch):
    figures = []
    real = plots.save
    monkeypatch.setattr(plots, "save", lambda figure, path: (figures.append(figure), real(figure, path)))
    documents = []
    png = tmp_path / "t.png"
    for folder in (trajectories.path, trajectories.path.parent, trajectories.path.parent.parent):
        assert run("trajectories", folder, "--out", png, "--clips", 30, "--verify", "--json") == 0
        documents.append(json.loads(capsys.readouterr().out))
    first = documents[0]
    assert first["shares"] == documents[1]["shares"] == documents[2]["shares"]
    assert first["fingerprint"] == trajectories.fingerprint
    assert png.read_bytes().startswith(b"\x89PNG")
    shares, curves = figures[0].axes[:2]
    assert [bar.get_height() for bar in shares.patches] == pytest.approx(list(first["shares"].values()))
    assert curves.lines[0].get_ydata().tolist() == first["curves"]["H->L"]
    assert run("trajectories", trajectories.path, "--out", png, "--threshold", 2) == 0
    out = capsys.readouterr().out
    assert "epochs 5, 10, 20" in out
    assert "H->H         0.0%        -        -" in out


def test_the_command_finds_the_reference_run_that_a_recipe_names(trajectories, tmp_path, capsys):
    reference = trajectories.path.parent
    (tmp_path / "recipe.yaml").write_text(f"negative_selection: {{reference: {reference}}}\n")
    assert run("trajectories", tmp_path, "--out", tmp_path / "t.png", "--json") == 0
    assert json.loads(capsys.readouterr().out)["trajectories"] == str(trajectories.path)


def test_mistakes_are_reported_in_one_line(trajectories, tmp_path, capsys):
    for arguments, message in (
        ((tmp_path,), "no trajectories at"),
        ((trajectories.path, "--quantile", 0.5, "--threshold", 0.5), "exclude each other"),
        ((trajectories.path, "--out", tmp_path / "t.png" / "x.png"), "cannot be written"),
    ):
        (tmp_path / "t.png").touch()
        assert run("trajectories", *arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
