"""signatlas translate: what is signed in a video, a file of poses or a clip, as text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from signatlas.errors import FeatureError, UserError

if TYPE_CHECKING:
    import numpy as np

    from signatlas.corpus.format import Clip
    from signatlas.models.translator.translator import Translator

FILES = (".pose", ".npy", ".mp4", ".mov", ".mkv", ".webm", ".avi")


class Prepared(NamedTuple):
    """A clip as a translator takes it: inputs [1, L, ...] and their mask; what was left out; a text to compare with."""

    x: np.ndarray
    mask: np.ndarray
    notes: list[str]
    reference: str | None = None


def translate(
    what: Annotated[str, typer.Argument(help="A video, a .pose or .npy file, or the id of a clip.", metavar="CLIP")],
    model: Annotated[str, typer.Option(help="Translator: a model folder or a Hub name.")],
    corpus: Annotated[str | None, typer.Option(help="Corpus of the clip. [that of the model's training]")] = None,
    num_beams: Annotated[int, typer.Option(min=1, help="Beams of the search.")] = 8,
    n_best: Annotated[int, typer.Option(min=1, help="How many texts, the best first.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Pieces of a text at most.")] = 60,
    length_penalty: Annotated[float, typer.Option(help="Above 1 for longer texts.")] = 1.0,
    features: Annotated[
        Path | None, typer.Option(help="Clip features of a corpus's clip. [those of the training]")
    ] = None,
    frames: Annotated[Path | None, typer.Option(help="Folder of the corpus's videos. [that of the training]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Translate a video, a file of poses or a clip of a corpus into text.

    A machine's translation can be wrong in ways that read well: ask a person where it matters.

    Example: signatlas translate recording.mp4 --model runs/scl_slt/model --n-best 3
    """
    import json as jsonlib

    from signatlas.models.translator.translator import Translator

    if n_best > num_beams:
        raise UserError(f"--n-best {n_best} is more than --num-beams {num_beams}: raise the beams")
    translator = Translator.from_pretrained(model)
    path = Path(what)
    if path.exists():
        prepared = of_file(path, model, translator)
    elif path.suffix.lower() in FILES:
        raise UserError(f"{what}: there is no such file")
    else:
        prepared = of_clip(what, model, translator, corpus, features, frames)
    texts = translator.translate(
        [(prepared.x, prepared.mask)], beams=num_beams, best=n_best, max_new_tokens=max_new_tokens,
        length_penalty=length_penalty,
    )  # fmt: skip
    answer = {
        "input": what, "model": model, "language": translator.language_code, "texts": texts, "notes": prepared.notes,
        "reference": prepared.reference,
    }  # fmt: skip
    if json:
        print(jsonlib.dumps(answer, ensure_ascii=False))
    else:
        _print(answer)


def _print(answer: dict[str, Any]) -> None:
    """Texts alone on standard output."""
    for note in answer["notes"]:
        print(f"note: {note}", file=sys.stderr)
    for place, text in enumerate(answer["texts"], 1):
        print(f"{place}. {text}" if len(answer["texts"]) > 1 else text)
        if not text:
            print("note: the model says nothing", file=sys.stderr)
    if answer["reference"] is not None:
        print(f"reference: {answer['reference']}", file=sys.stderr)


def of_file(path: Path, model: str, translator: Translator) -> Prepared:
    """The inputs of a video, a folder of pictures, a .pose or a .npy file. Raises UserError."""
    backbone = translator.config.sign.backbone
    if backbone.kind == "resnet":
        from signatlas.models.translator.sign_inputs import inputs_of_video

        if path.suffix.lower() in (".pose", ".npy"):
            raise FeatureError(f"{path} has no pictures, which is what this translator looks at: name the video")
        return Prepared(*inputs_of_video(backbone, path), [])
    clip = _clip_of(path)
    return of_poses(clip, model, translator)


