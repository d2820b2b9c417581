"""The trial scheduler of a study: ASHA that never stops the hand-set recipe or a trial in its last epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from tune import record
from tune.search import same, settings_of
from tune.study import METRIC, TIME, Point, Study, better


def scheduler(study: Study, baseline: Point, epochs: int, folder: Path) -> TrialScheduler:
    """Return the scheduler that stops trials early.

    ``baseline`` are the settings of the hand-set recipe, ``epochs`` those of a whole trial; ``folder`` is that of the
    study on this machine.
    """
    if study.scheduler.name == "none" or study.scheduler.grace >= epochs:
        return FIFOScheduler()
    return StudyASHA(study, baseline, epochs, folder)


class StudyASHA(AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al. 2020) over epochs of training.

    The hand-set trial is the baseline and always runs to its end. A trial in its last epoch continues, so that it can
    write its model and results. Tune does not save the scheduler: when a study is resumed, it replays the values of
    earlier trials from ``folder``, so that new trials are compared with them.
    """

    def __init__(self, study: Study, baseline: Point, epochs: int, folder: Path):
        # Tune stops a trial at max_t, before it has written its results, so max_t is one more.
        super().__init__(
            time_attr=TIME,
            max_t=epochs + 1,
            grace_period=study.scheduler.grace,
            reduction_factor=study.scheduler.reduction,
        )
        self.study, self.baseline, self.epochs, self.folder = study, baseline, epochs, folder

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        values = next((row.values for row in record.read(self.folder) if row.id == trial.trial_id), {})
        best = None
        for epochs, value in sorted(values.items()):
            best = better(value, best, self.study.mode)
            super().on_trial_result(tune_controller, trial, {TIME: epochs, METRIC: best})

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        decision = super().on_trial_result(tune_controller, trial, result)
        protected = result.get(TIME, 0) >= self.epochs or same(settings_of(trial.config, self.study), self.baseline)
        return TrialScheduler.CONTINUE if protected else decision
