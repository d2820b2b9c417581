"""Recipes of the papers: every stage makes steps, with small models for weights that only the Hub has."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from signatlas.corpus.format import Corpus
from signatlas.recipe import load
from tests.trainers.sentence_data import write_sentences
from trainers.tasks.translation.stages import runs

ROOT = Path(__file__).parents[4]
# Replaces weights of the Hub, licensed corpora and GPUs.
SMALL = [
    "model.sign.backbone.pretrained=null", "model.sign.backbone.sizes={embedding: 4, hidden: [4, 8], depths: [1, 1]}",
    "model.sign.backbone.size=32", "model.sign.width=16", "model.max_tokens=16", "model.lora.force=true",
    "alignment.batch_size=4", "translation.batch_size=4", "scaling={workers: 1}",
    "checkpoint_selection.max_new_tokens=8",
]  # fmt: skip
MBART = {"pretrained": None, "vocabulary": 100, "width": 32, "layers": 4, "heads": 2, "feedforward": 32,
         "positions": 64}  # fmt: skip
PAPERS = {
    "scl_slt_phoenix14t": ["reference", "alignment", "translation"],
    "scl_slt_csl_daily": ["reference", "alignment", "translation"],
    "gfslt_vlp_phoenix14t": ["alignment", "translation"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny corpus with German and Chinese texts, and folders of pictures named after its clips."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    corpus, _ = write_sentences(folder, clips=18, chinese=True)
    rng = np.random.default_rng(0)
    for row in Corpus.open(corpus).metadata():
        clip = folder / "frames" / row["id"].rsplit("/", 1)[-1]
        clip.mkdir(parents=True)
        for number in range(20):
            Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(clip / f"{number:03d}.png")
    return corpus, folder / "frames"


CASES = [
    pytest.param("scl_slt_phoenix14t", None, marks=pytest.mark.fault),
    pytest.param("scl_slt_phoenix14t", 3, marks=pytest.mark.fault),
    pytest.param("scl_slt_csl_daily", None, marks=pytest.mark.slow),
    pytest.param("gfslt_vlp_phoenix14t", None, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "zero"), CASES)
def test_every_stage_makes_steps_in_its_precision(name, zero, data, tmp_path):
    path = ROOT / "recipes" / f"{name}.yaml"
    recipe = load(path)
    assert list(runs(recipe)) == PAPERS[name]
    language = json.dumps(recipe.model.language.model_dump() | MBART)  # JSON is YAML
    overrides = [*SMALL, f"data.corpus={data[0]}", f"data.frames={data[1]}", f"model.language={language}"]
    if zero is not None:
        overrides += [f"{stage}.optimizer.zero_stage={zero}" for stage in ("alignment", "translation")]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainers.tasks.translation.stage_steps", str(path), str(port), str(tmp_path),
         *overrides], cwd=ROOT,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results) == PAPERS[name]
    for stage, run in runs(recipe).items():
        step = results[stage]
        assert all(math.isfinite(value) for value in (*step["losses"], step["metrics"]["score"])), step
        assert step["zero"] == (run.optimizer.zero_stage if zero is None else zero), stage
        assert step["precision"] == "torch.bfloat16", stage
        assert step["checkpointing"] == run.optimizer.gradient_checkpointing
        assert any(name.startswith("sign.backbone") for name in step["changed"]), "the gradient reaches the backbone"
        assert step["changed_frozen"] == []
        assert step["loader"] == "Prefetch" and step["prefetched_equal"]
        assert step["selected"] == (run.negative_selection is not None)
        assert ("。" in step["text"]) == (recipe.data.language == "zh")
    aligned = results["alignment"]["metrics"]
    if recipe.alignment.translation_weight == 0:
        assert aligned["score"] == -aligned["dev_contrast"] and "dev_BLEU-4" not in aligned, "selected as in GFSLT-VLP"
    else:
        assert aligned["score"] == aligned["dev_BLEU-4"]


def test_the_values_are_those_of_the_papers():
    scl, gfslt = (load(ROOT / "recipes" / f"{name}.yaml") for name in ("scl_slt_phoenix14t", "gfslt_vlp_phoenix14t"))
    assert (scl.alignment.optimizer.epochs, scl.translation.optimizer.epochs) == (80, 200)
    assert (scl.alignment.batch_size, scl.translation.batch_size) == (16, 8)
    assert (scl.model.lora.rank, scl.model.lora.alpha, scl.label_smoothing) == (16, 32, 0.2)
    assert (scl.negative_selection.keep_every, scl.negative_selection.schedule, scl.checkpoint_selection.beams) == (
        5,
        "log",
        8,
    )
    assert scl.alignment.optimizer.lr == scl.translation.optimizer.lr == 1e-4
    assert gfslt.alignment.masked_language.every_steps == 5
    assert not gfslt.alignment.gather
    assert gfslt.model.language.encoder_layers == gfslt.model.language.decoder_layers == 3
    assert gfslt.translation.optimizer.weight_decay == 1e-3
    assert runs(gfslt)["alignment"].checkpoint_selection.metric == "contrast", "its pretraining selects by dev loss"
