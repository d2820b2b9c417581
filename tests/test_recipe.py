"""Recipes: every shipped one loads, unknown keys are refused with a hint, overrides are typed."""

from pathlib import Path

import pytest

from signatlas.errors import RecipeError
from signatlas.recipe import RECIPES, dump, load, parse

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
    recipe = load(recipe_file, ["optimizer.lr=3e-4", "optimizer.zero=2", "model.streams=[shape]", "seed=7"])
    assert (recipe.optimizer.lr, recipe.optimizer.zero, recipe.model.streams, recipe.seed) == (3e-4, 2, ("shape",), 7)
    assert recipe.optimizer.epochs == 3


def test_the_resolved_recipe_reads_back_the_same(recipe_file, tmp_path):
    recipe = load(recipe_file, ["model.aspect={webcam: 1.3}"])
    (tmp_path / "resolved.yaml").write_text(dump(recipe))
    assert load(tmp_path / "resolved.yaml") == recipe


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("optimizer.epoch=3", "unknown key 'optimizer.epoch', did you mean 'epochs'"),
        ("modle.width=3", "unknown key 'modle', did you mean 'model'"),
        ("optimizer.epochs=0", "optimizer.epochs: Input should be greater than or equal to 1"),
        ("model.heads=7", "width 256 must be even and a multiple of heads 7"),
        ("task=sing_encoder", "unknown task 'sing_encoder'"),
        ("epochs", "--set wants key=value"),
        ("name=a b", "name"),
        ("name=..", "name: String should match pattern"),
        ("data.groups.7.source=x", "data.groups: Input should be a valid tuple"),
        ("name.a=b", "there is no such setting"),
        ("data.groups=[", "there is no such setting"),
    ],
)
def test_mistakes_are_one_line(recipe_file, override, says):
    with pytest.raises(RecipeError) as error:
        load(recipe_file, [override])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_or_broken_file(tmp_path):
    with pytest.raises(RecipeError, match="no recipe at"):
        load(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(RecipeError, match="not a YAML file"):
        load(tmp_path / "broken.yaml")


def test_recipes_are_frozen():
    recipe = parse(RECIPES["sign_encoder"], {"name": "r", "data": {"corpus": "c"}}, "here")
    with pytest.raises(Exception, match="frozen"):
        recipe.seed = 3
