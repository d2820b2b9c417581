"""The stages of a translation recipe, one run each: reference, its trajectories, alignment, translation."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from signatlas.errors import RecipeError
from signatlas.files import write_text_atomically
from signatlas.recipe import StageRecipe, TranslationRecipe, dump
from trainers.folder import RunFolder

REFERENCE, TRAJECTORIES, ALIGNMENT, TRANSLATION = "reference", "trajectories", "alignment", "translation"


def stages(recipe: TranslationRecipe) -> dict[str, StageRecipe]:
    """The runs of a recipe in their order, without what a later one takes from an earlier one."""
    found = {}
    aligned, settings = recipe.alignment, recipe.selection
    if aligned is not None and aligned.contrast == "selective" and settings.reference is None:
        epochs = settings.epochs or aligned.optimizer.epochs
        random = aligned.model_copy(
            update={
                "contrast": "random",
                "optimizer": aligned.optimizer.model_copy(update={"epochs": epochs}),
            }
        )
        found[REFERENCE] = _stage(recipe, REFERENCE, random, snapshots=settings.every)
    if aligned is not None:
        # A standard run is a reference run as well: with its snapshots another recipe can name it.
        snapshots = settings.every if aligned.contrast == "random" else None
        found[ALIGNMENT] = _stage(recipe, ALIGNMENT, aligned, snapshots=snapshots)
    if recipe.translation is not None:
        found[TRANSLATION] = _stage(recipe, TRANSLATION, None)
    return found


def _stage(recipe: TranslationRecipe, name: str, aligned: Any, snapshots: int | None = None) -> StageRecipe:
    settings = aligned or recipe.translation
    assert settings is not None
    select = recipe.select
    if aligned is not None and not aligned.translation and select.metric != "MRR":
        select = select.model_copy(update={"metric": "contrast"})  # this stage learns no translation to choose by
    if "://" in recipe.storage_path:
        name = f"{recipe.name}-{name}"  # the folder on this machine has no parent of the recipe's name
    return StageRecipe(
        name=name, budget=recipe.budget, seed=recipe.seed, storage_path=f"{recipe.storage_path}/{recipe.name}",
        scaling=recipe.scaling, data=recipe.data, model=recipe.model,
        start=recipe.start, alignment=aligned,
        selection=recipe.selection if aligned is not None and aligned.contrast == "selective" else None,
        batch_size=settings.batch_size, smoothing=recipe.smoothing, optimizer=settings.optimizer, select=select,
        snapshots=snapshots,
    )  # fmt: skip


def fit_stages(recipe: TranslationRecipe, *, fresh: bool, quiet: bool, verbose: bool, callbacks: Any) -> dict[str, Any]:
    """Train all stages and return the results of the last; what is done is not done again. Raises UserError.

    ``callbacks`` see the last stage only, whose figures are those of the recipe.
    """
    from cluster import storage
    from trainers.fit import build_task, fit
    from trainers.tasks.translation.task import TranslationStage

    runs = stages(recipe)
    if recipe.selection.reference is not None and recipe.alignment and recipe.alignment.contrast == "selective":
        snapshots(recipe.selection.reference)
    task = build_task(recipe)  # every mistake that can be found shows now, before anything is trained
    assert isinstance(task, TranslationStage)
    for run in runs.values():
        task.data.batches(run.batch_size)
    fingerprint = task.corpus_fingerprint
    for note in () if quiet else task.notes:
        print(f"note: {note}", flush=True)
    del task
    folder = RunFolder(storage.resolve(recipe.storage_path), recipe.name)
    if fresh:
        folder.clear()
    resumes = folder.begin(dump(recipe), fingerprint)
    if resumes and (finished := folder.results()) is not None:
        return finished | {"note": "this run had finished; --fresh trains it anew"}
    reference, done, start = recipe.selection.reference, {}, recipe.start
    for number, (kind, run) in enumerate(runs.items()):
        if not quiet:
            told = "reference model: " if kind == REFERENCE else ""
            print(f"stage {number + 1} of {len(runs)}: {told}{_said(run)}", flush=True)
        if run.selection is not None:
            assert reference is not None
            run = run.model_copy(update={"trajectories": _trajectories(recipe, run, Path(reference), quiet)})
        run = run.model_copy(update={"start": start})
        last = number == len(runs) - 1
        done[kind] = fit(run, quiet=quiet, verbose=verbose, callbacks=callbacks if last else ())
        if kind == REFERENCE:
            reference = str(Path(done[kind]["model"]).parent)
        else:
            start = done[kind]["model"]
    return _finish(recipe, done, folder)


def _said(run: StageRecipe) -> str:
    """What a stage is, in one line for people."""
    clips, epochs = f"batches of {run.batch_size}", f"{run.optimizer.epochs} epochs"
    if run.alignment is None:
        return f"translation alone, {epochs}, {clips}"
    what = {"none": "translation end to end", "random": "contrast of random batches and translation",
            "selective": "contrast of selected batches and translation"}[run.alignment.contrast]  # fmt: skip
    return f"{what}, {epochs}, {clips}"


def snapshots(reference: str | Path) -> list[Path]:
    """The model folders of a reference run, in the order of their epochs. Raises RecipeError for fewer than two."""
    found = sorted((Path(reference) / "snapshots").glob("epoch_*"))
    if len(found) < 2:
        raise RecipeError(
            f"selection.reference {reference} has {len(found)} checkpoints, two are needed for a trajectory: name the "
            "'reference' or 'alignment' folder of a run with contrast random, or lower selection.every"
        )
    return found


def _trajectories(recipe: TranslationRecipe, run: StageRecipe, reference: Path, quiet: bool) -> str:
    """The reference model's token features of the training clips, cached beside its snapshots."""
    from trainers.pipelines.trajectories import cache
    from trainers.tasks.translation.data import Translations

    snapshots(reference)
    if not quiet:
        print(f"token features of {reference}", file=sys.stderr, flush=True)
    out = reference / TRAJECTORIES
    cache(reference, Translations(run), out, gpus=1 if recipe.scaling.gpu else 0, quiet=quiet)
    return str(out)


def _finish(recipe: TranslationRecipe, done: dict[str, dict[str, Any]], folder: RunFolder) -> dict[str, Any]:
    """The model of the last stage as that of the recipe; results.json last."""
    last = list(done.values())[-1]
    shutil.rmtree(folder.local / "model", ignore_errors=True)
    shutil.copytree(last["model"], folder.local / "model")
    results = last | {"name": recipe.name, "model": str(folder.local / "model"), "stages": done}
    write_text_atomically(folder.local / "results.json", json.dumps(results, indent=2) + "\n")
    folder.publish()
    return results
