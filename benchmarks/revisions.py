"""Whether another revision of this repository computes the same figures, to the last digit, on this machine.

Both sides make their own corpora, train the same small runs from their own recipes/ and compute the same scores, losses
and gradients. Everything is compared with ==: losses and dev metrics of each epoch, results, trained weights (bytes of
all tensors, whatever their names), corpus fingerprints (over the clips, not over the keys of corpus.json). The last
line is JSON; exit code 1 when a figure differs. SIGNATLAS_MIRROR names a local mirror of the public corpora.

Example: python -m benchmarks.revisions --before main~1 --golden ../shared/golden --keep /tmp/figures
         python -m benchmarks.revisions --before-results /tmp/figures/before.json --only procedural losses
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Former names of recipe keys: a setting takes the name that the side's own recipe uses.
FORMER_KEYS = {"optimizer": "optimiser", "checkpoint_selection": "select"}
Figures = dict[str, Any]  # name -> number or digest
PROBE = """
import json, ray
def packages():
    import signatlas, trainers
    return [signatlas.__file__, trainers.__file__]
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
print(json.dumps(packages() + ray.get(ray.remote(packages).remote())))
"""


class Side:
    """One revision: its code runs in subprocesses, its corpora and runs lie in ``folder``."""

    def __init__(self, checkout: Path, folder: Path, golden: Path | None):
        self.checkout, self.folder, self.golden = checkout.resolve(), folder.resolve(), golden
        self.command = "cli" if (checkout / "cli").is_dir() else "signatlas"
        self.corpus, self.features = cache(self._corpus), cache(self._features)

    def python(self, *arguments: str) -> str:
        """Run Python in the checkout and return what it printed. Raises RuntimeError with its last words."""
        # Ray workers inherit PYTHONPATH; it comes before an editable install of another checkout.
        environment = os.environ | {"PYTHONPATH": str(self.checkout), "OMP_NUM_THREADS": "1"}
        environment.pop("RAY_ADDRESS", None)
        options: Any = {"cwd": self.checkout, "env": environment, "capture_output": True, "text": True}
        process = subprocess.run([sys.executable, *arguments], check=False, **options)
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {process.stdout[-300:]}{process.stderr[-700:]}")
        return process.stdout

    def signatlas(self, *arguments: object) -> None:
        self.python("-m", self.command, *map(str, arguments))

    def check_imports(self) -> None:
        """Raise SystemExit unless this side and its Ray workers import the packages of its checkout."""
        for path in json.loads(self.python("-c", PROBE).splitlines()[-1]):
            if not Path(path).is_relative_to(self.checkout):
                raise SystemExit(f"{path} is imported instead of the package in {self.checkout}")

    def revision(self) -> str:
        command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        return subprocess.run(command, cwd=self.checkout, capture_output=True, text=True, check=True).stdout.strip()

    def _corpus(self, name: str) -> Path:
        path = self.folder / "data" / name
        if name == "dgs":
            self.signatlas("corpus", "fetch", name, "--out", path, "--overwrite")
        else:
            lexicon = () if name == "procedural" else ("--lexicon", self.corpus("dgs"))
            self.signatlas("corpus", "compose", "--kind", name, *lexicon, "--out", path, "--overwrite")
        return path

    def _features(self, corpus: str) -> str:
        path = self.folder / "features" / corpus
        self.signatlas("features", "glosses", self.corpus(corpus), "--out", path, "--overwrite")
        return f"data.features={path}"

    def train(self, recipe: str, corpus: str, *settings: str) -> Figures:
        """Train a recipe and return the figures of its run: all stages, with their weights, and its corpus."""
        file = next(self.checkout.glob(f"recipes/**/{recipe}.yaml"))
        text, options = file.read_text(encoding="utf-8"), list[str]()
        for setting in (f"data.corpus={self.corpus(corpus)}", *settings):
            options += ["--set", own_spelling(setting, text)]
        self.signatlas("train", file, "--fresh", "--json", "--storage-path", self.folder / "runs", *options)
        info = json.loads((self.corpus(corpus) / "corpus.json").read_text(encoding="utf-8"))
        return {f"fingerprint of {corpus}": info["fingerprint"]} | run_figures(self.folder / "runs" / recipe)

    def tensors(self, *which: str) -> Figures:
        """What ``--tensors`` of this file computes with the code of this side."""
        # -P: the folder of this file must not come before the checkout.
        figures: Figures = json.loads(self.python("-P", __file__, "--tensors", *which).splitlines()[-1])
        return figures


def cico(side: Side) -> Figures:
    features = side.features("multi-composed")
    return side.train("cico_multi_composed", "multi-composed", features, "data.limit=1024", "optimizer.epochs=2")


def translation(side: Side) -> Figures:
    """Language model; reference run, its trajectories, contrast of selected batches, translation."""
    settings = ["data.limit=1200", "optimizer.epochs=6", "batch_size=32"]
    figures = side.train("mbart_multi_composed", "multi-composed", *settings)
    language = f"model.language.pretrained={side.folder}/runs/mbart_multi_composed/model"
    settings = [side.features("multi-composed"), language, "data.limit=240", "checkpoint_selection.limit=24",
                "alignment.optimizer.epochs=2", "translation.optimizer.epochs=2"]  # fmt: skip
    return figures | side.train("scl_slt_multi_composed", "multi-composed", *settings)


PARTS: dict[str, Callable[[Side], Figures]] = {
    "procedural": lambda side: side.train("procedural", "procedural", "optimizer.epochs=5"),
    "dgs_gesture": lambda side: side.train("dgs_gesture", "dgs", "optimizer.epochs=3"),
    "cico": cico,
    "translation": translation,
    "golden": lambda side: side.tensors("golden", str(side.golden)),
    "losses": lambda side: side.tensors("losses"),
}


def own_spelling(setting: str, recipe: str) -> str:
    """The setting with its key spelled as in the text of this recipe."""
    key, _, value = setting.partition("=")
    for name, former in FORMER_KEYS.items():
        if re.search(rf"\b{former}:", recipe):
            key = re.sub(rf"\b{name}\b", former, key)
    return f"{key}={value}"


def run_figures(run: Path) -> Figures:
    """Every row of a run's histories, its results, and a digest of the weights of each stage."""
    figures: Figures = {}
    for history in sorted(run.glob("**/history.jsonl")):
        stage = history.parent.name
        for row in map(json.loads, history.read_text(encoding="utf-8").splitlines()):
            figures |= {f"{stage}/epoch {row['epoch']}/{name}": value for name, value in row.items()}
        figures[f"{stage}/weights"] = weights_digest(history.parent / "model")
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    for kind in ("best", "last"):
        figures |= {f"{run.name}/results/{kind}/{name}": value for name, value in results[kind].items()}
    return figures


