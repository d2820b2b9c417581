"""Task contrastive: gradients over ranks, gradient caching, batches, queue, controls, errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from signatlas.corpus import Corpus, write_corpus
from signatlas.errors import UserError
from signatlas.features.store import FeatureStore, write
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.models.logit_scale import MAX_LOGIT_SCALE
from signatlas.recipe import load, parse
from signatlas.recipe.contrastive import ContrastiveRecipe
from tests.trainers.gradients import gradients
from tests.trainers.overrides import override
from tests.trainers.sentence_data import small_settings, write_features, write_sentences
from trainers.fit import fit
from trainers.tasks.contrastive.task import ContrastiveTask


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("sentences")
    return small_settings(*write_sentences(folder), folder / "runs")


def recipe_of(settings: dict[str, Any], **changes: Any) -> ContrastiveRecipe:
    """Return the small recipe with changes such as ``loss__gradcache_chunk=3``."""
    return parse(ContrastiveRecipe, override(settings, changes), "recipe")


def write_recipe(settings: dict[str, Any], folder: Path, **changes: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_of(settings, **changes).model_dump(mode="json")))
    return path


RICH = {
    "data__languages": ["de", "en"],
    "augment__mode": "swap",
    "augment__probability": 1.0,
    "loss__identical_texts": "share",
    "loss__queue_size": 6,
}


@pytest.fixture(scope="module")
def one_rank(settings, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("one_rank")
    return gradients(write_recipe(settings, folder, **RICH), 1, folder / "g.pt")


@pytest.mark.parametrize(("ranks", "zero"), [pytest.param(4, 0, marks=pytest.mark.fault), (2, 1)])
def test_parameter_gradients_do_not_depend_on_the_number_of_ranks(settings, one_rank, tmp_path, ranks, zero):
    """With two languages, augmented texts and shared identical texts; after DeepSpeed's reduction, before clipping."""
    recipe = write_recipe(settings, tmp_path, **RICH, scaling__workers=ranks)
    several = gradients(recipe, ranks, tmp_path / "g.pt", zero)
    assert several["loss"] == pytest.approx(one_rank["loss"], rel=1e-5)
    largest = max(float(g.abs().max()) for g in one_rank["gradients"].values())
    assert largest > 1e-3
    assert float(one_rank["gradients"]["log_scale"].abs()) > 1e-4, "the logit scale learns"
    for name, gradient in one_rank["gradients"].items():
        error = float((several["gradients"][name] - gradient).abs().max())
        assert error < 1e-5 * largest, name


@pytest.mark.slow
def test_gradients_under_zero_3_in_bf16_with_gradient_caching(settings, one_rank, tmp_path):
    recipe = write_recipe(settings, tmp_path, **RICH, scaling__workers=2, loss__gradcache_chunk=3)
    several = gradients(recipe, 2, tmp_path / "g.pt", 3, "bf16")
    flat, other = (torch.cat([g.flatten() for g in r["gradients"].values()]) for r in (one_rank, several))
    assert float(torch.cosine_similarity(flat, other, dim=0)) > 0.98
    assert float(other.norm() / flat.norm()) == pytest.approx(1, abs=0.05)


def step_gradients(task: ContrastiveTask) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    task.encoder.train()
    task.encoder.zero_grad()
    task.loss(task.encoder, 0).backward()
    return {name: p.grad.clone() for name, p in task.encoder.named_parameters()}


@pytest.mark.parametrize("kind", ["fine_grained", "cls", "mean"])
def test_every_parameter_learns(settings, kind):
    """DeepSpeed needs a gradient for every parameter."""
    task = ContrastiveTask(recipe_of(settings, model__similarity__kind=kind))
    idle = {name for name, gradient in step_gradients(task).items() if not gradient.any()}
    assert idle <= {"sign.positions"}, idle


def test_gradient_caching_has_the_same_gradients(settings):
    plain, cached = (ContrastiveTask(recipe_of(settings, loss__gradcache_chunk=chunk)) for chunk in (None, 3))
    for (name, a), b in zip(step_gradients(plain).items(), step_gradients(cached).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)


