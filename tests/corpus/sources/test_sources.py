"""The registry of public corpora: every module follows the protocol and its entry."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from signatlas.corpus import sources
from signatlas.corpus.sources.base import Source
from signatlas.errors import CorpusError


@pytest.mark.parametrize("name", sources.SOURCES)
def test_every_source_follows_the_protocol(name: str) -> None:
    source = sources.load(name)
    assert isinstance(source, Source) and source.RELEASE.name == name
    assert (source.RELEASE.download is not None) == (sources.SOURCES[name].command == "fetch")
    path, *options = inspect.signature(source.read).parameters.values()
    assert path.name == "path" and all(option.default is not option.empty for option in options)


@pytest.mark.parametrize("name", sources.names("import"))
def test_an_incomplete_release_says_what_is_expected_and_where_to_get_it(name: str, tmp_path: Path) -> None:
    release = sources.load(name).RELEASE
    with pytest.raises(CorpusError) as error:
        sources.load(name).read(tmp_path)
    message = str(error.value)
    assert release.layout in message and release.url in message and release.license in message and "\n" not in message


def test_unknown_names_are_one_line() -> None:
    with pytest.raises(CorpusError, match=r"unknown corpus 'wlasl2': did you mean 'wlasl'\?"):
        sources.load("wlasl2")
    with pytest.raises(CorpusError, match="unknown corpus 'os': choose one of asl33, "):
        sources.load("os")
