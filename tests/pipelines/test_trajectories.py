"""Caching token features of a reference run's checkpoints; needs Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from signatlas.errors import FeatureError
from signatlas.models.translator.translator import Translator
from signatlas.recipe import TranslationRecipe, parse
from signatlas.sampling.trajectories import store as store
from signatlas.similarity import fine_grained, mean_pooled
from tests.trainers.sentence_data import write_sentences
from trainers.pipelines import trajectories as module
from trainers.pipelines.trajectories import cache
from trainers.run_folder import KEPT_CHECKPOINTS
from trainers.tasks.translation.data import TranslationData
from trainers.tasks.translation.stages import runs

pytestmark = pytest.mark.usefixtures("ray_session")


def translations(folder: Path) -> TranslationData:
    """The clips of a run that selects its batches, over 56 training clips."""
    corpus, features = write_sentences(folder)
    sizes = {"vocabulary": 60, "width": 16, "layers": 1, "heads": 2, "feedforward": 16}
    settings = {
        "name": "tiny", "task": "translation", "storage_path": str(folder),
        "data": {"corpus": str(corpus), "features": str(features)},
        "model": {"sign": {"width": 16, "kernel": 3, "pool": 2, "blocks": 1}, "language": sizes, "tuning": "full"},
        "alignment": {"contrast": "selective", "batch_size": 8, "optimizer": {"epochs": 4}},
        "negative_selection": {"keep_every": 2}, "translation": None,
        "scaling": {"workers": 1, "cpus_per_worker": 0.5},
    }  # fmt: skip
    return TranslationData(runs(parse(TranslationRecipe, settings, "recipe"))["alignment"])


def snapshot(reference: Path, epoch: int, data: TranslationData, *, spoil: bool = False) -> Translator:
    """A translator with random weights as the model of an epoch."""
    torch.manual_seed(epoch)
    model = Translator.build(data.recipe.model, data.texts, "de", data.inputs.width)
    if spoil:
        model.bridge.weight.data.fill_(torch.nan)
    model.save_pretrained(reference / KEPT_CHECKPOINTS / f"epoch_{epoch:04d}")
    return model


def changed(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


def test_every_snapshot_is_cached_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = translations(tmp_path), tmp_path / "reference" / "trajectories"
    snapshot(tmp_path / "reference", 2, data)
    with pytest.raises(FeatureError, match=r"^reference run without enough checkpoints: .*kept_checkpoints has 1"):
        cache(tmp_path / "reference", data, out)
    model = snapshot(tmp_path / "reference", 4, data)
    monkeypatch.setattr(module, "BATCH", 20)
    made = cache(tmp_path / "reference", data, out, quiet=True)
    assert made.epochs == [2, 4]
    assert made.ids == data.ids
    assert not (out / module.CLIPS).exists()

    # What is cached is what the model says, up to half precision.
    visual, text = model.visual_tokens(*data.inputs.batch(data.ids)), model.text_tokens(data.texts)
    expected = sum(fine_grained(visual.tokens, text.tokens, visual.mask, text.mask)) / 2  # type: ignore[call-overload]
    everyone = np.arange(len(data.ids))
    np.testing.assert_allclose(made.similarity(1, everyone, everyone), expected.numpy(), atol=1e-3)
    for side, tokens in (("visual", visual), ("text", text)):
        pooled = mean_pooled(tokens.tokens, tokens.mask).numpy()
        np.testing.assert_allclose(made.token_caches[1].arrays[f"{side}_pooled"], pooled, atol=1e-3)

    # What selection needs is there before workers ask for it; nothing is made twice.
    before = changed(out)
    assert sum(name.startswith("delta-endpoints-") for name in before) == 1
    cache(tmp_path / "reference", data, out, quiet=True)
    assert changed(out) == before


def test_a_stopped_caching_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, out = translations(tmp_path), tmp_path / "reference" / "trajectories"
    snapshot(tmp_path / "reference", 2, data)
    snapshot(tmp_path / "reference", 4, data, spoil=True)
    with pytest.raises(FeatureError, match="not finite: has the reference model diverged"):
        cache(tmp_path / "reference", data, out, quiet=True)
    with pytest.raises(FeatureError, match="no trajectories at"):
        store.read_info(out)  # half of it is not taken for the whole
    first = changed(out)
    assert set(first) == {f"epoch_0002/{name}.npy" for name in ("visual", "text", "visual_pooled", "text_pooled")}
    snapshot(tmp_path / "reference", 4, data)
    made = cache(tmp_path / "reference", data, out)
    assert made.epochs == [2, 4]
    assert "1 checkpoints, 56 clips" in capfd.readouterr().err
    after = changed(out)
    assert {name: after[name] for name in first} == first
