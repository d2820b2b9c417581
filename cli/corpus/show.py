"""signatlas corpus show: draw clips, .pose files and videos as animations and film strips."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared import output_errors, status
from signatlas.errors import CorpusError, MediaError, UserError

if TYPE_CHECKING:
    import numpy as np

    from signatlas.corpus.clips import Clip
    from signatlas.corpus.format import Corpus
    from signatlas.render.footage import Footage

POSE_PACKAGES = ("av", "cv2", "mediapipe", "pose_format")
STRIP_SUFFIX, ANIMATION_SUFFIXES = ".png", (".gif", ".mp4")


class Format(StrEnum):
    """File format of the animation."""

    gif = "gif"
    mp4 = "mp4"


@dataclass(frozen=True)
class Subject:
    """A clip to draw, its video frames (None without video), and a credit line."""

    clip: Clip
    footage: Footage | None
    credit: str | None


@dataclass(frozen=True)
class Output:
    """What to draw of each subject; ``out`` is a folder, or with ``single`` the only file to write."""

    out: Path
    format: str
    frames: int
    strip: bool
    animation: bool
    rgb: bool
    aspect: float | None
    single: bool = False


def show(
    path: Annotated[str, typer.Argument(help="Corpus folder or URI, .pose file, or video.", metavar="CORPUS")],
    clips: Annotated[list[str] | None, typer.Argument(help="Ids of clips of the corpus.", metavar="CLIP...")] = None,
    clip: Annotated[list[str] | None, typer.Option(help="Id of a clip; may be repeated.")] = None,
    out: Annotated[Path, typer.Option(help="Folder, or a single .png, .gif or .mp4 file.")] = Path("shown"),
    format: Annotated[Format, typer.Option(help="Format of the animation.")] = Format.gif,
    video: Annotated[str | None, typer.Option(help="Video of the clip, shown next to the skeleton.")] = None,
    frames: Annotated[int, typer.Option(min=1, max=64, help="Number of frames in the strip.")] = 8,
    strip: Annotated[bool, typer.Option(help="Draw a film strip (PNG).")] = True,
    animation: Annotated[bool, typer.Option(help="Draw an animation.")] = True,
    rgb: Annotated[bool, typer.Option("--rgb", help="Show the 224 x 224 frames that RGB models see.")] = False,
    aspect: Annotated[
        float | None, typer.Option(min=0.2, max=5, help="Width/height of the image, if the corpus has none.")
    ] = None,
) -> None:
    """Draw clips as skeleton animations and film strips, next to their video frames if available.

    Example: signatlas corpus show data/dgs dgs/dictionary/Wetter dgs/dictionary/Regen --out shown

    Example: signatlas corpus show recording.mp4 --format mp4
    """
    output = _check_output(Output(out, format.value, frames, strip, animation, rgb, aspect))
    ids = [*(clips or []), *(clip or [])]
    if len(ids) > 1 and (output.single or video):
        raise UserError(
            f"one {'--video' if video else output.out.name} for {len(ids)} clips: give one clip, or a folder as --out"
        )
    try:
        for subject in _read_subjects(path, ids, video):
            for file in _draw(subject, output):
                print(file)
            print(f"{subject.clip.id}: {_description(subject)}")
    except ModuleNotFoundError as error:
        if error.name not in POSE_PACKAGES:
            raise
        raise UserError(f"{error.name} is not installed: run pip install 'signatlas[pose]'") from error


def _check_output(output: Output) -> Output:
    """Return the output with only the strip or animation if ``out`` is a file. Raises UserError for other suffixes."""
    suffix = output.out.suffix.lower()
    if output.out.is_dir() or not suffix:
        if not (output.strip or output.animation):
            raise UserError("neither strip nor animation: leave out --no-strip or --no-animation")
        return output
    if suffix == STRIP_SUFFIX:
        return replace(output, single=True, strip=True, animation=False)
    if suffix in ANIMATION_SUFFIXES:
        return replace(output, single=True, strip=False, animation=True)
    suffixes = f"{STRIP_SUFFIX}, {' or '.join(ANIMATION_SUFFIXES)}"
    raise UserError(f"{output.out} is neither a folder nor a {suffixes} file: choose another --out")


def _read_subjects(path: str, ids: list[str], video: str | None) -> Iterator[Subject]:
    """Yield the clips to draw. Raises UserError for a missing path, clip or id."""
    from signatlas.render.footage import Footage

    footage = None if video is None else Footage(video)
    if _is_corpus(path):
        from signatlas.corpus.format import Corpus

        corpus = Corpus.open(path)
        if not ids:
            examples = ", ".join(f"'{row['id']}'" for row in corpus.metadata()[:3])
            raise CorpusError(f"no clip given: add one or more ids of {path}, such as {examples}")
        credit = f"{corpus.info.source} ({corpus.info.license})"
        if corpus.info.synthetic:
            credit += "; synthetic, not for learning to sign"
        for id in ids:
            clip = corpus.clip(id)
            yield Subject(clip, footage or _find_footage(clip, corpus), credit)
        return
    if ids:
        raise CorpusError(f"{path} is not a corpus, so it has no clip '{ids[0]}': leave out the id to draw the file")
    yield _read_pose_file(path, footage) if path.endswith(".pose") else _video(path)


def _find_footage(clip: Clip, corpus: Corpus) -> Footage | None:
    """Return the video frames of a clip; warn if its video is missing."""
    from signatlas.pose.media import display_name
    from signatlas.render.footage import recorded

    footage = recorded(clip, corpus)
    if footage is None or footage.exists():
        return footage
    media = display_name(footage.media)
    print(f"{clip.id}: its video {media} is missing, so no video frames are shown; give --video", file=sys.stderr)
    return None


def _is_corpus(path: str) -> bool:
    """Return whether a path is a corpus, not a file or a folder of images; missing paths without suffix are."""
    folder = Path(path)
    if "://" in path or not folder.is_dir():
        return not folder.is_file() and not folder.suffix
    is_image = (entry.suffix.lower() in (".png", ".jpg", ".jpeg") for entry in folder.iterdir())
    return (folder / "corpus.json").exists() or not any(is_image)


def _read_pose_file(path: str, footage: Footage | None) -> Subject:
    from signatlas.corpus.clips import Clip
    from signatlas.plots.animation import UNDETERMINED
    from signatlas.pose.serialization import read_pose

    poses, fps, width, height = read_pose(path)
    clip = Clip(Path(path).stem, "test", poses, UNDETERMINED, path, fps=fps, width=width, height=height)
    return Subject(clip, footage, None)


def _video(path: str) -> Subject:
    """Return a video with the points that MediaPipe detects in it."""
    from signatlas.corpus.clips import Clip
    from signatlas.plots.animation import UNDETERMINED
    from signatlas.pose.holistic import Holistic
    from signatlas.pose.video import frames, probe
    from signatlas.render.footage import Footage

    media = probe(path)
    with status(f"detecting points in {Path(path).name}"):
        holistic = Holistic(face=True)
        detections = holistic(frames(path))
        holistic.close()
    if not len(detections.poses):
        raise MediaError(f"{path} contains no decodable frame: record or download it again")
    width, height = media.shown_as
    clip = Clip(
        Path(path).stem, "test", detections.poses, UNDETERMINED, path, fps=media.fps, width=width, height=height,
        face=detections.face,
    )  # fmt: skip
    return Subject(clip, Footage(path), None)


def _draw(subject: Subject, output: Output) -> Iterator[Path]:
    """Draw one subject; yield the files."""
    from signatlas.plots.animation import animate, captioned, clip_view
    from signatlas.plots.figures import save
    from signatlas.plots.filmstrip import filmstrip
    from signatlas.plots.movie import write_movie

    view = clip_view(subject.clip, output.aspect)
    stem = re.sub(r"[^\w.-]+", "-", subject.clip.id).strip("-") + ("-rgb" if output.rgb else "")
    if output.strip:
        target = output.out if output.single else output.out / f"{stem}.png"
        pictures = _strip_frames(subject, output)
        figure = filmstrip(view, frames=output.frames, pictures=pictures, whole=not output.rgb, credit=subject.credit)
        with output_errors(target):
            save(figure, target)
        yield target
    if output.animation:
        target = output.out if output.single else output.out / f"{stem}.{output.format}"
        source = _video_frames(subject, output)
        views = captioned(view, source) if output.rgb and source is not None else animate(view, source)
        with output_errors(target):
            write_movie(target, views, view.rate)
        yield target


def _video_frames(subject: Subject, output: Output) -> Iterator[np.ndarray] | None:
    """Return the frames to show next to the skeleton, from the first on; None without any."""
    if output.rgb:
        from signatlas.render.frames import iter_rgb_frames

        return iter_rgb_frames(subject.clip, subject.footage, aspect=output.aspect)
    return None if subject.footage is None else subject.footage.frames()


def _strip_frames(subject: Subject, output: Output) -> dict[int, np.ndarray] | None:
    """Return the video frames of the strip by number; None without any."""
    from signatlas.plots.skeleton import moments

    source = _video_frames(subject, output)
    if source is None:
        return None
    numbers = {int(number) for number in moments(subject.clip.poses, output.frames)}
    last, frames = max(numbers), {}
    for number, frame in enumerate(source):
        if number in numbers:
            frames[number] = frame
        if number >= last:
            break
    return frames


def _description(subject: Subject) -> str:
    from signatlas.plots.animation import UNDETERMINED

    clip = subject.clip
    parts = [clip.gloss or (" ".join(clip.glosses) if clip.glosses else "no gloss")]
    parts += [clip.sign_language] if clip.sign_language != UNDETERMINED else []
    parts += [f"{clip.num_frames} frames", f"{clip.fps:.4g} fps" if clip.fps else "frame rate unknown, shown at 25 fps"]
    if subject.footage is not None:
        parts.append(f"frames of {subject.footage.media}")
    return ", ".join(parts) + (f"; credit: {subject.credit}" if subject.credit else "")
