"""The DeepSpeed training loop that every task shares; it runs inside each Ray Train worker."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from signatlas.recipe import OptimizerConfig
from trainers.distributed import world
from trainers.progress import Reporter

MEMORY = "memory.safetensors"
NEVER_CHOSEN = -1e30  # the score of a checkpoint before the first evaluation


class Task(Protocol):
    """One thing to learn. Batches are global: a function of (seed, epoch), the same on every rank.

    Subclass it: what a task does not need is then there and does nothing.
    """

    model: nn.Module
    steps_per_epoch: int
    batch_size: int  # clips in a global batch
    parts: int = 1  # a rank's share of a batch is cut into, for one update (gradient accumulation)
    corpus_fingerprint: str
    notes: Sequence[str] = ()  # what a user should know before training starts
    shown: Any = None  # the recipe as the user wrote it, for cards; a worker's own names folders of this machine

    def begin_epoch(self, epoch: int) -> None:
        """Make the epoch's batches."""

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        """The global loss of one batch, differentiable through this rank's rows."""

    def part_loss(self, engine: nn.Module, step: int, part: int) -> Tensor:
        """One of ``parts`` summands of :meth:`loss`; a task of one part has none but the whole."""
        return self.loss(engine, step)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Dev metrics with a ``score`` to maximize; called on every rank at once."""

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        """Write the model folder; called on rank 0."""

    def after_step(self, model: nn.Module) -> None:
        """What follows each optimizer step, such as a limit on a parameter; called on every rank."""
        return

    def memory(self) -> dict[str, Tensor]:
        """What training remembers beside the weights; a resumed run is given it back. The same on every rank."""
        return {}

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Take back what :meth:`memory` gave."""
        return


