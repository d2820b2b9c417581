"""The recipes of the papers: each loads, builds with small parts where weights are absent, and makes a step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from signatlas.corpus.format import Corpus
from signatlas.recipe import load
from tests.trainers.sentence_data import write_sentences
from trainers.fit import build_task
from trainers.translation import TranslationStage
from trainers.translation_stages import stages

ROOT = Path(__file__).parents[2]
# What stands for weights that only the Hub has, for a corpus with a licence, and for GPUs.
SMALL = [
    "model.sign.backbone.pretrained=null", "model.sign.backbone.sizes={embedding: 4, hidden: [4, 8], depths: [1, 1]}",
    "model.sign.backbone.size=32", "model.sign.width=16", "model.max_tokens=16", "model.lora.force=true",
    "data.language=de", "alignment.batch_size=4", "translation.batch_size=4", "scaling={workers: 1}",
    "alignment.optimiser.precision=fp32", "alignment.optimiser.zero=0",
]  # fmt: skip
MBART = {"pretrained": None, "vocabulary": 100, "width": 32, "layers": 4, "heads": 2, "feedforward": 32,
         "positions": 64}  # fmt: skip
PAPERS = {"scl_slt_phoenix14t": 2 + 1, "scl_slt_csl_daily": 2 + 1, "gfslt_vlp_phoenix14t": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny corpus and folders of pictures named by its clips."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    corpus, _ = write_sentences(folder, clips=18)
    rng = np.random.default_rng(0)
    for row in Corpus.open(corpus).metadata():
        clip = folder / "frames" / row["id"].rsplit("/", 1)[-1]
        clip.mkdir(parents=True)
        for number in range(20):
            Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(clip / f"{number:03d}.png")
    return corpus, folder / "frames"


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_of_a_paper_builds_and_makes_a_step(name, data):
    path = ROOT / "recipes" / f"{name}.yaml"
    own = load(path)
    assert len(stages(own)) == PAPERS[name]
    language = json.dumps(own.model.language.model_dump() | MBART)  # JSON is YAML
    recipe = load(path, [*SMALL, f"data.corpus={data[0]}", f"data.frames={data[1]}", f"model.language={language}"])
    task = build_task(recipe)
    assert isinstance(task, TranslationStage)
    value = task.loss(task.translator.train(), 0)
    value.backward()
    assert value.isfinite()
    learning = {n: p for n, p in task.translator.named_parameters() if p.requires_grad}
    reached = [n for n, p in learning.items() if p.grad is not None and bool(p.grad.any())]
    assert any(n.startswith("sign.backbone") for n in reached), "from the loss down to the pictures"
    frozen = [n for n in dict(task.translator.named_parameters()) if n not in learning]
    assert any(n.startswith("text_encoder") for n in frozen) == (own.model.text_encoder == "frozen")
    assert all(torch.isfinite(p.grad).all() for p in learning.values() if p.grad is not None)


def test_the_values_are_those_of_the_papers():
    scl, gfslt = (load(ROOT / "recipes" / f"{name}.yaml") for name in ("scl_slt_phoenix14t", "gfslt_vlp_phoenix14t"))
    assert (scl.alignment.optimiser.epochs, scl.translation.optimiser.epochs) == (80, 200)
    assert (scl.alignment.batch_size, scl.translation.batch_size) == (16, 8)
    assert (scl.model.lora.rank, scl.model.lora.alpha, scl.smoothing) == (16, 32, 0.2)
    assert (scl.selection.every, scl.selection.schedule, scl.select.beams) == (5, "log", 8)
    assert scl.alignment.optimiser.lr == scl.translation.optimiser.lr == 1e-4
    assert gfslt.alignment.masked_language.every == 5
    assert not gfslt.alignment.gather
    assert gfslt.model.language.encoder_layers == gfslt.model.language.decoder_layers == 3
    assert gfslt.translation.optimiser.weight_decay == 1e-3
