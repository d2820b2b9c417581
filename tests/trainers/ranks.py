"""One rank of the gradient test: python ranks.py RECIPE RANK RANKS PORT OUT ZERO PRECISION."""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    recipe_file, rank, ranks, port, out, zero, precision = sys.argv[1:]
    os.environ |= {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": ranks,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    import torch
    import torch.distributed as dist
    from deepspeed.utils import safe_get_full_grad

    from signatlas.recipe import load
    from trainers.fit import build_task
    from trainers.loop import start_engine

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=int(rank), world_size=int(ranks))
    overrides = [f"optimizer.zero={zero}", f"optimizer.precision={precision}", "optimizer.clip=1e-9"]
    recipe = load(recipe_file, overrides)
    if recipe.task == "sign_encoder":
        recipe = load(recipe_file, [*overrides, "model.dropout=0"])
    task = build_task(recipe)
    engine = start_engine(task.model, recipe.optimizer, task.batch_size, task.parts)
    task.begin_epoch(3)
    loss = 0.0
    for part in range(task.parts):
        share = task.part_loss(engine, 0, part)
        engine.backward(share * int(ranks) * task.parts)
        if part + 1 < task.parts:
            engine.step()  # between parts nothing is updated
        loss += float(share.detach())
    # After DeepSpeed's reduction, before clipping (which would shrink them to nothing: clip is 1e-9).
    learning = {name: p for name, p in engine.module.named_parameters() if p.requires_grad}
    found = {name: safe_get_full_grad(p) for name, p in learning.items()}
    gradients = {name: gradient.double() for name, gradient in found.items() if gradient is not None}
    if rank == "0":
        torch.save({"loss": loss, "gradients": gradients}, out)
    dist.barrier()
    # What was to be shown is computed and saved. How gloo's sockets and DeepSpeed's hooks are taken down while other
    # ranks do the same is not: a rank whose neighbor left first may end in an error.
    time.sleep(0.5)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
