"""signatlas index build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def build(
    model: Annotated[str, typer.Argument(help="Model folder or Hub name.")],
    corpus: Annotated[str, typer.Argument(help="Corpus folder or URI.")],
    out: Annotated[Path, typer.Option(help="Index folder; each build adds a version to it.")],
    shards: Annotated[int, typer.Option(min=1, help="Parts that are searched side by side.")] = 2,
    factory: Annotated[str, typer.Option(help="FAISS index_factory string: Flat, HNSW32, ...")] = "Flat",
    source: Annotated[list[str] | None, typer.Option(help="Only this source; may be repeated.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this split; may be repeated.")] = None,
    version: Annotated[str | None, typer.Option(help="Name of the version [time and hash].")] = None,
    activate: Annotated[bool, typer.Option(help="Make it the live version.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Embedding actors.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each.")] = 0,
    address: Annotated[str | None, typer.Option(help="Ray cluster [RAY_ADDRESS or a local one].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was built as JSON.")] = False,
) -> None:
    """Embed a corpus with Ray Data and write a sharded, checksummed index.

    Example: signatlas index build runs/dgs_gesture/model data/dgs --out indexes/dgs --shards 2
    """
    from rich.console import Console

    from cluster.connect import connected
    from signatlas.corpus.format import Corpus
    from signatlas.models import folder
    from trainers.pipelines.index import build as build_index

    # Mistakes in what was named should not wait for Ray to start.
    Corpus.open(corpus)
    folder.locate(model)
    console = Console(stderr=True)
    with connected(address, worker_logs=False), console.status("starting Ray Data") as status:
        built = build_index(
            model,
            corpus,
            out,
            shards=shards,
            factory=factory,
            sources=tuple(source) if source else None,
            splits=tuple(split) if split else None,
            version=version,
            activate=activate,
            workers=workers,
            gpus=gpus,
            progress=lambda done: status.update(f"{done:,} clips embedded"),
        )
    manifest = built.manifest
    if json:
        print(manifest.model_dump_json(exclude={"files"}))
        return
    kind = "synthetic" if manifest.corpus.synthetic else "real"
    print(f"{built.path}: {manifest.count:,} {kind} recordings of {manifest.corpus.name}, {manifest.dims} dimensions, "
          f"{len(manifest.shards)} shards, {manifest.factory}{', live' if activate else ''}")  # fmt: skip
