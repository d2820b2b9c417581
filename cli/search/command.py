"""signatlas search: find signs by a clip or a pose file, sentences by a text, here or through a running service."""

from __future__ import annotations

import json as jsonlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from signatlas.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from signatlas.retrieval.index_version import Snapshot

KEY = "SIGNATLAS_API_KEY"


class Query(NamedTuple):
    """A clip to look for; ``width`` and ``height`` are None where unknown."""

    name: str
    poses: np.ndarray
    width: int | None = None
    height: int | None = None
    source: str | None = None
    id: str | None = None
    gloss: str | None = None


class _Asked(NamedTuple):
    clip: str | None
    corpus: str | None
    pose: Path | None
    top: int
    either_hand: bool


class Sentence(NamedTuple):
    """What belongs to a search of sentences alone."""

    text: str | None
    language: str | None
    features: Path | None
    candidates: int


def search(
    index: Annotated[Path | None, typer.Option(help="Index folder.")] = None,
    clip: Annotated[str | None, typer.Option(help="Id of a clip of the index's corpus or of --corpus.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Corpus folder or URI of --clip.")] = None,
    pose: Annotated[Path | None, typer.Option(help="A .pose file, or a .npy array [frames, 75, 3].")] = None,
    text: Annotated[str | None, typer.Option(help="A sentence, to find clips that say it.")] = None,
    language: Annotated[str | None, typer.Option(help="Of --text, or of the texts that are wanted: de, en ...")] = None,
    features: Annotated[
        Path | None, typer.Option(help="Clip features of --clip, for an index of texts. [those of the index]")
    ] = None,
    candidates: Annotated[
        int, typer.Option(min=1, help="Entries of each shard that are scored token by token, for sentences.")
    ] = 200,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many answers.")] = 10,
    either_hand: Annotated[
        bool, typer.Option("--either-hand/--same-hand", help="Also search as a signer of the other hand would sign it.")
    ] = True,
    url: Annotated[str | None, typer.Option(help="Ask this running service instead of a folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Find a sign in an index by a clip or a pose file, clips by a text, or texts by a clip.

    Example: signatlas search --index indexes/dgs --pose recording.pose --top 5

    Example: signatlas search --index indexes/cico --text "morgen regen im norden"
    """
    if [clip, pose, text].count(None) != 2:
        raise UserError("name what to look for: either --clip ID or --pose FILE or --text WORDS")
    if (index is None) == (url is None):
        raise UserError("name where to look: either --index FOLDER or --url http://HOST:PORT")
    sentence = Sentence(text, language, features, candidates)
    if index is not None:
        asked, answer = _ask_folder(index, _Asked(clip, corpus, pose, top, either_hand), sentence)
    elif text is not None or language is not None or features is not None:
        raise UserError("a service answers no texts yet: search the folder, with --index")
    else:
        asked, answer = _ask_service(url or "", clip, corpus, pose, top, either_hand)
    if json:
        print(jsonlib.dumps(answer, ensure_ascii=False, allow_nan=False))
    elif "kind" in answer:
        from cli.search.sentences import print_table

        print_table(asked, answer)
    else:
        _print_table(asked, answer)


def _ask_folder(index: Path, asked: _Asked, sentence: Sentence) -> tuple[str, dict[str, Any]]:
    from cli.search import sentences as search_sentences
    from signatlas.retrieval.index_version import Snapshot

    snapshot = Snapshot.open(index)
    if sentence.text is not None:
        return f'"{sentence.text}"', search_sentences.by_text(snapshot, sentence, asked.top)
    if snapshot.manifest.kind == "signs" and (sentence.language or sentence.features):
        raise UserError(f"{index} is an index of single signs: it takes no --language and no --features")
    part = snapshot.manifest.corpus
    if asked.pose is not None:
        query = read_query(asked.pose)
    else:
        query = _clip_query(asked.clip or "", asked.corpus or part.path, None if asked.corpus else part.fingerprint)
    if snapshot.manifest.kind == "signs":
        return _describe(query), _signs(snapshot, query, asked)
    return _describe(query), search_sentences.by_clip(snapshot, query, sentence, asked.top)


def _signs(snapshot: Snapshot, query: Query, asked: _Asked) -> dict[str, Any]:
    from signatlas.retrieval.search import LocalSearch

    searcher = LocalSearch(snapshot)
    found = searcher.search(
        query.poses,
        aspect=query.width / query.height if query.width and query.height else None,
        source=query.source,
        k=asked.top,
        mirror="best" if asked.either_hand else "none",
        leave_out=query.id,
    )
    return {
        "index_version": snapshot.version,
        "synthetic": snapshot.manifest.corpus.synthetic,
        "verdict": searcher.catalog.verdict(found),
        "hits": [hit.model_dump() for hit in found],
    }


def _describe(query: Query) -> str:
    return f"{query.name} ({query.gloss})" if query.gloss else query.name


def _clip_query(id: str, corpus: str, fingerprint: str | None) -> Query:
    from signatlas.retrieval.clips import ClipReader

    clip = ClipReader(corpus, fingerprint).clip(id)
    return Query(clip.id, clip.poses, clip.width, clip.height, clip.source, clip.id, clip.gloss)


def read_query(path: Path) -> Query:
    """A `.pose` file or a `.npy` array [frames, 75, 3]. Raises PoseError."""
    from signatlas.errors import PoseError
    from signatlas.pose.normalize import check

    if path.suffix == ".pose":
        from signatlas.pose.posefile import read_pose

        read = read_pose(path)
        return Query(path.name, check(read.poses, str(path)), read.width, read.height)
    if path.suffix != ".npy":
        raise PoseError(f"{path} is neither a .pose file nor a .npy array; other formats cannot be searched yet")
    import numpy as np

    try:
        poses = np.load(path, allow_pickle=False)
    except OSError as error:
        raise PoseError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise PoseError(f"{path} is not a whole .npy array of numbers ({error})") from error
    return Query(path.name, check(poses, str(path)))


def _ask_service(
    url: str, clip: str | None, corpus: str | None, pose: Path | None, top: int, either_hand: bool
) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"top_k": top, "mirror": "best" if either_hand else "none"}
    if clip is not None and corpus is None:
        return clip, _post(url, {**body, "clip": clip})
    from signatlas.pose.posejson import to_json

    query = read_query(pose) if pose is not None else _clip_query(clip or "", corpus or "", None)
    body |= {"poses": to_json(query.poses)}
    body |= {name: getattr(query, name) for name in ("width", "height", "source") if getattr(query, name) is not None}
    return _describe(query), _post(url, body)


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    if not url.startswith(("http://", "https://")):
        raise UserError(f"--url {url} is not an address such as http://127.0.0.1:8000")
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    request = Request(f"{url.rstrip('/')}/v1/search", jsonlib.dumps(body, allow_nan=False).encode(), headers)
    try:
        with urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = jsonlib.load(response)
    except HTTPError as error:
        raise UserError(f"{url} answered {error.code}: {_problem(error.read())}") from error
    except (URLError, TimeoutError) as error:
        raise UserError(
            f"no service at {url} ({getattr(error, 'reason', error)}); start one: 'signatlas serve'"
        ) from error
    except ValueError as error:
        raise UserError(f"{url} is not a signatlas service: its answer is not JSON") from error
    return answer


def _problem(content: bytes) -> str:
    try:
        problem = jsonlib.loads(content)
        return str(problem.get("detail") or problem.get("title"))
    except (ValueError, AttributeError):
        return content[:200].decode(errors="replace")


def _print_table(asked: str, answer: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Signs most like {asked}", title_justify="left")
    table.add_column("#", justify="right")
    for name in ("gloss", "language", "score", "confidence", "source", "id"):
        table.add_column(name, justify="right" if name == "score" else "left", overflow="fold")
    for hit in answer["hits"]:
        table.add_row(str(hit["rank"]), hit["gloss"] or "", hit["sign_language"], f"{hit['score']:.3f}",
                      hit["confidence"] or "", hit["source"], hit["id"])  # fmt: skip
    console = Console()
    console.print(table)
    if answer["verdict"] == "not found":
        console.print("Not found: no recording in this index is closer than wrong answers usually are.")
    if answer["synthetic"]:
        console.print("This index holds synthetic signs: none of this is a result on real signing.")
    console.print(f"index {answer['index_version']}", style="dim")
