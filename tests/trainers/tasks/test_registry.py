"""Every task of a recipe has a specification that builds from that recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

import trainers.tasks
from signatlas.recipe import RECIPES
from trainers.tasks import task_spec


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_task(name):
    spec = task_spec(name)
    assert (spec.name, spec.recipe) == (name, RECIPES[name])


def test_every_folder_of_a_task_has_a_recipe():
    folders = {path.parent.name for path in Path(trainers.tasks.__file__).parent.glob("*/__init__.py")}
    assert folders == set(RECIPES)
