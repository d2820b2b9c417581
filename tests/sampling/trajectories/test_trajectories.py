"""Similarities of cached tokens, their changes, and the sources that pair selection uses."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from signatlas.errors import FeatureError
from signatlas.sampling import LowRankDelta, TokenDelta, plan_epoch, select_batches
from signatlas.sampling.trajectories import Trajectories, store
from signatlas.sampling.trajectories import similarities as module
from signatlas.similarity import fine_grained
from tests.sampling.trajectories.trajectory_data import EPOCHS, WIDTH, encoded, groups, tokens, write


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory):
    return write(tmp_path_factory.mktemp("reference") / "trajectories")


def pairwise(video, text, tau=0.07):
    """1/2 (I2T + T2I) of one clip and one text, from the definition (CiCo, Eq. 2)."""
    pair = [torch.from_numpy(x.astype(np.float32))[None] for x in (video, text)]
    masks = [torch.ones(x.shape[:2], dtype=torch.bool) for x in pair]
    return float(sum(fine_grained(*pair, *masks, tau=tau, backend="reference"))) / 2


def test_similarities_equal_those_of_each_pair_alone(trajectories, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)
    rows, columns = np.array([40, 3, 3, 17, 0, 9, 22, 31, 5, 8]), np.array([11, 40, 0, 25, 1, 2, 3, 4, 5])
    for checkpoint, epoch in enumerate(EPOCHS):
        sides = tokens(41)[epoch]
        expected = [[pairwise(sides["visual"][i], sides["text"][j]) for j in columns] for i in rows]
        np.testing.assert_allclose(trajectories.similarity(checkpoint, rows, columns), expected, atol=2e-6)
    assert trajectories.ids[40] == "clip/40"
    assert trajectories.epochs == [5, 10, 20]
    assert len(trajectories) == 41


def test_changes_from_end_to_end_and_along_a_line(trajectories):
    clips = np.arange(41)
    s = np.stack([trajectories.similarity(c, clips, clips) for c in range(3)])
    np.testing.assert_allclose(trajectories.delta(clips, clips), s[2] - s[0], atol=1e-6)
    fitted = np.polyfit(EPOCHS, s.reshape(3, -1), 1)[0].reshape(41, 41) * (EPOCHS[-1] - EPOCHS[0])
    np.testing.assert_allclose(trajectories.delta(clips, clips, "slope"), fitted, atol=1e-6)
    # Of 41 clips all pairs are the sample.
    z = (s - s.mean((1, 2), keepdims=True)) / s.std((1, 2), keepdims=True)
    np.testing.assert_allclose(trajectories.delta(clips, clips, zscore=True), z[2] - z[0], atol=1e-4)
    with pytest.raises(ValueError, match="use 'endpoints' or 'slope'"):
        trajectories.delta(clips, clips, "middle")


@pytest.mark.parametrize("trajectory", ["endpoints", "slope"])
def test_the_matrix_is_computed_once_and_mapped(tmp_path, trajectory, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 16)
    progress = []
    trajectories = write(tmp_path / "trajectories")
    dense = trajectories.dense(trajectory, progress=progress.append)
    assert progress == [16, 32, 41]
    assert isinstance(dense, np.memmap)
    assert dense.dtype == np.float16
    np.testing.assert_array_equal(
        dense, trajectories.delta(np.arange(41), np.arange(41), trajectory).astype(np.float16)
    )
    before = {path.name for path in trajectories.path.iterdir()}
    trajectories.dense(trajectory, progress=progress.append)
    assert progress == [16, 32, 41]
    assert {path.name for path in trajectories.path.iterdir()} == before
    trajectories.dense(trajectory, zscore=True)
    assert len(list(trajectories.path.glob("delta-*.npy"))) == 2


def test_sources_by_the_number_of_clips(trajectories, monkeypatch):
    dense = trajectories.source()
    np.testing.assert_array_equal(
        plan_epoch(dense, 4, 0.5, seed=0), select_batches(np.asarray(trajectories.dense()), 4, 0.5, seed=0)
    )
    monkeypatch.setattr(module, "DENSE", 40)
    monkeypatch.setattr(module, "POOL", 16)
    pools = trajectories.source(trajectory="slope")
    assert isinstance(pools, TokenDelta)
    plan = plan_epoch(pools, 4, 0.5, seed=0)
    assert plan.shape == (10, 4)
    np.testing.assert_array_equal(plan, plan_epoch(pools, 4, 0.5, seed=0, pool=16))


@pytest.mark.parametrize("kind", ["mean", "cls"])
def test_factors_are_exact_where_pooled_vectors_are_compared(tmp_path, kind):
    trajectories = write(tmp_path / "trajectories", kind=kind)
    clips = np.arange(41)
    for options in ({}, {"trajectory": "slope"}, {"zscore": True}):
        low = trajectories.source(low_rank=True, **options)
        assert isinstance(low, LowRankDelta)
        gains, delta = low.gains(None), trajectories.delta(clips, clips, **options)
        matrix = np.stack([gains(i, clips) for i in clips])
        expected = delta + delta.T
        # The mean of z-scores is a constant, which no order depends on.
        np.testing.assert_allclose(matrix - matrix.mean(), expected - expected.mean(), atol=5e-3)
        assert np.corrcoef(matrix.ravel(), expected.ravel())[0, 1] > 0.9999


def test_factors_approximate_similarities_of_tokens(trajectories):
    clips = np.arange(41)
    gains, delta = trajectories.factors().gains(None), trajectories.delta(clips, clips)
    matrix = np.stack([gains(i, clips) for i in clips])
    assert np.corrcoef(matrix.ravel(), (delta + delta.T).ravel())[0, 1] > 0.6


def digest(folder):
    """Digest of plans from every kind of source that computes."""
    trajectories = Trajectories.open(folder)
    sources = [
        trajectories.factors(),
        trajectories.factors("slope", True),
        TokenDelta(trajectories.delta, len(trajectories)),
    ]
    plans = [
        plan_epoch(source, 8, alpha, seed=[1, epoch], pool=pool).tobytes()
        for source in sources
        for epoch, alpha, pool in ((0, 0.3, None), (1, 0.8, 150))
    ]
    return hashlib.sha256(b"".join(plans)).hexdigest()


def test_plans_are_the_same_with_any_number_of_threads(tmp_path):
    """Ranks on machines of different sizes must compute the same plan."""
    write(tmp_path / "trajectories", clips=300)
    expected, threads = digest(tmp_path / "trajectories"), torch.get_num_threads() + 2
    code = (
        f"import torch; torch.set_num_threads({threads}); "
        "from tests.sampling.trajectories.test_trajectories import digest; "
        f"print(digest({str(tmp_path / 'trajectories')!r}))"
    )
    environment = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == expected


# --- missing or damaged files


def test_one_checkpoint_is_not_enough(tmp_path):
    with pytest.raises(FeatureError, match=r"^reference run without enough checkpoints: .* has 1, a trajectory needs"):
        write(tmp_path / "trajectories", epochs=(5,))


def test_a_folder_without_trajectories(tmp_path):
    with pytest.raises(FeatureError, match=r"no trajectories at .*: name the 'trajectories' folder"):
        Trajectories.open(tmp_path)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("trajectories.json", truncate, "trajectories.json is damaged"),
        ("epoch_0010/snapshot.json", truncate, "epoch_0010 is missing or damaged"),
        ("epoch_0010/rows.parquet", truncate, "epoch_0010 is missing or damaged"),
        ("epoch_0010/text.npy", truncate, "text.npy cannot be read"),
        (
            "epoch_0020/visual_pooled.npy",
            lambda p: np.save(p, np.zeros((3, WIDTH), np.float16)),
            r"expected \(41, 12\)",
        ),
        ("epoch_0005/snapshot.json", lambda p: p.unlink(), "epoch_0005 is missing or damaged"),
    ],
)
def test_damage_is_reported_in_one_line(tmp_path, name, damage, message):
    write(tmp_path / "trajectories")
    damage(tmp_path / "trajectories" / name)
    with pytest.raises(FeatureError, match=message) as caught:
        Trajectories.open(tmp_path / "trajectories")
    assert "\n" not in str(caught.value)


def test_verification_finds_changed_values(tmp_path):
    trajectories = write(tmp_path / "trajectories")
    path = trajectories.token_caches[1].path / "visual.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    Trajectories.open(trajectories.path)
    with pytest.raises(FeatureError, match=r"visual\.npy does not match its checksum"):
        Trajectories.open(trajectories.path, verify=True)


def test_token_caches_of_two_runs_do_not_mix(tmp_path):
    trajectories = write(tmp_path / "trajectories")
    path = trajectories.path / "epoch_0010" / "snapshot.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"made": {"model": "another"}}))
    with pytest.raises(FeatureError, match=r"epoch_0010 does not belong to .*trajectories\.json"):
        Trajectories.open(trajectories.path)


def test_values_that_are_not_finite_are_not_written(tmp_path):
    sides = tokens(9)[5]
    sides["text"][8] = sides["text"][8] * np.nan
    info = store.TokenCacheInfo(epoch=5, width=WIDTH, sources={})
    with pytest.raises(FeatureError, match="not finite: has the reference model diverged"):
        store.write_token_cache(tmp_path, info, [str(n) for n in range(9)], groups(9), encoded(sides))
    with pytest.raises(FeatureError, match="tokens of 9 clips for 10 ids"):
        store.write_token_cache(tmp_path, info, [str(n) for n in range(10)], groups(10), encoded(tokens(9)[5]))
    assert list(tmp_path.iterdir()) == []
    assert not store.is_cached(tmp_path, info)
    store.write_token_cache(tmp_path, info, [str(n) for n in range(9)], groups(9), encoded(tokens(9)[5]))
    assert store.is_cached(tmp_path, info)
    assert not store.is_cached(tmp_path, info.model_copy(update={"sources": {"model": "x"}}))
