"""Run a study: Ray Tune over Ray Train runs, started or gone on with, and a report at its end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from signatlas.errors import UserError
from signatlas.files import filesystem, write_text_atomically
from signatlas.recipe import Recipe, dump
from tune import capacity
from tune.output import calm_output
from tune.reference import with_shared_reference
from tune.search import METRIC, count, scheduler, search
from tune.study import Point, Study, hand_set

if TYPE_CHECKING:
    from trainers.folder import RunFolder
    from tune.record import Trial

EXPERIMENT = "tune"  # Ray Tune's own folder in the study's
CONCURRENT = "concurrent.txt"  # how many trials run side by side


def run(study: Study, *, address: str | None = None, fresh: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Run a study to its end and return its results; joins or starts Ray unless this process has.

    A study that was stopped goes on: trials that had ended are kept, those that were at work go on from their last
    checkpoint. A finished study is returned as it is. Raises UserError.
    """
    import ray

    from cluster import storage
    from cluster.connect import connected
    from trainers.fit import build_task
    from trainers.folder import RunFolder

    base, hand = hand_set(study)
    # Mistakes that every trial would make show here.
    fingerprint = build_task(base).corpus_fingerprint
    folder = RunFolder(storage.resolve(study.storage_path), study.name)
    if fresh:
        folder.clear()
    resumes = folder.begin(_claim(study, base), fingerprint)
    if resumes and (finished := folder.results()) is not None:
        return finished | {"note": "this study had finished; --fresh runs it anew"}
    # Relative paths of a recipe mean the folder the command was given in, also in the trials.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # MissingMetric says it in one line
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # Tune's own tables
    # A Tuner that goes on runs as many trials side by side as it did before.
    wanted = _earlier_concurrency(folder) or study.concurrent
    at_a_time, cpus = capacity.local(base, wanted)
    own = not (ray.is_initialized() or address or os.environ.get("RAY_ADDRESS"))
    with calm_output() as output, connected(address, num_cpus=cpus, worker_logs=False):
        at_a_time = capacity.of_study(base, wanted, at_a_time if own else None, count(study, hand))
        base = with_shared_reference(study, base, folder.remote or str(folder.local), quiet)
        _tune(study, base, hand, folder, at_a_time, None if quiet else output)
    return _finish(study, base, folder, quiet)


def _claim(study: Study, base: Recipe) -> str:
    """What must be the same for a study to go on: all but how many trials run side by side."""
    same = study.model_copy(update={"concurrent": None})
    return f"# A study: its settings, then the recipe that was set by hand.\n{dump(same)}---\n{dump(base)}"


def _tune(study: Study, base: Recipe, hand: Point, folder: RunFolder, at_a_time: int, output: Any) -> None:
    from contextlib import nullcontext

    from tune import record
    from tune.record import Display

    place = folder.remote or str(folder.local)
    tuner = _tuner(study, base, hand, folder, place, at_a_time)
    with nullcontext() if output is None else Display(study, count(study, hand), output):
        tuner.fit()
    trials = record.read(folder.local)
    _refuse_missing_metric(study, trials)
    if len(trials) < count(study, hand) or any(trial.status not in record.ENDED for trial in trials):
        raise KeyboardInterrupt  # Tune answers Ctrl-C by saving what it has and returning


def _tuner(study: Study, base: Recipe, hand: Point, folder: RunFolder, place: str, at_a_time: int) -> Any:
    """A new Tuner, or the one of an earlier process that was stopped."""
    from ray import tune

    from tune import record
    from tune.record import MissingMetric, Recorder
    from tune.trial import driver, epochs_of

    # The trial's own process only waits; the workers' resources are Ray Train's to ask for.
    trainable = tune.with_resources(driver(study, base, f"{place}/trials"), {"CPU": capacity.DRIVER_CPUS})
    searching = search(study, hand)
    configuration = tune.TuneConfig(
        metric=METRIC,
        mode=study.mode,
        search_alg=searching["search_alg"],
        num_samples=searching["num_samples"],
        scheduler=scheduler(study, hand, epochs_of(base), folder.local),
        max_concurrent_trials=at_a_time,  # without it trials take each other's workers, and all wait
        trial_dirname_creator=_trial_folder,
    )
    settings = tune.RunConfig(
        name=EXPERIMENT,
        storage_path=place,
        stop=MissingMetric(),
        callbacks=[Recorder(folder.local, study)],
        failure_config=tune.FailureConfig(max_failures=0),
        verbose=0,
    )
    if _has_state(f"{place}/{EXPERIMENT}"):
        return tune.Tuner.restore(f"{place}/{EXPERIMENT}", trainable)
    record.write(folder.local, [])
    write_text_atomically(folder.local / CONCURRENT, f"{at_a_time}\n")
    return tune.Tuner(trainable, param_space=searching["param_space"], tune_config=configuration, run_config=settings)


def _earlier_concurrency(folder: RunFolder) -> int | None:
    if not _has_state(f"{folder.remote or folder.local}/{EXPERIMENT}"):
        return None
    kept = folder.local / CONCURRENT
    return int(kept.read_text(encoding="utf-8")) if kept.is_file() else None


def _trial_folder(trial: Any) -> str:
    return str(trial.trial_id)


def _has_state(place: str) -> bool:
    """Whether Tune has saved anything that it could go on from."""
    from pyarrow.fs import FileSelector

    store, inner = filesystem(place)
    files = store.get_file_info(FileSelector(inner, allow_not_found=True))
    return any(file.base_name.startswith("experiment_state") for file in files)


def _refuse_missing_metric(study: Study, trials: list[Trial]) -> None:
    for trial in trials:
        if trial.reported:
            raise UserError(
                f"no trial reports '{study.metric}'; evaluations report {', '.join(trial.reported)}: "
                "name one as the study's metric and start with --fresh"
            )


def _finish(study: Study, base: Recipe, folder: RunFolder, quiet: bool) -> dict[str, Any]:
    from tune import record, report

    trials = record.read(folder.local)
    results = report.write(study, base, trials, folder)
    folder.publish()
    return results
