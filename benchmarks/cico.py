"""Ablation of CiCo: arms of sentence retrieval on a composed corpus, trained and evaluated with the same budget.

Each arm is the recipe with one setting changed; the gloss oracle and shuffled pairs are controls. Finished arms are not
run again. Example: python -m benchmarks.cico --corpus multi --parallel 2
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.arms import arms_parser, run_signatlas

# Corpus -> (recipe, corpus folder, features folder of the gloss oracle).
CORPORA = {
    "multi": ("recipes/cico_multi_composed.yaml", "data/multi-composed", "data/features/multi-glosses"),
    "phoenix": ("recipes/cico_phoenix_composed.yaml", "data/phoenix-composed", "data/features/phoenix-glosses"),
}
# Settings of each arm. All arms train for the same number of epochs, so a larger batch means fewer updates; learning
# rates scale with the square root of the batch size. The last, incomplete batch is dropped: on multi-composed a batch
# size of 512 sees 85 % of the clips in an epoch, 64 and 128 see 98 %.
ARMS: dict[str, list[str]] = {
    "cico": [],
    "clip": ["model.similarity.kind=cls"],
    "clip_mean": ["model.similarity.kind=mean"],
    "max": ["model.similarity.aggregation=max"],
    "softmax": ["model.similarity.aggregation=softmax"],
    "released": ["model.similarity.padding=released"],
    "batch64": ["loss.batch_size=64", "optimizer.lr=7.0e-4"],
    "batch512": ["loss.batch_size=512", "optimizer.lr=2.0e-3"],
    "en": ["data.languages=[en]"],
    "batch512_long": ["loss.batch_size=512", "optimizer.lr=2.0e-3", "optimizer.epochs=64"],
    "de_en": ["data.languages=[de,en]", "loss.identical_texts=share"],
    "de_en_mask": ["data.languages=[de,en]"],
    "agnostic": ["model.sign.alpha=1.0"],
    "aware": ["model.sign.alpha=0.0"],
    "augmented": ["augment.mode=swap"],
    "random": ["model.text.init=random"],
    "oracle": [],
    "shuffled": ["data.shuffle_pairs=true"],
}
DEFAULT_ARMS = ("cico", "clip", "clip_mean", "max", "batch64", "batch512", "en", "de_en", "oracle", "shuffled")


def run_arm(corpus: str, arm: str, seed: int, extra_settings: list[str]) -> tuple[str, float]:
    """Train and evaluate one arm; return its evaluation folder and the duration in seconds."""
    recipe, folder, glosses = CORPORA[corpus]
    name = f"cico_{corpus}_{arm}_{seed}"
    settings = [*ARMS[arm], *extra_settings, f"seed={seed}"]
    if arm == "oracle":
        settings.append(f"data.features={glosses}")
    started = time.monotonic()
    train = ["train", recipe, "--name", name, "--json"]
    for setting in settings:
        train += ["--set", setting]
    run_signatlas(train)
    out = f"runs/evaluations/{name}"
    languages = {"en": "en", "de_en": "de,en", "de_en_mask": "de,en"}.get(arm, "de")
    run_signatlas(["evaluate", f"runs/{name}/model", "--corpus", folder, "--languages", languages, "--out", out,
                   "--pictures", "1"])  # fmt: skip
    return out, time.monotonic() - started


def main() -> None:
    arguments = arms_parser(__doc__, CORPORA, ARMS, DEFAULT_ARMS).parse_args()
    jobs = [(arm, seed) for arm in arguments.arms for seed in arguments.seeds]
    seconds: dict[str, float] = {}
    folders = []
    with ThreadPoolExecutor(arguments.parallel) as pool:
        futures = {job: pool.submit(run_arm, arguments.corpus, *job, arguments.set) for job in jobs}
        for (arm, seed), future in futures.items():
            folder, duration = future.result()
            folders.append(folder)
            seconds[f"{arm}_{seed}"] = round(duration, 1)
            print(f"{arm} {seed}: {duration:.0f} s, {folder}", flush=True)
    comparison = subprocess.run(
        [str(Path(sys.executable).with_name("signatlas")), "compare", *folders, "--markdown"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    print(comparison.stdout)
    print(json.dumps({"benchmark": "cico", "corpus": arguments.corpus, "seeds": arguments.seeds, "seconds": seconds,
                      "reports": folders, "cores": os.cpu_count()}))  # fmt: skip


if __name__ == "__main__":
    main()
