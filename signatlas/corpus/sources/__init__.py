"""Public corpora: one module per corpus, each a :class:`~signatlas.corpus.sources.base.Source`, listed in ``SOURCES``.

To add a corpus, write ``signatlas/corpus/sources/NAME.py`` with ``RELEASE`` and ``read``, and add a line here.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from signatlas.errors import CorpusError

if TYPE_CHECKING:
    from signatlas.corpus.sources.base import Source


class Entry(NamedTuple):
    """The command that reads a source, ``signatlas corpus fetch`` or ``import``, and its line in the help."""

    command: Literal["fetch", "import"]
    description: str


SOURCES = {
    "asl33": Entry("fetch", "13 words and 19 letters of American Sign Language, keypoints (MIT)"),
    "autsl": Entry(
        "import", "AUTSL, Turkish Sign Language (research, by agreement): https://cvml.ankara.edu.tr/datasets/"
    ),
    "csl-daily": Entry(
        "import",
        "CSL-Daily, Chinese Sign Language (research, by agreement): "
        "http://home.ustc.edu.cn/~zhouh156/dataset/csl-daily/",
    ),
    "dgs": Entry("fetch", "30 words and a dictionary of German Sign Language, keypoints (Apache-2.0)"),
    "how2sign": Entry("import", "How2Sign, American Sign Language (CC BY-NC 4.0): https://how2sign.github.io/"),
    "phoenix14t": Entry(
        "import",
        "RWTH-PHOENIX-Weather 2014 T, German Sign Language (CC BY-NC-SA 3.0): "
        "https://www-i6.informatik.rwth-aachen.de/~koller/RWTH-PHOENIX-2014-T/",
    ),
    "signwish11": Entry("fetch", "11 words of American Sign Language, keypoints (MIT)"),
    "wlasl": Entry("import", "WLASL, American Sign Language (C-UDA, non-commercial): https://dxli94.github.io/WLASL/"),
}


def names(command: Literal["fetch", "import"]) -> list[str]:
    """Return the names of the sources that a command reads."""
    return [name for name, entry in SOURCES.items() if entry.command == command]


def load(name: str) -> Source:
    """Import the module of a source. Raises CorpusError for an unknown name."""
    if name not in SOURCES:
        nearest = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"choose one of {', '.join(SOURCES)}"
        raise CorpusError(f"unknown corpus '{name}': {hint}")
    return cast("Source", importlib.import_module(f"{__name__}.{name.replace('-', '_')}"))
