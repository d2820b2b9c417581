"""Synonyms from MyThes thesauri, the format of LibreOffice's; Debian packages mythes-de, mythes-en-us and others."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from signatlas.errors import TextError

VARIABLE = "SIGNATLAS_THESAURI"  # a folder that is searched first
FOLDERS = (Path("/usr/share/mythes"), Path("/usr/share/myspell/dicts"))
# Marks of terms that are not synonyms.
_OTHER = re.compile(
    r"\((generic term|similar term|related term|antonym|Oberbegriff|Unterbegriff|Antonym|Assoziation)\)", re.IGNORECASE
)
MAX_WORDS = 2  # longer terms are idioms, which rarely fit into a sentence
_REMARK = re.compile(r"\([^)]*\)|\[[^\]]*\]")


class Thesaurus:
    """A MyThes thesaurus: synonyms in ``th_*.dat``, the offset of each word in ``th_*.idx``."""

    def __init__(self, dat: Path):
        self.dat = dat
        self._encoding, self._offsets = _index(dat.with_suffix(".idx"))
        self._cache: dict[str, tuple[str, ...]] = {}

    @classmethod
    def find(cls, language: str, folders: Sequence[str | os.PathLike[str]] = ()) -> Thesaurus | None:
        """Return the thesaurus of a language (BCP 47), of another region if need be; None if none is installed.

        Searches ``folders``, the folder in SIGNATLAS_THESAURI, then the system's folders. Raises TextError.
        """
        user_folders = [Path(folder) for folder in (*folders, *filter(None, [os.environ.get(VARIABLE)]))]
        for folder in user_folders:
            if not folder.is_dir():
                raise TextError(f"thesaurus folder {folder} does not exist: correct the argument or {VARIABLE}")
        code, *rest = language.split("-")
        region = next((part.upper() for part in rest if len(part) == 2), None)
        for folder in (*user_folders, *FOLDERS):
            files = sorted(folder.glob(f"th_{code.lower()}_*.dat")) + sorted(folder.glob(f"th_{code.lower()}.dat"))
            files.sort(key=lambda path: region is None or f"_{region}" not in path.name)  # stable
            for path in files:
                if path.with_suffix(".idx").is_file():
                    return cls(path)
        return None

    def synonyms(self, word: str) -> list[str]:
        """Return the synonyms of a word's base form in the order of the thesaurus; none for an unknown word.

        Remarks such as "(ugs.)", idioms, and wider, narrower, related and opposite terms are dropped. Raises TextError.
        """
        key = word.lower()
        if key not in self._cache:
            self._cache[key] = tuple(self._read(key))
        return list(self._cache[key])

    def _read(self, key: str) -> list[str]:
        if key not in self._offsets:
            return []
        try:
            with self.dat.open("rb") as file:
                file.seek(self._offsets[key])
                entry, number = file.readline().decode(self._encoding).rstrip("\r\n").rsplit("|", 1)
                lines = [file.readline().decode(self._encoding).rstrip("\r\n") for _ in range(int(number))]
        except (OSError, ValueError) as error:
            raise TextError(f"{self.dat} is damaged at '{key}': reinstall the thesaurus") from error
        if entry != key:
            raise TextError(f"{self.dat} does not fit its index at '{key}': reinstall the thesaurus")
        meanings = [[_REMARK.sub("", term).strip() for term in _synonyms_of_line(line)] for line in lines]
        # OpenThesaurus repeats the word in its own meanings; other meanings belong to words that contain it.
        own_meanings = [meaning for meaning in meanings if key in (term.lower() for term in meaning)]
        terms = dict.fromkeys(term for meaning in own_meanings or meanings for term in meaning)
        return [t for t in terms if t and "..." not in t and t.lower() != key and len(t.split()) <= MAX_WORDS]


def _synonyms_of_line(line: str) -> list[str]:
    """Return the synonyms in a line of one meaning, such as ``(noun)|a|b (generic term)``."""
    return [term for term in line.split("|")[1:] if not _OTHER.search(term)]


def _index(path: Path) -> tuple[str, dict[str, int]]:
    """Return the encoding and the byte offset of each word's entry.

    The first line of the file is the encoding, the second the number of words.
    """
    try:
        raw = path.read_bytes()
        encoding = raw.split(b"\n", 1)[0].decode("ascii").strip()
        _, _, *lines = raw.decode(encoding).splitlines()
        pairs = (line.rsplit("|", 1) for line in lines if line)
        return encoding, {word: int(offset) for word, offset in pairs}
    except (OSError, ValueError, LookupError) as error:
        raise TextError(f"{path} is not a valid thesaurus index: reinstall the thesaurus") from error