def learning_rate(config: OptimizerConfig, step: int, total: int) -> float:
    """Linear warm-up to ``lr``, then half a cosine to zero."""
    warmup = max(1, round(config.warmup * total))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def deepspeed_config(config: OptimizerConfig, batch_size: int, ranks: int, parts: int = 1) -> dict[str, Any]:
    """DeepSpeed's own settings for a recipe's optimizer."""
    return {
        "train_micro_batch_size_per_gpu": -(-batch_size // (ranks * parts)),
        "gradient_accumulation_steps": parts,
        "gradient_clipping": config.clip,
        "bf16": {"enabled": config.precision == "bf16"},
        "zero_optimization": {"stage": config.zero},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }


def _optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    learning = [p for p in model.parameters() if p.requires_grad]
    if config.name == "sgd":
        return torch.optim.SGD(learning, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    return torch.optim.AdamW(
        learning, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay
    )


def start_engine(model: nn.Module, config: OptimizerConfig, batch_size: int, parts: int = 1) -> Any:
    """Wrap a model in a DeepSpeed engine; joins the process group that Ray Train made."""
    import deepspeed

    if not torch.cuda.is_available():
        # DeepSpeed would compile its shared-memory collectives on first use: 40 s, and a compiler, for nothing here.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    settings = deepspeed_config(config, batch_size, world()[1], parts)
    engine, *_ = deepspeed.initialize(model=model, optimizer=_optimizer(model, config), config=settings)
    return engine


def train_step(engine: Any, task: Task, config: OptimizerConfig, step_in_epoch: int, step: int, total: int) -> Tensor:
    """One optimizer step. DeepSpeed averages gradients over ranks and parts, so each sends its share that often."""
    for group in engine.optimizer.param_groups:
        group["lr"] = learning_rate(config, step, total)
    total_loss: Tensor | float = 0.0
    for part in range(task.parts):
        loss = task.part_loss(engine, step_in_epoch, part)
        engine.backward(loss * world()[1] * task.parts)
        engine.step()  # updates at the last part only
        total_loss = total_loss + loss.detach()
    task.after_step(engine.module)
    return torch.as_tensor(total_loss)


def run(
    task: Task, config: OptimizerConfig, *, seed: int, every: int, keep: int | None = None, queue: Any | None = None
) -> None:
    """Train with checkpoints, evaluation and exact resume; reports to Ray Train.

    ``every`` so many epochs the model is evaluated and may be chosen, ``keep`` so many it is saved as it is.
    """
    import ray.train

    rank, _ = world()
    engine = start_engine(task.model, config, task.batch_size, task.parts)
    history = _restore(engine, task)
    reporter = Reporter(queue, rank)
    total = config.epochs * task.steps_per_epoch
    first = history[-1]["epoch"] + 1 if history else 0
    for epoch in range(first, config.epochs):
        task.begin_epoch(epoch)
        engine.train()
        losses, started = [], time.monotonic()
        for i in range(task.steps_per_epoch):
            step = epoch * task.steps_per_epoch + i
            # Dropout depends on the place in training, not on what ran before: a resumed run draws the same.
            torch.manual_seed((seed * 1_000_003 + step) * 4099 + rank)
            losses.append(train_step(engine, task, config, i, step, total))
            rate = (i + 1) * task.batch_size / (time.monotonic() - started)
            reporter.step(epoch=epoch, step=step + 1, loss=float(losses[-1]), clips_per_second=rate)
        lr = learning_rate(config, step, total)
        row = {"epoch": epoch, "loss": float(torch.stack(losses).mean()), "lr": lr}
        due = (epoch + 1) % every == 0 or epoch + 1 == config.epochs
        if due:
            engine.eval()
            row |= task.evaluate(engine.module)
        history.append(row)
        reporter.epoch(step=step + 1, clips_per_second=rate, **row)
        kept = keep is not None and (epoch + 1) % keep == 0
        if due or kept:
            # One that is only kept has the score of an earlier one, which is chosen before it.
            earlier = [r["score"] for r in history if "score" in r]
            row = {"score": earlier[-1] if earlier else NEVER_CHOSEN} | row
            metrics = row | {"evaluated": due, "steps_per_second": task.steps_per_epoch / (time.monotonic() - started)}
            _checkpoint(ray.train, engine, task, history, metrics)
    if first == config.epochs:
        # Nothing was left to do: the run had ended but its driver had not heard.
        _checkpoint(ray.train, engine, task, history, dict(history[-1]))


def _restore(engine: Any, task: Task) -> list[dict[str, Any]]:
    """Load the latest checkpoint into the engine; returns the history of epochs, empty for a fresh run."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return []
    with checkpoint.as_directory() as folder:
        engine.load_checkpoint(str(Path(folder) / "engine"), tag="state")
        history: list[dict[str, Any]] = json.loads((Path(folder) / "history.json").read_text(encoding="utf-8"))
        if (Path(folder) / MEMORY).is_file():
            task.remember(load_file(Path(folder) / MEMORY))
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # nobody leaves, and so deletes, the folder before all have read
    return history


def _checkpoint(train: Any, engine: Any, task: Task, history: list[dict[str, Any]], metrics: dict[str, Any]) -> None:
    """Every rank saves its part into its own folder; Ray Train merges them."""
    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(str(Path(folder) / "engine"), tag="state")
        state = whole_state(engine)
        if world()[0] == 0:
            task.save(Path(folder) / "model", state, metrics)
            (Path(folder) / "history.json").write_text(json.dumps(history), encoding="utf-8")
            if memory := task.memory():
                save_file({name: tensor.contiguous() for name, tensor in memory.items()}, Path(folder) / MEMORY)
        train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))


def whole_state(engine: Any) -> dict[str, Tensor]:
    """The model's weights, gathered where ZeRO-3 has scattered them. Called on every rank at once."""
    import deepspeed

    with deepspeed.zero.GatheredParameters(
        list(engine.module.parameters()), enabled=engine.zero_optimization_stage() == 3
    ):
        return {name: tensor.detach().clone() for name, tensor in engine.module.state_dict().items()}
