"""Train every stage of a recipe for some steps: python -m ...stage_steps RECIPE PORT FOLDER [OVERRIDE...]."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

STEPS = 3


def main() -> None:
    recipe_file, port, folder, *overrides = sys.argv[1:]
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    import torch
    import torch.distributed as dist

    from signatlas.recipe import TranslationRecipe, load
    from trainers.tasks.translation.stages import runs

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=0, world_size=1)
    recipe = load(recipe_file, overrides)
    assert isinstance(recipe, TranslationRecipe)
    results, start = {}, None
    for kind, run in runs(recipe).items():
        results[kind] = steps(run.model_copy(update={"init_from": start}), Path(folder))
        start = start if kind == "reference" else str(Path(folder) / "model")
    Path(folder, "results.json").write_text(json.dumps(results))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # shutting down gloo and DeepSpeed is not under test


def steps(run, folder: Path) -> dict:
    """Train a stage for some steps, save its model, and return what the test checks."""
    import torch

    from tests.sampling.trajectories import trajectory_data
    from trainers.loop import full_state, start_engine, train_step
    from trainers.tasks.translation.data import TranslationData
    from trainers.tasks.translation.task import TranslationStage

    if run.negative_selection is not None:
        ids = TranslationData(run).ids
        trajectory_data.write(folder / "trajectories", len(ids), ids=ids)
        run = run.model_copy(update={"trajectories": str(folder / "trajectories")})
    task = TranslationStage(run)
    engine = start_engine(task.model, run.optimizer, task.batch_size, task.parts)
    before = full_state(engine)
    task.begin_epoch(1)
    engine.train()
    losses = [
        float(train_step(engine, task, run.optimizer, i % task.steps_per_epoch, i, 2 * STEPS)) for i in range(STEPS)
    ]
    after = full_state(engine)
    inputs = task.inputs((task.epoch, 1, 0)), task._inputs((task.epoch, 1, 0))  # prefetched, and loaded directly
    engine.eval()
    metrics = task.evaluate(engine.module)
    task.save(folder / "model", after, metrics)
    trainable = {name for name, p in engine.module.named_parameters() if p.requires_grad}
    changed = [name for name in trainable if not torch.equal(before[name], after[name])]
    frozen = [name for name in before.keys() - trainable if name in dict(engine.module.named_parameters())]
    return {
        "losses": losses, "metrics": metrics, "changed": changed, "zero": engine.zero_optimization_stage(),
        "precision": str(next(engine.module.parameters()).dtype), "selected": task.source is not None,
        "changed_frozen": [name for name in frozen if not torch.equal(before[name], after[name])],
        "checkpointing": task.translator.language.is_gradient_checkpointing, "text": task.data.texts[0],
        "loader": type(task.inputs).__name__,
        "prefetched_equal": all((a == b).all() for a, b in zip(*inputs, strict=True)),
    }  # fmt: skip


if __name__ == "__main__":
    main()
