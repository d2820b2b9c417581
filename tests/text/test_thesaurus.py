"""The reader of MyThes thesauri, on a file made here and on an installed one."""

from __future__ import annotations

from pathlib import Path

import pytest

from signatlas.errors import TextError
from signatlas.text.thesaurus import FOLDERS, VARIABLE, Thesaurus

ENTRIES = {
    "haus": ["-|Haus...|hausintern", "-|Haus (Hauptform)|Heim|Hütte (ugs.)|Bau (Oberbegriff)", "-|Familie|Haus|Heim"],
    "schön": ["(adj)|hübsch|(sehr) fein|hässlich (Antonym)|das Auge ganz erfreuend|fair (similar term)"],
    "leer": ["(adj)|voll (antonym)"],
}


def write(folder: Path, name: str = "th_de_DE_v2", encoding: str = "UTF-8") -> Path:
    """A thesaurus of ENTRIES as LibreOffice keeps them."""
    dat, places = f"{encoding}\n".encode(), {}
    for word, meanings in ENTRIES.items():
        places[word] = len(dat)
        dat += "".join(f"{line}\n" for line in [f"{word}|{len(meanings)}", *meanings]).encode(encoding)
    index = "".join(f"{line}\n" for line in [encoding, len(places), *(f"{w}|{at}" for w, at in places.items())])
    (folder / f"{name}.dat").write_bytes(dat)
    (folder / f"{name}.idx").write_bytes(index.encode(encoding))
    return folder / f"{name}.dat"


@pytest.mark.parametrize("encoding", ["UTF-8", "ISO8859-1"])
def test_synonyms(tmp_path, encoding):
    held = Thesaurus(write(tmp_path, encoding=encoding))
    assert held.synonyms("Haus") == ["Heim", "Hütte", "Familie"]
    assert held.synonyms("schön") == ["hübsch", "fein"]
    assert held.synonyms("leer") == held.synonyms("unbekannt") == []


def test_callers_cannot_change_what_is_remembered(tmp_path):
    held = Thesaurus(write(tmp_path))
    held.synonyms("haus").clear()
    assert held.synonyms("haus")


def test_find_prefers_given_folders_and_the_region(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    swiss, german = write(tmp_path, "th_de_CH_v2"), write(tmp_path, "th_de_DE_v2")
    for language, expected in (("de", swiss), ("de-DE", german), ("de-Latn-DE", german), ("DE", swiss)):
        found = Thesaurus.find(language, [tmp_path])
        assert found is not None and found.dat == expected
    assert Thesaurus.find("xx", [tmp_path]) is None


def test_find_reads_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    path = write(tmp_path)
    found = Thesaurus.find("de")
    assert found is not None and found.dat == path
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(TextError, match=VARIABLE):
        Thesaurus.find("de")


def test_an_index_that_does_not_fit_is_refused(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"haus|3", b"maus|3"))
    with pytest.raises(TextError, match="does not fit its index at 'haus'"):
        Thesaurus(path).synonyms("haus")
    path.write_bytes(b"UTF-8\n")
    with pytest.raises(TextError, match="damaged at 'haus'"):
        Thesaurus(path).synonyms("haus")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"no-such-code\n1\na|2\n", b"UTF-8\n1\nno offset\n"])
def test_a_damaged_index_is_refused(tmp_path, content):
    path = write(tmp_path)
    path.with_suffix(".idx").write_bytes(content)
    with pytest.raises(TextError, match="not a valid thesaurus index"):
        Thesaurus(path)


@pytest.mark.parametrize(
    ("language", "word", "synonym"),
    [("de", "Wetter", "Witterung"), ("de", "schön", "hübsch"), ("en", "rain", "rainfall")],
)
def test_the_installed_thesaurus(monkeypatch, language, word, synonym):
    monkeypatch.delenv(VARIABLE, raising=False)
    held = Thesaurus.find(language)
    if held is None:
        pytest.skip(f"no thesaurus of '{language}' in {FOLDERS[0]}: Debian packages mythes-de, mythes-en-us")
    assert synonym in held.synonyms(word)
