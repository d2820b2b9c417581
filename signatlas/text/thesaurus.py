"""Synonyms from MyThes thesauri, the format of LibreOffice's; Debian packages mythes-de, mythes-en-us and others."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from signatlas.errors import TextError

VARIABLE = "SIGNATLAS_THESAURI"  # a further folder, looked at first
FOLDERS = (Path("/usr/share/mythes"), Path("/usr/share/myspell/dicts"))
# Marks of words that are no synonyms: wider, narrower, opposite or merely akin.
_OTHER = re.compile(
    r"\((generic term|similar term|related term|antonym|Oberbegriff|Unterbegriff|Antonym|Assoziation)\)", re.IGNORECASE
)
MOST_WORDS = 2  # longer ones are idioms, which seldom fit into a sentence
_REMARK = re.compile(r"\([^)]*\)|\[[^\]]*\]")


class Thesaurus:
    """One thesaurus: ``th_*.dat`` with the synonyms and ``th_*.idx`` with where each word stands in it."""

    def __init__(self, dat: Path):
        self.dat = dat
        self._encoding, self._offsets = _index(dat.with_suffix(".idx"))
        self._found: dict[str, tuple[str, ...]] = {}

    @classmethod
    def find(cls, language: str, folders: Sequence[str | os.PathLike[str]] = ()) -> Thesaurus | None:
        """The thesaurus of a language (BCP-47; another region's where there is none of its own), None without one.

        Looks into ``folders``, the folder that SIGNATLAS_THESAURI names, and the system's. Raises TextError.
        """
        named = [Path(folder) for folder in (*folders, *filter(None, [os.environ.get(VARIABLE)]))]
        for folder in named:
            if not folder.is_dir():
                raise TextError(f"no folder of thesauri at {folder}: mend the argument or {VARIABLE}")
        code, *rest = language.split("-")
        region = next((part.upper() for part in rest if len(part) == 2), None)
        for folder in (*named, *FOLDERS):
            files = sorted(folder.glob(f"th_{code.lower()}_*.dat")) + sorted(folder.glob(f"th_{code.lower()}.dat"))
            files.sort(key=lambda path: region is None or f"_{region}" not in path.name)  # stable
            for path in files:
                if path.with_suffix(".idx").is_file():
                    return cls(path)
        return None

    def synonyms(self, word: str) -> list[str]:
        """Synonyms of all meanings of a word in its base form, in the order of the thesaurus; empty for an unknown one.

        Remarks such as "(ugs.)" are dropped, and so are idioms and wider, narrower, akin and opposite words. Raises
        TextError.
        """
        key = word.lower()
        if key not in self._found:
            self._found[key] = tuple(self._read(key))
        return list(self._found[key])

    def _read(self, key: str) -> list[str]:
        if key not in self._offsets:
            return []
        try:
            with self.dat.open("rb") as file:
                file.seek(self._offsets[key])
                entry, number = file.readline().decode(self._encoding).rstrip("\r\n").rsplit("|", 1)
                lines = [file.readline().decode(self._encoding).rstrip("\r\n") for _ in range(int(number))]
        except (OSError, ValueError) as error:
            raise TextError(f"{self.dat} is damaged at '{key}': install the thesaurus anew") from error
        if entry != key:
            raise TextError(f"{self.dat} does not fit its index at '{key}': install the thesaurus anew")
        meanings = [[_REMARK.sub("", term).strip() for term in _same(line)] for line in lines]
        # OpenThesaurus repeats the word in its own meanings; the others are of words that merely contain it.
        own = [meaning for meaning in meanings if key in (term.lower() for term in meaning)]
        found = dict.fromkeys(term for meaning in own or meanings for term in meaning)
        return [t for t in found if t and "..." not in t and t.lower() != key and len(t.split()) <= MOST_WORDS]


def _same(line: str) -> list[str]:
    """The terms of one meaning, ``(noun)|a|b (generic term)``, that are no other than the word."""
    return [term for term in line.split("|")[1:] if not _OTHER.search(term)]


def _index(path: Path) -> tuple[str, dict[str, int]]:
    """Encoding and, by word, the byte at which its entry begins: first line encoding, second the number of words."""
    try:
        raw = path.read_bytes()
        encoding = raw.split(b"\n", 1)[0].decode("ascii").strip()
        _, _, *lines = raw.decode(encoding).splitlines()
        pairs = (line.rsplit("|", 1) for line in lines if line)
        return encoding, {word: int(offset) for word, offset in pairs}
    except (OSError, ValueError, LookupError) as error:
        raise TextError(f"{path} is no index of a thesaurus: install the thesaurus anew") from error
