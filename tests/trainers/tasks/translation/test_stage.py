"""One stage of task translation: gradients over ranks and micro-batches, losses, dev metrics, errors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from signatlas.corpus.format import Corpus
from signatlas.errors import UserError
from signatlas.features.store import FeatureInfo, write
from signatlas.recipe import parse
from signatlas.recipe.translation import StageRecipe, TranslationRecipe
from signatlas.text.duplicate_groups import groups
from tests.trainers.gradients import gradients
from tests.trainers.overrides import override
from tests.trainers.tasks.translation.translation_data import translation_settings
from trainers.fit import build_task
from trainers.tasks.translation.stages import runs
from trainers.tasks.translation.task import TranslationStage


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return translation_settings(tmp_path_factory.mktemp("translation"))


def recipe_of(settings: dict[str, Any], **changes: Any) -> TranslationRecipe:
    """Return the small recipe with changes such as ``alignment__batch_size=4``."""
    return parse(TranslationRecipe, override(settings, changes), "recipe")


def stage_of(settings: dict[str, Any], kind: str = "alignment", **changes: Any) -> StageRecipe:
    return runs(recipe_of(settings, **changes))[kind]


def write_recipe(settings: dict[str, Any], folder: Path, kind: str = "alignment", **changes: Any) -> Path:
    """Write a recipe whose first run is of this kind; return its path."""
    if kind == "translation":
        changes["alignment"] = None
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_of(settings, **changes).model_dump(mode="json")))
    return path


RICH = {
    "alignment__masked_language": {"every_steps": 1},
    "model__projection": 16,
    "alignment__identical_texts": "share",
}


@pytest.fixture(scope="module")
def one_rank(settings, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("one_rank")
    return gradients(write_recipe(settings, folder, **RICH), 1, folder / "g.pt")


@pytest.mark.parametrize(("ranks", "zero"), [pytest.param(4, 0, marks=pytest.mark.slow), (2, 1)])
def test_parameter_gradients_do_not_depend_on_the_number_of_ranks(settings, one_rank, tmp_path, ranks, zero):
    """With translation, contrast, masked language and BatchNorm; after DeepSpeed's reduction, before clipping."""
    several = gradients(
        write_recipe(settings, tmp_path, **RICH, scaling__workers=ranks), ranks, tmp_path / "g.pt", zero
    )
    assert several["loss"] == pytest.approx(one_rank["loss"], rel=1e-5)
    largest = max(float(g.abs().max()) for g in one_rank["gradients"].values())
    assert largest > 1e-3
    for name in ("log_scale", "sign.convolution.norms.0.weight", "heads.0.weight"):
        assert float(one_rank["gradients"][name].abs().max()) > 1e-6, name
    assert set(several["gradients"]) == set(one_rank["gradients"])
    for name, gradient in one_rank["gradients"].items():
        error = float((several["gradients"][name] - gradient).abs().max())
        assert error < 2e-5 * largest, name


@pytest.mark.parametrize("zero", [pytest.param(2, marks=pytest.mark.fault), pytest.param(3, marks=pytest.mark.slow)])
def test_gradients_with_lora_in_bf16(settings, tmp_path, zero):
    """Frozen and trained weights under ZeRO 2 and 3; the gradient has the direction of fp32."""
    lora = {"model__tuning": "lora", "alignment__optimizer__gradient_checkpointing": True}
    fp32 = gradients(write_recipe(settings, tmp_path, **lora), 1, tmp_path / "a.pt")
    bf16 = gradients(write_recipe(settings, tmp_path, **lora, scaling__workers=2), 2, tmp_path / "b.pt", zero, "bf16")
    assert set(fp32["gradients"]) == set(bf16["gradients"])
    # B of an adapter starts at zero, so A has no gradient yet: compare all gradients together.
    flat, other = (torch.cat([r["gradients"][n].flatten() for n in fp32["gradients"]]) for r in (fp32, bf16))
    assert float(torch.cosine_similarity(flat, other, dim=0)) > 0.98


