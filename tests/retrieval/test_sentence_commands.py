"""`signatlas index build` and `signatlas search` with a dual encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import main
from signatlas.corpus.format import Clip
from signatlas.features.store import FeatureStore
from signatlas.retrieval.index_version import IndexVersion


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit:
        main([str(a) for a in arguments])
    return int(exit.value.code or 0)


@pytest.fixture(scope="module")
def roots(
    tmp_path_factory: pytest.TempPathFactory, dual_model: Path, small_corpus: Path, features: FeatureStore
) -> dict[str, Path]:
    """Indexes of clips and of texts, built by the command."""
    folder = tmp_path_factory.mktemp("indexes")
    for kind in ("clips", "texts"):
        assert run("index", "build", dual_model, small_corpus, "--out", folder / kind, "--entries", kind,
                   "--features", features.path, "--shards", 2, "--version", "v1") == 0  # fmt: skip
    return {kind: folder / kind for kind in ("clips", "texts")}


def test_build_prints_a_summary(
    dual_model: Path, small_corpus: Path, features: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("index", "build", dual_model, small_corpus, "--features", features.path)
    assert run(*arguments, "--out", tmp_path / "a", "--split", "test", "--version", "v1") == 0
    assert "24 synthetic clips of sentences of small," in capsys.readouterr().out
    assert run(*arguments, "--out", tmp_path / "b", "--entries", "texts", "--language", "en", "--json") == 0
    manifest = json.loads(capsys.readouterr().out)
    assert (manifest["kind"], manifest["languages"], manifest["count"]) == ("texts", ["en"], 12)
    assert manifest["features"]["fingerprint"] == features.fingerprint


def test_a_text_finds_clips(roots: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("search", "--index", roots["clips"], "--text", "W\u00f6rt 3", "--top", 4)
    assert run(*arguments, "--candidates", 7, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["kind"], answer["entries"], answer["scored"]) == ("clips", 120, 14)
    assert [h["rank"] for h in answer["hits"]] == [1, 2, 3, 4] and "confidence" not in answer["hits"][0]
    assert run(*arguments) == 0
    printed = capsys.readouterr()
    assert 'Clips for "W\u00f6rt 3"' in printed.out and "120 entries, index v1" in printed.out
    assert "synthetic signing" in printed.out and printed.err == ""


def test_a_language_code_may_be_in_capitals(
    roots: dict[str, Path], clips: list[Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("search", "--index", roots["texts"], "--clip", clips[0].id, "--language", "DE", "--json") == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    assert hits and all([t["language"] for t in h["texts"]] == ["de"] for h in hits)


def test_long_and_unknown_texts_get_a_note(roots: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("search", "--index", roots["clips"], "--text", "word 1 word 2 word 3 word 4 word 5") == 0
    assert "note: the text is longer than the model's 6 tokens" in capsys.readouterr().err
    assert run("search", "--index", roots["clips"], "--text", "Xylophon quux") == 0
    assert "did not occur in training" in capsys.readouterr().err


def test_a_clip_finds_texts(
    roots: dict[str, Path], clips: list[Clip], features: FeatureStore, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("search", "--index", roots["texts"], "--clip", clips[0].id, "--top", 5)
    assert run(*arguments, "--language", "en", "--json") == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    assert len(hits) == 5 and all([t["language"] for t in h["texts"]] == ["en"] for h in hits)
    assert run(*arguments, "--features", features.path) == 0
    assert f"Texts for {clips[0].id}"[:40] in capsys.readouterr().out.replace("\n", "")


def test_mistakes_end_in_one_line(
    roots: dict[str, Path],
    dual_model: Path,
    small_model: Path,
    small_classifier: Path,
    small_corpus: Path,
    clips: list[Clip],
    features: FeatureStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    c, t, id = roots["clips"], roots["texts"], clips[0].id
    build = ("index", "build", dual_model, small_corpus, "--out", tmp_path / "x")
    for arguments, message in [
        (("search", "--index", c, "--text", "word", "--language", "xx-yy-zz"), "xx-yy-zz"),
        (("search", "--index", c, "--text", "word", "--language", "fr"), "fr"),
        (("search", "--index", t, "--clip", id, "--language", "fr"), "fr"),
        (("search", "--index", c, "--text", "  "), "text"),
        (("search", "--index", t, "--text", "word"), "is an index of texts"),
        (("search", "--index", c, "--clip", id), "index of clips, searched with --text"),
        (("search", "--index", c, "--clip", id, "--text", "word"), "give one query: --clip ID, --pose FILE"),
        (("search", "--url", "http://127.0.0.1:9", "--text", "word"), "no service at http://127.0.0.1:9"),
        (("search", "--index", t, "--clip", id, "--features", tmp_path), "no clip features at"),
        ((*build, "--features", tmp_path), "no clip features at"),
        ((*build, "--features", features.path, "--split", "none"), "has no split 'none'"),
        ((*build, "--entries", "texts", "--language", "fr"), "no texts in 'fr'"),
        (("index", "build", small_model, small_corpus, "--out", tmp_path / "x", "--entries", "clips"),
         "is a sign encoder"),
        (("index", "build", small_classifier, small_corpus, "--out", tmp_path / "x"),
         "is a sign classifier: an index needs a sign encoder or a dual encoder"),
    ]:  # fmt: skip
        assert run(*arguments) == 2, arguments
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
    assert not (tmp_path / "x").exists()


def test_a_text_query_on_an_index_of_signs(
    dual_model: Path, clips: list[Clip], sign_index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in [
        (("--text", "word"), "is an index of single signs"),
        (("--clip", clips[0].id, "--language", "de"), "takes no --language"),
    ]:
        assert run("search", "--index", sign_index, *arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error


@pytest.fixture
def sign_index(write: object, tmp_path: Path) -> Path:
    from signatlas.retrieval.index_version import activate

    written: IndexVersion = write(tmp_path / "signs", version="v1")  # type: ignore[operator]
    activate(tmp_path / "signs", written.version)
    return tmp_path / "signs"
