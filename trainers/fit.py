"""Run a recipe on Ray Train: start or resume, watch, and leave model, curves and results behind."""

from __future__ import annotations

import importlib
import json
import math
import shutil
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from signatlas.errors import UserError
from signatlas.files import write_text_atomically
from signatlas.recipe import RECIPES, Recipe, Run, StageRecipe, TranslationRecipe, dump, parse
from trainers.folder import RunFolder
from trainers.loop import Task

TASKS = {
    "sign_encoder": "trainers.tasks.sign_encoder.task:build",
    "contrastive": "trainers.tasks.contrastive.task:build",
    "sign_classifier": "trainers.tasks.sign_classifier.task:build",
    "pseudo_label": "trainers.tasks.pseudo_label.task:build",
    "translation_stage": "trainers.tasks.translation.task:build",
    "text_denoising": "trainers.tasks.text_denoising.task:build",
}
# What a task makes once, in the run's folder, before its workers start: (recipe, folder, quiet) -> completed recipe.
PREPARE = {"pseudo_label": "trainers.tasks.pseudo_label.task:prepare"}

# Settings that may name a folder of this machine.
PATHS = (
    "data.corpus", "data.features", "data.frames", "data.model", "model.sign.pretrained", "model.text.name",
    "model.language.pretrained", "model.pretrained", "model.sign.backbone.pretrained", "start", "trajectories",
)  # fmt: skip


def build_task(recipe: Recipe) -> Task:
    """The task of a recipe; of several stages that of the first."""
    if isinstance(recipe, TranslationRecipe):
        from trainers.tasks.translation.stages import stages

        recipe = next(iter(stages(recipe).values()))
    module, function = TASKS[recipe.task].split(":")
    task: Task = getattr(importlib.import_module(module), function)(recipe)
    return task


def _prepared(recipe: Run, folder: Path, quiet: bool) -> Run:
    module, function = PREPARE[recipe.task].split(":")
    prepared: Run = getattr(importlib.import_module(module), function)(recipe, folder, quiet)
    return prepared


def worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    import torch

    from trainers import loop

    recipe = parse(RECIPES[config["recipe"]["task"]], config["recipe"], "recipe")
    assert not isinstance(recipe, TranslationRecipe)  # its stages are what runs
    torch.set_num_threads(recipe.scaling.threads)
    task = build_task(recipe)
    task.shown = parse(type(recipe), config["shown"], "recipe")
    keep = recipe.snapshots if isinstance(recipe, StageRecipe) else None
    loop.run(task, recipe.optimizer, seed=recipe.seed, every=recipe.select.every, keep=keep, queue=config["queue"])


def fit(
    recipe: Recipe,
    *,
    address: str | None = None,
    fresh: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    callbacks: Sequence[Any] = (),
) -> dict[str, Any]:
    """Train a recipe to its end and return its results; joins or starts Ray unless this process has.

    The stages of a translation are one run each, inside that of the recipe.

    A run that was stopped goes on from its last checkpoint; a finished one is returned as it is. ``callbacks`` are Ray
    Train's, called on its controller, for instance at every report. Raises UserError.
    """
    from cluster import storage
    from cluster.connect import connected

    if isinstance(recipe, TranslationRecipe):
        from trainers.tasks.translation.stages import fit_stages

        with connected(address, num_cpus=cpus_of(recipe), worker_logs=verbose):
            return fit_stages(recipe, fresh=fresh, quiet=quiet, verbose=verbose, callbacks=callbacks)
    task = build_task(recipe)  # the user's mistakes show here, on the driver, in one line, before anything is touched
    steps, fingerprint = recipe.optimizer.epochs * task.steps_per_epoch, task.corpus_fingerprint
    for note in () if quiet else task.notes:
        print(f"note: {note}", flush=True)
    del task  # the workers hold the clips; the driver need not
    storage_path = storage.resolve(recipe.storage_path)
    folder = RunFolder(storage_path, recipe.name)
    if fresh:
        folder.clear()
    resumes = folder.begin(dump(recipe), fingerprint)
    if resumes and (finished := folder.results()) is not None:
        return finished | {"note": "this run had finished; --fresh trains it anew"}
    if resumes and not quiet:
        print(f"{folder}: going on from the last checkpoint", flush=True)
    with connected(address, num_cpus=cpus_of(recipe), worker_logs=verbose):
        if recipe.task in PREPARE:
            recipe = _prepared(recipe, folder.local, quiet)
            steps = recipe.optimizer.epochs * build_task(recipe).steps_per_epoch
        result = _train(recipe, steps, storage_path, folder.local, quiet, callbacks)
    results = _finish(recipe, result, folder.local)
    folder.publish()
    return results


def cpus_of(recipe: Recipe) -> int:
    """Logical CPUs of a local Ray for a recipe: those of its workers, and one beside."""
    return math.ceil(recipe.scaling.workers * recipe.scaling.cpus_per_worker) + 1


