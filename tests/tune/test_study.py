"""Study files, and the mistakes in them that are reported before anything starts."""

from __future__ import annotations

import pytest

from signatlas.errors import RecipeError
from tune.study import Values, encoded, formatted, hand_set, load_study, parsed_overrides, with_settings


def test_a_study_has_a_recipe_and_the_hand_set_point(study_file):
    study = load_study(study_file(set={"optimizer.epochs": 2}), trials=7, name=None)
    assert (study.trials, study.name) == (7, "small")
    base, point = hand_set(study)
    assert base.optimizer.epochs == 2
    assert point == {"optimizer.lr": 3e-3, "loss.batch_size": 8}


def test_settings_fixed_by_the_command_are_not_searched(study_file):
    study = load_study(study_file(), set=parsed_overrides(["loss.batch_size=4", "optimizer.weight_decay=1e-3"]))
    assert list(study.space) == ["optimizer.lr"]
    base, _ = hand_set(study)
    assert (base.loss.batch_size, base.optimizer.weight_decay) == (4, 1e-3)


LR = {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"optimizer.lrr": {"uniform": [0, 1]}}}, "unknown setting 'optimizer.lrr', did you mean 'lr'?"),
        ({"space": {"optimizer.clip": {"uniform": [0.5, 1]}}}, "it is now 'optimizer.max_grad_norm'"),
        ({"space": {"nothing.here": {"choice": [1]}}}, "unknown setting 'nothing.here'"),
        ({"space": {"data.languages.4": {"choice": ["de"]}}}, "unknown setting 'data.languages.4'"),
        ({"space": {"optimizer.lr": {"uniform": [1, 0]}}}, "low < high, got [1, 0]"),
        ({"space": {"optimizer.lr": {"loguniform": [0, 1]}}}, "low end above 0"),
        ({"space": {"optimizer.lr": {"uniform": [-1, 1]}}}, "optimizer.lr: Input should be greater than 0"),
        (
            {"space": {"optimizer.lr": {"uniform": [0.5, 1]}}},
            "of the recipe is 0.003, which is not in uniform",
        ),
        ({"space": {"optimizer.lr": {"uniform": [0.1, 1], "choice": [1]}}}, "exactly one of choice, uniform"),
        ({"space": {"optimizer.lr": {}}}, "exactly one of"),
        ({"space": {"optimizer.lr": [1, 2]}}, "for instance {choice: [a, b]}"),
        ({"space": {"optimizer.lr": {"normal": [0, 1]}}}, "unknown key 'space.optimizer.lr.normal'"),
        ({"space": {"loss.batch_size": {"choice": [8, 8]}}}, "lists a value twice"),
        ({"space": {"loss.batch_size": {"choice": [8, "many"]}}}, "loss.batch_size = many: loss.batch_size"),
        ({"space": {"name": {"choice": ["tiny", "other"]}}}, "is set by the study"),
        (
            {
                "recipe": "recipes/scl_slt_multi_composed.yaml",
                "space": {"negative_selection.keep_every": {"choice": [1, 2]}},
            },
            "applies to the reference run, which all trials share",
        ),
        ({"space": {}}, "space"),
        ({"space": LR, "set": {"optimizer.lr": 0.1}}, "in both set and space"),
        ({"space": LR, "set": {"optimizer.lrr": 0.1}}, "set of the study: unknown setting 'optimizer.lrr'"),
        ({"space": LR, "searcher": {"name": "grid"}}, "not a range ('optimizer.lr')"),
        ({"trials": 0}, "trials"),
        ({"trails": 3}, "unknown key 'trails', did you mean 'trials'?"),
        ({"recipe": "nowhere.yaml"}, "no recipe at nowhere.yaml"),
        ({"recipe": None}, "recipe: Field required"),
    ],
)
def test_mistakes_in_a_study(study_file, changes, message):
    with pytest.raises(RecipeError) as error:
        hand_set(load_study(study_file(**changes)))
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "just text", "\udcff"])
def test_files_that_are_not_a_study(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RecipeError, match=r"study\.yaml"):
        load_study(path)
    with pytest.raises(RecipeError, match="no study at"):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="--set needs key=value"):
        parsed_overrides(["optimizer.lr"])


def test_ranges_and_choices_contain_their_values():
    assert Values(uniform=(0, 1)).contains(0) and Values(uniform=(0, 1)).contains(1.0)
    assert not Values(uniform=(0, 1)).contains(True)
    assert not Values(uniform=(0, 1)).contains(None)
    assert Values(randint=(2, 5)).contains(5) and not Values(randint=(2, 5)).contains(2.5)
    assert Values(choice=[None, "log"]).contains(None) and not Values(choice=["log"]).contains("hard")
    assert encoded([1, {"b": 2, "a": None}]) == '[1, {"a": null, "b": 2}]'
    assert formatted(0.031467304) == "0.03147" and encoded(0.031467304) == "0.031467304"


def test_settings_inside_lists_can_be_changed(study_file):
    base, _ = hand_set(load_study(study_file()))
    assert with_settings(base, {"data.languages.0": "en"}, "here").data.languages == ("en",)
