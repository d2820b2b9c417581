"""Index builds with Ray Data: vectors equal those without Ray, and errors write nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from signatlas.corpus.format import Corpus, write_corpus
from signatlas.errors import CorpusError, IndexVersionError, PoseError
from signatlas.models.sign_encoder import SignEncoder
from signatlas.pose.attributes import attributes
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.search import SignSearch
from trainers.pipelines.embed import collect, embed
from trainers.pipelines.index.signs import build

pytestmark = pytest.mark.usefixtures("ray_session")


def test_vectors_and_rows_equal_those_of_the_encoder(small_model: Path, small_corpus: Path) -> None:
    corpus = Corpus.open(small_corpus)
    clips = {c.id: c for c in corpus}
    chosen = sorted(clips)[::9]
    vectors, rows, mirrored = collect(embed(small_model, corpus, mirrored=chosen, batch_size=16))
    ids = rows["id"].to_pylist()
    assert sorted(ids) == sorted(clips)
    encoder = SignEncoder.from_pretrained(small_model)
    assert sorted(mirrored) == chosen
    np.testing.assert_allclose(
        [mirrored[id] for id in chosen], encoder.embed_clips([clips[id] for id in chosen], mirror=True), atol=1e-5
    )
    expected = encoder.embed_clips([clips[id] for id in ids])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert rows["gloss"].to_pylist() == [clips[id].gloss for id in ids]
    assert rows["texts"].to_pylist()[0][1] == {"language": "en", "text": clips[ids[0]].text("en")}
    computed = [attributes(clips[id].poses, clips[id].width, clips[id].height) for id in ids]
    stored = zip(*(rows[name].to_pylist() for name in ("hands", "movement", "location")), strict=True)
    assert list(stored) == computed and len({a.movement for a in computed}) > 1


@pytest.mark.slow
def test_index_some_sources_and_splits_in_shards(small_model: Path, small_corpus: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    built = build(small_model, small_corpus, tmp_path, shards=3, sources=("webcam",), splits=("train", "dev"),
                  progress=seen.append)  # fmt: skip
    selected = [c for c in Corpus.open(small_corpus) if c.source == "webcam" and c.split != "test"]
    assert sorted(built.rows()["id"].to_pylist()) == sorted(c.id for c in selected)
    assert seen[-1] == len(selected) == built.manifest.count
    confidence = built.manifest.confidence
    assert confidence.recordings == len(selected)  # every word is in the index: no absent signs
    assert (confidence.mirror, confidence.splits) == ("best", ("dev", "train"))
    encoder = SignEncoder.from_pretrained(small_model)
    entries, mirrored = encoder.embed_clips(selected), encoder.embed_clips(selected, mirror=True)
    scores = np.maximum(entries @ entries.T, mirrored @ entries.T)
    scores[np.equal.outer(*[[c.gloss for c in selected]] * 2)] = -1
    assert confidence.found == pytest.approx(np.median(scores.max(1)), abs=1e-4)
    assert built.manifest.corpus.sources == ("webcam",) and built.manifest.corpus.synthetic
    assert IndexVersion.open(tmp_path).version == built.version  # live
    hits = SignSearch(built).search(selected[0].poses, aspect=640 / 480, k=1)
    assert hits[0].id == selected[0].id


def test_build_command(
    small_model: Path, small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["index", "build", small_model, small_corpus, "--out", tmp_path, "--version", "v1", "--no-activate"]
    with pytest.raises(SystemExit) as exit_info:
        main([str(w) for w in [*arguments, "--json"]])
    assert not exit_info.value.code
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["count"] == 120
    assert not (tmp_path / "CURRENT").exists()
    with pytest.raises(SystemExit) as exit_info:
        main([str(w) for w in arguments])
    assert exit_info.value.code == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.slow
def test_errors_write_nothing(small_model: Path, small_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    with pytest.raises(IndexVersionError, match="no source 'film', only dictionary, webcam"):
        build(small_model, small_corpus, out, sources=("film",))
    with pytest.raises(IndexVersionError, match="no split 'x'"):
        build(small_model, small_corpus, out, splits=("x",))
    clips = list(Corpus.open(small_corpus))[:4]
    clips[2] = replace(clips[2], poses=np.full((5, 75, 3), np.nan, np.float32))
    info = replace(Corpus.open(small_corpus).info, checksums={}, sizes={}, counts={})
    corpus = write_corpus(tmp_path / "blind", info, clips)
    with pytest.raises(PoseError, match=f"clip {clips[2].id}: neither face nor hands"):
        build(small_model, corpus.path, out)
    clips[2] = replace(clips[2], poses=np.where(np.arange(75)[:, None] % 2, 3e38, -3e38) * np.ones((5, 75, 3)))
    overflow = write_corpus(tmp_path / "overflow", info, clips)
    with pytest.raises(PoseError, match=f"clip {clips[2].id}: .* in image units"):
        build(small_model, overflow.path, out)
    file = Path(corpus.files[0])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorpusError, match="does not match its checksum"):
        build(small_model, corpus.path, out)
    assert not out.exists()
