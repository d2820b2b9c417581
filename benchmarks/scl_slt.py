"""Ablation of SCL-SLT: arms of gloss-free translation on a composed corpus, trained and evaluated with equal budgets.

Each arm is the recipe with some settings changed. Selective arms use the standard arm of the same seed as reference
model; two-stage arms start from the model of a first-stage arm. Finished arms are not run again.
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

from benchmarks.arms import arms_parser, run_signatlas

CORPORA = {
    "multi": ("recipes/scl_slt_multi_composed.yaml", "data/multi-composed"),
    "phoenix": ("recipes/scl_slt_phoenix_composed.yaml", "data/phoenix-composed"),
}


class Arm(NamedTuple):
    """Settings of an arm, and the arms that it depends on."""

    settings: tuple[str, ...]
    reference: str | None = None  # the arm whose checkpoints the trajectories come from
    start: str | None = None  # the arm whose model this one starts from


STAGE_1 = "translation=null"  # as in all rows of the paper's ablation but the last two
# Length bucketing would bias the negatives, so that no stage 1 arm uses it.
NO_CONTRAST = (STAGE_1, "alignment.contrast=none", "data.bucket_batches=1")
SELECT = (STAGE_1, "alignment.contrast=selective")
STAGE_2 = ("alignment=null",)
ARMS = {
    "baseline": Arm(NO_CONTRAST),
    "standard": Arm((STAGE_1, "alignment.contrast=random")),
    "selective": Arm(SELECT, "standard"),
    "baseline_2": Arm(STAGE_2, start="baseline"),
    "cl_slt": Arm(STAGE_2, start="standard"),
    "scl_slt": Arm(STAGE_2, start="selective"),
    **{
        schedule: Arm((*SELECT, f"negative_selection.schedule={schedule}"), "standard")
        for schedule in ("easy", "hard", "linear", "sqrt", "log2")
    },
    "slope": Arm((*SELECT, "negative_selection.trajectory=slope"), "standard"),
    "window": Arm((*SELECT, "negative_selection.window=0.1"), "standard"),
    "not_masked": Arm((STAGE_1, "alignment.contrast=random", "alignment.identical_texts=none")),
    "cls": Arm((STAGE_1, "alignment.contrast=random", "model.similarity.kind=cls")),
    "cls_selective": Arm((*SELECT, "model.similarity.kind=cls"), "cls"),
    "mean": Arm((STAGE_1, "alignment.contrast=random", "model.similarity.kind=mean")),
    "mean_selective": Arm((*SELECT, "model.similarity.kind=mean"), "mean"),
    "full": Arm((*NO_CONTRAST, "model.tuning=full")),
    "full_standard": Arm((STAGE_1, "alignment.contrast=random", "model.tuning=full")),
    "full_selective": Arm((*SELECT, "model.tuning=full"), "full_standard"),
    "frozen": Arm((*NO_CONTRAST, "model.tuning=frozen")),
    "random_weights": Arm((*NO_CONTRAST, "model.tuning=full", "model.language={vocabulary: 600, dropout: 0.1}")),
}
DEFAULT_ARMS = ("baseline", "standard", "selective", "cl_slt", "scl_slt", "hard")


class Runs:
    """Runs each arm once, after the arms that it depends on."""

    def __init__(self, corpus: str, extra_settings: list[str]):
        self.corpus, self.extra_settings = corpus, extra_settings
        self.seconds: dict[str, float] = {}
        self.locks: dict[str, threading.Lock] = {}
        self.guard = threading.Lock()

    def name(self, arm: str, seed: int) -> str:
        """Return the run name of an arm; extra settings make it another run."""
        extra = f"{zlib.crc32(json.dumps(self.extra_settings).encode()):08x}_" if self.extra_settings else ""
        return f"scl_{self.corpus}_{arm}_{extra}{seed}"

    def run(self, arm: str, seed: int) -> str:
        """Train and evaluate an arm; return its evaluation folder."""
        name = self.name(arm, seed)
        with self.guard:
            lock = self.locks.setdefault(name, threading.Lock())
        with lock:
            out = f"runs/evaluations/{name}"
            if Path(out, "report.json").exists():
                return out
            dependencies = [other for other in (ARMS[arm].reference, ARMS[arm].start) if other]
            for dependency in dependencies:
                self.run(dependency, seed)
            started = time.monotonic()
            self._train(arm, seed)
            trained = time.monotonic()
            corpus = CORPORA[self.corpus][1]
            run_signatlas(["evaluate", f"runs/{name}/model", "--corpus", corpus, "--out", out, "--workers", "0"])
            self.seconds[name] = round(trained - started, 1)
            print(f"{name}: {trained - started:.0f} s, evaluated in {time.monotonic() - trained:.0f} s"
                  f"{', depends on ' + ', '.join(dependencies) if dependencies else ''}", flush=True)  # fmt: skip
            return out

    def _train(self, arm: str, seed: int) -> None:
        settings = [*ARMS[arm].settings, *self.extra_settings, f"seed={seed}"]
        if (reference := ARMS[arm].reference) is not None:
            settings.append(f"negative_selection.reference=runs/{self.name(reference, seed)}/alignment")
        if (start := ARMS[arm].start) is not None:
            settings.append(f"init_from=runs/{self.name(start, seed)}/model")
        command = ["train", CORPORA[self.corpus][0], "--name", self.name(arm, seed), "--json"]
        for setting in settings:
            command += ["--set", setting]
        run_signatlas(command)


def row(folder: str) -> dict[str, float]:
    """Return the metrics of one evaluation that the table shows."""
    report = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
    all_clips = next(r for r in report["results"] if r["system"] == "model" and r["subset"] == "all")
    return {name: round(all_clips[name], 2) for name in ("BLEU-1", "BLEU-4", "ROUGE-L", "chrF")}


def main() -> None:
    arguments = arms_parser(__doc__, CORPORA, ARMS, DEFAULT_ARMS).parse_args()
    runs = Runs(arguments.corpus, arguments.set)
    jobs = [(arm, seed) for arm in arguments.arms for seed in arguments.seeds]
    with ThreadPoolExecutor(arguments.parallel) as pool:
        folders = dict(zip(jobs, pool.map(lambda job: runs.run(*job), jobs), strict=True))
    metrics = {f"{arm}_{seed}": row(folder) for (arm, seed), folder in folders.items()}
    print("| arm | BLEU-1 | BLEU-4 | ROUGE-L | chrF |\n|---|---|---|---|---|")
    for name, values in metrics.items():
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values.values()) + " |")
    print(json.dumps({"benchmark": "scl_slt", "corpus": arguments.corpus, "seeds": arguments.seeds, "test": metrics,
                      "seconds": runs.seconds, "cores": os.cpu_count()}))  # fmt: skip


if __name__ == "__main__":
    main()
