"""`signatlas search`: find signs by a recording, clips by a text, texts by a clip, in a folder or a running service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared import AsJson, console, print_json, status
from signatlas.errors import UserError

if TYPE_CHECKING:
    from signatlas.client import Client, SearchAnswer, SearchOptions
    from signatlas.retrieval.index_version import IndexVersion
    from signatlas.retrieval.queries import PoseQuery
    from signatlas.retrieval.sentences import SentenceResult, SentenceSearch

Answer = dict[str, Any]


def search(
    index: Annotated[Path | None, typer.Option(help="Index folder.")] = None,
    clip: Annotated[str | None, typer.Option(help="Id of a clip of the index's corpus or of --corpus.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Corpus folder or URI of --clip.")] = None,
    pose: Annotated[Path | None, typer.Option(help="A .pose file, or a .npy array [frames, 75, 3].")] = None,
    video: Annotated[
        Path | None, typer.Option(help="A video; its poses are detected here, or with --url by the service.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="A sentence, to search clips by.")] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of --text, or of the texts to find: de, en ...")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Clip features of --clip, for an index of texts (default: those of the index).")
    ] = None,
    candidates: Annotated[
        int, typer.Option(min=1, help="Sentences: entries of each shard that are scored token by token.")
    ] = 200,
    top: Annotated[int, typer.Option(min=1, max=1000, help="Number of results.")] = 10,
    either_hand: Annotated[
        bool,
        typer.Option("--either-hand/--same-hand", help="Also search with the mirrored query (other signing hand)."),
    ] = True,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Only entries with this value of corpus, source, split, sign_language, text_language, signer, gloss, "
            "hands, movement or location; a key that comes again adds a value.",
        ),
    ] = None,
    nprobe: Annotated[int | None, typer.Option(min=1, help="IVF index: lists that are searched.")] = None,
    ef: Annotated[int | None, typer.Option(min=1, help="HNSW index: entries that are kept in view.")] = None,
    log: Annotated[
        str | None, typer.Option(help="Path or URI of the log of additions and removals (default: INDEX/log).")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Search through this running service instead of a folder.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the index, where the service has several.")] = None,
    json: AsJson = False,
) -> None:
    """Find a sign in an index by a clip, a pose file or a video, clips by a text, or texts by a clip.

    Example: signatlas search --index indexes/dgs --pose recording.pose --top 5

    Example: signatlas search --index indexes/cico --text "morgen regen im norden"

    Example: signatlas search --index indexes/dgs --pose recording.pose --filter hands=2 --filter location=head

    Example: signatlas search --url http://127.0.0.1:8000 --name cico --text "morgen regen im norden"
    """
    if [clip, pose, video, text].count(None) != 3:
        raise UserError("give one query: --clip ID, --pose FILE, --video FILE or --text TEXT")
    if (index is None) == (url is None):
        raise UserError("give the index to search: either --index FOLDER or --url http://HOST:PORT")
    from signatlas.retrieval.filters import Filter

    conditions = Filter.parse(filter or ())
    if url is not None:
        if features is not None:
            raise UserError("--features are for --index: a service uses the features of its index")
        if log is not None:
            raise UserError("--log is for --index: a service has the log in its configuration")
        from signatlas.client import Client

        options: SearchOptions = {
            "index": name, "k": top, "candidates": candidates, "mirror": "best" if either_hand else "none",
            "filter": conditions.conditions() if conditions is not None else None, "nprobe": nprobe, "ef": ef,
        }  # fmt: skip
        with Client(url) as client:
            if video is not None:
                title, answer = video.name, _search_video(client, video, language, options)
            else:
                title, answer = _search_service(client, clip, corpus, pose, text, language, options)
    else:
        assert index is not None
        from signatlas.retrieval.faiss_index import Effort

        if name is not None:
            raise UserError("--name is for --url: --index names a folder")
        title, answer = _search_folder(
            index, clip, corpus, pose, video, text, language=language, features=features, candidates=candidates,
            top=top, either_hand=either_hand, log=log,
            restriction={"filter": conditions, "effort": Effort(nprobe, ef)},
        )  # fmt: skip
    if json:
        print_json(answer)
    elif "kind" in answer:
        _print_sentences(title, answer)
    else:
        _print_signs(title, answer)


def _search_folder(
    index: Path,
    clip: str | None,
    corpus: str | None,
    pose: Path | None,
    video: Path | None,
    text: str | None,
    *,
    language: str | None,
    features: Path | None,
    candidates: int,
    top: int,
    either_hand: bool,
    log: str | None,
    restriction: dict[str, Any],
) -> tuple[str, Answer]:
    """Return the query's title and the answer; ``restriction`` are the filter and effort of a search."""
    from signatlas.retrieval.index_version import IndexVersion
    from signatlas.retrieval.queries import read_clip, read_pose_file, read_video

    opened = IndexVersion.open(index)
    if log is not None:
        opened.require_signs()
    if text is not None:
        if features is not None:
            raise UserError("--features are for --clip: omit them with --text")
        return f'"{text}"', _search_text(opened, text, language, candidates, top, restriction)
    indexed = opened.manifest.corpus
    if opened.manifest.kind == "signs" and (language or features):
        raise UserError(f"{index} is an index of single signs: it takes no --language and no --features")
    if pose is not None:
        query = read_pose_file(pose)
    elif video is not None:
        with status(f"reading {video.name}"):
            query = read_video(video)
    else:
        query = read_clip(clip or "", corpus or indexed.path, None if corpus else indexed.fingerprint)
    if opened.manifest.kind == "signs":
        return str(query), _search_signs(opened, query, top, either_hand, log, restriction)
    from signatlas.retrieval.sentences import SentenceSearch

    searcher = SentenceSearch(opened)
    result = searcher.search_clip(
        query, k=top, candidates=candidates, language=language, features=features, **restriction
    )
    return str(query), _sentence_answer(searcher, result)


