"""Overhead of Ray Train and DeepSpeed per step, against a plain torch loop (one worker) and torchrun (two workers).

Both sides train the same model on the same batches with one thread per worker and time whole optimizer steps (batch,
forward, loss, backward, update) after a warm-up, without start-up.

    python -m benchmarks.train_overhead --steps 80
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from signatlas.recipe import SignEncoderRecipe, load

RECIPE = Path(__file__).parents[1] / "recipes" / "dgs_gesture.yaml"
Times = list[float]


def prepare(corpus: str | None, folder: Path) -> SignEncoderRecipe:
    """Return the recipe to time, on ``corpus`` or on procedural signs."""
    if corpus is None:
        from signatlas.corpus import write_corpus
        from signatlas.synthetic.procedural import compose

        corpus = str(folder / "procedural")
        info, clips = compose(signs=30, signers=6, takes=5, seed=0)
        write_corpus(corpus, info, clips)
        groups = "data.groups=[{classes_per_batch: 30, samples_per_class: 3}]"
        sources = ["checkpoint_selection.gallery_source=null", "checkpoint_selection.query_source=null"]
        recipe = load(RECIPE, [f"data.corpus={corpus}", groups, *sources])
    else:
        recipe = load(RECIPE, [f"data.corpus={Path(corpus).absolute()}"])
    assert isinstance(recipe, SignEncoderRecipe)
    return recipe


def plain_steps(recipe: SignEncoderRecipe, steps: int, warmup: int) -> Times:
    """Train in a plain torch loop (AdamW, gradient clipping, DDP for two workers); return the seconds of each step."""
    import torch
    import torch.distributed as dist

    from trainers.distributed import world
    from trainers.tasks.sign_encoder.task import SignEncoderTask

    torch.set_num_threads(1)
    task = SignEncoderTask(recipe)
    model: Any = task.model
    if dist.is_initialized():
        model = torch.nn.parallel.DistributedDataParallel(task.model)
    settings = recipe.optimizer
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay
    )
    times = []
    for step in range(warmup + steps):
        if step % task.steps_per_epoch == 0:
            task.begin_epoch(step // task.steps_per_epoch)
        started = time.perf_counter()
        loss = task.loss(model, step % task.steps_per_epoch)
        optimizer.zero_grad()
        (loss * world()[1]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm or torch.inf)
        optimizer.step()
        times.append(time.perf_counter() - started)
    return times[warmup:]


def engine_steps(config: dict[str, Any]) -> None:
    """Run the training steps of signatlas in a Ray Train worker; rank 0 writes the seconds of each."""
    import torch

    from signatlas.recipe import parse
    from trainers.loop import start_engine, train_step
    from trainers.tasks.sign_encoder.task import SignEncoderTask

    torch.set_num_threads(1)
    recipe = parse(SignEncoderRecipe, config["recipe"], "benchmark")
    task = SignEncoderTask(recipe)
    engine = start_engine(task.model, recipe.optimizer, task.batch_size)
    total, times = config["warmup"] + config["steps"], []
    for step in range(total):
        if step % task.steps_per_epoch == 0:
            task.begin_epoch(step // task.steps_per_epoch)
        started = time.perf_counter()
        train_step(engine, task, recipe.optimizer, step % task.steps_per_epoch, step, total)
        times.append(time.perf_counter() - started)
    import ray.train

    if ray.train.get_context().get_world_rank() == 0:
        Path(config["out"]).write_text(json.dumps(times[config["warmup"] :]))


def time_ray(recipe: SignEncoderRecipe, workers: int, steps: int, warmup: int, folder: Path) -> Times:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    out = folder / f"ray-{workers}.json"
    config = {"recipe": recipe.model_dump(mode="json"), "steps": steps, "warmup": warmup, "out": str(out)}
    TorchTrainer(
        engine_steps,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=workers),
        run_config=RunConfig(name=f"overhead-{workers}", storage_path=str(folder)),
    ).fit()
    times: Times = json.loads(out.read_text())
    return times


def time_plain(corpus: str | None, workers: int, steps: int, warmup: int, folder: Path) -> Times:
    """Time the plain loop in a new process (torchrun for two workers), which does not load Ray."""
    out = folder / f"plain-{workers}.json"
    run = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"] if workers > 1 else []
    role = ["-m", "benchmarks.train_overhead", "--role", "plain", "--out", str(out)]
    sizes = ["--steps", str(steps), "--warmup", str(warmup), *(["--corpus", corpus] if corpus else [])]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *run, *role, *sizes], check=True, cwd=RECIPE.parents[1], env=environment)
    times: Times = json.loads(out.read_text())
    return times


def plain_role(arguments: argparse.Namespace) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        import torch.distributed as dist

        dist.init_process_group("gloo")
    with tempfile.TemporaryDirectory() as folder:
        times = plain_steps(prepare(arguments.corpus, Path(folder)), arguments.steps, arguments.warmup)
    if os.environ.get("RANK", "0") == "0":
        Path(arguments.out).write_text(json.dumps(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", help="corpus such as data/dgs; procedural signs by default")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--warmup", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=2, help="how often each side is timed, alternating")
    parser.add_argument("--role", choices=["main", "plain"], default="main", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "plain":
        plain_role(arguments)
        return
    from cluster.connect import connected

    arguments.corpus = str(Path(arguments.corpus).absolute()) if arguments.corpus else None
    measured: dict[tuple[str, int], Times] = {}
    steps, warmup = arguments.steps, arguments.warmup
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = prepare(arguments.corpus, folder)
        for _ in range(arguments.rounds):
            for workers in (1, 2):
                measured.setdefault(("plain", workers), []).extend(
                    time_plain(arguments.corpus, workers, steps, warmup, folder)
                )
                with connected(num_cpus=4, worker_logs=False):
                    measured.setdefault(("ray", workers), []).extend(time_ray(recipe, workers, steps, warmup, folder))
    medians = {f"{side}_{workers}": statistics.median(t) * 1000 for (side, workers), t in measured.items()}
    print(
        json.dumps(
            {
                "benchmark": "train_overhead",
                "ratio_one_worker": round(medians["ray_1"] / medians["plain_1"], 3),
                "ratio_two_workers": round(medians["ray_2"] / medians["plain_2"], 3),
                "median_ms": {k: round(v, 1) for k, v in medians.items()},
                "steps": steps * arguments.rounds,
                "corpus": Path(arguments.corpus).name if arguments.corpus else "procedural",
                "seed": recipe.seed,
                "cores": os.cpu_count(),
                "machine": platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