def weights_digest(model: Path) -> str:
    """sha256 over the bytes of all tensors in a model folder, whatever their names and order."""
    digests = []
    for file in model.glob("**/*.safetensors"):
        data = file.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")  # the format: length of the header, header, tensors
        header = json.loads(data[8:start])
        ranges = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
        digests += [hashlib.sha256(data[start + first : start + end]).hexdigest() for first, end in ranges]
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def tensor_figures(name: str, outputs: Any, inputs: list[Any]) -> Figures:
    """Digest and norm of the outputs, and of the gradients of a fixed weighting of them."""
    import torch

    generator, figures = torch.Generator().manual_seed(0), Figures()
    total = sum((o * torch.randn(o.shape, dtype=o.dtype, generator=generator)).sum() for o in outputs)
    for kind, tensors in (("values", outputs), ("gradients", torch.autograd.grad(total, inputs))):
        values = torch.cat([t.detach().flatten() for t in tensors])
        figures[f"{name}/{kind} sha256"] = hashlib.sha256(values.numpy().tobytes()).hexdigest()
        figures[f"{name}/{kind} norm"] = float(values.norm())
    return figures


def golden_figures(folder: str) -> Figures:
    """Scores and gradients of the golden vectors with every backend, aggregation, padding and precision."""
    import numpy as np
    import torch

    from signatlas.similarity import fine_grained

    figures: Figures = {}
    choices = (("reference", "tiled"), ("mean", "max", "softmax"), ("masked", "released"))
    for file, dtype in product(sorted(Path(folder).glob("*.npz")), (torch.float32, torch.float64)):
        arrays = {name: torch.from_numpy(array) for name, array in np.load(file).items()}
        inputs = [arrays[name].to(dtype).requires_grad_() for name in ("video", "text", "text_aug")]
        masks, tau = (arrays["video_mask"], arrays["text_mask"]), float(arrays["tau"])
        for backend, aggregation, padding in product(*choices):
            settings: Any = {"tau": tau, "backend": backend, "aggregation": aggregation, "padding": padding}
            to_text, _ = fine_grained(inputs[0], inputs[1], *masks, **settings)
            _, to_video = fine_grained(inputs[0], inputs[2], *masks, **settings)
            name = f"{file.stem}/{dtype}/{backend}/{aggregation}/{padding}"
            figures |= tensor_figures(name, (to_text, to_video), inputs)
    return figures


