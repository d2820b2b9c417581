"""signatlas show map and mine as a user calls them, on a corpus of a few sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from signatlas.corpus.format import Clip, Corpus, CorpusInfo, write_corpus
from signatlas.features import store
from signatlas.features.store import FeatureInfo
from signatlas.models.dual_encoder.config import DualEncoderConfig
from signatlas.models.dual_encoder.encoder import DualEncoder

SIZES = {"width": 16, "depth": 1, "heads": 2, "feedforward": 16}


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Twelve test clips of two signs, their features, an untrained model, and one that compares cls vectors."""
    folder = tmp_path_factory.mktemp("maps")
    clips = [
        Clip(f"s/test/{n}", "test", np.full((40, 75, 3), 0.5, np.float32), "gsg", "s", glosses=("regen", "nord"),
             gloss_spans=((2, 18), (20, 38)), gloss_kinds=("real", "real"), fps=25.0,
             texts=(("de", f"Regen im Norden $x$ {n % 3}"), ("en", "rain in the north")))
        for n in range(12)
    ]  # fmt: skip
    info = CorpusInfo("s", "1", "Apache-2.0", "made in the test", ("gsg",), synthetic=True)
    corpus = write_corpus(folder / "corpus", info, clips)
    kept = FeatureInfo(kind="windows", streams=("agnostic",), width=24, corpus="s", window=16, stride=1, limit=64,
                       corpus_fingerprint=corpus.info.fingerprint)  # fmt: skip
    arrays = [np.random.default_rng(n).normal(0, 1, (25, 24)) for n in range(12)]
    store.write(folder / "features", kept, [c.id for c in clips], [25] * 12, {"agnostic": arrays})
    for kind in ("fine_grained", "cls"):
        config = DualEncoderConfig.model_validate(
            {"sign": {"max_windows": 12, **SIZES}, "text": {"max_tokens": 16, **SIZES}, "embedding": 16,
             "similarity": {"kind": kind}}
        )  # fmt: skip
        DualEncoder.build(config, [c.texts[0][1] for c in clips], 24).save_pretrained(folder / kind)
    return {name: folder / name for name in ("corpus", "features", "fine_grained", "cls")}


def test_a_map_of_one_clip(made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("show", "map", made["fine_grained"], made["corpus"], "--clip", "s/test/1", "--features", made["features"])
    assert run(*words, "--out", tmp_path / "map.png") == 0
    assert "map.png: 12 clips x " in capsys.readouterr().out
    assert (tmp_path / "map.png").stat().st_size > 10_000
    assert run(*words, "--out", tmp_path / "map.png", "--language", "en", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["words"] == ["rain", "in", "the", "north"]
    assert np.array(found["cosines"]).shape == (12, 4) and len(found["frames"]) == 12


def test_a_dictionary(made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("mine", made["fine_grained"], made["corpus"], "--features", made["features"], "--out", tmp_path / "m")
    assert run(*words, "--most", 6, "--no-picture") == 0
    shown = capsys.readouterr().out
    assert "Regen" in shown and "by chance" in shown and "Synthetic" in shown
    document = json.loads((tmp_path / "m" / "words.json").read_text("utf-8"))
    assert not (tmp_path / "m" / "mined.png").exists()
    regen = next(word for word in document["words_found"] if word["word"] == "Regen")
    assert regen["count"] == 12 and len(regen["windows"]) == 6 and 0 <= regen["named"] <= 1
    corpus = {row["id"]: row for row in Corpus.open(made["corpus"]).metadata()}
    for window in regen["windows"]:
        spans = dict(zip(corpus[window["id"]]["glosses"], corpus[window["id"]]["gloss_spans"], strict=True))
        assert window["gloss"] == next((g for g, (a, b) in spans.items() if a <= window["frame"] < b), None)
    assert run(*words, "--json") == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.slow  # UMAP compiles itself for half a minute
def test_a_dictionary_is_drawn(made: dict[str, Path], tmp_path: Path) -> None:
    words = ("mine", made["fine_grained"], made["corpus"], "--features", made["features"], "--out", tmp_path / "m")
    assert run(*words, "--most", 3) == 0
    assert (tmp_path / "m" / "mined.png").stat().st_size > 10_000


def test_mistakes_end_in_one_line(made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, corpus, features = (made[name] for name in ("fine_grained", "corpus", "features"))
    for words, said in [
        (("show", "map", model, corpus, "--clip", "nothing", "--features", features), "no clip 'nothing'"),
        (("show", "map", made["cls"], corpus, "--clip", "s/test/1", "--features", features), "has no sign-to-word map"),
        (("show", "map", model, corpus, "--clip", "s/test/1", "--features", tmp_path), "no clip features at"),
        (("show", "map", model, corpus, "--clip", "s/test/1", "--features", features, "--language", "fr"), "in 'fr'"),
        (("mine", model, corpus, "--features", features, "--out", tmp_path / "o", "--split", "dev"), "no split 'dev'"),
        (("mine", model, corpus, "--features", features, "--out", tmp_path / "o", "--least", 99), "smaller --least"),
    ]:  # fmt: skip
        assert run(*words) == 2, words
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
    assert not (tmp_path / "o").exists()