def _search_signs(
    index_version: IndexVersion,
    query: PoseQuery,
    top: int,
    either_hand: bool,
    log: str | None,
    restriction: dict[str, Any],
) -> Answer:
    from signatlas.retrieval.operation_log.log import Log, log_location
    from signatlas.retrieval.search import SignSearch

    searcher = SignSearch(index_version, Log.open(log_location(index_version.root, log)))
    hits = searcher.search(
        query.poses,
        aspect=query.aspect,
        source=query.source,
        k=top,
        mirror="best" if either_hand else "none",
        leave_out=query.id,
        **restriction,
    )
    return {
        "index_version": index_version.version,
        "synthetic": index_version.manifest.corpus.synthetic,
        "verdict": searcher.catalog.verdict(hits),
        "hits": [hit.model_dump() for hit in hits],
    }


def _search_text(
    index_version: IndexVersion, text: str, language: str | None, candidates: int, top: int, restriction: dict[str, Any]
) -> Answer:
    from signatlas.retrieval.sentences import SentenceSearch, text_notes

    searcher = SentenceSearch(index_version)
    result = searcher.search_text(text, k=top, candidates=candidates, language=language, **restriction)
    for note in text_notes(searcher.model, text):
        print(f"note: {note}", file=sys.stderr)
    return _sentence_answer(searcher, result)


def _sentence_answer(searcher: SentenceSearch, result: SentenceResult) -> Answer:
    manifest = searcher.index_version.manifest
    return {
        "index_version": manifest.version,
        "kind": manifest.kind,
        "synthetic": manifest.corpus.synthetic,
        "tokens": result.tokens,
        "scored": result.scored,
        "entries": manifest.count,
        "hits": [hit.model_dump(exclude={"confidence"}) for hit in result.hits],
    }


