"""Gloss oracle features: one fixed vector per gloss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError
from signatlas.features.glosses import gloss_vector, write_gloss_features


def test_vectors_depend_only_on_gloss_and_seed() -> None:
    np.testing.assert_array_equal(gloss_vector("RAIN", 16, 0), gloss_vector("RAIN", 16, 0))
    assert np.linalg.norm(gloss_vector("RAIN", 16, 0)) == pytest.approx(1.0, abs=1e-6)
    for gloss, seed in (("SNOW", 0), ("RAIN", 1)):
        assert abs(gloss_vector("RAIN", 256, 0) @ gloss_vector(gloss, 256, seed)) < 0.3


def test_clips_have_one_row_per_gloss(continuous_corpus: Path, tmp_path: Path) -> None:
    corpus = Corpus.open(continuous_corpus)
    store = write_gloss_features(corpus, tmp_path / "out", width=16, seed=3)
    rows = corpus.metadata()
    assert store.ids == [r["id"] for r in rows] and store.info.kind == "glosses"
    for position, row in enumerate(rows):
        expected = np.stack([gloss_vector(gloss, 16, 3) for gloss in row["glosses"]])
        np.testing.assert_allclose(store.of(position, alpha=1.0), expected, atol=1e-3)


def test_commands_create_and_describe_features(
    continuous_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    for arguments in (["glosses", str(continuous_corpus), "--out", out], ["info", out]):
        with pytest.raises(SystemExit) as exit_info:
            main(["features", *arguments])
        output = capsys.readouterr().out
        assert not exit_info.value.code and "glosses" in output and "24" in output
    with pytest.raises(SystemExit) as exit_info:
        main(["features", "glosses", str(continuous_corpus), "--out", out])
    assert exit_info.value.code == 2 and "pass --overwrite" in capsys.readouterr().err


def test_clips_without_glosses_are_rejected(small_corpus: Path, tmp_path: Path) -> None:
    assert write_gloss_features(Corpus.open(small_corpus), tmp_path / "isolated").counts.max() == 1
    corpus = Corpus.open(small_corpus)
    corpus.metadata = lambda: [{"id": "x", "glosses": None, "gloss": None}]  # type: ignore[method-assign]
    with pytest.raises(FeatureError, match="has no glosses"):
        write_gloss_features(corpus, tmp_path / "out")
