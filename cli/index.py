"""`signatlas index`: build, verify and activate versions of an index."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared import AsJson, print_json, status
from signatlas.errors import IndexVersionError

if TYPE_CHECKING:
    from signatlas.retrieval.index_version import IndexVersion

Root = Annotated[Path, typer.Argument(help="Index folder.")]


class Kind(StrEnum):
    clips = "clips"
    texts = "texts"


def build(
    model: Annotated[str, typer.Argument(help="Model folder or Hub name: a sign encoder or a dual encoder.")],
    corpus: Annotated[str, typer.Argument(help="Corpus folder or URI.")],
    out: Annotated[Path, typer.Option(help="Index folder; each build adds a version to it.")],
    shards: Annotated[int, typer.Option(min=1, help="Number of shards, which are searched in parallel.")] = 2,
    factory: Annotated[str, typer.Option(help="FAISS index_factory string: Flat, HNSW32, ...")] = "Flat",
    source: Annotated[list[str] | None, typer.Option(help="Only this source; may be repeated.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this split; may be repeated.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="Dual encoder: clip features of the corpus (default: computed by the model's sign encoders)."
        ),
    ] = None,
    entries: Annotated[
        Kind | None,
        typer.Option(
            help="Dual encoder: index clips, for search by text, or texts, for search by clip (default: clips)."
        ),
    ] = None,
    language: Annotated[list[str] | None, typer.Option(help="Only texts of this language; may be repeated.")] = None,
    version: Annotated[str | None, typer.Option(help="Name of the version (default: time and hash).")] = None,
    activate: Annotated[bool, typer.Option(help="Make it the live version.")] = True,
    log: Annotated[
        str | None, typer.Option(help="Signs: log of additions and removals to fold in (default: OUT/log).")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Embedding actors.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each actor.")] = 0,
    address: Annotated[str | None, typer.Option(help="Ray cluster (default: RAY_ADDRESS or a local one).")] = None,
    json: AsJson = False,
) -> None:
    """Embed a corpus and write a sharded index with checksums.

    A sign encoder indexes recordings of single signs, a dual encoder clips or texts of sentences.

    Example: signatlas index build runs/dgs_gesture/model data/dgs --out indexes/dgs --shards 2

    Example: signatlas index build runs/cico/model data/multi-composed --features data/features/multi --out indexes/cico
    """
    from signatlas.corpus.format import Corpus
    from signatlas.models import registry

    # Report mistakes in the arguments before Ray starts, which takes seconds.
    Corpus.open(corpus)
    options: dict[str, Any] = {
        "shards": shards,
        "factory": factory,
        "sources": tuple(source) if source else None,
        "splits": tuple(split) if split else None,
        "version": version,
        "activate": activate,
    }
    model_type = registry.model_type(model)
    if model_type == registry.DUAL_ENCODER:
        kind = (entries or Kind.clips).value
        options |= {"kind": kind, "languages": tuple(language) if language else None}
        if kind == "clips" and features is None:
            written = _build_from_poses(model, corpus, out, address, workers=workers, gpus=gpus, **options)
        else:
            written = _build_sentences(model, corpus, out, features=features, **options)
    elif model_type != registry.SIGN_ENCODER:
        raise IndexVersionError(
            f"{model} is {registry.describe(model)}: an index needs a sign encoder or a dual encoder"
        )
    elif features or entries or language:
        raise IndexVersionError(f"{model} is a sign encoder: it takes no --features, --entries or --language")
    else:
        written = _build_signs(model, corpus, out, address, workers=workers, gpus=gpus, log=log, **options)
    if json:
        _print_manifest(written)
    else:
        print(f"{written.path}: {written.manifest.describe()}{', live' if activate else ''}")


def verify(
    root: Root,
    version: Annotated[str | None, typer.Option(help="Version to check (default: the live one).")] = None,
    log: Annotated[str | None, typer.Option(help="Path or URI of the log (default: ROOT/log).")] = None,
    json: AsJson = False,
) -> None:
    """Check every file of an index version, and every record of the index's log, against its checksum.

    Example: signatlas index verify indexes/dgs
    """
    from signatlas.retrieval.index_version import IndexVersion
    from signatlas.retrieval.operation_log.log import Log, log_location

    verified = IndexVersion.open(root, version, verify=True)
    operations = Log.open(log_location(root, log))
    operations.require_reaches(verified.manifest.log_position, verified.version)
    if json:
        _print_manifest(verified)
    else:
        print(f"{verified.path}: all {len(verified.manifest.files)} files match, {verified.manifest.count:,} vectors")
        if operations.end:
            print(f"{operations.storage.location}: all {operations.end:,} records match")


def activate(
    root: Root,
    version: Annotated[str, typer.Argument(help="Version to make live.")],
) -> None:
    """Check an index version and make it the live one.

    Example: signatlas index activate indexes/dgs 20260101-120000-0f3a9c12
    """
    from signatlas.retrieval import index_version

    print(f"{index_version.activate(root, version).path} is live now")


def _build_signs(model: str, corpus: str, out: Path, address: str | None, **options: Any) -> IndexVersion:
    from cluster.connect import connected
    from trainers.pipelines.index import signs

    with connected(address, worker_logs=False), status("starting Ray Data") as show:
        options["progress"] = lambda done: show(f"{done:,} clips embedded")
        return signs.build(model, corpus, out, **options)


def _build_sentences(model: str, corpus: str, out: Path, *, kind: str, **options: Any) -> IndexVersion:
    from trainers.pipelines.index import sentences

    with status(f"encoding {kind}") as show:
        options["progress"] = lambda done: show(f"{done:,} {kind} encoded")
        return sentences.build(model, corpus, out, kind=kind, **options)  # type: ignore[arg-type]


def _build_from_poses(
    model: str, corpus: str, out: Path, address: str | None, *, workers: int, gpus: float, **options: Any
) -> IndexVersion:
    """Build an index of clips from features that the model's own sign encoders compute."""
    from cluster.connect import connected
    from signatlas.models import DualEncoder, load
    from signatlas.models.folder import locate
    from signatlas.models.sliding import own_encoders
    from trainers.pipelines.index.sentences import temporary_features

    own_encoders(locate(model), load(model, DualEncoder))  # raises before Ray starts
    with connected(address, worker_logs=False), ExitStack() as stack:
        with status("starting Ray Data") as show:
            computed = temporary_features(
                model, corpus, out, workers=workers, gpus=gpus,
                progress=lambda clips, windows: show(f"{clips:,} clips, {windows:,} windows"),
            )  # fmt: skip
            features = stack.enter_context(computed)
        return _build_sentences(model, corpus, out, features=features, record_features=False, **options)


def _print_manifest(index_version: IndexVersion) -> None:
    print_json(index_version.manifest.model_dump(mode="json", exclude={"files"}))
