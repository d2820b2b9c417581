"""Cost of pair selection: an epoch's plan relative to its training, memory with a million clips, and correctness.

(1) Time of the plan of one epoch for a matrix of --clips clips, relative to the training steps of an epoch. Steps are
those of the small recipe as a plain loop (forward, backward, gradient clipping, AdamW) without Ray and DeepSpeed, so
that they are not overestimated. (2) Candidate pools of low-rank factors of --large clips in memory-mapped files, in a
separate process; memory is anonymous memory (RssAnon), which excludes the mapped files. (3) Equality with the plain
reference on small cases.

    python -m benchmarks.pair_selection
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from signatlas.errors import UserError
from signatlas.sampling import DenseDelta, LowRankDelta, curriculum_alpha, plan_epoch, select_batches
from signatlas.sampling.pair_selection.reference import select_batches as reference_select_batches

REPOSITORY = Path(__file__).parents[1]
RECIPE = REPOSITORY / "recipes" / "scl_slt_multi_composed.yaml"
EPOCHS = 80  # of the curriculum; its middle epoch is timed
TARGETS = {"plan_share": 0.02, "large_gib": 2.0, "equal": True}
FILES = ("visual_first", "visual_last", "text_first", "text_last")


def matrix(clips: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return delta float16 [N, N], and groups [N] of identical texts; about a tenth of the texts have duplicates."""
    rng = np.random.default_rng(seed)
    delta = np.empty((clips, clips), np.float16)
    for first in range(0, clips, 1024):
        rows = delta[first : first + 1024]
        rows[:] = rng.standard_normal(rows.shape, np.float32) * np.float32(0.1)
    return delta, np.where(rng.random(clips) < 0.1, rng.integers(0, clips // 40 + 1, clips), clips + np.arange(clips))


def plan_seconds(clips: int, batch_size: int, seed: int, rounds: int) -> dict[str, Any]:
    """Return the median seconds of one epoch's plan, and those of the preparation once per run."""
    delta, groups = matrix(clips, seed)
    source = DenseDelta(delta)
    started = time.perf_counter()
    source.gains(None)
    preparation = time.perf_counter() - started
    middle = curriculum_alpha("log", EPOCHS // 2, EPOCHS)
    seconds = []
    for epoch in range(rounds):
        started = time.perf_counter()
        plan = plan_epoch(source, batch_size, middle, seed=[seed, epoch], groups=groups)
        seconds.append(time.perf_counter() - started)
    return {"clips": clips, "batch": batch_size, "alpha": round(middle, 3), "steps": len(plan),
            "plan_seconds": round(statistics.median(seconds), 3), "once_seconds": round(preparation, 2)}  # fmt: skip


def step_seconds(recipe: Path, steps: int, warmup: int = 3) -> dict[str, Any]:
    """Return the median seconds of a contrastive stage 1 training step on the data and models of the recipe."""
    import torch

    from signatlas.recipe import TranslationRecipe, load
    from trainers.tasks.translation.stages import ALIGNMENT, runs
    from trainers.tasks.translation.task import TranslationStage

    loaded = load(recipe)
    if not isinstance(loaded, TranslationRecipe) or loaded.alignment is None:
        raise UserError(f"{recipe} does not train a translator with a contrastive loss: set --recipe to one that does")
    aligned = loaded.alignment.model_copy(update={"contrast": "random"})
    run = runs(loaded.model_copy(update={"alignment": aligned}))[ALIGNMENT]
    torch.set_num_threads(run.scaling.threads)
    task = TranslationStage(run)
    task.model.train()
    trainable = [p for p in task.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=run.optimizer.lr)
    seconds = []
    for step in range(warmup + steps):
        started = time.perf_counter()
        optimizer.zero_grad()
        task.loss(task.model, step).backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return {"recipe": loaded.name, "step_batch": run.batch_size, "timed_steps": steps,
            "step_seconds": round(statistics.median(seconds[warmup:]), 4)}  # fmt: skip


def write_factors(folder: Path, clips: int, width: int, seed: int) -> None:
    """Write mean-pooled vectors float16 [N, width] of two checkpoints, in blocks."""
    rng = np.random.default_rng(seed)
    for name in FILES:
        array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float16, shape=(clips, width))
        for first in range(0, clips, 50_000):
            rows = rng.standard_normal((min(50_000, clips - first), width), np.float32)
            array[first : first + len(rows)] = 0.7 * rows / np.linalg.norm(rows, axis=1, keepdims=True)
        array.flush()


def anonymous_bytes() -> int:
    """Return the anonymous memory of this process, which excludes memory-mapped files."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise UserError("/proc/self/status has no RssAnon: run the benchmark on Linux")


class Peak:
    """The largest anonymous memory inside a ``with`` block, sampled a hundred times per second."""

    def __enter__(self) -> Peak:
        self.bytes, self._end = anonymous_bytes(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._end.wait(0.01):
            self.bytes = max(self.bytes, anonymous_bytes())

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.bytes = max(self.bytes, anonymous_bytes())


def large_plan(folder: Path, batch_size: int, pool: int, seed: int) -> dict[str, Any]:
    """Plan one epoch over the mapped factors in ``folder``; runs in the child process of :func:`large`."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in FILES}
    source = LowRankDelta(
        [arrays["visual_first"], arrays["visual_last"]], [arrays["text_first"], arrays["text_last"]], (-1.0, 1.0)
    )
    middle = curriculum_alpha("log", EPOCHS // 2, EPOCHS)
    with Peak() as peak:
        started = time.perf_counter()
        plan = plan_epoch(source, batch_size, middle, seed=[seed, 0], pool=pool)
        seconds = time.perf_counter() - started
    distinct = len(np.unique(plan)) == plan.size
    return {"large_clips": len(source), "width": arrays[FILES[0]].shape[1], "pool": pool, "large_steps": len(plan),
            "each_clip_once": distinct, "large_seconds": round(seconds, 1),
            "large_gib": round(peak.bytes / 2**30, 3)}  # fmt: skip


def large(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return time and memory of a plan over ``arguments.large`` clips, measured in a child process."""
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        write_factors(Path(folder), arguments.large, arguments.width, arguments.seed)
        options = {"--batch": arguments.batch, "--pool": arguments.pool, "--seed": arguments.seed, "--child": folder}
        flags = [str(text) for option in options.items() for text in option]
        command = [sys.executable, "-m", "benchmarks.pair_selection", *flags]
        done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def equality(seed: int, cases: int) -> dict[str, Any]:
    """Return for how many random matrices the plan equals that of the reference."""
    rng, equal = np.random.default_rng(seed), 0
    for case in range(cases):
        count = int(rng.integers(20, 90))
        delta = rng.normal(0, 0.1, (count, count)).astype(np.float16)
        if case % 3 == 0:
            delta = np.round(delta, 1)  # many ties
        options: dict[str, Any] = {"seed": case, "groups": rng.integers(0, count, count), "window": 0.1 * (case % 2)}
        settings = (int(rng.integers(2, 12)), float(rng.random()))
        equal += bool(
            (select_batches(delta, *settings, **options) == reference_select_batches(delta, *settings, **options)).all()
        )
    return {"cases": cases, "equal_cases": equal}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=18_401, help="clips of the matrix")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3, help="number of plans; their median is reported")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="recipe whose training steps are timed")
    parser.add_argument("--steps", type=int, default=20, help="number of timed training steps")
    parser.add_argument("--large", type=int, default=1_000_000, help="clips of the memory-mapped factors")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--pool", type=int, default=1024)
    parser.add_argument("--cases", type=int, default=60, help="number of small matrices compared with the reference")
    parser.add_argument("--scratch", help="folder for 8 bytes x --large x --width; a temporary one by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        print(json.dumps(large_plan(arguments.child, arguments.batch, arguments.pool, arguments.seed)))
        return
    result: dict[str, Any] = {"benchmark": "pair_selection", "seed": arguments.seed, "cores": os.cpu_count()}
    measurements = (
        lambda: step_seconds(arguments.recipe, arguments.steps),
        lambda: plan_seconds(arguments.clips, arguments.batch, arguments.seed, arguments.rounds),
        lambda: large(arguments),
        lambda: equality(arguments.seed, arguments.cases),
    )
    for measure in measurements:
        measured = measure()
        print(json.dumps(measured), flush=True)
        result |= measured
    result["plan_share"] = round(result["plan_seconds"] / (result["steps"] * result["step_seconds"]), 4)
    result["equal"] = result["equal_cases"] == result["cases"]
    met = {
        "plan_share": result["plan_share"] <= TARGETS["plan_share"],
        "large_gib": result["large_gib"] <= TARGETS["large_gib"] and result["each_clip_once"],
        "equal": result["equal"],
    }
    print(json.dumps(result | {"targets": TARGETS, "met": met}))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"benchmarks.pair_selection: {error}", file=sys.stderr)
        sys.exit(2)
