"""`signatlas index add` and `remove`: change a live index of signs, in its folder or through a service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared import AsJson, print_json
from signatlas.errors import IndexVersionError, UserError

if TYPE_CHECKING:
    from signatlas.retrieval.queries import PoseQuery

Root = Annotated[Path | None, typer.Option("--index", help="Index folder.")]
Url = Annotated[str | None, typer.Option(help="Change the index of this running service instead of a folder.")]
Name = Annotated[str | None, typer.Option(help="Name of the index, where the service has several.")]
LogLocation = Annotated[str | None, typer.Option("--log", help="Path or URI of the log (default: INDEX/log).")]


def add(
    pose: Annotated[Path, typer.Argument(help="A .pose file, or a .npy array [frames, 75, 3].")],
    sign_language: Annotated[str, typer.Option(help="ISO 639-3 code: gsg, ase, bfi ...")],
    consent_by: Annotated[str, typer.Option(help="Who agreed: the signer, or who may decide for them.")],
    consent_use: Annotated[str, typer.Option(help="What the recording may be used for.")],
    index: Root = None,
    id: Annotated[str | None, typer.Option(help="Id of the entry (default: added/ and the name of the file).")] = None,
    gloss: Annotated[str | None, typer.Option(help="Gloss of the sign.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Text as LANGUAGE:TEXT, such as de:Baum; may be repeated.")
    ] = None,
    signer: Annotated[str | None, typer.Option(help="Name or code of the signer.")] = None,
    source: Annotated[str, typer.Option(help="Where the recording is from.")] = "added",
    log: LogLocation = None,
    url: Url = None,
    name: Name = None,
    json: AsJson = False,
) -> None:
    """Add a recording of a sign to an index of signs, without building it again.

    Nothing is stored without consent. While a service holds the index, change it through the service, with --url.

    Example: signatlas index add tree.pose --index indexes/dgs --sign-language gsg --gloss BAUM --text de:Baum
    --signer anna --consent-by anna --consent-use "search by everyone"
    """
    from signatlas.retrieval.queries import read_pose_file

    _require_one(index, url, name, log)
    query = read_pose_file(pose)
    id = id or f"added/{pose.stem}"
    sign: dict[str, Any] = {
        "gloss": gloss, "texts": [_text(value) for value in text or []], "sign_language": sign_language,
        "signer": signer, "source": source, "width": query.width, "height": query.height,
        "consent": {"given_by": consent_by, "use": consent_use},
    }  # fmt: skip
    if url is not None:
        from signatlas.client import Client

        with Client(url) as client:
            answer = client.add_sign(query.poses, index=name, id=id, **sign)
        _print("added", answer.id, answer.position, json)
        return
    assert index is not None
    _print("added", id, _add(index, log, id, sign, query), json)


def remove(
    id: Annotated[str, typer.Argument(help="Id of the entry.")],
    index: Root = None,
    log: LogLocation = None,
    url: Url = None,
    name: Name = None,
    json: AsJson = False,
) -> None:
    """Remove an entry from an index of signs, for good: roll backs and later builds do not bring it back.

    The poses and labels of an added sign are erased. Versions that were built with it still have its vector: delete
    their folders.

    Example: signatlas index remove added/tree --index indexes/dgs
    """
    _require_one(index, url, name, log)
    if url is not None:
        from signatlas.client import Client

        with Client(url) as client:
            position = client.remove_sign(id, index=name).position
    else:
        from signatlas.retrieval.operation_log.writer import Writer

        assert index is not None
        with Writer(index, name="signatlas index remove", log=log) as writer:
            position = writer.remove(id).position
    _print("removed", id, position, json)


def _add(index: Path, log: str | None, id: str, sign: dict[str, Any], query: PoseQuery) -> int:
    from pydantic import ValidationError

    from signatlas.pose.normalize import check_query
    from signatlas.retrieval.index_version import IndexVersion
    from signatlas.retrieval.operation_log.record import AddedSign
    from signatlas.retrieval.operation_log.writer import Writer

    try:
        labels = AddedSign.model_validate(sign)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0] if first["loc"][0] != "consent" else first["loc"][-1])
        option = {"given_by": "consent-by", "use": "consent-use", "texts": "text"}.get(name, name.replace("_", "-"))
        raise UserError(f"--{option}: {first['msg']}") from error
    poses = check_query(query.poses)
    opened = IndexVersion.open(index, verify=False)
    encoder = opened.encoder()
    aspect = encoder.aspect_of(labels.source, query.width, query.height)
    with Writer(index, name="signatlas index add", log=log) as writer:
        vector = encoder.embed([poses], aspect=aspect)[0]
        return writer.add(id, labels, poses, vector, model_sha256=opened.manifest.model.sha256).position


def _require_one(index: Path | None, url: str | None, name: str | None, log: str | None) -> None:
    if (index is None) == (url is None):
        raise UserError("give the index to change: either --index FOLDER or --url http://HOST:PORT")
    if url is None and name is not None:
        raise UserError("--name is for --url: --index names a folder")
    if url is not None and log is not None:
        raise UserError("--log is for --index: a service has the log in its configuration")
    if index is not None and not index.is_dir():
        raise IndexVersionError(
            f"no index at {index}: build one with 'signatlas index build MODEL CORPUS --out {index}'"
        )


def _text(value: str) -> dict[str, str]:
    language, colon, text = value.partition(":")
    if not (language and colon and text.strip()):
        raise UserError(f"--text '{value}': give a language and a text, such as de:Baum")
    return {"language": language, "text": text.strip()}


def _print(done: str, id: str, position: int, json: bool) -> None:
    if json:
        print_json({"id": id, "position": position})
    else:
        print(f"{done} {id} (position {position} of the log)")