def test_micro_batches_add_up_to_the_batch(settings, tmp_path):
    """Two micro-batches of four clips are one batch of eight, without BatchNorm, which sees one at a time."""
    plain = {"model__sign__blocks": 0}
    whole = gradients(write_recipe(settings, tmp_path, "translation", **plain), 1, tmp_path / "a.pt")
    parts = write_recipe(
        settings, tmp_path, "translation", **plain, translation__optimizer__gradient_accumulation_steps=2
    )
    summed = gradients(parts, 1, tmp_path / "b.pt")
    assert summed["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    largest = max(float(g.abs().max()) for g in whole["gradients"].values())
    for name, gradient in whole["gradients"].items():
        assert float((summed["gradients"][name] - gradient).abs().max()) < 1e-5 * largest, name


def step(task: TranslationStage, number: int = 0) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss and the gradients of one training step."""
    torch.manual_seed(5)
    task.translator.train()
    task.translator.zero_grad()
    value = task.loss(task.translator, number)
    value.backward()
    gradients = {n: p.grad.clone() for n, p in task.translator.named_parameters() if p.grad is not None}
    return float(value.detach()), gradients


ARMS = {
    "baseline": {"alignment__contrast": "none"},
    "standard": {},
    "lora": {"model__tuning": "lora"},
    "cls": {"model__similarity__kind": "cls"},
    "mean": {"model__similarity__kind": "mean"},
    "gfslt": {"model__similarity__kind": "cls", "model__text_encoder": "trained", "model__projection": 16,
              "model__language__encoder_layers": 1, "model__language__decoder_layers": 1,
              "model__language__random_decoder": True, "alignment__translation_weight": 0.0,
              "alignment__masked_language": {"every_steps": 1}, "alignment__gather": False},
}  # fmt: skip


@pytest.mark.parametrize("arm", ARMS)
def test_every_trainable_parameter_has_a_gradient(settings, arm):
    """ZeRO needs a gradient for every trainable parameter."""
    task = TranslationStage(stage_of(settings, **ARMS[arm]))
    gradients = step(task)[1]
    trainable = {name for name, p in task.translator.named_parameters() if p.requires_grad}
    assert trainable - set(gradients) <= {"language.model.encoder.embed_tokens.weight"}
    if arm == "baseline":
        assert "log_scale" not in trainable


def test_stage_2_has_no_text_encoder_and_a_translation_loss_only(settings):
    task = TranslationStage(stage_of(settings, "translation"))
    assert task.translator.text_encoder is None
    assert step(task)[0] > 0


def test_gradient_checkpointing_has_the_same_gradients(settings):
    plain, checkpointed = (
        TranslationStage(stage_of(settings, alignment__optimizer__gradient_checkpointing=on)) for on in (False, True)
    )
    for (name, a), b in zip(step(plain)[1].items(), step(checkpointed)[1].values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)


def test_masked_language_modeling_every_few_steps(settings):
    task = TranslationStage(stage_of(settings, alignment__masked_language={"every_steps": 5}))
    ids, mask = task.ids[:4], task.text_mask[:4]
    steps = [number for number in range(11) if task._masked(ids, mask, np.arange(4), number) is not None]
    assert steps == [0, 5, 10]


def test_without_gathering_a_rank_contrasts_its_own_clips(settings, tmp_path):
    """GFSLT-VLP: the loss on two ranks of four clips is the mean of two losses of four, not one of eight."""
    local = {"alignment__gather": False, "alignment__translation_weight": 0.0, "model__sign__blocks": 0}
    two = gradients(write_recipe(settings, tmp_path, **local, scaling__workers=2), 2, tmp_path / "a.pt")
    task = TranslationStage(stage_of(settings, **local))
    task.begin_epoch(3)
    batch, expected = task.plan[0], {}
    for half in (batch[:4], batch[4:]):
        task.plan, task.batch_size = half[None], 4
        for name, gradient in step(task)[1].items():
            expected[name] = expected.get(name, 0) + gradient.double() / 2
    largest = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in expected.items():
        assert float((two["gradients"][name] - gradient).abs().max()) < 1e-4 * largest, name


def test_batches_are_a_function_of_seed_and_epoch(settings):
    task, other = (TranslationStage(stage_of(settings)) for _ in range(2))
    task.begin_epoch(3)
    assert not np.array_equal(task.plan, other.plan)
    other.begin_epoch(3)
    np.testing.assert_array_equal(task.plan, other.plan)
    assert len(np.unique(task.plan)) == task.plan.size, "no clip twice in an epoch"


def test_buckets_have_clips_of_similar_length(settings):
    data = TranslationStage(stage_of(settings, "translation")).data
    data.lengths = np.arange(len(data.ids))[::-1].copy()
    spread = [float(np.ptp(data.lengths[data.plan(1, 8, 0, bucket)], axis=1).mean()) for bucket in (1, 8)]
    assert spread[1] < 0.4 * spread[0]
    assert data.plan(1, 8, 0, 8).size == len(np.unique(data.plan(1, 8, 0, 8)))


def test_the_score_is_the_metric_of_the_recipe(settings):
    task = TranslationStage(stage_of(settings, checkpoint_selection__metric="loss"))
    metrics = task.evaluate(task.translator)
    assert metrics["score"] == -metrics["dev_loss"]
    assert {"dev_BLEU-4", "dev_ROUGE-L", "dev_chrF", "dev_R@1", "dev_MRR"} <= set(metrics)
    assert "dev_R@1" not in TranslationStage(stage_of(settings, "translation")).evaluate(task.translator)


def test_a_stage_starts_from_a_model_of_the_same_architecture(settings, tmp_path):
    first = TranslationStage(stage_of(settings))
    for parameter in first.translator.parameters():
        parameter.data += 0.01
    first.translator.save_pretrained(tmp_path / "model")
    second = TranslationStage(stage_of(settings, "translation", init_from=str(tmp_path / "model")))
    torch.testing.assert_close(second.translator.bridge.weight, first.translator.bridge.weight)
    with pytest.raises(UserError, match=r"another architecture than the recipe: model.similarity differs"):
        TranslationStage(
            stage_of(settings, "translation", init_from=str(tmp_path / "model"), model__similarity={"kind": "cls"})
        )
    second.translator.save_pretrained(tmp_path / "stage2")
    with pytest.raises(UserError, match="has no text encoder, which stage 1 needs"):
        TranslationStage(stage_of(settings, init_from=str(tmp_path / "stage2")))


ERRORS = {
    "no text in 'fr'": {"data__language": "fr"},
    "no linear layer is called 'q_prj'": {"model__tuning": "lora", "model__lora": {"modules": ["q_prj"]}},
    "no language model at": {"model__language__pretrained": "runs/nowhere/model"},
    "two are needed for a trajectory": {
        "alignment__contrast": "selective",
        "negative_selection__reference": "runs/nowhere",
    },
    "is more than the": {"alignment__batch_size": 64},
    "no translator|no model at": {"init_from": "runs/nowhere/model"},
    "batch_size 4096 is more than the": {"translation__batch_size": 4096},
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_are_one_line_before_anything_runs(settings, message, tmp_path):
    from trainers.fit import fit

    recipe = recipe_of(settings, **ERRORS[message], storage_path=str(tmp_path))
    with pytest.raises(UserError, match=message) as caught:
        fit(recipe, quiet=True)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir()), "nothing was written"


def test_impossible_settings_are_refused(settings):
    for changes, message in (
        ({"alignment": None, "translation": None}, "nothing to train"),
        ({"alignment__optimizer__gradient_accumulation_steps": 2}, "contrast clips within a micro-batch only"),
        (
            {"translation__optimizer__gradient_accumulation_steps": 3},
            "is not divisible by 1 workers times 3 micro-batches",
        ),
        ({"alignment__batch_size": 1}, "leaves no negatives"),
        ({"alignment__contrast": "selective", "negative_selection__keep_every": 2}, "has fewer than two"),
        ({"translation__optimizer__batches_per_epoch": 3}, "remove batches_per_epoch"),
        (
            {"alignment__contrast": "selective", "negative_selection__pool_size": 4},
            "pool_size 4 does not fill a batch of 8",
        ),
        ({"checkpoint_selection__metric": "MRR"}, "MRR needs a contrastive loss, and stage 2 has none"),
        (
            {"checkpoint_selection__metric": "contrast", "alignment__contrast": "none", "translation": None},
            "contrast is none: choose",
        ),
        ({"alignment__contrast": "none", "alignment__translation_weight": 0}, "stage 1 has no loss"),
    ):
        with pytest.raises(UserError, match=message):
            recipe_of(settings, **changes)


def test_build_task_returns_the_first_stage(settings):
    assert isinstance(build_task(recipe_of(settings)), TranslationStage)


def test_clips_that_are_too_short_for_the_convolutions_are_left_out(settings):
    """Padding valid loses kernel - 1 frames per block; the tiny corpus has six windows per clip."""
    task = TranslationStage(stage_of(settings, model__sign__padding="valid", model__sign__kernel=5))
    assert not any("too short" in note for note in task.notes)
    with pytest.raises(UserError, match="no train clip has sign inputs"):
        TranslationStage(stage_of(settings, model__sign__padding="valid", model__sign__kernel=7))


@pytest.mark.parametrize("positions", [12, 10])
def test_clips_with_more_tokens_than_positions_are_refused(settings, tmp_path, positions):
    """Without convolutions twelve windows are twelve tokens."""
    corpus = Corpus.open(settings["data"]["corpus"])
    rows = corpus.metadata()
    info = FeatureInfo(
        kind="windows", streams=("agnostic",), width=4, corpus="tiny", corpus_fingerprint=corpus.info.fingerprint
    )
    windows = iter([np.zeros((12, 4), np.float32)] * len(rows))
    write(tmp_path / "long", info, [row["id"] for row in rows], [12] * len(rows), {"agnostic": windows})
    language = {"vocabulary": 60, "width": 16, "layers": 1, "heads": 2, "feedforward": 16, "positions": positions}
    long = {"data__features": str(tmp_path / "long"), "model__language": language, "model__sign__blocks": 0,
            "model__sign__backbone__max_frames": 64}  # fmt: skip
    if positions == 12:
        assert TranslationStage(stage_of(settings, **long)).data.lengths.max() == 12
        return
    with pytest.raises(UserError, match="12 sign tokens exceed mBART's 10 positions"):
        TranslationStage(stage_of(settings, **long))


def test_a_stage_without_translation_loss_is_selected_by_its_contrast(settings):
    task = TranslationStage(stage_of(settings, alignment__translation_weight=0))
    metrics = task.evaluate(task.translator)
    assert set(metrics) == {"dev_contrast", "dev_R@1", "dev_MRR", "score"}
    assert metrics["score"] == -metrics["dev_contrast"]
    # The same loss as in training, on dev as one batch.
    data, size = task.data, task.batch_size
    assert len(data.dev_ids) == size, "one batch"
    x, mask = data.inputs.batch(data.dev_ids)
    ids, text_mask = task.translator.vocabulary.encode(data.dev_texts, "de", task.translator.max_text_tokens)
    task.data.groups, task.text_mask = groups(data.dev_texts), text_mask
    with torch.no_grad():
        task.translator.eval()
        outcome = task.translator(torch.from_numpy(x), torch.from_numpy(mask), ids, text_mask, 0.0, True)
        assert float(task._contrast(outcome, np.arange(size), np.arange(size))) == pytest.approx(
            metrics["dev_contrast"], rel=1e-5
        )


def test_the_fingerprint_of_a_run_depends_on_the_language_model(settings, tmp_path):
    """On its weights, not on its path."""
    first = TranslationStage(stage_of(settings))
    other = tmp_path / "mbart"
    shutil.copytree(settings["model"]["language"]["pretrained"], other)
    assert TranslationStage(stage_of(settings, model__language__pretrained=str(other))).corpus_fingerprint == (
        first.corpus_fingerprint
    )
    weights = load_file(other / "model.safetensors")
    save_file({name: w + 1 for name, w in weights.items()}, other / "model.safetensors", metadata={"format": "pt"})
    assert TranslationStage(stage_of(settings, model__language__pretrained=str(other))).corpus_fingerprint != (
        first.corpus_fingerprint
    )
