"""Parameter gradients of the first step of a recipe on several ranks: python -m tests.trainers.gradients ARGUMENTS."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def gradients(recipe: Path, ranks: int, out: Path, zero: int = 0, precision: str = "fp32") -> dict:
    """Return {"loss": float, "gradients": {name: float64 tensor}} of a recipe's first run, from processes of gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.trainers.gradients", str(recipe), str(rank), str(ranks), str(port), str(out),
             str(zero), precision],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(ranks)
    ]  # fmt: skip
    output = [process.communicate(timeout=240)[0] for process in processes]
    failed = [text for process, text in zip(processes, output, strict=True) if process.returncode]
    assert not failed, "\n".join(text[-2000:] for text in failed)
    return torch.load(out)


def main() -> None:
    recipe_file, rank, ranks, port, out, zero, precision = sys.argv[1:]
    os.environ |= {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": ranks,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    import torch.distributed as dist
    from deepspeed.utils import safe_get_full_grad

    from signatlas.recipe import load
    from trainers.loop import start_engine
    from trainers.tasks import task_spec

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=int(rank), world_size=int(ranks))
    recipe = load(recipe_file)
    if recipe.task == "sign_encoder":
        recipe = load(recipe_file, ["model.dropout=0"])
    spec = task_spec(recipe.task)
    run = next(iter(spec.runs(recipe).values()))
    task = spec.build(run)
    optimizer = run.optimizer.model_copy(
        update={"zero_stage": int(zero), "precision": precision, "max_grad_norm": 1e-9}
    )
    engine = start_engine(task.model, optimizer, task.batch_size, task.parts)
    task.begin_epoch(3)
    loss = 0.0
    for part in range(task.parts):
        share = task.part_loss(engine, 0, part)
        engine.backward(share * int(ranks) * task.parts)
        if part + 1 < task.parts:
            engine.step()  # between parts nothing is updated
        loss += float(share.detach())
    # After DeepSpeed's reduction and before clipping, which would shrink them to nothing.
    trainable = {name: p for name, p in engine.module.named_parameters() if p.requires_grad}
    gradients = {name: safe_get_full_grad(p) for name, p in trainable.items()}
    gradients = {name: gradient.double() for name, gradient in gradients.items() if gradient is not None}
    task.after_step(engine.module)  # works on every rank under every ZeRO stage
    if rank == "0":
        torch.save({"loss": loss, "gradients": gradients}, out)
    dist.barrier()
    # The result is saved. Shutting down gloo and DeepSpeed in order is not under test and can fail on a slower rank.
    time.sleep(0.5)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
