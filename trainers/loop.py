"""The DeepSpeed training loop that all tasks share; it runs in each Ray Train worker."""

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

from signatlas.models.logit_scale import FP32_BUFFER, LogitScale
from signatlas.recipe import OptimizerConfig
from trainers.distributed import start_logit_scale, world
from trainers.progress import Reporter

EXTRA_STATE = "extra_state.safetensors"
NO_SCORE = -1e30  # of a checkpoint before the first evaluation


class Task(Protocol):
    """A training task: model, batches, loss, dev evaluation.

    Batches are global: a function of (seed, epoch), the same on every rank. A subclass inherits the optional methods,
    which do nothing.
    """

    model: nn.Module
    steps_per_epoch: int
    batch_size: int  # clips in a global batch
    parts: int = 1  # gradient accumulation: micro-batches of a rank for one update
    corpus_fingerprint: str
    notes: Sequence[str] = ()  # printed before training starts
    user_recipe: Any = None  # as the user wrote it, for model cards; the worker's has absolute paths of its machine

    def begin_epoch(self, epoch: int) -> None:
        """Plan the batches of an epoch."""

    def loss(self, engine: nn.Module, step: int) -> Tensor:
        """Return the loss of a global batch, differentiable through this rank's rows."""

    def part_loss(self, engine: nn.Module, step: int, part: int) -> Tensor:
        """Return one of the ``parts`` summands of :meth:`loss`."""
        return self.loss(engine, step)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Return dev metrics and a ``score`` to maximize; called on all ranks."""

    def save(self, folder: Path, state: dict[str, Tensor], metrics: dict[str, float]) -> None:
        """Write the model folder; called on rank 0."""

    def after_step(self, model: nn.Module) -> None:
        """Act after each optimizer step, for example limit a parameter; called on all ranks."""
        return

    def extra_state(self) -> dict[str, Tensor]:
        """Return training state other than weights, saved in checkpoints; the same on every rank."""
        return {}

    def load_extra_state(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`extra_state` returned."""
        return


