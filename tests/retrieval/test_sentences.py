"""Two-stage search of clips by text and of texts by clip: equals exhaustive scoring, in any number of shards."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from signatlas.corpus.format import Clip, Corpus
from signatlas.errors import FeatureError, IndexVersionError
from signatlas.features.store import FeatureStore
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval import entries, index_version, two_stage
from signatlas.retrieval.index_version import CorpusPart, FeaturesPart, IndexVersion
from signatlas.retrieval.search import SignSearch
from signatlas.retrieval.sentences import SentenceSearch
from signatlas.retrieval.tokens import unit
from signatlas.similarity import Tokens
from tests.retrieval.conftest import dual_encoder

Build = Callable[..., IndexVersion]


@pytest.fixture(scope="session")
def build(small_corpus: Path, features: FeatureStore, part: CorpusPart, dual_model: Path) -> Build:
    def call(root: Path, kind: entries.Kind = "clips", model: Path = dual_model, **options: object) -> IndexVersion:
        metadata = Corpus.open(small_corpus).metadata()
        rows = entries.clip_rows(metadata) if kind == "clips" else entries.text_rows(metadata)
        encoded = entries.encode(DualEncoder.from_pretrained(model), kind, rows, features)
        part_of_features = FeaturesPart(path=str(features.path), fingerprint=features.fingerprint, kind="windows")
        return index_version.write(root, encoded.vectors, encoded.rows, model=model, corpus=part, kind=kind,
                              tokens=encoded.tokens, features=part_of_features, **options)  # type: ignore[arg-type]  # fmt: skip

    return call


def encoded_clips(model: DualEncoder, features: FeatureStore) -> Tokens:
    batch = features.batch(np.arange(len(features)), alpha=0.8, limit=12)
    encoded = model.embed_features([batch])
    # An index stores unit tokens in float16.
    return encoded._replace(tokens=torch.from_numpy(unit(encoded.tokens.numpy()).astype(np.float16)).float())


TEXTS = ["W\u00f6rt 3", "word 7 word", "W\u00f6rt 0", "word 11", "word word W\u00f6rt 2 5"]


@pytest.mark.parametrize("aggregation", ["mean", "max", "softmax"])
def test_with_all_candidates_search_equals_exhaustive_scoring(
    build: Build, features: FeatureStore, tmp_path: Path, aggregation: str
) -> None:
    folder = dual_encoder(tmp_path / "model", aggregation=aggregation)
    model = DualEncoder.from_pretrained(folder)
    exact = model.score(encoded_clips(model, features), model.embed_texts(TEXTS)).numpy().T
    answers = []
    for shards in (1, 3):
        searcher = SentenceSearch(build(tmp_path / "index", model=folder, shards=shards, version=f"s{shards}"))
        answers.append(searcher.rank(searcher.encode_texts(TEXTS), 120, candidates=120))
        assert searcher.scored == 120 * len(TEXTS)
    assert answers[0] == answers[1]  # ids and scores, to the last bit
    for row, ranked in zip(exact, answers[0], strict=True):
        by_id = dict(ranked)
        np.testing.assert_allclose([by_id[id] for id in features.ids], row, atol=5e-6)
        assert [s for _, s in ranked] == sorted((s for _, s in ranked), reverse=True)


def test_candidates_limit_the_scored_pairs(build: Build, tmp_path: Path) -> None:
    searcher = SentenceSearch(build(tmp_path, shards=2))
    query = searcher.encode_texts(TEXTS[:1])
    (best,) = searcher.rank(query, 10, candidates=120)
    searcher.scored = 0
    (few,) = searcher.rank(query, 10, candidates=15)
    assert searcher.scored == 30 and len(few) == 10
    result = two_stage.rank(searcher.shards[0], query[0], searcher.model.config.similarity, 2, candidates=3)
    assert (result.scored, result.coarse) == (3, 30), "pairs scored by clusters are counted too"
    exact = dict(searcher.rank(query, 120, candidates=120)[0])
    assert all(score == exact[id] for id, score in few)  # candidates may be missed, scores are exact
    assert few[0][1] <= best[0][1]


@pytest.mark.parametrize("kind", ["cls", "mean"])
def test_pooled_similarities_have_no_second_stage(
    build: Build, features: FeatureStore, tmp_path: Path, kind: str
) -> None:
    folder = dual_encoder(tmp_path / "model", kind=kind)
    model = DualEncoder.from_pretrained(folder)
    written = build(tmp_path / "index", model=folder, shards=2)
    assert written.manifest.tokens == 0 and not list(written.path.rglob("tokens.npy"))
    searcher = SentenceSearch(written)
    (ranked,) = searcher.rank(searcher.encode_texts(TEXTS[:1]), 120)
    clips = model.embed_features([features.batch(np.arange(len(features)), alpha=0.8, limit=12)])
    exact = model.score(clips, model.embed_texts(TEXTS[:1])).flatten().numpy()
    np.testing.assert_allclose([dict(ranked)[id] for id in features.ids], exact, atol=2e-6)
    assert searcher.scored == 0


def test_a_clip_finds_texts(build: Build, features: FeatureStore, clips: list[Clip], tmp_path: Path) -> None:
    written = build(tmp_path, "texts", shards=2)
    assert written.manifest.languages == ("de", "en") and written.manifest.count == 24  # distinct texts
    searcher = SentenceSearch(written)
    model = searcher.model
    query = searcher.encode_features(searcher.stored_features(features.path, clips[3].id))
    (ranked,) = searcher.rank([query], 24)
    texts = {row["id"]: row["texts"][0]["text"] for row in written.rows().to_pylist()}
    one = features.batch([3], alpha=0.8, limit=12)
    exact = model.score(model.embed_features([one]), model.embed_texts([texts[id] for id, _ in ranked]))[0]
    np.testing.assert_allclose([s for _, s in ranked], exact.numpy(), atol=2e-3)  # tokens are stored in float16
    (german,) = searcher.rank([query], 24, language="de")
    assert german == [pair for pair in ranked if pair[0].endswith("#de")] and len(german) == 12
    (few,) = searcher.rank([query], 3, candidates=4, language="en")
    assert len(few) == 3 and all(id.endswith("#en") for id, _ in few)


def test_layout_manifest_and_copied_files(build: Build, features: FeatureStore, tmp_path: Path) -> None:
    written = build(tmp_path, shards=2, version="v1")
    files = {p.relative_to(written.path).as_posix() for p in written.path.rglob("*") if p.is_file()}
    assert {"shard-001/tokens.npy", "shard-001/offsets.npy"} <= files
    assert {
        f"shard-001/clusters/{name}.npy" for name in ("tokens", "counts", "codes", "centroids", "residuals")
    } <= files
    assert any(name.startswith("model/text/") for name in files)
    manifest = json.loads((written.path / "manifest.json").read_text())
    assert (manifest["format"], manifest["kind"]) == (2, "clips") and sorted(manifest["files"]) == sorted(
        files - {"manifest.json"}
    )
    assert manifest["tokens"] == np.minimum(features.counts, 12).sum()
    assert manifest["confidence"]["probable"] is None
    shard = written.shard(0)
    assert isinstance(shard.tokens.tokens, np.memmap) and shard.tokens.tokens.dtype == np.float16  # type: ignore[union-attr]


def test_a_version_that_was_written_with_segments_is_searched(build: Build, tmp_path: Path) -> None:
    written = build(tmp_path, shards=2, version="v1")
    now = SentenceSearch(written)
    query = now.encode_texts(TEXTS[:1])
    manifest = json.loads((written.path / "manifest.json").read_text())
    manifest["files"] = {name: digest for name, digest in manifest["files"].items() if "/clusters/" not in name}
    for shard in now.shards:
        folder = written.path / shard.name
        shutil.rmtree(folder / "clusters")
        (folder / "segments").mkdir()
        assert shard.tokens is not None
        shard.tokens.segments().write(folder / "segments", np.arange(len(shard.ids)))
        for name in ("tokens.npy", "offsets.npy"):
            digest = hashlib.sha256((folder / "segments" / name).read_bytes()).hexdigest()
            manifest["files"][f"{shard.name}/segments/{name}"] = digest
    (written.path / "manifest.json").write_text(json.dumps(manifest))
    before = SentenceSearch(IndexVersion.open(tmp_path, "v1"))
    assert before.rank(query, 120, candidates=120) == now.rank(query, 120, candidates=120)
    result = two_stage.rank(before.shards[0], query[0], before.model.config.similarity, 2, candidates=3)
    assert (result.scored, result.coarse) == (3, 30)
    shutil.rmtree(written.path / "shard-001" / "segments")
    with pytest.raises(IndexVersionError, match="shard-001 is refused: its tokens cannot be read"):
        written.shard(1)


def test_shards_share_the_centroids_of_their_index(build: Build, tmp_path: Path) -> None:
    tables = {}
    for shards in (1, 3):
        searcher = SentenceSearch(build(tmp_path, shards=shards, version=f"s{shards}"))
        tables[shards] = {}
        for shard in searcher.shards:
            assert shard.clusters is not None
            for number, id in enumerate(shard.ids):
                rows = shard.clusters.vectors.rows(np.array([number]))
                tables[shards][id] = (shard.clusters.codes[rows].tolist(), shard.clusters.counts[rows].tolist())
        centroids = [shard.clusters.centroids for shard in searcher.shards if shard.clusters is not None]
        assert all((other == centroids[0]).all() for other in centroids)
    assert tables[1] == tables[3] and len(tables[1]) == 120


def test_a_shard_may_be_empty(build: Build, tmp_path: Path) -> None:
    searcher = SentenceSearch(build(tmp_path, "texts", shards=24))
    assert min(part.count for part in searcher.index_version.manifest.shards) == 0
    query = searcher.encode_features(np.zeros((2, searcher.model.features), np.float32))
    assert len(searcher.rank([query], 24, candidates=2)[0]) == 24


def test_damaged_tokens_are_refused_by_name(build: Build, tmp_path: Path) -> None:
    written = build(tmp_path, shards=2, version="v1")
    np.save(written.path / "shard-001" / "offsets.npy", np.array([0, 3]))
    with pytest.raises(IndexVersionError, match=r"shard-001 of .*offsets\.npy does not match"):
        IndexVersion.open(tmp_path, "v1")
    with pytest.raises(IndexVersionError, match="shard-001 is refused: tokens"):
        written.shard(1)
    (written.path / "shard-000" / "tokens.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(IndexVersionError, match="shard-000 is refused: its tokens cannot be read"):
        written.shard(0)


def test_each_kind_of_index_refuses_the_queries_of_another(
    build: Build, write: Callable[..., IndexVersion], tmp_path: Path
) -> None:
    signs, clips, texts = write(tmp_path / "signs"), build(tmp_path / "clips"), build(tmp_path / "texts", "texts")
    with pytest.raises(IndexVersionError, match="index of single signs"):
        SentenceSearch(signs)
    with pytest.raises(IndexVersionError, match="search it with --text"):
        SignSearch(clips)
    with pytest.raises(IndexVersionError, match="index of clips, searched with --text"):
        SentenceSearch(clips).encode_features(np.zeros((2, 24), np.float32))
    with pytest.raises(IndexVersionError, match="index of texts"):
        SentenceSearch(texts).encode_texts(["word"])


def test_features_must_fit_corpus_and_model(
    build: Build, features: FeatureStore, small_corpus: Path, tmp_path: Path
) -> None:
    model = SentenceSearch(build(tmp_path)).model
    corpus = Corpus.open(small_corpus)
    entries.check_features(features, corpus, model)
    other = FeatureStore(features.path, features.info.model_copy(update={"corpus_fingerprint": "x"}), rows_of(features))
    with pytest.raises(FeatureError, match="another corpus"):
        entries.check_features(other, corpus, model)
    wide = FeatureStore(features.path, features.info.model_copy(update={"width": 7}), rows_of(features))
    with pytest.raises(FeatureError, match="width 7, the model takes 24"):
        entries.check_features(wide, corpus, model)


def test_other_features_than_those_of_training_are_refused(
    build: Build, features: FeatureStore, small_corpus: Path, tmp_path: Path
) -> None:
    model, corpus = SentenceSearch(build(tmp_path)).model, Corpus.open(small_corpus)
    trained = {"corpus_fingerprint": corpus.info.fingerprint, "features_fingerprint": features.fingerprint}
    model.record = {**model.record, **trained}
    entries.check_features(features, corpus, model)
    model.record["features_fingerprint"] = "another"
    with pytest.raises(FeatureError, match="features that differ from those in training"):
        entries.check_features(features, corpus, model)
    model.record["corpus_fingerprint"] = "elsewhere"  # features of another corpus always differ
    entries.check_features(features, corpus, model)


def rows_of(features: FeatureStore):  # type: ignore[no-untyped-def]
    import pyarrow.parquet as pq

    return pq.read_table(features.path / "rows.parquet")


def test_an_index_without_the_later_keys_still_opens(
    write: Callable[..., IndexVersion], clips: list[Clip], tmp_path: Path
) -> None:
    written = write(tmp_path, shards=2, version="v1")
    path = written.path / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("kind", "features", "languages", "tokens"):
        del manifest[name]
    path.write_text(json.dumps(manifest))
    old = IndexVersion.open(tmp_path, "v1")
    assert old.manifest == written.manifest and old.manifest.format == 1 and old.shard(0).tokens is None
    assert SignSearch(old).search(clips[0].poses, aspect=640 / 480, k=1)[0].id == clips[0].id
