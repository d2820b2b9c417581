"""Recipes: shipped ones load, unknown keys are rejected with a hint, overrides are typed, paths become absolute."""

from pathlib import Path

import pytest
import yaml

from signatlas.config import dump_absolute
from signatlas.errors import RecipeError
from signatlas.recipe import RECIPES, dump, load, parse
from signatlas.recipe.keys import has_former_keys, renamed

SHIPPED = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_every_shipped_recipe_loads_and_is_named_after_its_file(path):
    recipe = load(path)
    assert recipe.name == path.stem


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: r\ndata: {corpus: data/dgs}\noptimizer: {epochs: 3}\n")
    return path


def test_overrides_are_typed(recipe_file):
    recipe = load(recipe_file, ["optimizer.lr=3e-4", "optimizer.zero_stage=2", "model.streams=[shape]", "seed=7"])
    assert (recipe.optimizer.lr, recipe.optimizer.zero_stage, recipe.optimizer.epochs) == (3e-4, 2, 3)
    assert (recipe.model.streams, recipe.seed) == (("shape",), 7)


def test_a_dumped_recipe_loads_as_the_same(recipe_file, tmp_path):
    recipe = load(recipe_file, ["model.aspect={webcam: 1.3}"])
    (tmp_path / "resolved.yaml").write_text(dump(recipe))
    assert load(tmp_path / "resolved.yaml") == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.epochs=3", "unknown key 'optimiser': it is now 'optimizer'"),
        ("optimizer.clip=1", "unknown key 'optimizer.clip': it is now 'optimizer.max_grad_norm'"),
        ("optimizer.zero=1", "unknown key 'optimizer.zero': it is now 'optimizer.zero_stage'"),
        ("select.every=1", "unknown key 'select': it is now 'checkpoint_selection'"),
        ("checkpoint_selection.every=1", "it is now 'checkpoint_selection.evaluate_every'"),
        ("loss.name=supcon", "unknown key 'loss.name': it was removed, delete it"),
        ("optimizer.normalise=1", "unknown key 'optimizer.normalise'"),
        ("optimizer.epoch=3", "unknown key 'optimizer.epoch', did you mean 'epochs'"),
        ("modle.width=3", "unknown key 'modle', did you mean 'model'"),
        ("optimizer.epochs=0", "optimizer.epochs: Input should be greater than or equal to 1"),
        ("model.heads=7", "width 256 must be even and a multiple of heads 7"),
        ("task=sing_encoder", "unknown task 'sing_encoder'"),
        ("epochs", "--set needs key=value"),
        ("name=a b", "name"),
        ("name=..", "name: String should match pattern"),
        ("data.groups.7.source=x", "data.groups: Input should be a valid tuple"),
        ("name.a=b", "no such setting"),
        ("data.groups=[", "no such setting"),
    ],
)
def test_errors_are_one_line(recipe_file, override, message):
    with pytest.raises(RecipeError) as error:
        load(recipe_file, [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_invalid_yaml(tmp_path):
    with pytest.raises(RecipeError, match="no recipe at"):
        load(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(RecipeError, match="not a YAML file"):
        load(tmp_path / "broken.yaml")


def test_recipes_are_frozen():
    recipe = parse(RECIPES["sign_encoder"], {"name": "r", "data": {"corpus": "c"}}, "here")
    with pytest.raises(Exception, match="frozen"):
        recipe.seed = 3


def test_former_keys_of_all_tasks_name_the_present_ones():
    for old, present in (
        ("select", "checkpoint_selection"),
        ("selection.every", "negative_selection.keep_every"),
        ("alignment.optimiser.clip", "alignment.optimizer.max_grad_norm"),
        ("alignment.weight", "alignment.contrast_weight"),
        ("noise.share", "noise.mask_ratio"),
        ("start", "init_from"),
    ):
        assert renamed(old) == present


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_no_present_key_counts_as_a_former_one(path):
    assert not has_former_keys(yaml.safe_load(dump(load(path))))


def test_gradient_clipping_can_be_off(recipe_file):
    assert load(recipe_file).optimizer.max_grad_norm == 1.0
    assert load(recipe_file, ["optimizer.max_grad_norm=null"]).optimizer.max_grad_norm is None


def test_paths_become_absolute_where_they_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("corpus", "mbart", "a.txt"):
        (tmp_path / name).mkdir()
    model = {"pretrained": "mbart"}
    data = {"corpus": "corpus", "languages": ["de"], "texts": {"de": ["a.txt", "s3://bucket/b.txt"]}}
    recipe = parse(RECIPES["text_denoising"], {"name": "r", "data": data, "model": model}, "here")
    absolute = dump_absolute(recipe)
    assert absolute["data"]["corpus"] == str(tmp_path / "corpus")
    assert absolute["data"]["texts"] == {"de": [str(tmp_path / "a.txt"), "s3://bucket/b.txt"]}
    assert absolute["model"]["pretrained"] == str(tmp_path / "mbart")
    recipe = parse(RECIPES["translation"], {"name": "r", "data": {"corpus": "elsewhere"}, "init_from": "mbart"}, "here")
    absolute = dump_absolute(recipe)
    assert absolute["data"]["corpus"] == "elsewhere"
    assert absolute["init_from"] == str(tmp_path / "mbart")
    assert recipe.init_from == "mbart"
