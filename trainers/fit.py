"""Run a recipe on Ray Train: start or resume, show progress, write model, curves and results."""

from __future__ import annotations

import json
import math
import shutil
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from signatlas.config import dump_absolute
from signatlas.errors import UserError
from signatlas.files import write_text_atomically
from signatlas.recipe import Recipe, RunRecipe, dump, parse
from trainers.loop import Task
from trainers.run_folder import KEPT_CHECKPOINTS, RunFolder
from trainers.tasks import Results, TaskSpec, task_spec


def build_task(recipe: Recipe) -> Task:
    """Return the task of a recipe; of several runs that of the first. Raises UserError."""
    spec = task_spec(recipe.task)
    return spec.build(next(iter(spec.runs(recipe).values())))


def worker(config: dict[str, Any]) -> None:
    """Train one run; each Ray Train worker calls this."""
    import torch

    from trainers import loop

    spec = task_spec(config["task"])
    recipe, user_recipe = (parse(spec.run_recipe, config[key], "recipe") for key in ("recipe", "user_recipe"))
    assert isinstance(recipe, RunRecipe)
    torch.set_num_threads(recipe.scaling.threads)
    task = spec.build(recipe)
    task.user_recipe = user_recipe
    loop.run(
        task,
        recipe.optimizer,
        seed=recipe.seed,
        evaluate_every=recipe.checkpoint_selection.evaluate_every,
        keep_every=spec.keep_every(recipe),
        queue=config["queue"],
    )


def fit(
    recipe: Recipe,
    *,
    address: str | None = None,
    fresh: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    callbacks: Sequence[Any] = (),
) -> Results:
    """Train a recipe and return its results; connects to Ray, or starts it, unless this process has done so.

    A stopped run resumes from its last checkpoint; the results of a finished one are returned as they are. The stages
    of a recipe are runs of their own in the recipe's folder. ``callbacks`` are Ray Train's, called on its controller,
    for instance at every report; of several stages the last one gets them. Raises UserError.
    """
    return _fit(task_spec(recipe.task), recipe, address, fresh, quiet, verbose, callbacks)


def _fit(
    spec: TaskSpec, recipe: Any, address: str | None, fresh: bool, quiet: bool, verbose: bool, callbacks: Sequence[Any]
) -> Results:
    from cluster import storage
    from cluster.connect import connected

    # User errors show here, on the driver, before anything is written.
    task = spec.build(next(iter(spec.runs(recipe).values())))
    if spec.stages is not None:
        spec.stages.check(recipe, task)
    steps_per_epoch, fingerprint = task.steps_per_epoch, task.corpus_fingerprint
    for note in () if quiet else task.notes:
        print(f"note: {note}", flush=True)
    del task  # frees the clips: only the workers need them
    storage_path = storage.resolve(recipe.storage_path)
    folder = RunFolder(storage_path, recipe.name)
    if fresh:
        folder.clear()
    resumes = folder.begin(dump(recipe), fingerprint)
    if resumes and (finished := folder.results()) is not None:
        return finished | {"note": "this run had finished; --fresh trains it again"}
    if resumes and not quiet and spec.stages is None:
        print(f"{folder}: resuming from the last checkpoint", flush=True)
    with connected(address, num_cpus=cpus_of(recipe), worker_logs=verbose):
        if spec.stages is not None:
            results = _fit_stages(spec, recipe, folder.local, quiet, verbose, callbacks)
        else:
            if spec.prepare is not None:
                recipe = spec.prepare(recipe, folder.local, quiet)
                steps_per_epoch = spec.build(recipe).steps_per_epoch
            steps = recipe.optimizer.epochs * steps_per_epoch
            result = _train(spec, recipe, steps, storage_path, folder.local, quiet, callbacks)
            results = _finish(recipe, result, folder.local, spec.keep_every(recipe))
    folder.publish()
    return results


def _fit_stages(
    spec: TaskSpec, recipe: Recipe, folder: Path, quiet: bool, verbose: bool, callbacks: Sequence[Any]
) -> Results:
    """Train the stages of a recipe one after another; finished ones are skipped. Write results.json last."""
    assert spec.stages is not None
    runs, results = spec.runs(recipe), dict[str, Results]()
    for number, (name, run) in enumerate(runs.items(), start=1):
        if not quiet:
            print(f"stage {number} of {len(runs)}: {spec.stages.describe(name, run)}", flush=True)
        run = spec.stages.connect(recipe, run, results, quiet)
        observers = callbacks if number == len(runs) else ()
        results[name] = _fit(replace(spec, stages=None), run, None, False, quiet, verbose, observers)
    last = results[name]
    shutil.rmtree(folder / "model", ignore_errors=True)
    shutil.copytree(last["model"], folder / "model")
    whole = last | {"name": recipe.name, "model": str(folder / "model"), "stages": results}
    write_text_atomically(folder / "results.json", json.dumps(whole, indent=2) + "\n")
    return whole


