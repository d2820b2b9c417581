"""Command that spots signs in continuous signing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.shared import AsJson, console, print_json, status


def spot(
    model: Annotated[str, typer.Argument(help="Sign classifier: a model folder or a Hub name.")],
    corpus: Annotated[str, typer.Argument(help="Corpus folder or URI with continuous signing.")],
    out: Annotated[Path, typer.Option(help="Output folder of segments.parquet and report.json.")],
    split: Annotated[list[str] | None, typer.Option(help="Split; may be repeated [train].")] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Minimum softmax value of a window.")] = 0.6,
    merge: Annotated[int, typer.Option(min=0, help="Maximum distance of windows in a segment, in frames.")] = 3,
    suppress: Annotated[int, typer.Option(min=0, help="Minimum distance of segments of a class, in frames.")] = 24,
    stride: Annotated[int, typer.Option(min=1, help="Frames between windows.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Encoding actors.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads per actor.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs per actor.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing folder.")] = False,
    address: Annotated[str | None, typer.Option(help="Ray cluster [RAY_ADDRESS or a local one].")] = None,
    json: AsJson = False,
) -> None:
    """Spot signs in continuous signing as pseudo-labels, scored where true spans are known.

    Example: signatlas spot runs/agnostic_dgs/model data/multi-composed --out runs/spotted --split dev
    """

    from cluster.connect import connected
    from signatlas.corpus.format import Corpus
    from signatlas.errors import FeatureError
    from signatlas.models.sign_classifier import SignClassifier
    from signatlas.recipe.pseudo_label import SpotConfig
    from trainers.pipelines.spot import spot as spot_corpus

    # Invalid arguments should fail before Ray starts.
    opened = Corpus.open(corpus)
    splits = tuple(split or ["train"])
    for name in splits:
        opened.split(name)
    if threshold >= 1:
        raise FeatureError(f"--threshold {threshold:g}: must be below 1")
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
            progress=lambda clips, done: show(f"{clips:,} clips, {done:,} windows processed"),
        )
    seconds = time.monotonic() - started
    if json:
        print_json(report | {"seconds": round(seconds, 1)})
        return
    print(f"{out}: {report['segments']:,} segments of {report['classes']:,} classes in {report['clips']:,} clips; "
          f"{report['windows']:,} windows, {seconds:.0f} s")  # fmt: skip
    if report["judged"]:
        _print_scores(report["judged"])


def _print_scores(scores: dict[str, Any]) -> None:
    """Print the scores of all signs and of the twenty most frequent ones."""
    from rich.table import Table

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    table = Table(title=f"chance {percent(scores['chance'])} %, in any sign {percent(scores['inside'])} %")
    for column in ("sign", "segments", "precision %", "spans", "recall %"):
        table.add_column(column, justify="left" if column == "sign" else "right")
    table.add_row("all", f"{scores['segments']:,}", percent(scores["precision"]),
                  f"{scores['spans_in_vocabulary']:,}", percent(scores["recall"]), end_section=True)  # fmt: skip
    for name, row in list(scores["glosses"].items())[:20]:
        table.add_row(name, f"{row['segments']:,}", percent(row["precision"]), f"{row['spans']:,}",
                      percent(row["recall"]))  # fmt: skip
    console().print(table)
