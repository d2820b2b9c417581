"""The gloss oracle: one fixed vector a gloss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from signatlas.corpus.format import Corpus
from signatlas.errors import FeatureError
from signatlas.features.glosses import make, vector


def test_a_vector_is_a_function_of_gloss_and_seed() -> None:
    np.testing.assert_array_equal(vector("RAIN", 16, 0), vector("RAIN", 16, 0))
    assert np.linalg.norm(vector("RAIN", 16, 0)) == pytest.approx(1.0, abs=1e-6)
    for gloss, seed in (("SNOW", 0), ("RAIN", 1)):
        assert abs(vector("RAIN", 256, 0) @ vector(gloss, 256, seed)) < 0.3


def test_clips_have_a_row_a_gloss(continuous_corpus: Path, tmp_path: Path) -> None:
    corpus = Corpus.open(continuous_corpus)
    store = make(corpus, tmp_path / "out", width=16, seed=3)
    rows = corpus.metadata()
    assert store.ids == [r["id"] for r in rows] and store.info.kind == "glosses"
    for place, row in enumerate(rows):
        expected = np.stack([vector(gloss, 16, 3) for gloss in row["glosses"]])
        np.testing.assert_allclose(store.of(place, alpha=1.0), expected, atol=1e-3)


def test_the_commands(continuous_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    for words in (["glosses", str(continuous_corpus), "--out", out], ["info", out]):
        with pytest.raises(SystemExit) as ended:
            main(["features", *words])
        said = capsys.readouterr().out
        assert not ended.value.code and "glosses" in said and "24" in said
    with pytest.raises(SystemExit) as ended:
        main(["features", "glosses", str(continuous_corpus), "--out", out])
    assert ended.value.code == 2 and "pass --overwrite" in capsys.readouterr().err


def test_clips_without_glosses_are_refused(small_corpus: Path, tmp_path: Path) -> None:
    assert make(Corpus.open(small_corpus), tmp_path / "isolated").counts.max() == 1  # the gloss of a single sign
    corpus = Corpus.open(small_corpus)
    corpus.metadata = lambda: [{"id": "x", "glosses": None, "gloss": None}]  # type: ignore[method-assign]
    with pytest.raises(FeatureError, match="has no glosses"):
        make(corpus, tmp_path / "out")
