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


def translation_data(folder: Path) -> TranslationData:
    """Return the data of a run with negative selection on 56 training clips."""
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


def save_checkpoint(reference: Path, epoch: int, data: TranslationData, *, diverged: bool = False) -> Translator:
    """Save a translator with random weights as the kept checkpoint of an epoch."""
    torch.manual_seed(epoch)
    model = Translator.build(data.recipe.model, data.texts, "de", data.inputs.width)
    if diverged:
        model.bridge.weight.data.fill_(torch.nan)
    model.save_pretrained(reference / KEPT_CHECKPOINTS / f"epoch_{epoch:04d}")
    return model


def modification_times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


@pytest.mark.slow
def test_every_kept_checkpoint_is_cached_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = translation_data(tmp_path), tmp_path / "reference" / "trajectories"
    save_checkpoint(tmp_path / "reference", 2, data)
    with pytest.raises(FeatureError, match=r"^reference run without enough checkpoints: .*kept_checkpoints has 1"):
        cache(tmp_path / "reference", data, out)
    model = save_checkpoint(tmp_path / "reference", 4, data)
    monkeypatch.setattr(module, "BATCH", 20)
    trajectories = cache(tmp_path / "reference", data, out, quiet=True)
    assert trajectories.epochs == [2, 4]
    assert trajectories.ids == data.ids
    assert not (out / module.CLIPS).exists()

    # Cached tokens equal those of the model, up to half precision.
    visual, text = model.visual_tokens(*data.inputs.batch(data.ids)), model.text_tokens(data.texts)
    expected = sum(fine_grained(visual.tokens, text.tokens, visual.mask, text.mask)) / 2  # type: ignore[call-overload]
    all_clips = np.arange(len(data.ids))
    np.testing.assert_allclose(trajectories.similarity(1, all_clips, all_clips), expected.numpy(), atol=1e-3)
    for side, tokens in (("visual", visual), ("text", text)):
        pooled = mean_pooled(tokens.tokens, tokens.mask).numpy()
        np.testing.assert_allclose(trajectories.token_caches[1].arrays[f"{side}_pooled"], pooled, atol=1e-3)

    # Similarity changes for negative selection are precomputed, and nothing is computed twice.
    before = modification_times(out)
    assert sum(name.startswith("delta-endpoints-") for name in before) == 1
    cache(tmp_path / "reference", data, out, quiet=True)
    assert modification_times(out) == before


@pytest.mark.fault
def test_interrupted_caching_resumes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, out = translation_data(tmp_path), tmp_path / "reference" / "trajectories"
    save_checkpoint(tmp_path / "reference", 2, data)
    save_checkpoint(tmp_path / "reference", 4, data, diverged=True)
    with pytest.raises(FeatureError, match="not finite: has the reference model diverged"):
        cache(tmp_path / "reference", data, out, quiet=True)
    with pytest.raises(FeatureError, match="no trajectories at"):
        store.read_info(out)  # incomplete caches are not readable
    first = modification_times(out)
    assert set(first) == {f"epoch_0002/{name}.npy" for name in ("visual", "text", "visual_pooled", "text_pooled")}
    save_checkpoint(tmp_path / "reference", 4, data)
    trajectories = cache(tmp_path / "reference", data, out)
    assert trajectories.epochs == [2, 4]
    assert "1 checkpoints, 56 clips" in capfd.readouterr().err
    after = modification_times(out)
    assert {name: after[name] for name in first} == first
