"""The reference run of a curriculum study: trained once before the first trial and shared by all trials."""

from __future__ import annotations

from pathlib import Path

from signatlas.errors import RecipeError
from signatlas.recipe import Recipe, TranslationRecipe
from tune.study import Study

NAME = "reference"


def with_shared_reference(study: Study, base: Recipe, storage_path: str, quiet: bool) -> Recipe:
    """Return the recipe with a reference run and its cached trajectories, if any trial selects batches.

    The run is ``negative_selection.reference``. One run for each trial would cost more than the trial itself; this one
    is trained with the hand-set settings, unless the recipe names one. Needs an initialized Ray. Raises UserError.
    """
    if not isinstance(base, TranslationRecipe) or not _selects_batches(study, base):
        return base
    from trainers.fit import fit
    from trainers.pipelines.trajectories import cache
    from trainers.tasks.translation.data import TranslationData
    from trainers.tasks.translation.stages import ALIGNMENT, TRAJECTORIES, runs

    selection, aligned = base.negative_selection, base.alignment
    assert aligned is not None
    if selection.reference is None and "negative_selection.reference" not in study.space:
        if "://" in storage_path:
            raise RecipeError(f"{storage_path}: a shared reference run needs a folder that all nodes can read: set "
                              "negative_selection.reference to one under 'set' of the study")  # fmt: skip
        epochs = selection.reference_epochs or aligned.optimizer.epochs
        optimizer = aligned.optimizer.model_copy(update={"epochs": epochs})
        reference_recipe = base.model_copy(update={
            "name": NAME, "storage_path": storage_path, "translation": None,
            "alignment": aligned.model_copy(update={"contrast": "random", "optimizer": optimizer}),
        })  # fmt: skip
        if not quiet:
            print(f"training the reference model that all trials share: {epochs} epochs", flush=True)
        fit(reference_recipe, quiet=quiet)
        selection = selection.model_copy(update={"reference": str(Path(storage_path) / NAME / ALIGNMENT)})
        base = base.model_copy(update={"negative_selection": selection})
    if selection.reference is not None:
        # Not in the trials: they would all write to the same folder, and Ray Data would wait for their CPUs.
        selective = aligned.model_copy(update={"contrast": "selective"})
        run = runs(base.model_copy(update={"alignment": selective}))[ALIGNMENT]
        reference = Path(selection.reference)
        cache(reference, TranslationData(run), reference / TRAJECTORIES, gpus=int(base.scaling.gpu), quiet=quiet)
    return base


def _selects_batches(study: Study, base: TranslationRecipe) -> bool:
    """Return whether any trial selects its batches with a reference model."""
    searched = study.space.get("alignment.contrast")
    if base.alignment is None:
        return False
    return base.alignment.contrast == "selective" or (searched is not None and searched.contains("selective"))
