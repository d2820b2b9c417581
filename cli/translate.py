"""`signatlas translate`: translate a video, a file of poses or a clip of a corpus into text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared import AsJson, print_json, status
from signatlas.errors import UserError

if TYPE_CHECKING:
    from signatlas.client import ClipQuery, PosesQuery, TranslateOptions
    from signatlas.models.translator.recordings import Recording
    from signatlas.models.translator.translator import Translator

Answer = dict[str, Any]
SUFFIXES = (".pose", ".npy", ".mp4", ".mov", ".mkv", ".webm", ".avi")


def translate(
    signing: Annotated[str, typer.Argument(help="A video, a .pose or .npy file, or the id of a clip.", metavar="CLIP")],
    model: Annotated[
        str | None,
        typer.Option(help="Translator: a model folder or a Hub name; with --url, its name at a service with several."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Translate through this running service.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Corpus of the clip (default: the training corpus).")] = None,
    num_beams: Annotated[int, typer.Option(min=1, help="Beams of the search.")] = 8,
    n_best: Annotated[int, typer.Option(min=1, help="Number of alternative texts, the best first.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Largest number of pieces of a text.")] = 60,
    length_penalty: Annotated[float, typer.Option(help="Above 1 favors longer texts.")] = 1.0,
    features: Annotated[
        Path | None, typer.Option(help="Clip features of a corpus's clip (default: as in training).")
    ] = None,
    frames: Annotated[
        Path | None, typer.Option(help="Folder of the corpus's videos (default: as in training).")
    ] = None,
    json: AsJson = False,
) -> None:
    """Translate a video, a file of poses or a clip of a corpus into text.

    Machine translations can be fluent and wrong: ask a signer to check important ones.

    Example: signatlas translate recording.mp4 --model runs/scl_slt/model --n-best 3

    Example: signatlas translate recording.pose --url http://127.0.0.1:8000

    Example: signatlas translate recording.mp4 --url http://127.0.0.1:8000
    """
    if n_best > num_beams:
        raise UserError(f"--n-best {n_best} is more than --num-beams {num_beams}: raise --num-beams")
    if url is not None:
        if features is not None or frames is not None:
            raise UserError("--features and --frames are for a model folder: a service uses those of its model")
        options: TranslateOptions = {
            "model": model, "num_beams": num_beams, "n_best": n_best, "max_new_tokens": max_new_tokens,
            "length_penalty": length_penalty,
        }  # fmt: skip
        answer = _translate_by_service(url, signing, corpus, options)
    elif model is not None:
        answer = _translate(signing, model, corpus, features, frames, num_beams, n_best, max_new_tokens, length_penalty)
    else:
        raise UserError("give the translator: --model FOLDER, or --url http://HOST:PORT")
    if json:
        print_json(answer)
    else:
        _print(answer)


def _translate(
    signing: str,
    model: str,
    corpus: str | None,
    features: Path | None,
    frames: Path | None,
    num_beams: int,
    n_best: int,
    max_new_tokens: int,
    length_penalty: float,
) -> Answer:
    from signatlas.models import Translator, load

    translator = load(model, Translator)
    recording = _read(signing, model, translator, corpus, features, frames)
    texts = translator.translate(
        [(recording.x, recording.mask)], beams=num_beams, best=n_best, max_new_tokens=max_new_tokens,
        length_penalty=length_penalty,
    )  # fmt: skip
    return {
        "input": signing,
        "model": model,
        "language": translator.language_code,
        "texts": texts,
        "notes": recording.notes,
        "reference": recording.reference,
    }


def _translate_by_service(url: str, signing: str, corpus: str | None, options: TranslateOptions) -> Answer:
    from signatlas.client import Client

    path = Path(signing)
    with Client(url) as client, status("translating") as show:
        if path.is_file() and path.suffix.lower() not in (".pose", ".npy"):
            references: dict[str, str] = {}
            answer = client.translate_video(path, progress=lambda progress: show(str(progress)), **options)
        else:
            query, references = _query(signing, corpus)
            answer = client.translate(query, **options)
    result = answer.result
    return {
        "input": signing,
        "model": answer.model,
        "language": answer.language,
        "texts": result.texts,
        "notes": result.notes,
        "reference": references.get(answer.language),
    }


def _query(signing: str, corpus: str | None) -> tuple[PosesQuery | ClipQuery, dict[str, str]]:
    """Return what to send to a service, and the texts of a clip of a corpus here by language. Raises UserError."""
    from signatlas.client import ClipQuery, PosesQuery
    from signatlas.pose.serialization import read_pose
    from signatlas.retrieval.queries import ClipReader, read_pose_file

    path = Path(signing)
    if path.suffix == ".pose" and path.exists():
        file = read_pose(path)
        return PosesQuery(file.poses, file.width, file.height, fps=file.fps or None), {}
    if path.exists():
        return PosesQuery(read_pose_file(path).poses), {}
    if path.suffix.lower() in SUFFIXES:
        raise UserError(f"{signing}: no such file")
    if corpus is None:  # the service knows its clips
        return ClipQuery(signing), {}
    clip = ClipReader(corpus).clip(signing)
    width, height = (clip.width, clip.height) if clip.width and clip.height else (None, None)
    return PosesQuery(clip.poses, width, height, clip.source, fps=clip.fps), dict(clip.texts)


def _read(
    signing: str, model: str, translator: Translator, corpus: str | None, features: Path | None, frames: Path | None
) -> Recording:
    from signatlas.corpus.format import Corpus
    from signatlas.models.translator import recordings

    path = Path(signing)
    if path.exists():
        with status(f"reading {path.name}"):
            return recordings.read_file(path, model, translator)
    if path.suffix.lower() in SUFFIXES:
        raise UserError(f"{signing}: no such file")
    corpus = corpus or translator.record.get("corpus_path")
    if not corpus:
        raise UserError(f"'{signing}' is not a file, and the model's record has no corpus: give one with --corpus")
    return recordings.read_clip(signing, Corpus.open(corpus), model, translator, features=features, frames=frames)


def _print(answer: Answer) -> None:
    """Print the texts alone on standard output, everything else on standard error."""
    for note in answer["notes"]:
        print(f"note: {note}", file=sys.stderr)
    for number, text in enumerate(answer["texts"], 1):
        print(f"{number}. {text}" if len(answer["texts"]) > 1 else text)
        if not text:
            print("note: the model's text is empty", file=sys.stderr)
    if answer["reference"] is not None:
        print(f"reference: {answer['reference']}", file=sys.stderr)
