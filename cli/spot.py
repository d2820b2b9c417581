"""signatlas spot: signs found in continuous signing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.shared import console, status


def spot(
    model: Annotated[str, typer.Argument(help="Sign classifier: a model folder or a Hub name.")],
    corpus: Annotated[str, typer.Argument(help="Corpus folder or URI, of continuous signing.")],
    out: Annotated[Path, typer.Option(help="Folder for segments.parquet and report.json.")],
    split: Annotated[list[str] | None, typer.Option(help="Only this split; may be repeated [train].")] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Least softmax value of a window.")] = 0.6,
    merge: Annotated[int, typer.Option(min=0, help="Windows that start so near are one segment.")] = 3,
    suppress: Annotated[int, typer.Option(min=0, help="So near a segment no other of its class begins.")] = 24,
    stride: Annotated[int, typer.Option(min=1, help="Frames from one window to the next.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Encoding actors.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads of each.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    address: Annotated[str | None, typer.Option(help="Ray cluster [RAY_ADDRESS or a local one].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Find signs in continuous signing: pseudo-labels, judged where true spans are known.

    Example: signatlas spot runs/agnostic_dgs/model data/multi-composed --out runs/spotted --split dev
    """
    import json as json_

    from cluster.connect import connected
    from signatlas.corpus.format import Corpus
    from signatlas.errors import FeatureError
    from signatlas.models.sign_classifier import SignClassifier
    from signatlas.recipe.pseudo_label import SpotConfig
    from trainers.pipelines.spot import spot as spot_corpus

    # Mistakes in what was named should not wait for Ray to start.
    opened = Corpus.open(corpus)
    splits = tuple(split or ["train"])
    for name in splits:
        opened.split(name)
    if threshold >= 1:
        raise FeatureError(f"--threshold {threshold:g}: a softmax value is below 1")
    SignClassifier.from_pretrained(model)
    if out.exists() and not overwrite:
        raise FeatureError(f"{out} already exists: choose another folder or pass --overwrite")
    settings = SpotConfig(threshold=threshold, merge=merge, suppress=suppress, stride=stride)
    started = time.monotonic()
    with connected(address, num_cpus=workers + 1, worker_logs=False), status("starting Ray Data") as show:
        report = spot_corpus(
            model,
            opened,
            out,
            splits=splits,
            settings=settings,
            workers=workers,
            threads=threads,
            gpus=gpus,
            overwrite=overwrite,
            progress=lambda clips, done: show(f"{clips:,} clips, {done:,} windows looked at"),
        )
    seconds = time.monotonic() - started
    if json:
        print(json_.dumps(report | {"seconds": round(seconds, 1)}, ensure_ascii=False))
        return
    print(f"{out}: {report['segments']:,} segments of {report['classes']:,} classes in {report['clips']:,} clips; "
          f"{report['windows']:,} windows, {seconds:.0f} s")  # fmt: skip
    if report["judged"]:
        _table(report["judged"])


def _table(judged: dict[str, Any]) -> None:
    """All signs, and the twenty most frequent."""
    from rich.table import Table

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    table = Table(title=f"chance {percent(judged['chance'])} %, in any sign {percent(judged['inside'])} %")
    for column in ("sign", "segments", "precision %", "spans", "recall %"):
        table.add_column(column, justify="left" if column == "sign" else "right")
    table.add_row("all", f"{judged['segments']:,}", percent(judged["precision"]),
                  f"{judged['spans_in_vocabulary']:,}", percent(judged["recall"]), end_section=True)  # fmt: skip
    for name, row in list(judged["glosses"].items())[:20]:
        table.add_row(name, f"{row['segments']:,}", percent(row["precision"]), f"{row['spans']:,}",
                      percent(row["recall"]))  # fmt: skip
    console().print(table)
