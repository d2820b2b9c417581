"""signatlas features glosses, import and info."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared import console

if TYPE_CHECKING:
    from signatlas.features.store import FeatureStore

OVERWRITE = typer.Option("--overwrite", help="Replace features that are there.")
JSON = typer.Option("--json", help="Print it as JSON.")


def glosses(
    corpus: Annotated[str, typer.Argument(help="Corpus folder or URI, of clips with true glosses.")],
    out: Annotated[Path, typer.Option(help="Folder of the features.")],
    width: Annotated[int, typer.Option(min=2, help="Numbers a gloss.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of the random vectors.")] = 0,
    overwrite: Annotated[bool, OVERWRITE] = False,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Write the gloss oracle: one fixed random unit vector for each true gloss of a clip.

    Sentence retrieval from these features is what perfect sign recognition would allow.

    Example: signatlas features glosses data/multi-composed --out data/features/multi-glosses
    """
    from signatlas.corpus.format import Corpus
    from signatlas.features.glosses import make

    _say(make(Corpus.open(corpus), out, width=width, seed=seed, overwrite=overwrite), json)


def import_(
    features: Annotated[Path, typer.Argument(help="Folder of <id>.npy or <id>.pkl, or one .pkl of all.")],
    corpus: Annotated[str, typer.Option(help="Corpus folder or URI whose clips they are of.")],
    out: Annotated[Path, typer.Option(help="Folder of the features.")],
    second: Annotated[Path | None, typer.Option(help="Domain-aware features, for a second stream.")] = None,
    window: Annotated[int, typer.Option(min=1, help="Frames each feature saw.")] = 16,
    stride: Annotated[int, typer.Option(min=1, help="Frames from one to the next.")] = 1,
    limit: Annotated[int, typer.Option(min=0, help="Windows kept of a clip, evenly spread; 0 keeps all.")] = 64,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Leave out clips without features.")] = False,
    overwrite: Annotated[bool, OVERWRITE] = False,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Import clip features that were computed elsewhere, such as the I3D features that CiCo releases.

    A file holds an array, windows by width, or a dict with it as 'feature'. Pickles are read without running code.
    A clip's file is named by its id, or by the end of it: corpus/train/x may lie in train/x.pkl or x.pkl.

    Example: signatlas features import i3d/ --corpus data/phoenix14t --out data/features/phoenix-i3d
    """
    import sys

    from signatlas.corpus.format import Corpus
    from signatlas.features.precomputed import import_features

    made = import_features(
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
    for names, what in ((made.missing, "clips have no features"), (made.unknown, "features are of no clip")):
        if names:
            print(f"{len(names):,} {what}, the first: {names[0]}", file=sys.stderr)
    _say(made.store, json)


def info(
    features: Annotated[Path, typer.Argument(help="Folder of features.")],
    json: Annotated[bool, JSON] = False,
) -> None:
    """Say what a folder of features holds: clips, windows, streams, where they come from.

    Example: signatlas features info data/features/multi
    """
    from signatlas.features.store import FeatureStore

    _say(FeatureStore.open(features), json)


def _say(store: FeatureStore, json: bool) -> None:
    import numpy as np
    from rich.table import Table

    info, counts = store.info, store.counts
    low, middle, high = (int(v) for v in np.percentile(counts, [0, 50, 100]))
    what = {
        "path": str(store.path),
        "kind": info.kind,
        "streams": ", ".join(info.streams),
        "width": info.width,
        "clips": len(store),
        "rows": int(counts.sum()),
        "rows a clip": f"{low} to {high}, median {middle}",
        "corpus": info.corpus,
        "corpus fingerprint": info.corpus_fingerprint,
    }
    if info.window:
        kept = f", at most {info.limit} a clip" if info.limit else ""
        what["windows"] = f"{info.window} frames, stride {info.stride}{kept}"
    what |= info.made
    if json:
        print(json_.dumps(what, ensure_ascii=False))
        return
    table = Table(show_header=False, box=None)
    for name, value in what.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console().print(table)
