"""Task text_denoising: batches, gradients over ranks, training, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from signatlas.config import dump_absolute
from signatlas.corpus import Corpus
from signatlas.errors import UserError
from signatlas.models.language_model import mbart
from signatlas.models.language_model.config import LanguageConfig, LoraSettings
from signatlas.models.language_model.lora import add_lora
from signatlas.recipe import TextDenoisingRecipe, load, parse
from tests.trainers.gradients import gradients
from tests.trainers.overrides import override
from tests.trainers.sentence_data import write_sentences
from trainers.fit import fit
from trainers.tasks.text_denoising.task import TextDenoisingTask


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("texts")
    corpus, _ = write_sentences(folder)
    return {
        "name": "tiny", "task": "text_denoising", "storage_path": str(folder / "runs"),
        "data": {"corpus": str(corpus), "languages": ["de"]},
        "model": {"vocabulary": 60, "width": 32, "layers": 1, "heads": 2, "feedforward": 32, "positions": 64,
                  "dropout": 0.0},
        "batch_size": 14,
        "optimizer": {"epochs": 8, "lr": 1e-2},
        "checkpoint_selection": {"evaluate_every": 2},
        "scaling": {"workers": 1, "cpus_per_worker": 0.5},
    }  # fmt: skip


def recipe_of(settings: dict[str, Any], **changes: Any) -> TextDenoisingRecipe:
    """Return the small recipe with changes such as ``noise__max_texts=1``."""
    return parse(TextDenoisingRecipe, override(settings, changes), "recipe")


def write_recipe(settings: dict[str, Any], folder: Path, **changes: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_of(settings, **changes).model_dump(mode="json")))
    return path


BOTH = {"data__languages": ["de", "en"], "batch_size": 5, "noise__max_texts": 2}


@pytest.fixture(scope="module")
def one_rank(settings, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("one_rank")
    return gradients(write_recipe(settings, folder, **BOTH), 1, folder / "g.pt")


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "zero"), [(2, 1), pytest.param(4, 0, marks=pytest.mark.fault)])
def test_parameter_gradients_do_not_depend_on_the_number_of_ranks(settings, one_rank, tmp_path, ranks, zero):
    """With two languages and instances of unequal length: the loss is a mean over the pieces of the global batch.

    One of four ranks has no instance.
    """
    task = TextDenoisingTask(recipe_of(settings, **BOTH))
    task.begin_epoch(3)  # as the ranks do
    assert len(task.batches[0]) == 3
    several = gradients(write_recipe(settings, tmp_path, **BOTH), ranks, tmp_path / "g.pt", zero)
    assert several["loss"] == pytest.approx(one_rank["loss"], rel=1e-5)
    largest = max(float(g.abs().max()) for g in one_rank["gradients"].values())
    assert largest > 1e-3
    for name, gradient in one_rank["gradients"].items():
        assert float((several["gradients"][name] - gradient).abs().max()) < 1e-5 * largest, name


def test_an_epoch_has_every_text_once_and_instances_of_one_language(settings):
    task = TextDenoisingTask(recipe_of(settings, **BOTH))
    task.begin_epoch(0)
    texts = [i for batch in task.batches for instance in batch for i in instance]
    assert len(texts) == len(set(texts)) == task.steps_per_epoch * 5
    for batch in task.batches:
        assert sum(map(len, batch)) == 5
        for instance in batch:
            assert len(instance) <= 2 and len(set(task.train.languages[instance])) == 1
    first = task.batches
    task.begin_epoch(1)
    assert task.batches != first
    task.begin_epoch(0)
    assert task.batches == first, "a function of (seed, epoch)"


def test_the_loss_is_the_mean_over_target_pieces(settings):
    """Compared with the loss of transformers."""
    task = TextDenoisingTask(recipe_of(settings, label_smoothing=0.0))
    task.begin_epoch(2)
    task.model.eval()
    total, pieces = 0.0, 0
    for texts in task.batches[0]:
        instance = task.train.corrupted(texts, task.noise, 0, 2)
        labels = torch.tensor([instance.target])
        with torch.no_grad():
            out = task.model(input_ids=torch.tensor([instance.source]), labels=labels)  # transformers shifts the labels
        total, pieces = total + float(out.loss) * len(instance.target), pieces + len(instance.target)
    assert float(task.loss(task.model, 0).detach()) == pytest.approx(total / pieces, rel=1e-5)


def test_training_texts_are_those_of_the_train_split(settings):
    task = TextDenoisingTask(recipe_of(settings))
    rows = Corpus.open(settings["data"]["corpus"]).metadata()
    seen = {row["texts"][0]["text"] for row in rows if row["split"] == "train"}
    assert set(task.vocabulary.decode([[0, *row] for row in task.train.rows])) == seen
    dev = [row["texts"][0]["text"] for row in rows if row["split"] == "dev"]
    assert task.vocabulary.decode([[0, *row] for row in task.dev.rows]) == dev


def test_the_corruption_of_dev_texts_is_fixed(settings):
    task = TextDenoisingTask(recipe_of(settings))
    task.model.eval()
    first = task.evaluate(task.model)
    task.begin_epoch(3)
    assert task.evaluate(task.model) == first
    assert first["score"] == -first["dev_loss"] and first["dev_loss"] == pytest.approx(
        np.log(task.vocabulary.size), 0.1
    )


def test_texts_of_files_are_added(settings, tmp_path):
    (tmp_path / "more.txt").write_text("Übermorgen wird es wärmer.\n\nZum Wochenende wieder kühl.\n", encoding="utf-8")
    more = TextDenoisingTask(recipe_of(settings, data__texts={"de": [str(tmp_path / "more.txt")]}))
    plain = TextDenoisingTask(recipe_of(settings))
    assert len(more.train) == len(plain.train) + 2 and len(more.dev) == len(plain.dev)
    assert more.vocabulary.unknown_rate(["Übermorgen kühl."]) == 0 < plain.vocabulary.unknown_rate(["Übermorgen kühl."])
    assert more.corpus_fingerprint != plain.corpus_fingerprint


def test_limits_apply_to_training_clips(settings):
    assert len(TextDenoisingTask(recipe_of(settings, data__limit=20)).train) == 20
    with pytest.raises(UserError, match="no train clip has a text"):
        TextDenoisingTask(recipe_of(settings, data__max_glosses=2))


def test_long_texts_are_truncated_with_a_note(settings, tmp_path):
    (tmp_path / "more.txt").write_text("morgen regen norden sonne\n" + "wind kalt abend berg " * 9)
    task = TextDenoisingTask(recipe_of(settings, model__positions=12, data__texts={"de": [str(tmp_path / "more.txt")]}))
    assert any(note.startswith("1 texts have more than 12 pieces: truncated") for note in task.notes)
    for number in range(len(task.train)):
        instance = task.train.corrupted([number], task.noise, 0, 0)
        assert max(len(instance.source), len(instance.target)) <= 12


@pytest.fixture(scope="module")
def trained(settings, ray_session) -> dict[str, Any]:
    return fit(
        recipe_of(
            settings, batch_size=7, noise__max_texts=1, optimizer__epochs=12, checkpoint_selection__evaluate_every=6
        ),
        quiet=True,
    )


@pytest.mark.slow
def test_a_run_learns_and_saves_a_language_model(trained):
    """The folder is what ``model.language.pretrained`` takes, and LoRA is no noise over it."""
    assert trained["last"]["dev_loss"] < 2, "it starts at ln 60 = 4.1"
    assert trained["best"]["dev_accuracy"] > 0.35
    texts = ["morgen regen norden", "kalt wind abend"]
    model, _ = mbart.build(LanguageConfig(pretrained=trained["model"]), texts, ["de"])
    assert mbart.is_trained(model) and mbart.is_trained(model, "decoder")
    assert add_lora(model.model.encoder, LoraSettings(rank=2), trained=mbart.is_trained(model)) == 2
    card = (Path(trained["model"]) / "README.md").read_text()
    assert "synthetic signing" in card and "- de" in card and "dev_loss" in card


@pytest.mark.slow
def test_pretraining_continues_from_a_model(settings, trained):
    """The saved model has the dev loss of the run, also when trimmed to the same texts."""
    measured = trained["best"]["dev_loss"]
    for trim in (False, True):
        task = TextDenoisingTask(recipe_of(settings, model__pretrained=trained["model"], model__trim=trim))
        assert task.evaluate(task.model.eval())["dev_loss"] == pytest.approx(measured, rel=1e-3 if trim else 1e-4)


def test_workers_get_absolute_paths_and_cards_name_no_folder(settings, tmp_path, monkeypatch):
    (tmp_path / "more.txt").write_text("morgen sonne\n")
    monkeypatch.chdir(tmp_path)
    recipe = recipe_of(settings, data__texts={"de": ["more.txt"]})
    sent = dump_absolute(recipe)
    assert sent["data"]["texts"] == {"de": [str(tmp_path / "more.txt")]}
    task = TextDenoisingTask(parse(TextDenoisingRecipe, sent, "recipe"))
    task.user_recipe = recipe
    task.save(tmp_path / "model", task.model.state_dict(), {"dev_loss": 1.0})
    card = (tmp_path / "model" / "README.md").read_text()
    assert "1 text files" in card and str(tmp_path / "more.txt") not in card
    assert mbart.is_trained(mbart.load(tmp_path / "model")[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__languages": ["fr"]}, "no texts in language 'fr': there are de, en"),
        ({"data__languages": ["de", "de"]}, "lists a language twice"),
        ({"data__texts": {"en": ["a.txt"]}}, "has files in 'en', which is not in data.languages"),
        ({"data__texts": {"de": ["no_such.txt"]}}, "no_such.txt cannot be read"),
        ({"model__vocabulary": 16}, "is too small for"),
        ({"model__pretrained": "no/such/model"}, "no language model at no/such/model"),
        ({"model__random_decoder": True}, "for translators, not for pretraining"),
        ({"batch_size": 4000}, "is more than the 56 texts to train on"),
        ({"data__corpus": "nowhere"}, "nowhere"),
    ],
)
def test_errors_are_one_line(settings, changes, message):
    with pytest.raises(UserError) as caught:
        TextDenoisingTask(recipe_of(settings, **changes))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("corpus", ["multi-composed", "phoenix-composed"])
def test_shipped_recipes_state_their_corpus_and_budget(corpus):
    name = f"mbart_{corpus.replace('-', '_')}"
    recipe = load(Path(__file__).parents[4] / "recipes" / f"{name}.yaml")
    assert isinstance(recipe, TextDenoisingRecipe) and recipe.name == name and recipe.budget
    assert recipe.data.corpus == f"data/{corpus}" and recipe.data.max_glosses is None
