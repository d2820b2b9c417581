"""The runs of a translation recipe: reference run, alignment (stage 1), translation (stage 2)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from signatlas.errors import RecipeError
from signatlas.recipe import StageRecipe, TranslationRecipe
from signatlas.recipe.translation import AlignmentConfig
from trainers.run_folder import KEPT_CHECKPOINTS
from trainers.tasks.translation.data import TranslationData
from trainers.tasks.translation.task import TranslationStage

REFERENCE, TRAJECTORIES, ALIGNMENT, TRANSLATION = "reference", "trajectories", "alignment", "translation"


def runs(recipe: TranslationRecipe) -> dict[str, StageRecipe]:
    """Return the runs of a recipe in order, without what a later one takes from an earlier one."""
    stages = {}
    alignment, selection = recipe.alignment, recipe.negative_selection
    if alignment is not None and _selects(alignment) and selection.reference is None:
        optimizer = alignment.optimizer
        if selection.reference_epochs is not None:
            optimizer = optimizer.model_copy(update={"epochs": selection.reference_epochs})
        reference = alignment.model_copy(update={"contrast": "random", "optimizer": optimizer})
        stages[REFERENCE] = _stage(recipe, REFERENCE, reference, keep_every=selection.keep_every)
    if alignment is not None:
        # A run with random batches can be the reference run of other recipes: its checkpoints are kept.
        keep_every = selection.keep_every if alignment.contrast == "random" else None
        stages[ALIGNMENT] = _stage(recipe, ALIGNMENT, alignment, keep_every=keep_every)
    if recipe.translation is not None:
        stages[TRANSLATION] = _stage(recipe, TRANSLATION, None)
    return stages


def _selects(alignment: AlignmentConfig | None) -> bool:
    return alignment is not None and alignment.contrast == "selective"


def _stage(
    recipe: TranslationRecipe, name: str, alignment: AlignmentConfig | None, keep_every: int | None = None
) -> StageRecipe:
    settings = alignment or recipe.translation
    assert settings is not None
    selection = recipe.checkpoint_selection
    if alignment is not None and not alignment.translation_weight and selection.metric != "MRR":
        selection = selection.model_copy(update={"metric": "contrast"})  # this stage learns no translation
    if "://" in recipe.storage_path:
        name = f"{recipe.name}-{name}"  # its local folder lies in runs/, not in the folder of the recipe
    return StageRecipe(
        name=name,
        budget=recipe.budget,
        seed=recipe.seed,
        storage_path=f"{recipe.storage_path}/{recipe.name}",
        scaling=recipe.scaling,
        data=recipe.data,
        model=recipe.model,
        init_from=recipe.init_from,
        alignment=alignment,
        negative_selection=recipe.negative_selection if _selects(alignment) else None,
        batch_size=settings.batch_size,
        label_smoothing=recipe.label_smoothing,
        optimizer=settings.optimizer,
        checkpoint_selection=selection,
        keep_every=keep_every,
    )


def check(recipe: TranslationRecipe, task: TranslationStage) -> None:
    """Raise UserError for a reference run without checkpoints, or batches that the training clips do not fill."""
    if recipe.negative_selection.reference is not None and _selects(recipe.alignment):
        check_reference(recipe.negative_selection.reference)
    for run in runs(recipe).values():
        task.data.steps_per_epoch(run.batch_size)


def check_reference(reference: str | Path) -> None:
    """Raise RecipeError unless a reference run kept the two checkpoints that a trajectory needs."""
    count = len(list((Path(reference) / KEPT_CHECKPOINTS).glob("epoch_*")))
    if count < 2:
        raise RecipeError(
            f"negative_selection.reference {reference} has {count} kept checkpoints, two are needed for a trajectory: "
            "name the 'reference' or 'alignment' folder of a run with contrast random, or lower "
            "negative_selection.keep_every"
        )


def connect(
    recipe: TranslationRecipe, run: StageRecipe, results: Mapping[str, dict[str, Any]], quiet: bool
) -> StageRecipe:
    """Return a stage that starts from the model of the stage before, with trajectories where it selects batches."""
    if run.negative_selection is not None:
        reference = recipe.negative_selection.reference or Path(results[REFERENCE]["model"]).parent
        run = run.model_copy(update={"trajectories": _trajectories(recipe, run, Path(reference), quiet)})
    models = [result["model"] for name, result in results.items() if name != REFERENCE]
    return run.model_copy(update={"init_from": models[-1] if models else recipe.init_from})


def _trajectories(recipe: TranslationRecipe, run: StageRecipe, reference: Path, quiet: bool) -> str:
    """Cache the reference model's token features of the training clips; return their folder."""
    from trainers.pipelines.trajectories import cache

    check_reference(reference)
    if not quiet:
        print(f"token features of {reference}", file=sys.stderr, flush=True)
    folder = reference / TRAJECTORIES
    cache(reference, TranslationData(run), folder, gpus=1 if recipe.scaling.gpu else 0, quiet=quiet)
    return str(folder)


def describe(name: str, run: StageRecipe) -> str:
    """Return one line on a stage for the console."""
    prefix = "reference model: " if name == REFERENCE else ""
    size = f"{run.optimizer.epochs} epochs, batches of {run.batch_size}"
    if run.alignment is None:
        return f"{prefix}translation only, {size}"
    losses = {"none": "translation, end to end", "random": "contrast of random batches and translation",
              "selective": "contrast of selected batches and translation"}[run.alignment.contrast]  # fmt: skip
    return f"{prefix}{losses}, {size}"