def test_batches_are_a_function_of_seed_and_epoch(settings):
    task, other = ContrastiveTask(recipe_of(settings)), ContrastiveTask(recipe_of(settings))
    task.begin_epoch(3)
    assert not np.array_equal(task.plan, other.plan)
    other.begin_epoch(3)
    np.testing.assert_array_equal(task.plan, other.plan)
    assert len(np.unique(task.plan)) == task.plan.size, "no clip twice in an epoch"


def test_an_epoch_over_texts_has_one_clip_of_each_text(settings):
    task = ContrastiveTask(recipe_of(settings, data__epoch_over="text", loss__batch_size=2))
    seen = set()
    for epoch in range(30):
        task.begin_epoch(epoch)
        seen.add(tuple(sorted({0, 1} & set(task.plan.ravel().tolist()))))
    assert (0, 1) not in seen
    assert {(0,), (1,)} <= seen


def test_the_scale_stays_within_its_limit(settings):
    task = ContrastiveTask(recipe_of(settings))
    with torch.no_grad():
        task.encoder.log_scale.fill_(9.0)
    task.after_step(task.encoder)
    assert task.encoder.log_scale.exp().item() == pytest.approx(MAX_LOGIT_SCALE)


def test_the_queue_is_restored_from_a_checkpoint(settings):
    task, resumed = (ContrastiveTask(recipe_of(settings, loss__queue_size=10)) for _ in range(2))
    task.loss(task.encoder, 0)
    resumed.load_extra_state(task.extra_state())
    a, b = (t.loss(t.encoder, 1).item() for t in (task, resumed))
    assert a == b
    fresh = ContrastiveTask(recipe_of(settings, loss__queue_size=10))
    assert fresh.loss(fresh.encoder, 1).item() < a, "more negatives give a larger loss"


@pytest.fixture(scope="module")
def trained(settings, ray_session) -> dict[str, Any]:
    return fit(
        recipe_of(settings, optimizer__epochs=30, checkpoint_selection__evaluate_every=10, scaling__workers=2),
        quiet=True,
    )


@pytest.mark.slow
def test_training_improves_dev_metrics_and_the_model_records_its_origin(settings, trained):
    untrained = ContrastiveTask(recipe_of(settings)).evaluate(ContrastiveTask(recipe_of(settings)).encoder)
    assert trained["best"]["dev_MRR"] > max(0.6, 1.5 * untrained["dev_MRR"])
    model = DualEncoder.from_pretrained(trained["model"])
    assert model.record["languages"] == ["de"]
    assert model.record["features_fingerprint"]
    card = (Path(trained["model"]) / "README.md").read_text()
    assert "dual encoder" in card
    assert "Apache-2.0" in card
    assert "synthetic" in card


@pytest.mark.slow
def test_a_saved_model_has_the_same_dev_metrics(settings, trained):
    task = ContrastiveTask(recipe_of(settings))
    metrics = task.evaluate(DualEncoder.from_pretrained(trained["model"]))
    assert metrics["dev_MRR"] == pytest.approx(trained["best"]["dev_MRR"], abs=1e-6)
    history = [json.loads(line) for line in (Path(trained["model"]).parent / "history.jsonl").read_text().splitlines()]
    assert history[-1]["loss"] < history[0]["loss"]


