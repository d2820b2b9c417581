"""signatlas search prints glosses, ids and sources as they are, also with brackets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from signatlas.corpus import Corpus, write_corpus
from signatlas.corpus.format import clips_to_table
from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval import index_version
from signatlas.retrieval.index_version import CorpusPart

from .conftest import Run

GLOSSES = {"x/[a]": "[mouth]", "x/b": "a[/b]", "x/c": ":smile:"}


@pytest.fixture
def index(small_corpus: Path, small_model: Path, tmp_path: Path) -> Path:
    corpus = Corpus.open(small_corpus)
    clips = [
        replace(clip, id=id, gloss=gloss, source="[web]")
        for (id, gloss), clip in zip(GLOSSES.items(), corpus, strict=False)
    ]
    info = write_corpus(tmp_path / "corpus", corpus.info, clips).info
    part = CorpusPart(name=info.name, path=str(tmp_path / "corpus"), fingerprint=info.fingerprint,
                      license=info.license, sign_languages=info.sign_languages, synthetic=True)  # fmt: skip
    vectors = SignEncoder.from_pretrained(small_model).embed_clips(clips)
    rows = index_version.as_rows([clips_to_table(clips)])
    index_version.write(tmp_path / "index", vectors, rows, model=small_model, corpus=part, version="v1")
    index_version.activate(tmp_path / "index", "v1")
    return tmp_path / "index"


@pytest.mark.parametrize("id", GLOSSES)
def test_brackets_in_glosses_ids_and_sources(run: Run, index: Path, id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    code, out, err = run("search", "--index", index, "--clip", id, "--corpus", index.parent / "corpus", "--top", 2)
    assert code == 0, err
    assert id in out.splitlines()[0] and GLOSSES[id] in out.splitlines()[0]
    others = {other: gloss for other, gloss in GLOSSES.items() if other != id}
    assert all(other in out and gloss in out for other, gloss in others.items()) and "[web]" in out


def test_filters_keep_some_entries_and_a_wrong_one_is_one_line(run: Run, index: Path) -> None:
    query = ("search", "--index", index, "--clip", "x/[a]", "--corpus", index.parent / "corpus", "--json")
    code, out, err = run(*query, "--filter", "gloss=:smile:", "--filter", "gloss=nothing", "--nprobe", 2, "--ef", 5)
    assert code == 0, err
    (hit,) = json.loads(out)["hits"]
    assert hit["gloss"] == ":smile:" and hit["rank"] == 1
    code, out, err = run(*query, "--filter", "gloss=:smile:", "--filter", "split=nowhere")
    assert code == 0 and json.loads(out)["hits"] == []
    for wrong, message in (("glos=a", "no filter 'glos': there are corpus, source,"), ("gloss", "give KEY=VALUE")):
        code, out, err = run(*query, "--filter", wrong)
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1
