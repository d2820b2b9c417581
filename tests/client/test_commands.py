"""`signatlas search --url` and `signatlas translate --url` against a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import main
from signatlas.corpus.format import Corpus
from signatlas.pose.serialization import from_json, write_pose
from signatlas.retrieval.search import Hit

from .conftest import POSES, Server, problem

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        return int(exit_.value.code or 0), *capsys.readouterr()

    return call


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_pose(tmp_path / "q.pose", POSES, 50, 640, 480)
    np.save(tmp_path / "q.npy", POSES)
    return tmp_path


def test_search_prints_signs_as_from_a_folder(run: Run, server: Server, files: Path) -> None:
    for query in (["--clip", "a/b"], ["--pose", files / "q.pose"], ["--pose", files / "q.npy"]):
        code, out, err = run("search", "--url", server.url, *query, "--top", 2, "--same-hand", "--name", "signs")
        assert code == 0, err
        assert "Signs most like" in out and "[wort]" in out and "0.800" in out and "index v7" in out
        assert "synthetic signs: these are not results" in out
        assert err.startswith("note: note on") and err.count("\n") == 1
        sent = server.received[-1].json
        queries = sent.pop("queries")
        assert sent == {"index": "signs", "k": 2, "candidates": 200, "mirror": "none"}
        assert len(queries) == 1
    np.testing.assert_allclose(from_json(queries[0]["poses"]), POSES)
    assert server.received[1].json["queries"][0]["width"] == 640


def test_a_search_sends_its_filter_and_effort(run: Run, server: Server) -> None:
    code, _, err = run("search", "--url", server.url, "--clip", "a/b", "--filter", "hands=2", "--filter", "gloss=b",
                       "--filter", "gloss=a", "--nprobe", 7, "--ef", 9)  # fmt: skip
    assert code == 0, err
    sent = server.received[-1].json
    assert (sent["filter"], sent["nprobe"], sent["ef"]) == ({"gloss": ["a", "b"], "hands": [2]}, 7, 9)


def test_search_prints_json_as_from_a_folder(run: Run, server: Server) -> None:
    code, out, _ = run("search", "--url", server.url, "--clip", "a/b", "--json")
    answer = json.loads(out)
    assert code == 0 and set(answer) == {"index_version", "synthetic", "partial", "verdict", "hits"}
    assert set(answer["hits"][0]) == set(Hit.model_fields) and answer["partial"] is False
    server.kind = "texts"
    _, out, _ = run("search", "--url", server.url, "--clip", "a/b", "--language", "de", "--json")
    answer = json.loads(out)
    assert set(answer) - {"partial"} == {
        "index_version", "kind", "synthetic", "tokens", "scored", "entries", "hits",
    }  # fmt: skip
    assert set(answer["hits"][0]) == set(Hit.model_fields) - {"confidence"}
    assert server.received[-1].json["queries"] == [{"clip": "a/b", "language": "de"}]


def test_search_by_a_text(run: Run, server: Server) -> None:
    server.kind = "clips"
    code, out, err = run(
        "search", "--url", server.url, "--text", "morgen regen", "--language", "de", "--candidates", 50
    )
    assert code == 0, err
    assert (
        'Clips for "morgen regen"' in out
        and "de  Wort" in out
        and "5 scored token by token, 120 entries, index v7" in out
    )
    sent = server.received[0].json
    assert sent["queries"] == [{"text": "morgen regen", "language": "de"}] and sent["candidates"] == 50


def test_search_by_a_clip_of_a_corpus_here(run: Run, server: Server, small_corpus: Path) -> None:
    clip = next(iter(Corpus.open(small_corpus)))
    code, out, err = run("search", "--url", server.url, "--clip", clip.id, "--corpus", small_corpus)
    assert code == 0 and clip.id in out.splitlines()[0], err
    (query,) = server.received[0].json["queries"]
    assert query["source"] == clip.source
    np.testing.assert_array_equal(from_json(query["poses"]), clip.poses)


def test_a_partial_answer_is_announced(run: Run, server: Server) -> None:
    server.missing = ["Shard1"]
    code, out, err = run("search", "--url", server.url, "--clip", "a", "--json")
    assert code == 0 and json.loads(out)["partial"] is True
    assert "partial answer: 1 of 2 shards answered, without Shard1" in err


def test_translate_prints_the_texts_alone(run: Run, server: Server, files: Path, small_corpus: Path) -> None:
    code, out, err = run("translate", files / "q.pose", "--url", server.url, "--n-best", 2, "--model", "german")
    assert code == 0 and out.splitlines() == ["1. Satz 0", "2. Satz 1"]
    assert "note: (4, 75, 3) at 50.0 of 640x480 from None was cut" in err
    sent: dict[str, Any] = server.received[0].json
    del sent["queries"]
    assert sent == {"model": "german", "num_beams": 8, "n_best": 2, "max_new_tokens": 60, "length_penalty": 1.0}

    assert run("translate", files / "q.npy", "--url", server.url)[1] == "Satz 0\n"
    _, out, _ = run("translate", "some/clip", "--url", server.url, "--json")
    assert json.loads(out) == {
        "input": "some/clip", "model": "only", "language": "de", "texts": ["Satz 0"],
        "notes": ["some/clip was cut"], "reference": None,
    }  # fmt: skip
    clip = next(iter(Corpus.open(small_corpus)))
    _, out, err = run("translate", clip.id, "--corpus", small_corpus, "--url", server.url)
    assert out == "Satz 0\n" and f"reference: {dict(clip.texts)['de']}" in err
    np.testing.assert_array_equal(from_json(server.received[-1].json["queries"][0]["poses"]), clip.poses)


def test_mistakes_end_in_one_line(run: Run, server: Server, files: Path) -> None:
    url = server.url
    for arguments, message in [
        (("search", "--url", url, "--clip", "bad"), "answered 422: no usable query"),
        (("search", "--url", url, "--clip", "a", "--features", files), "--features are for --index"),
        (("search", "--index", files, "--clip", "a", "--name", "x"), "--name is for --url"),
        (("search", "--url", url, "--index", files, "--clip", "a"), "either --index FOLDER or --url"),
        (("search", "--url", "127.0.0.1:8000", "--clip", "a"), "not the address of a service"),
        (("search", "--url", url, "--pose", files / "x.mp4"), "neither a .pose file nor"),
        (("translate", "a"), "give the translator: --model FOLDER, or --url"),
        (("translate", "a", "--url", url, "--features", files), "are for a model folder"),
        (("translate", "a", "--url", url, "--frames", files), "are for a model folder"),
        (("translate", "gone.pose", "--url", url), "gone.pose: no such file"),
        (("translate", files, "--url", url), "neither a .pose file nor"),
        (("translate", "a", "--url", url, "--n-best", 9), "--n-best 9 is more than --num-beams 8"),
    ]:
        code, _, err = run(*arguments)
        assert code == 2 and message in err and err.count("\n") == 1, (arguments, err)
    server.faults = [problem(401, "the API key is missing")]
    assert "answered 401: the API key is missing" in run("translate", "a", "--url", url)[2]
