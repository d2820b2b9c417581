"""Commands that create, import and describe clip features."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared import AsJson, console, print_json, status

if TYPE_CHECKING:
    from signatlas.features.store import FeatureStore

OVERWRITE = typer.Option("--overwrite", help="Replace existing features.")


def extract(
    model: Annotated[str, typer.Argument(help="Sign classifier: a model folder or a Hub name.")],
    corpus: Annotated[str, typer.Argument(help="Corpus folder or URI.")],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    stream: Annotated[str, typer.Option(help="Stream of the model: 'agnostic' or 'aware' of the corpus.")] = "agnostic",
    aware: Annotated[str | None, typer.Option(help="Domain-aware model for a second stream.")] = None,
    window: Annotated[int | None, typer.Option(min=2, help="Frames per window [those of the model].")] = None,
    stride: Annotated[int, typer.Option(min=1, help="Frames between windows.")] = 1,
    limit: Annotated[int, typer.Option(min=0, help="Maximum windows per clip, evenly spaced; 0 for all.")] = 64,
    workers: Annotated[int, typer.Option(min=1, help="Encoding actors.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads per actor.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs per actor.")] = 0,
    overwrite: Annotated[bool, OVERWRITE] = False,
    address: Annotated[str | None, typer.Option(help="Ray cluster [RAY_ADDRESS or a local one].")] = None,
    json: AsJson = False,
) -> None:
    """Extract clip features of continuous signing with a sliding sign classifier and Ray Data.

    Example: signatlas features extract runs/agnostic_dgs/model data/multi-composed --out data/features/multi
    """
    from cluster.connect import connected
    from signatlas.corpus.format import Corpus
    from signatlas.errors import FeatureError
    from signatlas.models.sign_classifier import SignClassifier
    from trainers.pipelines.features import extract as extract_features

    if stream not in ("agnostic", "aware"):
        raise FeatureError(f"--stream {stream} is unknown: choose 'agnostic' or 'aware'")
    models = {stream: model}
    if aware is not None:
        if stream == "aware":
            raise FeatureError("--aware adds a second model: omit --stream aware")
        models["aware"] = aware
    # Invalid arguments should fail before Ray starts.
    opened = Corpus.open(corpus)
    for name in models.values():
        SignClassifier.from_pretrained(name)
    if out.exists() and not overwrite:
        raise FeatureError(f"{out} already exists: choose another folder or pass --overwrite")
    started = time.monotonic()
    with connected(address, num_cpus=workers + 1, worker_logs=False), status("starting Ray Data") as show:
        features = extract_features(
            models,
            opened,
            out,
            window=window,
            stride=stride,
            limit=limit or None,
            workers=workers,
            gpus=gpus,
            threads=threads,
            overwrite=overwrite,
            progress=lambda clips, done: show(f"{clips:,} clips, {done:,} windows encoded"),
        )
    seconds = time.monotonic() - started
    count = int(features.counts.sum()) * len(models)
    summary = {"path": str(out), "clips": len(features), "windows": count, "width": features.info.width,
               "streams": list(features.info.streams), "seconds": round(seconds, 1),
               "windows_per_second": round(count / seconds)}  # fmt: skip
    if json:
        print_json(summary)
        return
    print(f"{out}: {len(features):,} clips, {count:,} windows of {features.info.window} frames, "
          f"width {features.info.width}, {' and '.join(features.info.streams)}; {seconds:.0f} s, "
          f"{count / seconds:,.0f} windows/s")  # fmt: skip


def glosses(
    corpus: Annotated[str, typer.Argument(help="Corpus folder or URI with gloss annotations.")],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    width: Annotated[int, typer.Option(min=2, help="Width of the vectors.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random vectors.")] = 0,
    overwrite: Annotated[bool, OVERWRITE] = False,
    json: AsJson = False,
) -> None:
    """Create oracle features: one fixed random unit vector per true gloss of a clip.

    Sentence retrieval from these features is an upper bound, as with perfect sign recognition.

    Example: signatlas features glosses data/multi-composed --out data/features/multi-glosses
    """
    from signatlas.corpus.format import Corpus
    from signatlas.features.glosses import write_gloss_features

    _print_summary(write_gloss_features(Corpus.open(corpus), out, width=width, seed=seed, overwrite=overwrite), json)


def import_(
    features: Annotated[Path, typer.Argument(help="Folder of <id>.npy or <id>.pkl files, or one .pkl for all clips.")],
    corpus: Annotated[str, typer.Option(help="Corpus folder or URI of the clips.")],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    second: Annotated[Path | None, typer.Option(help="Domain-aware features as a second stream.")] = None,
    window: Annotated[int, typer.Option(min=1, help="Frames per window.")] = 16,
    stride: Annotated[int, typer.Option(min=1, help="Frames between windows.")] = 1,
    limit: Annotated[int, typer.Option(min=0, help="Maximum windows per clip, evenly spaced; 0 for all.")] = 64,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Skip clips without features.")] = False,
    overwrite: Annotated[bool, OVERWRITE] = False,
    json: AsJson = False,
) -> None:
    """Import clip features that were computed elsewhere, such as the I3D features that CiCo releases.

    A file contains an array [windows, width], or a dict with the array under 'feature'. Pickles are read without
    running code. A file is named after the clip id or a suffix of it: train/x.pkl or x.pkl for corpus/train/x.

    Example: signatlas features import i3d/ --corpus data/phoenix14t --out data/features/phoenix-i3d
    """
    import sys

    from signatlas.corpus.format import Corpus
    from signatlas.features.precomputed import import_features

    result = import_features(
        Corpus.open(corpus),
        out,
        features,
        second,
        window=window,
        stride=stride,
        limit=limit or None,
        allow_missing=allow_missing,
        overwrite=overwrite,
    )
    for names, problem in ((result.missing, "clips without features"), (result.unknown, "features without a clip")):
        if names:
            print(f"{len(names):,} {problem}, first: {names[0]}", file=sys.stderr)
    _print_summary(result.store, json)


def info(
    features: Annotated[Path, typer.Argument(help="Folder of features.")],
    json: AsJson = False,
) -> None:
    """Print the clips, windows, streams and sources of a folder of features.

    Example: signatlas features info data/features/multi
    """
    from signatlas.features.store import FeatureStore

    _print_summary(FeatureStore.open(features), json)


def _print_summary(store: FeatureStore, json: bool) -> None:
    import numpy as np
    from rich.table import Table

    info, counts = store.info, store.counts
    low, middle, high = (int(v) for v in np.percentile(counts, [0, 50, 100]))
    summary = {
        "path": str(store.path),
        "kind": info.kind,
        "streams": ", ".join(info.streams),
        "width": info.width,
        "clips": len(store),
        "rows": int(counts.sum()),
        "rows per clip": f"{low} to {high}, median {middle}",
        "corpus": info.corpus,
        "corpus fingerprint": info.corpus_fingerprint,
    }
    if info.window:
        maximum = f", at most {info.limit} per clip" if info.limit else ""
        summary["windows"] = f"{info.window} frames, stride {info.stride}{maximum}"
    summary |= info.made
    if json:
        print_json(summary)
        return
    table = Table(show_header=False, box=None)
    for name, value in summary.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console().print(table)