def test_shuffled_pairs_are_texts_of_other_clips(settings):
    task, control = ContrastiveTask(recipe_of(settings)), ContrastiveTask(recipe_of(settings, data__shuffle_pairs=True))
    assert sorted(task.data.texts["de"]) == sorted(control.data.texts["de"])
    assert np.mean([a == b for a, b in zip(task.data.texts["de"], control.data.texts["de"], strict=True)]) < 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scaling__workers": 3}, "not divisible by 3 workers"),
        ({"data__languages": ["fr"]}, "no text in 'fr', only in de, en"),
        ({"model__sign__alpha": 1.5}, "alpha"),
        ({"model__sign__features": 99}, "features 99 is not the width"),
        ({"loss__batch_size": 500}, "more than the"),
        ({"data__features": "nowhere"}, "no clip features"),
        ({"model__text__kind": "clip"}, "needs name: a Hub name or a model folder"),
        ({"data__languages": ["de", "de"]}, "a language twice"),
        ({"loss__backend": "triton"}, "needs a GPU"),
    ],
)
def test_errors_are_one_line(settings, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        ContrastiveTask(recipe_of(settings, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "cico_multi_composed",
        "cico_phoenix_composed",
        "cico_how2sign",
        "cico_phoenix14t",
        "cico_csl_daily",
        "cico_phoenix_composed_full",
    ],
)
def test_recipes_load(name):
    recipe = load(Path(__file__).parents[4] / "recipes" / f"{name}.yaml")
    assert isinstance(recipe, ContrastiveRecipe)
    assert recipe.name == name


def rewrite_corpus(settings: dict[str, Any], folder: Path, change: Any) -> dict[str, Any]:
    """Return settings with a copy of the corpus, each clip passed through ``change``, and its features."""
    old = Corpus.open(settings["data"]["corpus"])
    new = write_corpus(folder / "corpus", replace(old.info, counts={}, checksums={}), (change(clip) for clip in old))
    features = write_features(folder / "features", new, 12)
    return {**settings, "data": {**settings["data"], "corpus": str(folder / "corpus"), "features": str(features)}}


def test_a_text_without_tokens_raises_an_error_with_its_clip(settings, tmp_path):
    def blank(clip):
        return replace(clip, texts=(("de", "\u200b"),)) if clip.id == "tiny/010" else clip

    with pytest.raises(UserError, match="clip tiny/010, de: ") as caught:
        ContrastiveTask(recipe_of(rewrite_corpus(settings, tmp_path, blank)))
    assert "\n" not in str(caught.value)


def test_clips_without_a_text_are_left_out_and_counted(settings, tmp_path):
    def silent(clip):
        return replace(clip, texts=(("de", " "),)) if clip.id in ("tiny/010", "tiny/011") else clip

    task = ContrastiveTask(recipe_of(rewrite_corpus(settings, tmp_path, silent)))
    assert task.notes == ["train: 2 of 56 clips have no text and are left out"]


def test_clips_without_features_are_left_out_and_counted(settings, tmp_path):
    store = FeatureStore.open(settings["data"]["features"])
    indices = [i for i, id in enumerate(store.ids) if id != "tiny/010"]
    parts = [store.of(i, alpha=1.0) for i in indices]
    counts = [len(part) for part in parts]
    write(tmp_path / "fewer", store.info, [store.ids[i] for i in indices], counts, {"agnostic": iter(parts)})
    task = ContrastiveTask(recipe_of(settings, data__features=str(tmp_path / "fewer")))
    assert task.notes == ["train: 1 of 56 clips have no features and are left out"]


def test_a_note_tells_of_subsampled_texts(settings):
    task = ContrastiveTask(recipe_of(settings, model__text__max_tokens=2))
    assert task.notes == ["de: 100.0% of the texts have more than 2 tokens: subsampled evenly"]


def test_released_padding_does_not_depend_on_the_batch(settings):
    task = ContrastiveTask(recipe_of(settings, model__similarity__padding="released"))
    texts = ["morgen regen", "morgen regen norden sonne wind"]
    batch, single = (task.encoder.embed_texts(t) for t in (texts, texts[:1]))
    assert batch.tokens.shape[1] == single.tokens.shape[1] == 8
    sign = task.encoder.embed_features([task.data.features(np.arange(2), alpha=1.0, limit=8)])
    scores = [task.encoder.score(sign, t).detach()[:, 0] for t in (batch, single)]
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-6)


def test_model_cards_have_the_paths_of_the_user(settings, tmp_path):
    """A worker's recipe has absolute paths of its machine, which a published card must not have."""
    task = ContrastiveTask(recipe_of(settings))
    task.user_recipe = recipe_of(settings, data__corpus="data/mine", data__features="data/features/mine")
    task.save(tmp_path / "model", task.encoder.state_dict(), {"dev_MRR": 0.5})
    text = (tmp_path / "model/README.md").read_text() + (tmp_path / "model/config.json").read_text()
    assert "data/features/mine" in text
    assert settings["data"]["features"] not in text
