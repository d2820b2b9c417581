"""signatlas corpus show: look at clips, pose files and videos as animations and strips."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared import writing
from signatlas.errors import CorpusError, MediaError, UserError

if TYPE_CHECKING:
    import numpy as np

    from signatlas.corpus.clips import Clip
    from signatlas.corpus.format import Corpus
    from signatlas.render.footage import Footage

POSE_EXTRA = ("av", "cv2", "mediapipe", "pose_format")
PICTURE, MOVIES = ".png", (".gif", ".mp4")


class Format(StrEnum):
    gif = "gif"
    mp4 = "mp4"


@dataclass(frozen=True)
class Subject:
    """Something to look at: a clip, the frames it was found in (None: there are none) and whom to credit."""

    clip: Clip
    footage: Footage | None
    credit: str | None


@dataclass(frozen=True)
class Wish:
    """What is to be made of each subject; ``out`` is a folder, or the ``single`` file that is wanted."""

    out: Path
    format: str
    frames: int
    strip: bool
    animation: bool
    rgb: bool
    aspect: float | None
    single: bool = False


def show(
    what: Annotated[str, typer.Argument(help="Corpus folder or URI, or a .pose file, or a video.", metavar="CORPUS")],
    clips: Annotated[list[str] | None, typer.Argument(help="Ids of clips of the corpus.", metavar="CLIP...")] = None,
    clip: Annotated[list[str] | None, typer.Option(help="The same; may be repeated.")] = None,
    out: Annotated[Path, typer.Option(help="Folder, or a .png, .gif or .mp4 file to make only that.")] = Path("shown"),
    format: Annotated[Format, typer.Option(help="Of the animation.")] = Format.gif,
    video: Annotated[str | None, typer.Option(help="Video of the clip: its frames are shown beside.")] = None,
    frames: Annotated[int, typer.Option(min=1, max=64, help="Moments in the strip.")] = 8,
    strip: Annotated[bool, typer.Option(help="Make a strip (PNG).")] = True,
    animation: Annotated[bool, typer.Option(help="Make an animation.")] = True,
    rgb: Annotated[bool, typer.Option("--rgb", help="Show the 224 x 224 frames that RGB models get.")] = False,
    aspect: Annotated[
        float | None, typer.Option(min=0.2, max=5, help="Width/height of the picture, where the corpus lacks it.")
    ] = None,
) -> None:
    """Draw clips as skeleton animations and strips, beside the frames where there is video.

    Example: signatlas corpus show data/dgs dgs/dictionary/Wetter dgs/dictionary/Regen --out shown

    Example: signatlas corpus show recording.mp4 --format mp4
    """
    wish = _wish(Wish(out, format.value, frames, strip, animation, rgb, aspect))
    ids = [*(clips or []), *(clip or [])]
    if len(ids) > 1 and (wish.single or video):
        raise UserError(f"one {'--video' if video else wish.out.name} for {len(ids)} clips: name one clip, or a folder")
    try:
        for subject in _subjects(what, ids, video):
            for made in _make(subject, wish):
                print(made)
            print(f"{subject.clip.id}: {_description(subject)}")
    except ModuleNotFoundError as error:
        if error.name not in POSE_EXTRA:
            raise
        raise UserError(f"{error.name} is not installed: pip install 'signatlas[pose]' brings it") from error


def _wish(wish: Wish) -> Wish:
    """``--out`` with an ending of a file wants that file alone."""
    ending = wish.out.suffix.lower()
    if wish.out.is_dir() or not ending:
        if not (wish.strip or wish.animation):
            raise UserError("neither strip nor animation is wanted: leave out --no-strip or --no-animation")
        return wish
    if ending == PICTURE:
        return replace(wish, single=True, strip=True, animation=False)
    if ending in MOVIES:
        return replace(wish, single=True, strip=False, animation=True)
    raise UserError(f"{wish.out}: neither a folder nor a {PICTURE}, {' or '.join(MOVIES)} file; choose another --out")


def _subjects(what: str, ids: list[str], video: str | None) -> Iterator[Subject]:
    """The clips to look at, one after the other. Raises UserError for what cannot be looked at."""
    from signatlas.render.footage import Footage

    given = None if video is None else Footage(video)
    if _is_corpus(what):
        from signatlas.corpus.format import Corpus

        corpus = Corpus.open(what)
        if not ids:
            some = ", ".join(f"'{row['id']}'" for row in corpus.metadata()[:3])
            raise CorpusError(f"which clip of {what}? Name one or more by id, for instance {some}")
        credit = f"{corpus.info.source} ({corpus.info.license})"
        if corpus.info.synthetic:
            credit += "; synthetic, not for learning to sign"
        for id in ids:
            clip = corpus.clip(id)
            yield Subject(clip, given or _footage(clip, corpus), credit)
        return
    if ids:
        raise CorpusError(f"{what} is no corpus, so it has no clip '{ids[0]}'; leave the id out to look at the file")
    yield _pose_file(what, given) if what.endswith(".pose") else _video(what)


def _footage(clip: Clip, corpus: Corpus) -> Footage | None:
    """The frames the clip was found in; says so where there are some no more."""
    from signatlas.pose.media import display_name
    from signatlas.render.footage import recorded

    found = recorded(clip, corpus)
    if found is None or found.is_there():
        return found
    gone = display_name(found.media)
    print(f"{clip.id}: its video {gone} is not there, so no real frames are shown; give --video", file=sys.stderr)
    return None


def _is_corpus(what: str) -> bool:
    """Or a file, or a folder of pictures. What is not there counts as a corpus unless its name has an ending."""
    path = Path(what)
    if "://" in what or not path.is_dir():
        return not path.is_file() and not path.suffix
    pictures = (entry.suffix.lower() in (".png", ".jpg", ".jpeg") for entry in path.iterdir())
    return (path / "corpus.json").exists() or not any(pictures)


def _pose_file(path: str, footage: Footage | None) -> Subject:
    from signatlas.corpus.clips import Clip
    from signatlas.plots.animation import UNDETERMINED
    from signatlas.pose.serialization import read_pose

    read = read_pose(path)
    clip = Clip(
        Path(path).stem, "test", read.poses, UNDETERMINED, path, fps=read.fps, width=read.width, height=read.height
    )
    return Subject(clip, footage, None)


def _video(path: str) -> Subject:
    """A video is looked at with the points that MediaPipe finds in it now."""
    from rich.console import Console

    from signatlas.corpus.clips import Clip
    from signatlas.plots.animation import UNDETERMINED
    from signatlas.pose.holistic import Holistic
    from signatlas.pose.video import frames, probe
    from signatlas.render.footage import Footage

    media = probe(path)
    with Console(stderr=True).status(f"finding points in {Path(path).name}"):
        holistic = Holistic(face=True)
        found = holistic(frames(path))
        holistic.close()
    if not len(found.poses):
        raise MediaError(f"{path} holds no frame that can be decoded; record or download it again")
    width, height = media.shown_as
    clip = Clip(
        Path(path).stem, "test", found.poses, UNDETERMINED, path, fps=media.fps, width=width, height=height,
        face=found.face,
    )  # fmt: skip
    return Subject(clip, Footage(path), None)


def _make(subject: Subject, wish: Wish) -> Iterator[Path]:
    """Write what is wanted of one subject; yields the files."""
    from signatlas.plots.animation import animate, labeled, showing
    from signatlas.plots.figures import save
    from signatlas.plots.filmstrip import filmstrip
    from signatlas.plots.movie import write_movie

    shown = showing(subject.clip, wish.aspect)
    stem = re.sub(r"[^\w.-]+", "-", subject.clip.id).strip("-") + ("-rgb" if wish.rgb else "")
    if wish.strip:
        target = wish.out if wish.single else wish.out / f"{stem}.png"
        pictures = _chosen(subject, wish)
        drawn = filmstrip(shown, frames=wish.frames, pictures=pictures, whole=not wish.rgb, credit=subject.credit)
        with writing(target):
            save(drawn, target)
        yield target
    if wish.animation:
        target = wish.out if wish.single else wish.out / f"{stem}.{wish.format}"
        source = _pictures(subject, wish)
        views = labeled(shown, source) if wish.rgb and source is not None else animate(shown, source)
        with writing(target):
            write_movie(target, views, shown.rate)
        yield target


def _pictures(subject: Subject, wish: Wish) -> Iterator[np.ndarray] | None:
    """The frames that stand beside the skeletons, from the first on; None where there are none."""
    if wish.rgb:
        from signatlas.render.frames import iter_rgb_frames

        return iter_rgb_frames(subject.clip, subject.footage, aspect=wish.aspect)
    return None if subject.footage is None else subject.footage.frames()


def _chosen(subject: Subject, wish: Wish) -> dict[int, np.ndarray] | None:
    """The frames of the strip's moments, by number."""
    from signatlas.plots.skeleton import moments

    source = _pictures(subject, wish)
    if source is None:
        return None
    wanted = {int(number) for number in moments(subject.clip.poses, wish.frames)}
    last, kept = max(wanted), {}
    for number, picture in enumerate(source):
        if number in wanted:
            kept[number] = picture
        if number >= last:
            break
    return kept


def _description(subject: Subject) -> str:
    from signatlas.plots.animation import UNDETERMINED

    clip = subject.clip
    said = [clip.gloss or (" ".join(clip.glosses) if clip.glosses else "no gloss")]
    said += [clip.sign_language] if clip.sign_language != UNDETERMINED else []
    said += [f"{clip.num_frames} frames", f"{clip.fps:.4g} fps" if clip.fps else "fps unknown, shown at 25"]
    if subject.footage is not None:
        said.append(f"frames of {subject.footage.media}")
    return ", ".join(said) + (f"; credit: {subject.credit}" if subject.credit else "")
