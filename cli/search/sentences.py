"""signatlas search in an index of sentences: clips by a text, texts by a clip."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signatlas.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from cli.search.command import Query, Sentence
    from signatlas.models.dual_encoder.encoder import DualEncoder
    from signatlas.retrieval.index_version import Snapshot
    from signatlas.retrieval.sentences import SentenceSearch
    from signatlas.retrieval.two_stage import Query as Encoded


def by_text(snapshot: Snapshot, asked: Sentence, top: int) -> dict[str, Any]:
    """The clips that say a text. Raises TextError, SnapshotError."""
    from signatlas.retrieval.sentences import SentenceSearch

    searcher = SentenceSearch(snapshot)
    if asked.features is not None:
        raise UserError("--features belong to --clip: a text is searched without them")
    if asked.language is not None:
        from signatlas.text.language import check_language

        check_language(asked.language, searcher.model.record.get("languages", ()))
    query = searcher.by_texts([asked.text or ""])[0]
    for note in notes(searcher.model, asked.text or ""):
        print(f"note: {note}", file=sys.stderr)
    return _answer(searcher, query, top, asked)


def notes(model: DualEncoder, text: str) -> list[str]:
    """What is lost of a text on its way into the model."""
    encoder: Any = model.text
    found = []
    if encoder.long_rate([text]) > 0:
        most = model.config.text.max_tokens
        found.append(
            f"the text is longer than the {most} tokens that the model takes: {most} of them, evenly spread, are used"
        )
    unknown = encoder.unknown_rate([text])
    if unknown >= 0.5:
        found.append(f"{unknown:.0%} of the text's tokens did not occur in training: expect little of the answer")
    return found


def by_clip(snapshot: Snapshot, query: Query, asked: Sentence, top: int) -> dict[str, Any]:
    """The texts of what is signed. Raises FeatureError, PoseError, TextError, SnapshotError."""
    from signatlas.retrieval.sentences import SentenceSearch

    searcher = SentenceSearch(snapshot)
    searcher.require_texts()
    if asked.language is not None:
        from signatlas.text.language import check_language

        asked = asked._replace(language=check_language(asked.language, snapshot.manifest.languages))
    encoded = searcher.by_features(_features(snapshot, searcher.model, query, asked.features))
    return _answer(searcher, encoded, top, asked)


def _features(snapshot: Snapshot, model: DualEncoder, query: Query, folder: Path | None) -> np.ndarray:
    """A clip's features: those named, else those the index was built with, else computed from its poses."""
    from signatlas.features.sliding import Slider
    from signatlas.retrieval.sentences import features_of

    made = snapshot.manifest.features
    if folder is None and query.id is not None and made is not None and Path(made.path).is_dir():
        folder = Path(made.path)
    if folder is not None:
        if query.id is None:
            raise UserError("--features has features of the corpus's clips, not of a file: leave it out with --pose")
        return features_of(snapshot, model, folder, query.id)
    aspect = query.width / query.height if query.width and query.height else None
    sign = model.config.sign
    slider = Slider(snapshot.path / "model", model, alpha=sign.alpha, limit=sign.max_clips)
    return slider.of(query.poses, aspect, query.source)


def _answer(searcher: SentenceSearch, query: Encoded, top: int, asked: Sentence) -> dict[str, Any]:
    from signatlas.retrieval.sentences import of_language

    manifest = searcher.snapshot.manifest
    accept = of_language(asked.language) if manifest.kind == "texts" else None
    ranked = searcher.rank([query], top, asked.candidates, accept)[0]
    return {
        "index_version": searcher.snapshot.version,
        "kind": manifest.kind,
        "synthetic": manifest.corpus.synthetic,
        "tokens": len(query.tokens),
        "scored": searcher.scored,
        "entries": manifest.count,
        "hits": [hit.model_dump(exclude={"confidence"}) for hit in searcher.catalog.hits(ranked)],
    }


def print_table(asked: str, answer: dict[str, Any]) -> None:
    """For people."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    what = "Clips that say" if answer["kind"] == "clips" else "Texts of"
    table = Table(title=escape(f"{what} {asked}"), title_justify="left")
    table.add_column("#", justify="right")
    table.add_column("score", justify="right")
    table.add_column("texts", overflow="fold", ratio=3)
    table.add_column("id", overflow="fold", ratio=2)
    for hit in answer["hits"]:
        texts = "\n".join(f"{t['language']}  {t['text']}" for t in hit["texts"])
        table.add_row(str(hit["rank"]), f"{hit['score']:.3f}", escape(texts), escape(hit["id"]))
    console = Console()
    console.print(table)
    if answer["synthetic"]:
        console.print("This index holds synthetic signing: none of this is a result on real signing.")
    exactly = f"{answer['scored']:,} scored token by token, " if answer["scored"] else ""
    console.print(f"{exactly}{answer['entries']:,} entries, index {answer['index_version']}", style="dim")
