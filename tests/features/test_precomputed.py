"""Precomputed features: every released format is read, and code in pickles never runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError
from signatlas.features.precomputed import import_features, matrix, read
from signatlas.features.store import FeatureStore


@pytest.fixture(scope="module")
def corpus(continuous_corpus: Path) -> Corpus:
    return Corpus.open(continuous_corpus)


@pytest.fixture(scope="module")
def arrays(corpus: Corpus) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {r["id"]: rng.normal(size=(max(1, r["num_frames"] - 15), 6)).astype(np.float32) for r in corpus.metadata()}


def write_release(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write features in the format of CiCo's releases: SPLIT/NAME.pkl, a dict with 'feature'."""
    for id, array in arrays.items():
        path = folder / f"{id.partition('/')[2]}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps({"feature": array, "name": id}))
    return folder


def assert_same(store: FeatureStore, arrays: dict[str, np.ndarray]) -> None:
    assert store.ids == list(arrays)
    for position, array in enumerate(arrays.values()):
        np.testing.assert_allclose(store.of(position, alpha=0.5), array, atol=2e-3)


def test_a_folder_in_the_format_of_cico(corpus: Corpus, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    result = import_features(corpus, tmp_path / "out", write_release(tmp_path / "i3d", arrays))
    assert result.store.info.kind == "precomputed" and result.store.info.made == {"agnostic": "i3d"}
    assert result.missing == result.unknown == ()
    assert_same(result.store, arrays)


@pytest.mark.parametrize("numpy2", [False, True])
def test_one_pickle_of_all_clips(corpus: Corpus, arrays: dict[str, np.ndarray], tmp_path: Path, numpy2: bool) -> None:
    content = pickle.dumps(dict(arrays), protocol=2)
    if numpy2:  # protocol 2 names modules in lines of text, without their lengths
        content = content.replace(b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n")
        assert b"numpy._core" in content
    (tmp_path / "all.pkl").write_bytes(content)
    assert_same(import_features(corpus, tmp_path / "out", tmp_path / "all.pkl").store, arrays)


def test_a_folder_of_npy_in_two_streams_with_a_limit(corpus, arrays, tmp_path: Path) -> None:
    for name, factor in (("first", 1.0), ("second", -1.0)):
        for id, array in arrays.items():
            path = tmp_path / name / f"{id}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, factor * array)
    features = import_features(corpus, tmp_path / "out", tmp_path / "first", tmp_path / "second", limit=5).store
    assert features.info.streams == ("agnostic", "aware") and features.counts.max() == 5
    np.testing.assert_allclose(features.of(0, alpha=0.5), 0.0, atol=1e-6)
    np.testing.assert_allclose(features.of(0, alpha=1.0), -features.of(0, alpha=0.0), atol=1e-3)


class Malicious:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("inside", [False, True])
def test_code_in_a_pickle_is_rejected_and_not_run(tmp_path: Path, inside: bool) -> None:
    evil = Malicious(tmp_path / "ran")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"feature": np.zeros((2, 3)), "more": evil} if inside else evil))
    with pytest.raises(FeatureError, match="which numpy arrays do not need; no code was run") as error:
        read(tmp_path / "x.pkl")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
    pickle.loads((tmp_path / "x.pkl").read_bytes())
    assert (tmp_path / "ran").exists(), "the same file does run code with plain pickle.loads"


@pytest.mark.parametrize(
    "content",
    [b"", b"not a pickle", pickle.dumps(np.zeros((3, 2)))[:-20], b"cbuiltins\neval\n(S'1'\ntR.", b"cos\nsystem\n."],
)
def test_damaged_pickles_raise_a_one_line_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(FeatureError, match=r"x\.pkl") as error:
        read(tmp_path / "x.pkl")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((2, 3), np.nan), "NaN"),
        (np.full((2, 3), 1e9), "huge"),
        (np.zeros((0, 3)), "shape [0, 3]"),
        (np.zeros((2, 3, 4)), "shape [2, 3, 4]"),
        ({"a": 1, "b": 2}, "'feature' is missing"),
        (["a", "b"], "not an array of numbers"),
        ([[1.0], [1.0, 2.0]], "not an array of numbers"),
        (np.array([object()]), "not an array of numbers"),
    ],
)
def test_invalid_feature_matrices_are_rejected(value: object, message: str) -> None:
    with pytest.raises(FeatureError) as error:
        matrix(value, "here")
    assert message in str(error.value)


def test_accepted_shapes_of_one_clip() -> None:
    assert matrix(np.zeros((5, 1, 1, 7)), "here").shape == (5, 7)
    assert matrix([[1, 2], [3, 4]], "here").tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert matrix({"only": np.zeros(4)}, "here").shape == (1, 4)


def test_missing_and_unknown_features_are_reported(corpus, arrays, tmp_path: Path, capsys) -> None:
    folder = write_release(tmp_path / "i3d", arrays)
    missing = next(iter(arrays))
    (folder / f"{missing.partition('/')[2]}.pkl").rename(folder / "somebody-else.pkl")
    arguments = ["features", "import", str(folder), "--corpus", corpus.path, "--out", str(tmp_path / "out"), "--json"]
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    errors = capsys.readouterr().err
    assert exit_info.value.code == 2 and f"features are missing for 1 of 24 clips, first {missing}" in errors
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit) as exit_info:
        main([*arguments, "--allow-missing"])
    output = capsys.readouterr()
    assert not exit_info.value.code and json.loads(output.out)["clips"] == 23
    assert "1 clips without features" in output.err and "first: somebody-else" in output.err


def test_mismatched_widths_and_lengths_are_rejected(corpus, arrays, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "i3d", arrays)
    last = list(arrays)[-1]
    (folder / f"{last.partition('/')[2]}.pkl").write_bytes(pickle.dumps({"feature": np.zeros((4, 5))}))
    with pytest.raises(FeatureError, match="is 5 wide, others 6"):
        import_features(corpus, tmp_path / "out", folder)
    (folder / f"{last.partition('/')[2]}.pkl").write_bytes(pickle.dumps({"feature": np.zeros((4, 6))}))
    with pytest.raises(FeatureError, match="windows in the two streams"):
        import_features(corpus, tmp_path / "out", folder, write_release(tmp_path / "again", arrays))
    assert not (tmp_path / "out").exists()
