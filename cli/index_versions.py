"""signatlas index: verify and activate snapshots (building needs Ray: trainers.pipelines)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ROOT = typer.Argument(help="Index folder.")


def verify(
    root: Annotated[Path, ROOT],
    version: Annotated[str | None, typer.Option(help="Version to check [the live one].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check every file of an index version against its checksum.

    Example: signatlas index verify indexes/dgs
    """
    from signatlas.retrieval.index_version import Snapshot

    snapshot = Snapshot.open(root, version, verify=True)
    if json:
        print(snapshot.manifest.model_dump_json(exclude={"files"}))
    else:
        print(f"{snapshot.path}: all {len(snapshot.manifest.files)} files match, {snapshot.manifest.count:,} vectors")


def activate(
    root: Annotated[Path, ROOT],
    version: Annotated[str, typer.Argument(help="Version to make live.")],
) -> None:
    """Make one version of an index the live one, after checking all of it.

    Example: signatlas index activate indexes/dgs 20260101-120000-0f3a9c12
    """
    from signatlas.retrieval.index_version import activate as make_live

    snapshot = make_live(root, version)
    print(f"{snapshot.path} is live now")
