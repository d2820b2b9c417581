"""Index versions: sharded results equal unsharded ones, damage is refused by name, activation is one step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signatlas.corpus.format import Clip
from signatlas.errors import CorpusError, IndexVersionError, PoseError
from signatlas.pose.attributes import PoseAttributes
from signatlas.retrieval import index_version
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.queries import ClipReader, UnknownClip
from signatlas.retrieval.search import SignSearch

Write = Callable[..., IndexVersion]


@pytest.mark.parametrize("k", [1, 7, 100, 500])
def test_any_number_of_shards_gives_the_same_results(write: Write, vectors: np.ndarray, tmp_path: Path, k: int) -> None:
    results = [SignSearch(write(tmp_path, shards=n, version=f"s{n}")).rank(vectors, k) for n in (1, 2, 3, 7)]
    assert len(results[0]) == 120 and len(results[0][0]) == min(k, 120)
    assert all(other == results[0] for other in results[1:])  # ids and scores, to the last bit


def test_ranking_is_exhaustive_inner_product(
    write: Write, vectors: np.ndarray, clips: list[Clip], tmp_path: Path
) -> None:
    ranked = SignSearch(write(tmp_path, shards=2)).rank(vectors[:20], 10)
    exact = vectors[:20].astype(np.float64) @ vectors.astype(np.float64).T
    ids = [c.id for c in clips]
    for query, row in enumerate(ranked):
        np.testing.assert_allclose([s for _, s in row], np.sort(exact[query])[::-1][:10], atol=1e-6)
        np.testing.assert_allclose([s for _, s in row], [exact[query, ids.index(id)] for id, _ in row], atol=1e-6)


def test_equal_scores_are_ordered_by_id(write: Write, clips: list[Clip], vectors: np.ndarray, tmp_path: Path) -> None:
    """Equal vectors, set here: the last digits of an embedding may depend on its position in a batch."""
    first, second = (next(n for n, c in enumerate(clips) if c.id.endswith(end)) for end in ("/107", "/119"))
    equal = vectors.copy()
    equal[second] = equal[first]
    ranked = SignSearch(write(tmp_path, vectors=equal, shards=3)).rank(equal[[first, second]], 1)
    assert [row[0][0] for row in ranked] == [clips[first].id] * 2 == [min(clips[first].id, clips[second].id)] * 2


def test_layout_and_manifest(write: Write, tmp_path: Path, small_model: Path, clips: list[Clip]) -> None:
    written = write(tmp_path, shards=2, version="v1", factory="HNSW32")
    files = sorted(p.relative_to(tmp_path / "v1").as_posix() for p in (tmp_path / "v1").rglob("*") if p.is_file())
    assert files == ["manifest.json", "model/README.md", "model/config.json", "model/model.safetensors",
                     "shard-000/ids.parquet", "shard-000/index.faiss",
                     "shard-001/ids.parquet", "shard-001/index.faiss"]  # fmt: skip
    manifest = json.loads((tmp_path / "v1" / "manifest.json").read_text())
    assert sorted(manifest["files"]) == files[1:]
    assert manifest["factory"] == "HNSW32" and manifest["count"] == 120 and manifest["dims"] == 32
    assert manifest["corpus"]["synthetic"] is True
    assert sum(s["count"] for s in manifest["shards"]) == 120
    row = pq.read_table(tmp_path / "v1" / "shard-000" / "ids.parquet").to_pylist()[0]
    clip = next(c for c in clips if c.id == row["id"])
    assert (row["gloss"], row["num_frames"], row["source"]) == (clip.gloss, clip.num_frames, clip.source)
    assert written.encoder().config.embedding == 32
    for number in range(2):
        assert all(index_version.shard_of(id, 2) == number for id in written.shard(number).ids)


@pytest.mark.parametrize("name", ["shard-001/index.faiss", "shard-001/ids.parquet", "model/model.safetensors"])
def test_a_damaged_file_is_named_and_the_old_version_stays_live(write: Write, tmp_path: Path, name: str) -> None:
    write(tmp_path, shards=2, version="old")
    index_version.activate(tmp_path, "old")
    write(tmp_path, shards=2, version="new")
    damaged = tmp_path / "new" / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    part = name.split("/")[0]
    with pytest.raises(IndexVersionError, match=f"{part} of .*new is refused: {name} does not match"):
        index_version.activate(tmp_path, "new")
    with pytest.raises(IndexVersionError, match=part):
        IndexVersion.open(tmp_path, "new")
    damaged.unlink()
    with pytest.raises(IndexVersionError, match=f"{part} of .*new is refused: {name} is missing"):
        IndexVersion.open(tmp_path, "new")
    assert IndexVersion.open(tmp_path).version == "old"
    assert (tmp_path / "CURRENT").read_text() == "old\n"


def test_a_failed_write_leaves_no_files(write: Write, tmp_path: Path) -> None:
    with pytest.raises(IndexVersionError, match="FAISS cannot build"):
        write(tmp_path / "index", version="v1", factory="IVF4096,Flat")
    assert list((tmp_path / "index").iterdir()) == []
    write(tmp_path / "index", version="v1")
    with pytest.raises(IndexVersionError, match="already exists"):
        write(tmp_path / "index", version="v1")
    assert [p.name for p in (tmp_path / "index").iterdir()] == ["v1"]


def test_mistakes_are_one_line(write: Write, tmp_path: Path) -> None:
    with pytest.raises(IndexVersionError, match=r"no index at .*: build one with"):
        IndexVersion.open(tmp_path / "nowhere")
    write(tmp_path, version="v1")
    with pytest.raises(IndexVersionError, match=r"CURRENT is missing; run 'signatlas index activate .* v1'"):
        IndexVersion.open(tmp_path)
    with pytest.raises(IndexVersionError, match=r"no version 'v2' in .*; available: v1"):
        IndexVersion.open(tmp_path, "v2")
    with pytest.raises(IndexVersionError, match=r"is not a valid version name"):
        IndexVersion.open(tmp_path, "../v1")
    with pytest.raises(IndexVersionError, match=r"cannot split 120 clips into 121 shards"):
        write(tmp_path, shards=121)
    path = tmp_path / "v1" / "manifest.json"
    path.write_text(path.read_text()[:300])
    with pytest.raises(IndexVersionError, match=r"manifest.json is damaged"):
        IndexVersion.open(tmp_path, "v1")


def test_an_index_of_an_earlier_version_says_what_to_do(write: Write, tmp_path: Path) -> None:
    write(tmp_path, version="v1")
    path = tmp_path / "v1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["corpus"]["licence"] = manifest["corpus"].pop("license")
    path.write_text(json.dumps(manifest))
    with pytest.raises(IndexVersionError) as caught:
        IndexVersion.open(tmp_path, "v1")
    message = str(caught.value)
    assert f"{path} was written by another version of signatlas (corpus.licen" in message
    assert message.endswith("build the index again with 'signatlas index build'") and "\n" not in message


def test_a_clip_finds_itself_unless_left_out(write: Write, clips: list[Clip], tmp_path: Path) -> None:
    searcher, clip = SignSearch(write(tmp_path, shards=2)), clips[3]
    hits = searcher.search(clip.poses, aspect=640 / 480, k=5)
    assert hits[0].id == clip.id and hits[0].score > 0.9999 and [h.rank for h in hits] == [1, 2, 3, 4, 5]
    assert hits[0].texts[1].text == "word 3" and hits[0].sign_language == "gsg"
    others = searcher.search(clip.poses, aspect=640 / 480, k=4, leave_out=clip.id)
    assert [h.id for h in others] == [h.id for h in hits[1:]]


def test_mirrored_queries_match_with_mirror_best(write: Write, clips: list[Clip], tmp_path: Path) -> None:
    from signatlas.pose.skeleton import MIRROR

    searcher, clip = SignSearch(write(tmp_path, shards=2)), clips[3]
    mirrored = (clip.poses * np.array([-1, 1, 1], np.float32) + np.array([1, 0, 0], np.float32))[:, MIRROR]
    both = searcher.search(mirrored, aspect=640 / 480, mirror="best")
    assert both[0].id == clip.id and both[0].score > 0.999
    assert searcher.search(mirrored, aspect=640 / 480, mirror="none")[0].score < 0.999
    assert len({h.id for h in both}) == 10


def test_queries_without_hands_or_with_huge_coordinates_are_refused(
    write: Write, clips: list[Clip], tmp_path: Path
) -> None:
    searcher, poses = SignSearch(write(tmp_path, shards=2)), clips[3].poses
    with pytest.raises(PoseError, match="neither face nor hands"):
        searcher.search(np.full((4, 75, 3), np.nan, np.float32))
    with pytest.raises(PoseError, match="no hand is visible in any frame"):
        searcher.search(np.where(np.arange(75)[:, None] < 33, poses, np.nan))
    with pytest.raises(PoseError, match="write them in image units"):
        searcher.search(np.where(np.isfinite(poses), np.sign(poses - 0.5) * np.float32(3e38), np.nan))


def test_clips_are_read_by_id(small_corpus: Path, clips: list[Clip]) -> None:
    reader = ClipReader(small_corpus)
    for clip in clips[::17]:
        np.testing.assert_array_equal(reader.clip(clip.id).poses, clip.poses)
    with pytest.raises(UnknownClip, match="no clip 'nothing' in"):
        reader.clip("nothing")
    with pytest.raises(CorpusError, match="not the corpus that the index was built from"):
        ClipReader(small_corpus, "another")


def test_movement_and_location_are_those_of_single_signs(rows: pa.Table) -> None:
    found = [PoseAttributes(1 + n % 2, "arc", "head") for n in range(len(rows))]  # type: ignore[arg-type]
    gloss = pa.array([g if n % 3 else None for n, g in enumerate(rows["gloss"].to_pylist())], pa.string())
    sentences = rows.set_column(rows.schema.get_field_index("gloss"), index_version.ROW_SCHEMA.field("gloss"), gloss)
    labeled = index_version.with_attributes(sentences, found).to_pylist()
    assert [row["hands"] for row in labeled] == [1 + n % 2 for n in range(len(rows))]
    assert [row["movement"] for row in labeled] == ["arc" if n % 3 else None for n in range(len(rows))]
    assert [row["location"] for row in labeled] == ["head" if n % 3 else None for n in range(len(rows))]