def learning_rate(config: OptimizerConfig, step: int, total: int) -> float:
    """Return the learning rate of a step: linear warm-up to ``lr``, then cosine decay to zero."""
    warmup = max(1, round(config.warmup_ratio * total))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def deepspeed_config(config: OptimizerConfig, batch_size: int, ranks: int, parts: int = 1) -> dict[str, Any]:
    """Return DeepSpeed's configuration for a recipe's optimizer."""
    return {
        "train_micro_batch_size_per_gpu": -(-batch_size // (ranks * parts)),
        "gradient_accumulation_steps": parts,
        "gradient_clipping": config.max_grad_norm or 0.0,  # 0: no clipping
        "bf16": {"enabled": config.precision == "bf16"},
        "data_types": {"keep_in_fp32_modules": [FP32_BUFFER]},
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }


def _optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    groups = parameter_groups(model, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Return the trainable parameters as one group, or as two: with weight decay and without.

    ``biases`` are the parameters named ``bias``, as CiCo's released code spares them; ``one_dimensional`` also those
    of at most one dimension: norms, scales, single vectors (timm's rule, which GFSLT-VLP uses).
    """
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]

    def spared(name: str, parameter: nn.Parameter) -> bool:
        is_bias = name.rpartition(".")[2] == "bias"
        one_dimensional = config.no_weight_decay == "one_dimensional" and parameter.ndim <= 1
        return config.no_weight_decay != "none" and (is_bias or one_dimensional)

    decayed = [p for name, p in trainable if not spared(name, p)]
    others = [p for name, p in trainable if spared(name, p)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def start_engine(model: nn.Module, config: OptimizerConfig, batch_size: int, parts: int = 1) -> Any:
    """Wrap a model in a DeepSpeed engine; joins the process group of Ray Train."""
    import deepspeed

    if not torch.cuda.is_available():
        # DeepSpeed would compile its shared-memory collectives on first use: 40 s, a compiler, and no gain here.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    settings = deepspeed_config(config, batch_size, world()[1], parts)
    engine, *_ = deepspeed.initialize(model=model, optimizer=_optimizer(model, config), config=settings)
    if isinstance(engine.module, LogitScale):
        start_logit_scale(engine.module)
    return engine


def train_step(engine: Any, task: Task, config: OptimizerConfig, step_in_epoch: int, step: int, total: int) -> Tensor:
    """Make one optimizer step and return the global loss.

    DeepSpeed averages gradients over ranks and parts; the loss is scaled up so that they add up instead.
    """
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
    task: Task,
    config: OptimizerConfig,
    *,
    seed: int,
    evaluate_every: int,
    keep_every: int | None = None,
    queue: Any | None = None,
) -> None:
    """Train with checkpoints, dev evaluation and exact resume; reports to Ray Train.

    Every ``evaluate_every`` epochs the model is evaluated on dev and saved as a candidate for the best checkpoint.
    Every ``keep_every`` epochs it is saved whatever its score.
    """
    import ray.train

    rank, _ = world()
    engine = start_engine(task.model, config, task.batch_size, task.parts)
    history = _restore(engine, task)
    task.after_step(engine.module)  # buffers derived from parameters follow the restored ones
    reporter = Reporter(queue, rank)
    total = config.epochs * task.steps_per_epoch
    first = history[-1]["epoch"] + 1 if history else 0
    for epoch in range(first, config.epochs):
        task.begin_epoch(epoch)
        engine.train()
        losses, started = [], time.monotonic()
        for i in range(task.steps_per_epoch):
            step = epoch * task.steps_per_epoch + i
            # Dropout masks depend on the step alone, so a resumed run draws the same ones.
            torch.manual_seed((seed * 1_000_003 + step) * 4099 + rank)
            losses.append(train_step(engine, task, config, i, step, total))
            rate = (i + 1) * task.batch_size / (time.monotonic() - started)
            reporter.step(epoch=epoch, step=step + 1, loss=float(losses[-1]), clips_per_second=rate)
        lr = learning_rate(config, step, total)
        row = {"epoch": epoch, "loss": float(torch.stack(losses).mean()), "lr": lr}
        due = (epoch + 1) % evaluate_every == 0 or epoch + 1 == config.epochs
        if due:
            engine.eval()
            row |= task.evaluate(engine.module)
        history.append(row)
        reporter.epoch(step=step + 1, clips_per_second=rate, **row)
        keep = keep_every is not None and (epoch + 1) % keep_every == 0
        if due or keep:
            # Without an evaluation of its own it reports the last score; of equal scores the earliest checkpoint wins.
            scores = [r["score"] for r in history if "score" in r]
            row = {"score": scores[-1] if scores else NO_SCORE} | row
            metrics = row | {"evaluated": due, "steps_per_second": task.steps_per_epoch / (time.monotonic() - started)}
            _checkpoint(ray.train, engine, task, history, metrics)
    if first == config.epochs:
        # All epochs are done, but the driver was stopped before it received the last report.
        _checkpoint(ray.train, engine, task, history, dict(history[-1]))


def _restore(engine: Any, task: Task) -> list[dict[str, Any]]:
    """Load the latest checkpoint and return the history of epochs, empty for a new run."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return []
    with checkpoint.as_directory() as folder:
        engine.load_checkpoint(str(Path(folder) / "engine"), tag="state")
        history: list[dict[str, Any]] = json.loads((Path(folder) / "history.json").read_text(encoding="utf-8"))
        if (Path(folder) / EXTRA_STATE).is_file():
            task.load_extra_state(load_file(Path(folder) / EXTRA_STATE))
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # the folder is deleted by the rank that leaves first
    return history


def _checkpoint(train: Any, engine: Any, task: Task, history: list[dict[str, Any]], metrics: dict[str, Any]) -> None:
    """Save a checkpoint: each rank writes its part to a folder of its own, Ray Train merges them."""
    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(str(Path(folder) / "engine"), tag="state")
        state = full_state(engine)
        if world()[0] == 0:
            task.save(Path(folder) / "model", state, metrics)
            (Path(folder) / "history.json").write_text(json.dumps(history), encoding="utf-8")
            if extra := task.extra_state():
                save_file({name: tensor.contiguous() for name, tensor in extra.items()}, Path(folder) / EXTRA_STATE)
        train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))


def full_state(engine: Any) -> dict[str, Tensor]:
    """Return the model's weights, gathered under ZeRO-3; called on all ranks."""
    import deepspeed

    with deepspeed.zero.GatheredParameters(
        list(engine.module.parameters()), enabled=engine.zero_optimization_stage() == 3
    ):
        state = {name: tensor.detach().clone() for name, tensor in engine.module.state_dict().items()}
    if isinstance(engine.module, LogitScale):
        state["log_scale"] = engine.module.log_scale_fp32.detach().clone()
    return state
