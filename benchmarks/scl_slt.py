"""Arms of gloss-free translation on a composed corpus, trained and evaluated side by side on equal budgets.

Each arm is the recipe with some settings changed. Selective arms take the standard arm of their seed as the reference
model, two-stage arms go on from the model of theirs. Arms that have finished are not run again.
Example: python -m benchmarks.scl_slt --corpus multi --arms baseline standard selective --seeds 0 1 2 --parallel 2
"""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.commands import arms_parser, say

CORPORA = {
    "multi": ("recipes/scl_slt_multi_composed.yaml", "data/multi-composed"),
    "phoenix": ("recipes/scl_slt_phoenix_composed.yaml", "data/phoenix-composed"),
}


class Arm(NamedTuple):
    settings: tuple[str, ...]
    reference: str | None = None  # the arm whose checkpoints give the trajectories
    start: str | None = None  # the arm from whose model this one goes on


ALONE = "translation=null"  # stage 1 only, as every row of the paper's ablation but the last two
# Batches of one length make no contrast, so no arm of stage 1 has them.
NO_CONTRAST = (ALONE, "alignment.contrast=none", "data.bucket=1")
SELECT = (ALONE, "alignment.contrast=selective")
STAGE_2 = ("alignment=null",)
ARMS = {
    "baseline": Arm(NO_CONTRAST),
    "standard": Arm((ALONE, "alignment.contrast=random")),
    "selective": Arm(SELECT, "standard"),
    "baseline_2": Arm(STAGE_2, start="baseline"),
    "cl_slt": Arm(STAGE_2, start="standard"),
    "scl_slt": Arm(STAGE_2, start="selective"),
    **{
        schedule: Arm((*SELECT, f"selection.schedule={schedule}"), "standard")
        for schedule in ("easy", "hard", "linear", "sqrt", "log2")
    },
    "slope": Arm((*SELECT, "selection.trajectory=slope"), "standard"),
    "window": Arm((*SELECT, "selection.window=0.1"), "standard"),
    "not_masked": Arm((ALONE, "alignment.contrast=random", "alignment.identical=none")),
    "cls": Arm((ALONE, "alignment.contrast=random", "model.similarity.kind=cls")),
    "cls_selective": Arm((*SELECT, "model.similarity.kind=cls"), "cls"),
    "mean": Arm((ALONE, "alignment.contrast=random", "model.similarity.kind=mean")),
    "mean_selective": Arm((*SELECT, "model.similarity.kind=mean"), "mean"),
    "full": Arm((*NO_CONTRAST, "model.tuning=full")),
    "full_standard": Arm((ALONE, "alignment.contrast=random", "model.tuning=full")),
    "full_selective": Arm((*SELECT, "model.tuning=full"), "full_standard"),
    "frozen": Arm((*NO_CONTRAST, "model.tuning=frozen")),
    "random_weights": Arm((*NO_CONTRAST, "model.tuning=full", "model.language={vocabulary: 600, dropout: 0.1}")),
}
FIRST = ("baseline", "standard", "selective", "cl_slt", "scl_slt", "hard")


class Runs:
    """Runs arms once each, those that they need before them."""

    def __init__(self, corpus: str, more: list[str]):
        self.corpus, self.more = corpus, more
        self.seconds: dict[str, float] = {}
        self.locks: dict[str, threading.Lock] = {}
        self.guard = threading.Lock()

    def name(self, arm: str, seed: int) -> str:
        """Arms with settings of their own are other runs."""
        own = f"{zlib.crc32(json.dumps(self.more).encode()):08x}_" if self.more else ""
        return f"scl_{self.corpus}_{arm}_{own}{seed}"

    def run(self, arm: str, seed: int) -> str:
        """Train and evaluate an arm; returns its evaluation folder."""
        name = self.name(arm, seed)
        with self.guard:
            lock = self.locks.setdefault(name, threading.Lock())
        with lock:
            out = f"runs/evaluations/{name}"
            if Path(out, "report.json").exists():
                return out
            needed = [self.name(n, seed) for n in (ARMS[arm].reference, ARMS[arm].start) if n]
            for need in (ARMS[arm].reference, ARMS[arm].start):
                if need:
                    self.run(need, seed)
            started = time.monotonic()
            self._train(arm, seed)
            trained = time.monotonic()
            corpus = CORPORA[self.corpus][1]
            say(["evaluate", f"runs/{name}/model", "--corpus", corpus, "--out", out, "--workers", "0"])
            self.seconds[name] = round(trained - started, 1)
            print(f"{name}: {trained - started:.0f} s, evaluated in {time.monotonic() - trained:.0f} s, after "
                  f"{needed or 'nothing'}", flush=True)  # fmt: skip
            return out

    def _train(self, arm: str, seed: int) -> None:
        settings = [*ARMS[arm].settings, *self.more, f"seed={seed}"]
        if (reference := ARMS[arm].reference) is not None:
            settings.append(f"selection.reference=runs/{self.name(reference, seed)}/alignment")
        if (start := ARMS[arm].start) is not None:
            settings.append(f"start=runs/{self.name(start, seed)}/model")
        command = ["train", CORPORA[self.corpus][0], "--name", self.name(arm, seed), "--json"]
        for setting in settings:
            command += ["--set", setting]
        say(command)


def row(folder: str) -> dict[str, float]:
    """The figures of one evaluation that the table shows."""
    report = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
    all_clips = next(r for r in report["results"] if r["system"] == "model" and r["subset"] == "all")
    return {name: round(all_clips[name], 2) for name in ("BLEU-1", "BLEU-4", "ROUGE-L", "chrF")}


def main() -> None:
    arguments = arms_parser(__doc__, CORPORA, ARMS, FIRST).parse_args()
    runs = Runs(arguments.corpus, arguments.set)
    jobs = [(arm, seed) for arm in arguments.arms for seed in arguments.seeds]
    with ThreadPoolExecutor(arguments.parallel) as pool:
        folders = dict(zip(jobs, pool.map(lambda job: runs.run(*job), jobs), strict=True))
    found = {f"{arm}_{seed}": row(folder) for (arm, seed), folder in folders.items()}
    print("| arm | BLEU-1 | BLEU-4 | ROUGE-L | chrF |\n|---|---|---|---|---|")
    for name, figures in found.items():
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in figures.values()) + " |")
    print(json.dumps({"benchmark": "scl_slt", "corpus": arguments.corpus, "seeds": arguments.seeds, "test": found,
                      "seconds": runs.seconds, "cores": os.cpu_count()}))  # fmt: skip


if __name__ == "__main__":
    main()