def _search_service(
    client: Client,
    clip: str | None,
    corpus: str | None,
    pose: Path | None,
    text: str | None,
    language: str | None,
    options: SearchOptions,
) -> tuple[str, Answer]:
    """Return the query's title and the service's answer; without a corpus, the service looks the clip up."""
    if text is not None:
        return f'"{text}"', _service_answer(client.search_text(text, language, **options))
    if clip is not None and corpus is None:
        return clip, _service_answer(client.search_clip(clip, language=language, **options))
    from signatlas.retrieval.queries import read_clip, read_pose_file

    query = read_pose_file(pose) if pose is not None else read_clip(clip or "", corpus or "")
    answer = client.search_poses(
        query.poses, width=query.width, height=query.height, source=query.source, language=language, **options
    )
    return str(query), _service_answer(answer)


def _search_video(client: Client, video: Path, language: str | None, options: SearchOptions) -> Answer:
    if language is not None:
        raise UserError("--language is not for a video at a service: omit it")
    with status(f"sending {video.name}") as show:
        answer = client.search_video(video, progress=lambda progress: show(str(progress)), **options)
    return _service_answer(answer)


def _service_answer(answer: SearchAnswer) -> Answer:
    """Return a service's answer in the form of a folder's, and whether it is partial; print its notes on stderr."""
    result = answer.result
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    if answer.partial:
        shards = answer.shards
        print(
            f"partial answer: {shards.answered} of {shards.of} shards answered, without {', '.join(shards.missing)}; "
            "their entries are missing",
            file=sys.stderr,
        )
    common: Answer = {"index_version": answer.version, "synthetic": answer.synthetic, "partial": answer.partial}
    if answer.kind == "signs":
        return {**common, "verdict": result.verdict, "hits": [hit.model_dump() for hit in result.hits]}
    return {
        **common,
        "kind": answer.kind,
        "tokens": result.tokens,
        "scored": result.scored,
        "entries": answer.entries,
        "hits": [hit.model_dump(exclude={"confidence"}) for hit in result.hits],
    }


def _print_signs(title: str, answer: Answer) -> None:
    from rich.table import Table

    table = Table(title=f"Signs most like {title}", title_justify="left")
    table.add_column("#", justify="right")
    for name in ("gloss", "language", "score", "confidence", "source", "id"):
        table.add_column(name, justify="right" if name == "score" else "left", overflow="fold")
    for hit in answer["hits"]:
        cells = (
            hit["gloss"] or "", hit["sign_language"], f"{hit['score']:.3f}", hit["confidence"] or "", hit["source"],
            hit["id"],
        )  # fmt: skip
        table.add_row(str(hit["rank"]), *cells)
    output = console()
    output.print(table)
    if answer["verdict"] == "not found":
        output.print("Not found: no recording in this index is more similar than wrong results usually are.")
    if answer["synthetic"]:
        output.print("This index contains synthetic signs: these are not results on real signing.")
    output.print(f"index {answer['index_version']}", style="dim")


def _print_sentences(title: str, answer: Answer) -> None:
    from rich.table import Table

    heading = "Clips for" if answer["kind"] == "clips" else "Texts for"
    table = Table(title=f"{heading} {title}", title_justify="left")
    table.add_column("#", justify="right")
    table.add_column("score", justify="right")
    table.add_column("texts", overflow="fold", ratio=3)
    table.add_column("id", overflow="fold", ratio=2)
    for hit in answer["hits"]:
        texts = "\n".join(f"{t['language']}  {t['text']}" for t in hit["texts"])
        table.add_row(str(hit["rank"]), f"{hit['score']:.3f}", texts, hit["id"])
    output = console()
    output.print(table)
    if answer["synthetic"]:
        output.print("This index contains synthetic signing: these are not results on real signing.")
    scored = f"{answer['scored']:,} scored token by token, " if answer["scored"] else ""
    entries = f"{answer['entries']:,} entries, " if answer["entries"] is not None else ""
    output.print(f"{scored}{entries}index {answer['index_version']}", style="dim")