def of_clip(
    id: str, model: str, translator: Translator, corpus: str | None, features: Path | None, frames: Path | None
) -> Prepared:
    """The inputs of a corpus's clip, and its text. Raises UserError."""
    from signatlas.corpus.format import Corpus
    from signatlas.corpus.texts import text_in
    from signatlas.models.translator.sign_inputs import SignInputs

    record = translator.record
    named = corpus or record.get("corpus_path")
    if not named:
        raise UserError(f"'{id}' is no file; if it is a clip, name its --corpus: the model's record names none")
    opened = Corpus.open(named)
    part = opened.where(lambda row: row["id"] == id)
    rows = part.metadata()
    if not rows:
        raise UserError(f"'{id}' is neither a file nor a clip of {opened.path}")
    reference = text_in(rows[0], translator.language_code) or None
    backbone = translator.config.sign.backbone
    folder = str(features) if features else record.get("features")
    if backbone.kind == "features" and (folder is None or (features is None and not _of(folder, opened, id))):
        return of_poses(part.clip(id), model, translator)._replace(reference=reference)
    held = SignInputs.open(backbone, part, features=folder, frames=str(frames) if frames else record.get("frames"))
    x, mask = held.batch([id])
    return Prepared(x, mask, _subsampled(int(held.source.counts[0]), x.shape[1], "frames"), reference)


def _of(folder: str, corpus: Any, id: str) -> bool:
    """Whether features of a model's training are there, are of this corpus and have the clip."""
    from signatlas.features.store import FeatureStore

    if not Path(folder).is_dir():
        return False
    store = FeatureStore.open(folder)
    return store.info.corpus_fingerprint == corpus.info.fingerprint and id in store


def of_poses(clip: Clip, model: str, translator: Translator) -> Prepared:
    """The inputs of poses: themselves, or features by the sign encoders beside the model. Raises UserError."""
    import numpy as np

    from signatlas.features.sliding import Slider
    from signatlas.models import folder
    from signatlas.models.translator.sign_inputs import inputs_of_poses
    from signatlas.pose.normalize import check

    backbone = translator.config.sign.backbone
    check(clip.poses, clip.id)
    aspect = clip.width / clip.height if clip.width and clip.height else None
    if backbone.kind == "pose":
        x, mask = inputs_of_poses(backbone, clip.poses, aspect, clip.fps)
        seen = clip.num_frames
        if backbone.rate and clip.fps and clip.fps > backbone.rate:
            seen = int((seen - 1) * backbone.rate / clip.fps) + 1
        return Prepared(x, mask, _subsampled(seen, x.shape[1], "frames"))
    if backbone.kind == "resnet":
        raise FeatureError(f"{clip.id}: this translator looks at pictures, not at poses: name the video, or --frames")
    slider = Slider(folder.locate(model), translator, alpha=backbone.alpha, limit=backbone.max_frames)
    found = slider.of(clip.poses, aspect, clip.source)[None]
    notes = _subsampled(slider.windows(clip.num_frames), found.shape[1], "windows")
    return Prepared(found, np.ones(found.shape[:2], bool), notes)


def _subsampled(count: int, used: int, what: str) -> list[str]:
    if used >= count:
        return []
    return [f"{used} of the clip's {count} {what} are looked at, evenly spread: the model takes no more"]


def _clip_of(path: Path) -> Clip:
    """Poses of a file; a video is looked at with MediaPipe. Raises UserError."""
    from rich.console import Console

    from cli.search.command import read_query
    from signatlas.corpus.clips import Clip
    from signatlas.corpus.extraction.recording import Options, extract
    from signatlas.corpus.sources.listing import Item
    from signatlas.pose.holistic import Holistic

    if path.suffix == ".npy":
        return Clip(path.name, "test", read_query(path).poses, "", "")
    item = Item(id=path.name, media=str(path), sign_language="", source="")
    if path.suffix == ".pose":
        return extract(item, Options(), Holistic)
    with Console(stderr=True).status(f"finding points in {path.name}"):
        holistic = Holistic()
        try:
            return extract(item, Options(), lambda: holistic)
        finally:
            holistic.close()
