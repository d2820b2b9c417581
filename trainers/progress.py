"""Live progress: rank 0 puts messages into a queue, the driver shows a bar and writes TensorBoard logs."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Sends progress from a worker: steps at most twice a second, and every epoch."""

    def __init__(self, queue: Any | None, rank: int):
        self.queue = queue if rank == 0 else None
        self.last_sent = 0.0

    def step(self, **values: float) -> None:
        now = time.monotonic()
        if self.queue is not None and now - self.last_sent >= 0.5:
            self.last_sent = now
            self._send({"kind": "step", **values})

    def epoch(self, **values: float) -> None:
        if self.queue is not None:
            self._send({"kind": "epoch", **values})

    def _send(self, message: dict[str, Any]) -> None:
        from ray.util.queue import Full

        try:
            self.queue.put_nowait(message)  # type: ignore[union-attr]
        except Full:
            self.last_sent = time.monotonic() + 5  # the driver does not read: training continues without progress


class Watcher:
    """Shows progress on the driver, a context manager: a bar on a terminal, elsewhere one line per epoch."""

    def __init__(self, queue: Any, total_steps: int, tensorboard: Path | None, *, quiet: bool = False):
        self.queue, self.total, self.quiet = queue, total_steps, quiet
        self.console = Console()
        self.stopped = threading.Event()
        self.first: tuple[float, int] | None = None  # time and step of the first message: start-up is not timed
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.writer = _summary_writer(tensorboard) if tensorboard else None
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"),
            TextColumn("loss {task.fields[loss]}"), TextColumn("{task.fields[rate]} clips/s"), TimeRemainingColumn(),
            console=self.console, disable=quiet or not self.console.is_terminal,
        )  # fmt: skip

    def __enter__(self) -> Watcher:
        self.progress.start()
        self.bar = self.progress.add_task("training", total=self.total, epoch="-", loss="-", rate="-")
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join(timeout=10)
        self.progress.stop()
        if self.writer is not None:
            self.writer.close()

    def _watch(self) -> None:
        while True:
            last_round = self.stopped.is_set()
            try:
                messages = self.queue.get_nowait_batch(self.queue.qsize())
            except Exception:  # the actor of the queue has ended: Ray is shutting down
                return
            for message in messages:
                self._show(message)
            if last_round:
                return
            self.stopped.wait(0.5)

    def _show(self, message: dict[str, Any]) -> None:
        kind, step = message.pop("kind"), int(message.pop("step"))
        epoch = int(message.pop("epoch"))
        self.first = self.first or (time.monotonic(), step)
        loss, rate = f"{message['loss']:.3f}", f"{message['clips_per_second']:.0f}"
        self.progress.update(self.bar, completed=step, epoch=str(epoch), loss=loss, rate=rate)
        if self.writer is not None:
            for name, value in message.items():
                self.writer.add_scalar(f"{kind}/{name}", value, step if kind == "step" else epoch)
        if kind == "epoch" and not self.quiet and not self.console.is_terminal:
            values = "  ".join(f"{name} {value:.4g}" for name, value in message.items())
            print(f"epoch {epoch}  step {step}/{self.total}  {values}  left {self._remaining(step)}", flush=True)

    def _remaining(self, step: int) -> str:
        """Return the remaining time at the pace so far."""
        start, first_step = self.first or (0.0, step)
        if step == first_step:
            return "?"
        return f"{(time.monotonic() - start) / (step - first_step) * (self.total - step):.0f} s"


def _summary_writer(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
