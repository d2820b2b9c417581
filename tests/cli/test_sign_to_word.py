"""signatlas show map and signatlas mine, on a corpus of a few sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.format import Clip, Corpus, CorpusInfo, write_corpus
from signatlas.features import store
from signatlas.features.store import FeatureInfo
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.models.dual_encoder.encoder import DualEncoder

from .conftest import Run

SIZES = {"width": 16, "depth": 1, "heads": 2, "feedforward": 16}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Twelve test clips of two signs, their features, and two untrained models: fine-grained and of CLS vectors."""
    folder = tmp_path_factory.mktemp("maps")
    clips = [
        Clip(f"s/test/{n}", "test", np.full((40, 75, 3), 0.5, np.float32), "gsg", "s", glosses=("regen", "nord"),
             gloss_spans=((2, 18), (20, 38)), gloss_kinds=("real", "real"), fps=25.0,
             texts=(("de", f"Regen im Norden $x$ {n % 3}"), ("en", "rain in the north")))
        for n in range(12)
    ]  # fmt: skip
    info = CorpusInfo("s", "1", "Apache-2.0", "made in the test", ("gsg",), synthetic=True)
    corpus = write_corpus(folder / "corpus", info, clips)
    features = FeatureInfo(kind="windows", streams=("agnostic",), width=24, corpus="s", window=16, stride=1, limit=64,
                           corpus_fingerprint=corpus.info.fingerprint)  # fmt: skip
    arrays = [np.random.default_rng(n).normal(0, 1, (25, 24)) for n in range(12)]
    store.write(folder / "features", features, [c.id for c in clips], [25] * 12, {"agnostic": arrays})
    for kind in ("fine_grained", "cls"):
        config = DualEncoderConfig.model_validate(
            {"sign": {"max_windows": 12, **SIZES}, "text": {"max_tokens": 16, **SIZES}, "embedding": 16,
             "similarity": {"kind": kind}}
        )  # fmt: skip
        DualEncoder.build(config, [c.texts[0][1] for c in clips], 24).save_pretrained(folder / kind)
    return {name: folder / name for name in ("corpus", "features", "fine_grained", "cls")}


def test_a_map_of_one_clip(paths: dict[str, Path], tmp_path: Path, run: Run) -> None:
    words = (
        "show",
        "map",
        paths["fine_grained"],
        paths["corpus"],
        "--clip",
        "s/test/1",
        "--features",
        paths["features"],
    )
    code, out, _ = run(*words, "--out", tmp_path / "map.png")
    assert code == 0 and "map.png: 12 clips x " in out
    assert (tmp_path / "map.png").stat().st_size > 10_000
    code, out, _ = run(*words, "--out", tmp_path / "map.png", "--language", "en", "--json")
    answer = json.loads(out)
    assert code == 0 and answer["words"] == ["rain", "in", "the", "north"]
    assert np.array(answer["cosines"]).shape == (12, 4) and len(answer["frames"]) == 12


def test_a_dictionary(paths: dict[str, Path], tmp_path: Path, run: Run) -> None:
    words = (
        "mine",
        paths["fine_grained"],
        paths["corpus"],
        "--features",
        paths["features"],
        "--out",
        tmp_path / "m",
    )
    code, out, err = run(*words, "--most", 6, "--no-picture")
    assert code == 0, err
    assert "Regen" in out and "by chance" in out and "Synthetic" in out
    document = json.loads((tmp_path / "m" / "words.json").read_text("utf-8"))
    assert not (tmp_path / "m" / "mined.png").exists()
    regen = next(word for word in document["words_found"] if word["word"] == "Regen")
    assert regen["count"] == 12 and len(regen["windows"]) == 6 and 0 <= regen["named"] <= 1
    corpus = {row["id"]: row for row in Corpus.open(paths["corpus"]).metadata()}
    for window in regen["windows"]:
        spans = dict(zip(corpus[window["id"]]["glosses"], corpus[window["id"]]["gloss_spans"], strict=True))
        assert window["gloss"] == next((g for g, (a, b) in spans.items() if a <= window["frame"] < b), None)
    code, _, err = run(*words, "--json")
    assert code == 2 and "already exists" in err


@pytest.mark.slow  # UMAP compiles itself for half a minute
def test_a_dictionary_is_plotted(paths: dict[str, Path], tmp_path: Path, run: Run) -> None:
    words = (
        "mine",
        paths["fine_grained"],
        paths["corpus"],
        "--features",
        paths["features"],
        "--out",
        tmp_path / "m",
    )
    assert run(*words, "--most", 3)[0] == 0
    assert (tmp_path / "m" / "mined.png").stat().st_size > 10_000


def test_mistakes_are_one_line(paths: dict[str, Path], tmp_path: Path, run: Run) -> None:
    model, corpus, features = (paths[name] for name in ("fine_grained", "corpus", "features"))
    for words, message in [
        (("show", "map", model, corpus, "--clip", "nothing", "--features", features), "no clip 'nothing'"),
        (("show", "map", paths["cls"], corpus, "--clip", "s/test/1", "--features", features), "no sign-to-word map"),
        (("show", "map", model, corpus, "--clip", "s/test/1", "--features", tmp_path), "no clip features at"),
        (("show", "map", model, corpus, "--clip", "s/test/1", "--features", features, "--language", "fr"), "in 'fr'"),
        (("mine", model, corpus, "--features", features, "--out", tmp_path / "o", "--split", "dev"), "no split 'dev'"),
        (("mine", model, corpus, "--features", features, "--out", tmp_path / "o", "--least", 99), "lower --least"),
    ]:  # fmt: skip
        code, _, err = run(*words)
        assert code == 2 and message in err and err.count("\n") == 1, err
    assert not (tmp_path / "o").exists()