def _train(recipe: Run, steps: int, storage_path: str, folder: Path, quiet: bool, callbacks: Sequence[Any] = ()) -> Any:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    from trainers.progress import Watcher

    keeps_all = isinstance(recipe, StageRecipe) and recipe.snapshots is not None
    queue = Queue(maxsize=1000, actor_options={"num_cpus": 0})
    data = _with_absolute_paths(recipe)
    scaling = recipe.scaling
    trainer = TorchTrainer(
        worker,
        train_loop_config={"recipe": data, "shown": recipe.model_dump(mode="json"), "queue": queue},
        scaling_config=ScalingConfig(
            num_workers=scaling.workers, use_gpu=scaling.gpu, resources_per_worker=_resources(recipe)
        ),
        run_config=RunConfig(
            name=recipe.name,
            storage_path=storage_path,
            checkpoint_config=CheckpointConfig(
                num_to_keep=None if keeps_all else 1, checkpoint_score_attribute="score"
            ),
            failure_config=FailureConfig(max_failures=3),
            callbacks=list(callbacks),
        ),
    )
    try:
        with Watcher(queue, steps, folder / "tensorboard", quiet=quiet):
            return trainer.fit()
    except SystemExit:
        raise KeyboardInterrupt from None  # Ray Train's own answer to Ctrl-C, after it has ended the workers
    except TrainingFailedError as error:
        raise _users_mistake(error) or error from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray Train leaves its own behind
        queue.shutdown()


def _with_absolute_paths(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the workers get it, which run in a folder of their own."""
    data = recipe.model_dump(mode="json")

    for path in PATHS:
        *parts, key = path.split(".")
        place: Any = data
        for part in parts:
            place = place.get(part, {})
        value = place.get(key)
        if value and "://" not in value and (key == "corpus" or Path(value).exists()):
            place[key] = str(Path(value).absolute())
    for language, files in data["data"].get("texts", {}).items():
        data["data"]["texts"][language] = [str(Path(file).absolute()) for file in files]
    return data


def _users_mistake(error: Any) -> UserError | None:
    """The UserError of a worker, such as a corpus that its node does not have; None when it was something else."""
    failures = getattr(error, "worker_failures", {}).values()
    return next((UserError(str(f)) for f in failures if isinstance(f, UserError)), None)


def _resources(recipe: Recipe) -> dict[str, float]:
    wanted = {"CPU": recipe.scaling.cpus_per_worker}
    return wanted | ({"GPU": 1.0} if recipe.scaling.gpu else {})


def _finish(recipe: Run, result: Any, folder: Path) -> dict[str, Any]:
    """Copy the best model and the history out of the checkpoints; draw curves; write results.json last."""
    if not result.best_checkpoints:
        raise UserError(f"{folder}: training ended without a checkpoint; see Ray's logs")
    best, metrics = max(result.best_checkpoints, key=lambda kept: (kept[1]["score"], -kept[1]["epoch"]))
    with best.as_directory() as source:
        shutil.rmtree(folder / "model", ignore_errors=True)
        shutil.copytree(Path(source) / "model", folder / "model")
    if isinstance(recipe, StageRecipe) and recipe.snapshots is not None:
        _keep_snapshots(result, folder, recipe.snapshots)
    with result.checkpoint.as_directory() as source:
        history = json.loads((Path(source) / "history.json").read_text(encoding="utf-8"))
    write_text_atomically(folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in history))
    chosen = history[metrics["epoch"]]  # of equal checkpoints Ray keeps whichever it likes: name the one that is kept
    results = {"name": recipe.name, "seed": recipe.seed, "model": str(folder / "model"), "best": chosen,
               "last": history[-1], "epochs": len(history)}  # fmt: skip
    from signatlas.plots.curves import curves

    panels = [["loss"], sorted(k for k in chosen if k.startswith("dev_")), ["lr"]]
    curves(history, folder / "curves.png", panels=panels, title=recipe.name)
    write_text_atomically(folder / "results.json", json.dumps(results, indent=2) + "\n")
    if isinstance(recipe, StageRecipe) and recipe.snapshots is not None:
        _drop_others(result)
    return results


def _keep_snapshots(result: Any, folder: Path, every: int) -> None:
    """Copy the model of ``every`` so many epochs into ``snapshots/epoch_0005``, numbered by the epochs done."""
    for checkpoint, metrics in result.best_checkpoints:
        if (done := metrics["epoch"] + 1) % every:
            continue  # only there to be chosen
        target = folder / "snapshots" / f"epoch_{done:04d}"
        shutil.rmtree(target, ignore_errors=True)
        with checkpoint.as_directory() as source:
            shutil.copytree(Path(source) / "model", target)


def _drop_others(result: Any) -> None:
    """Of checkpoints whose models are kept, the optimizer's state is of no more use once the run has ended."""
    kept = {result.checkpoint.path, max(result.best_checkpoints, key=lambda k: k[1]["score"])[0].path}
    for checkpoint, _ in result.best_checkpoints:
        if checkpoint.path not in kept:
            checkpoint.filesystem.delete_dir(checkpoint.path)
