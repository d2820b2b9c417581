"""Run or resume a study: Ray Tune over Ray Train runs, and a report at its end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from signatlas.errors import UserError
from signatlas.files import write_text_atomically
from signatlas.recipe import Recipe, dump
from tune import capacity
from tune.reference import with_shared_reference
from tune.search import count, search
from tune.study import METRIC, Point, Study, hand_set

if TYPE_CHECKING:
    from trainers.run_folder import RunFolder
    from tune.record import Trial

EXPERIMENT = "tune"  # Ray Tune's folder inside that of the study
CONCURRENT = "concurrent.txt"  # the number of concurrent trials


def run(study: Study, *, address: str | None = None, fresh: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Run a study to its end and return its results; connects to or starts Ray if this process has not.

    An interrupted study is resumed: ended trials are kept, running ones resume from their last checkpoint. A finished
    study returns its results. Raises UserError.
    """
    import ray

    from cluster import storage
    from cluster.connect import connected
    from cluster.ray_internals import disable_tune_tables
    from trainers.fit import build_task
    from trainers.run_folder import RunFolder

    base, baseline = hand_set(study)
    # Reports mistakes that every trial would make.
    fingerprint = build_task(base).corpus_fingerprint
    folder = RunFolder(storage.resolve(study.storage_path), study.name)
    if fresh:
        folder.clear()
    resumes = folder.begin(_description(study, base), fingerprint)
    if resumes and (finished := folder.results()) is not None:
        return finished | {"note": "this study is already finished; pass --fresh to run it again"}
    # Trials resolve relative paths of the recipe in the folder of the command.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # MissingMetric reports it in one line
    disable_tune_tables()
    # A restored Tuner has the concurrency it was created with.
    requested = _earlier_concurrency(folder) or study.concurrent
    local_trials, cpus = capacity.local_capacity(base, requested)
    starts_ray = not (ray.is_initialized() or address or os.environ.get("RAY_ADDRESS"))
    from tune.display import redirected_output

    with redirected_output() as output, connected(address, num_cpus=cpus, worker_logs=False):
        concurrency = capacity.study_concurrency(
            base, requested, local_trials if starts_ray else None, count(study, baseline)
        )
        base = with_shared_reference(study, base, folder.remote or str(folder.local), quiet)
        _tune(study, base, baseline, folder, concurrency, None if quiet else output)
    return _finish(study, base, folder, quiet)


def _description(study: Study, base: Recipe) -> str:
    """Return the settings that must be equal to resume a study: all but the number of concurrent trials."""
    same = study.model_copy(update={"concurrent": None})
    return f"# Settings of the study, then the hand-set recipe.\n{dump(same)}---\n{dump(base)}"


def _tune(study: Study, base: Recipe, baseline: Point, folder: RunFolder, concurrency: int, output: Any) -> None:
    from contextlib import nullcontext

    from tune import record
    from tune.display import Display

    tuner = _tuner(study, base, baseline, folder, concurrency)
    with nullcontext() if output is None else Display(study, count(study, baseline), output):
        tuner.fit()
    trials = record.read(folder.local)
    _require_metric(study, trials)
    if len(trials) < count(study, baseline) or any(trial.status not in record.ENDED for trial in trials):
        raise KeyboardInterrupt  # on Ctrl-C, Tune saves its state and returns


def _tuner(study: Study, base: Recipe, baseline: Point, folder: RunFolder, concurrency: int) -> Any:
    """Return a new Tuner, or restore that of an interrupted process."""
    from ray import tune

    from cluster.ray_internals import has_experiment_state
    from tune import record
    from tune.record import MissingMetric, Recorder
    from tune.scheduler import scheduler
    from tune.trial import driver, epochs_of

    storage_path = folder.remote or str(folder.local)
    # The driver process only waits; Ray Train requests the resources of its workers.
    trainable = tune.with_resources(driver(study, base, f"{storage_path}/trials"), {"CPU": capacity.DRIVER_CPUS})
    search_options = search(study, baseline)
    tune_config = tune.TuneConfig(
        metric=METRIC,
        mode=study.mode,
        search_alg=search_options["search_alg"],
        num_samples=search_options["num_samples"],
        scheduler=scheduler(study, baseline, epochs_of(base), folder.local),
        max_concurrent_trials=concurrency,  # otherwise trials take CPUs from each other, and all wait for workers
        trial_dirname_creator=_trial_folder,
    )
    run_config = tune.RunConfig(
        name=EXPERIMENT,
        storage_path=storage_path,
        stop=MissingMetric(),
        callbacks=[Recorder(folder.local, study)],
        failure_config=tune.FailureConfig(max_failures=0),
        verbose=0,
    )
    if has_experiment_state(f"{storage_path}/{EXPERIMENT}"):
        return tune.Tuner.restore(f"{storage_path}/{EXPERIMENT}", trainable)
    record.write(folder.local, [])
    write_text_atomically(folder.local / CONCURRENT, f"{concurrency}\n")
    return tune.Tuner(
        trainable, param_space=search_options["param_space"], tune_config=tune_config, run_config=run_config
    )


def _earlier_concurrency(folder: RunFolder) -> int | None:
    """Return the concurrency of the interrupted process, or None for a new study."""
    from cluster.ray_internals import has_experiment_state

    if not has_experiment_state(f"{folder.remote or folder.local}/{EXPERIMENT}"):
        return None
    path = folder.local / CONCURRENT
    return int(path.read_text(encoding="utf-8")) if path.is_file() else None


def _trial_folder(trial: Any) -> str:
    return str(trial.trial_id)


def _require_metric(study: Study, trials: list[Trial]) -> None:
    """Raise UserError if an evaluation did not report the metric of the study."""
    for trial in trials:
        if trial.reported:
            raise UserError(
                f"no trial reports '{study.metric}'; evaluations report {', '.join(trial.reported)}: "
                "set the study's metric to one of them and pass --fresh"
            )


def _finish(study: Study, base: Recipe, folder: RunFolder, quiet: bool) -> dict[str, Any]:
    from tune import record, report

    trials = record.read(folder.local)
    results = report.write(study, base, trials, folder)
    folder.publish()
    return results