def cpus_of(recipe: Recipe) -> int:
    """Return the logical CPUs that a local Ray needs for a recipe: those of its workers and one more."""
    return math.ceil(recipe.scaling.workers * recipe.scaling.cpus_per_worker) + 1


def _train(
    spec: TaskSpec,
    recipe: RunRecipe,
    steps: int,
    storage_path: str,
    folder: Path,
    quiet: bool,
    callbacks: Sequence[Any],
) -> Any:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    from trainers.progress import Watcher

    queue = Queue(maxsize=1000, actor_options={"num_cpus": 0})
    configuration = {"task": spec.name, "recipe": dump_absolute(recipe), "user_recipe": recipe.model_dump(mode="json")}
    keeps_all = spec.keep_every(recipe) is not None
    scaling = recipe.scaling
    trainer = TorchTrainer(
        worker,
        train_loop_config=configuration | {"queue": queue},
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
        raise KeyboardInterrupt from None  # Ray Train turns Ctrl-C into SystemExit after it has stopped the workers
    except TrainingFailedError as error:
        raise _user_error(error) or error from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray Train does not restore the handler
        queue.shutdown()


def _user_error(error: Any) -> UserError | None:
    """Return the UserError of a worker, such as a corpus that its node lacks; None for other failures."""
    failures = getattr(error, "worker_failures", {}).values()
    return next((UserError(str(f)) for f in failures if isinstance(f, UserError)), None)


def _resources(recipe: RunRecipe) -> dict[str, float]:
    cpus = {"CPU": recipe.scaling.cpus_per_worker}
    return cpus | ({"GPU": 1.0} if recipe.scaling.gpu else {})


def _finish(recipe: RunRecipe, result: Any, folder: Path, keep_every: int | None) -> Results:
    """Copy the best model, the kept ones and the history from the checkpoints; draw curves; write results.json last."""
    if not result.best_checkpoints:
        raise UserError(f"{folder}: training ended without a checkpoint; see Ray's logs")
    best, metrics = max(result.best_checkpoints, key=lambda pair: (pair[1]["score"], -pair[1]["epoch"]))
    _copy_model(best, folder / "model")
    if keep_every is not None:
        _copy_kept_checkpoints(result, folder / KEPT_CHECKPOINTS, keep_every)
    with result.checkpoint.as_directory() as source:
        history = json.loads((Path(source) / "history.json").read_text(encoding="utf-8"))
    write_text_atomically(folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in history))
    chosen = history[metrics["epoch"]]  # of checkpoints with equal scores Ray keeps any: report the one it kept
    results = {"name": recipe.name, "seed": recipe.seed, "model": str(folder / "model"), "best": chosen,
               "last": history[-1], "epochs": len(history)}  # fmt: skip
    from signatlas.plots.curves import curves

    panels = [["loss"], sorted(k for k in chosen if k.startswith("dev_")), ["lr"]]
    curves(history, folder / "curves.png", panels=panels, title=recipe.name)
    write_text_atomically(folder / "results.json", json.dumps(results, indent=2) + "\n")
    if keep_every is not None:
        _delete_other_checkpoints(result)
    return results


def _copy_model(checkpoint: Any, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    with checkpoint.as_directory() as source:
        shutil.copytree(Path(source) / "model", target)


def _copy_kept_checkpoints(result: Any, folder: Path, every: int) -> None:
    """Copy the models of every ``every`` epochs to ``epoch_0005`` and so on, numbered by finished epochs."""
    for checkpoint, metrics in result.best_checkpoints:
        finished = metrics["epoch"] + 1
        if finished % every == 0:  # the others are only candidates for the best
            _copy_model(checkpoint, folder / f"epoch_{finished:04d}")


def _delete_other_checkpoints(result: Any) -> None:
    """Delete all checkpoints but the best and the last: their models are copied, their optimizer states useless."""
    retained = {result.checkpoint.path, max(result.best_checkpoints, key=lambda pair: pair[1]["score"])[0].path}
    for checkpoint, _ in result.best_checkpoints:
        if checkpoint.path not in retained:
            checkpoint.filesystem.delete_dir(checkpoint.path)
