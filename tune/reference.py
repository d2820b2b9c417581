"""The reference run that all trials of a curriculum share: trained once, before the first trial."""

from __future__ import annotations

from pathlib import Path

from signatlas.errors import RecipeError
from signatlas.recipe import Recipe, TranslationRecipe
from tune.study import Study

NAME = "reference"


def with_shared_reference(study: Study, base: Recipe, place: str, quiet: bool) -> Recipe:
    """The recipe with ``selection.reference`` set and its trajectories cached, if any trial selects its batches.

    A reference run of the trials' own would cost more than the trial itself; one that is named is taken as it is. It
    is trained with the hand-set settings. Needs an initialized Ray. Raises UserError.
    """
    if not isinstance(base, TranslationRecipe) or not _selects(study, base):
        return base
    from trainers.fit import fit
    from trainers.pipelines.trajectories import cache
    from trainers.tasks.translation.data import Translations
    from trainers.tasks.translation.stages import ALIGNMENT, TRAJECTORIES, stages

    selection, aligned = base.selection, base.alignment
    assert aligned is not None
    if selection.reference is None and "selection.reference" not in study.space:
        if "://" in place:
            raise RecipeError(f"{place}: trials share a reference run on a folder that all nodes see: name one as "
                              "selection.reference under set")  # fmt: skip
        epochs = selection.epochs or aligned.optimizer.epochs
        optimizer = aligned.optimizer.model_copy(update={"epochs": epochs})
        alone = base.model_copy(update={
            "name": NAME, "storage_path": place, "translation": None,
            "alignment": aligned.model_copy(update={"contrast": "random", "optimizer": optimizer}),
        })  # fmt: skip
        if not quiet:
            print(f"reference model of all trials: {epochs} epochs", flush=True)
        fit(alone, quiet=quiet)
        selection = selection.model_copy(update={"reference": str(Path(place) / NAME / ALIGNMENT)})
        base = base.model_copy(update={"selection": selection})
    if selection.reference is not None:
        # Here, not in the trials: they would all write the same folder, and Ray Data would wait for their CPUs.
        chosen = aligned.model_copy(update={"contrast": "selective"})
        run = stages(base.model_copy(update={"alignment": chosen}))[ALIGNMENT]
        reference = Path(selection.reference)
        cache(reference, Translations(run), reference / TRAJECTORIES, gpus=int(base.scaling.gpu), quiet=quiet)
    return base


def _selects(study: Study, base: TranslationRecipe) -> bool:
    """Whether any trial draws its batches by a reference model."""
    searched = study.space.get("alignment.contrast")
    if base.alignment is None:
        return False
    return base.alignment.contrast == "selective" or (searched is not None and searched.contains("selective"))