def loss_figures() -> Figures:
    """Losses and gradients on seeded random inputs, with padding and identical texts among them."""
    import torch

    from signatlas.losses import clip_contrastive, fine_grained_contrastive, one_to_k_contrastive

    try:
        from signatlas.losses import grouped_supcon
    except ImportError:  # a revision that does not export it
        from signatlas.losses.metric import grouped_supcon  # type: ignore[no-redef]

    B, L, T, D, K = 24, 12, 9, 32, 3
    generator, figures = torch.Generator().manual_seed(0), Figures()
    groups = torch.randint(0, B // 2, (K, B), generator=generator)
    masks = [torch.arange(n) < torch.randint(1, n + 1, (B, 1), generator=generator) for n in (L, T, T)]
    for dtype in (torch.float32, torch.float64):
        shapes = ((B, L, D), (B, T, D), (B, T, D), (B, D), (K, B, D))
        inputs = [torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for shape in shapes]
        scale = torch.tensor(14.3, dtype=dtype, requires_grad=True)
        video, text, augmented, vectors, texts = inputs
        for identical, weighting in product(("none", "mask", "share"), ("balance", "depart")):
            shared: Any = {"logit_scale": scale, "identical": identical, "groups": groups[0]}
            varied: Any = {"text_augmented": augmented, "text_augmented_mask": masks[2], "weighting": weighting}
            loss = fine_grained_contrastive(video, text, masks[0], masks[1], beta=0.3, **varied, **shared)
            name = f"{dtype}/{identical}/{weighting}"
            figures |= tensor_figures(f"fine_grained_contrastive/{name}", [loss], [*inputs[:3], scale])
            loss = clip_contrastive(vectors, texts[0], **shared)
            figures |= tensor_figures(f"clip_contrastive/{name}", [loss], [vectors, texts, scale])
        loss = one_to_k_contrastive(vectors, texts, logit_scale=scale, groups=groups)
        figures |= tensor_figures(f"one_to_k_contrastive/{dtype}", [loss], [vectors, texts, scale])
        loss = grouped_supcon(vectors, torch.arange(B) % 4, torch.arange(B) // (B // 2))
        figures |= tensor_figures(f"grouped_supcon/{dtype}", [loss], [vectors])
    return figures


def measure(side: Side, parts: list[str], out: Path) -> dict[str, Any]:
    """Run the parts on one side and write its revision, figures and seconds to ``out``. A failed part has 'error'."""
    side.check_imports()
    results: dict[str, Any] = {"revision": side.revision(), "figures": {}, "seconds": {}}
    for part in parts:
        started = time.monotonic()
        try:
            results["figures"][part] = PARTS[part](side)
        except RuntimeError as error:
            results["figures"][part] = {"error": str(error)}
        results["seconds"][part] = round(time.monotonic() - started, 1)
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"{side.checkout} ({results['revision']}) {part}: {results['seconds'][part]} s", flush=True)
    return results


def differences(before: dict[str, Any], present: dict[str, Any], parts: list[str]) -> dict[str, list[Any]]:
    """Both values of each figure that differs; null where a side lacks it. Of a part that failed only the error."""
    different = {}
    for part in parts:
        old, new = (side["figures"].get(part, {"error": "this part was not run"}) for side in (before, present))
        failed = "error" in old | new
        for name in ["error"] if failed else old | new:
            if failed or old.get(name) != new.get(name):
                different[f"{part}/{name}"] = [old.get(name), new.get(name)]
    return different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--before", metavar="REV", help="revision to compare with, in a temporary git worktree")
    source.add_argument("--before-checkout", metavar="DIR", type=Path, help="the same, as a checkout")
    source.add_argument("--before-results", metavar="FILE", type=Path, help="the same, as an earlier before.json")
    source.add_argument("--tensors", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--present-checkout", metavar="DIR", type=Path, default=ROOT, help="this checkout by default")
    parser.add_argument("--before-only", action="store_true", help="only make before.json")
    parser.add_argument("--only", nargs="+", metavar="PART", choices=PARTS, default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--golden", metavar="DIR", type=Path, help="folder of golden vectors (.npz)")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep before.json, present.json, corpora, runs here")
    arguments = parser.parse_args()
    if arguments.tensors:
        kind, *folder = arguments.tensors
        print(json.dumps(golden_figures(*folder) if kind == "golden" else loss_figures()))
        return
    golden = arguments.golden.resolve() if arguments.golden else None
    parts = [part for part in arguments.only if part != "golden" or golden]
    summary: dict[str, Any] = {"benchmark": "revisions", "parts": parts, "cores": os.cpu_count()}
    if parts != arguments.only:
        summary["skipped"] = {"golden": "no --golden DIR given"}
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keep, checkout = arguments.keep or temporary, arguments.before_checkout or temporary / "worktree"
        keep.mkdir(parents=True, exist_ok=True)
        if arguments.before:
            worktree = ["git", "-C", str(ROOT), "worktree"]
            subprocess.run([*worktree, "add", "--quiet", "--detach", str(checkout), arguments.before], check=True)
            stack.callback(subprocess.run, [*worktree, "remove", "--force", str(checkout)], check=True)
        if arguments.before_results:
            before = json.loads(arguments.before_results.read_text(encoding="utf-8"))
        else:
            before = measure(Side(checkout, keep / "before", golden), parts, keep / "before.json")
        summary |= {"before": before["revision"], "seconds_before": before["seconds"]}
        if not arguments.before_only:
            present = measure(Side(arguments.present_checkout, keep / "present", golden), parts, keep / "present.json")
            summary |= {"present": present["revision"], "seconds_present": present["seconds"]}
            summary |= {"figures": {part: len(figures) for part, figures in present["figures"].items()}}
            summary["different"] = differences(before, present, parts)
            summary["equal"] = not summary["different"]
    for name, (old, new) in summary.get("different", {}).items():
        print(f"{name}: {old} before, {new} present")
    print(json.dumps(summary))
    sys.exit(not summary.get("equal", True))


if __name__ == "__main__":
    main()
