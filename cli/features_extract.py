"""signatlas features extract."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cli.shared import status


def extract(
    model: Annotated[str, typer.Argument(help="Sign classifier: a model folder or a Hub name.")],
    corpus: Annotated[str, typer.Argument(help="Corpus folder or URI.")],
    out: Annotated[Path, typer.Option(help="Folder of the features.")],
    stream: Annotated[str, typer.Option(help="What the model is: 'agnostic' or 'aware' of the corpus.")] = "agnostic",
    aware: Annotated[str | None, typer.Option(help="A second, domain-aware model for a second stream.")] = None,
    window: Annotated[int | None, typer.Option(min=2, help="Frames of a window [as many as the model takes].")] = None,
    stride: Annotated[int, typer.Option(min=1, help="Frames from one window to the next.")] = 1,
    limit: Annotated[int, typer.Option(min=0, help="Windows kept of a clip, evenly spread; 0 keeps all.")] = 64,
    workers: Annotated[int, typer.Option(min=1, help="Encoding actors.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads of each.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace features that are there.")] = False,
    address: Annotated[str | None, typer.Option(help="Ray cluster [RAY_ADDRESS or a local one].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Slide a sign classifier over continuous signing and keep its features, with Ray Data.

    Example: signatlas features extract runs/agnostic_dgs/model data/multi-composed --out data/features/multi
    """
    import json as json_

    from cluster.connect import connected
    from signatlas.corpus.format import Corpus
    from signatlas.errors import FeatureError
    from signatlas.models.sign_classifier import SignClassifier
    from trainers.pipelines.features import extract as extract_features

    if stream not in ("agnostic", "aware"):
        raise FeatureError(f"--stream {stream}: there are 'agnostic' and 'aware'")
    models = {stream: model}
    if aware is not None:
        if stream == "aware":
            raise FeatureError("--aware names a second model: leave out --stream aware")
        models["aware"] = aware
    # Mistakes in what was named should not wait for Ray to start.
    opened = Corpus.open(corpus)
    for named in models.values():
        SignClassifier.from_pretrained(named)
    if out.exists() and not overwrite:
        raise FeatureError(f"{out} already exists: choose another folder or pass --overwrite")
    started = time.monotonic()
    with connected(address, num_cpus=workers + 1, worker_logs=False), status("starting Ray Data") as show:
        made = extract_features(
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
    count = int(made.counts.sum()) * len(models)
    figures = {"path": str(out), "clips": len(made), "windows": count, "width": made.info.width,
               "streams": list(made.info.streams), "seconds": round(seconds, 1),
               "windows_per_second": round(count / seconds)}  # fmt: skip
    if json:
        print(json_.dumps(figures))
        return
    print(f"{out}: {len(made):,} clips, {count:,} windows of {made.info.window} frames, {made.info.width} wide, "
          f"{' and '.join(made.info.streams)}; {seconds:.0f} s, {count / seconds:,.0f} windows/s")  # fmt: skip
