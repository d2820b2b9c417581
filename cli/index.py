"""signatlas index build."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signatlas.errors import SnapshotError

if TYPE_CHECKING:
    from signatlas.retrieval.index_version import Snapshot
    from signatlas.retrieval.manifest import Manifest


class Kind(StrEnum):
    clips = "clips"
    texts = "texts"


def build(
    model: Annotated[str, typer.Argument(help="Model folder or Hub name.")],
    corpus: Annotated[str, typer.Argument(help="Corpus folder or URI.")],
    out: Annotated[Path, typer.Option(help="Index folder; each build adds a version to it.")],
    shards: Annotated[int, typer.Option(min=1, help="Parts that are searched side by side.")] = 2,
    factory: Annotated[str, typer.Option(help="FAISS index_factory string: Flat, HNSW32, ...")] = "Flat",
    source: Annotated[list[str] | None, typer.Option(help="Only this source; may be repeated.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this split; may be repeated.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Clip features of the corpus, for a dual encoder. [made of the poses by its sign encoders]"),
    ] = None,
    entries: Annotated[
        Kind | None, typer.Option(help="What a dual encoder indexes: clips for search by text, or texts. [clips]")
    ] = None,
    language: Annotated[list[str] | None, typer.Option(help="Only texts of this language; may be repeated.")] = None,
    version: Annotated[str | None, typer.Option(help="Name of the version [time and hash].")] = None,
    activate: Annotated[bool, typer.Option(help="Make it the live version.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Embedding actors.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each.")] = 0,
    address: Annotated[str | None, typer.Option(help="Ray cluster [RAY_ADDRESS or a local one].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was built as JSON.")] = False,
) -> None:
    """Embed a corpus and write a sharded, checksummed index: of signs (Ray Data), or of clips or texts of sentences.

    Example: signatlas index build runs/dgs_gesture/model data/dgs --out indexes/dgs --shards 2

    Example: signatlas index build runs/cico/model data/multi-composed --features data/features/multi --out indexes/cico
    """
    from signatlas.corpus.format import Corpus
    from trainers.pipelines.index.sentences import is_dual

    # Mistakes in what was named should not wait for Ray to start.
    Corpus.open(corpus)
    common: dict[str, Any] = {
        "shards": shards,
        "factory": factory,
        "sources": tuple(source) if source else None,
        "splits": tuple(split) if split else None,
        "version": version,
        "activate": activate,
    }
    if is_dual(model):
        kind = (entries or Kind.clips).value
        languages = tuple(language) if language else None
        common |= {"kind": kind, "languages": languages}
        if kind == "clips" and features is None:
            built = _sentences_from_poses(model, corpus, out, address, workers=workers, gpus=gpus, **common)
        else:
            built = _sentences(model, corpus, out, features=features, **common)
    elif features or entries or language:
        raise SnapshotError(f"{model} is a sign encoder: it takes no --features, --entries or --language")
    else:
        built = _signs(model, corpus, out, address, workers=workers, gpus=gpus, **common)
    if json:
        print(built.manifest.model_dump_json(exclude={"files"}))
    else:
        print(f"{built.path}: {_described(built.manifest)}{', live' if activate else ''}")


def _signs(model: str, corpus: str, out: Path, address: str | None, **options: Any) -> Snapshot:
    from rich.console import Console

    from cluster.connect import connected
    from trainers.pipelines.index.signs import build as build_index

    console = Console(stderr=True)
    with connected(address, worker_logs=False), console.status("starting Ray Data") as status:
        options["progress"] = lambda done: status.update(f"{done:,} clips embedded")
        return build_index(model, corpus, out, **options)


def _sentences(model: str, corpus: str, out: Path, *, kind: str, **options: Any) -> Snapshot:
    from rich.console import Console

    from trainers.pipelines.index.sentences import build as build_index

    with Console(stderr=True).status(f"encoding {kind}") as status:
        options["progress"] = lambda done: status.update(f"{done:,} {kind} encoded")
        return build_index(model, corpus, out, kind=kind, **options)  # type: ignore[arg-type]


def _sentences_from_poses(
    model: str, corpus: str, out: Path, address: str | None, *, workers: int, gpus: float, **options: Any
) -> Snapshot:
    from rich.console import Console

    from cluster.connect import connected
    from signatlas.features.sliding import own_encoders
    from signatlas.models.dual_encoder.encoder import DualEncoder
    from signatlas.models.folder import locate
    from trainers.pipelines.index.sentences import temporary_features

    own_encoders(locate(model), DualEncoder.from_pretrained(model))  # a mistake should not wait for Ray
    console = Console(stderr=True)
    with connected(address, worker_logs=False), console.status("starting Ray Data") as status:
        made = temporary_features(
            model, corpus, out, workers=workers, gpus=gpus,
            progress=lambda clips, windows: status.update(f"{clips:,} clips, {windows:,} windows"),
        )  # fmt: skip
        with made as features:
            status.stop()
            return _sentences(model, corpus, out, features=features, keeps=False, **options)


def _described(manifest: Manifest) -> str:
    what = f"{'synthetic' if manifest.corpus.synthetic else 'real'} recordings"
    if manifest.kind == "texts":
        what = f"texts ({', '.join(manifest.languages)})"
    elif manifest.kind == "clips":
        what = f"{'synthetic' if manifest.corpus.synthetic else 'real'} clips of sentences"
    tokens = f"{manifest.tokens:,} tokens, " if manifest.tokens else ""
    return (
        f"{manifest.count:,} {what} of {manifest.corpus.name}, {tokens}{manifest.dims} dimensions, "
        f"{len(manifest.shards)} shards, {manifest.factory}"
    )
