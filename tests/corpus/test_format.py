"""The corpus format: atomic writes, exact round trips, damage, older formats, other readers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from signatlas.corpus import Clip, Corpus, write_corpus
from signatlas.errors import CorpusError

from .conftest import INFO, make_clips


def assert_same(read: Clip, written: Clip) -> None:
    for field in dataclasses.fields(Clip):
        a, b = getattr(read, field.name), getattr(written, field.name)
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        elif field.name == "fps" and b is not None:
            assert a == pytest.approx(b, rel=1e-6)
        else:
            assert a == b, field.name


def test_a_corpus_is_read_as_it_was_written(tmp_path: Path) -> None:
    clips = make_clips()
    corpus = write_corpus(tmp_path / "c", INFO, clips, clips_per_file=5, rows_per_group=2)
    assert len(corpus.files) == 3
    for read, written in zip(corpus, clips, strict=True):
        assert_same(read, written)
    assert corpus.info.counts == {"train": 4, "dev": 4, "test": 4} and len(corpus) == 12
    assert [c.id for c in corpus.split("dev")] == ["small/01", "small/04", "small/07", "small/10"]
    assert len(corpus.split("dev").where(lambda row: row["gloss"] == "g1")) == 1
    assert_same(corpus.clip("small/07"), clips[7])
    with pytest.raises(CorpusError, match="no clip 'nobody'"):
        corpus.clip("nobody")


def test_the_fingerprint_depends_on_the_content_and_not_on_the_files(tmp_path: Path) -> None:
    clips = make_clips()
    one = write_corpus(tmp_path / "one", INFO, clips).info.fingerprint
    assert write_corpus(tmp_path / "two", INFO, clips[::-1], clips_per_file=4).info.fingerprint == one
    changed = clips[3].poses.copy()
    changed[0, 40, 0] = 0.25
    for other in (
        dataclasses.replace(clips[3], poses=changed),
        dataclasses.replace(clips[3], gloss="other"),
        dataclasses.replace(clips[3], width=641),
        dataclasses.replace(clips[3], visibility=None),
    ):
        target = tmp_path / f"changed{len(list(tmp_path.iterdir()))}"
        assert write_corpus(target, INFO, [*clips[:3], other, *clips[4:]]).info.fingerprint != one


def test_a_failing_generator_leaves_no_files(tmp_path: Path) -> None:
    def breaks() -> Iterator[Clip]:
        yield from make_clips(3)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        write_corpus(tmp_path / "c", INFO, breaks(), clips_per_file=1)
    assert list(tmp_path.iterdir()) == []


def test_overwriting_keeps_the_old_corpus_until_the_new_one_is_complete(tmp_path: Path) -> None:
    old = write_corpus(tmp_path / "c", INFO, make_clips(4)).info.fingerprint
    with pytest.raises(CorpusError, match="already exists"):
        write_corpus(tmp_path / "c", INFO, make_clips(5))
    with pytest.raises(CorpusError, match="duplicate clip id"):
        write_corpus(tmp_path / "c", INFO, [*make_clips(5), make_clips(1)[0]], overwrite=True)
    assert Corpus.open(tmp_path / "c", verify=True).info.fingerprint == old
    assert len(write_corpus(tmp_path / "c", INFO, make_clips(5), overwrite=True)) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"poses": np.zeros((3, 76, 3), np.float32)}, r"shape \(3, 76, 3\)"),
        ({"poses": np.zeros((0, 75, 3), np.float32)}, "no frames"),
        ({"poses": np.full((3, 75, 3), np.inf, np.float32)}, "infinite"),
        ({"split": "validation"}, "unknown split"),
        ({"visibility": np.zeros((2, 75), np.float16)}, "visibility"),
    ],
)
def test_invalid_clips_are_rejected_with_their_id(tmp_path: Path, change: dict, message: str) -> None:
    bad = dataclasses.replace(make_clips(1)[0], **change)
    with pytest.raises(CorpusError, match=f"small/00: .*{message}"):
        write_corpus(tmp_path / "c", INFO, [bad])
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_detected(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", INFO, make_clips(), clips_per_file=6)
    file = Path(corpus.files[1])
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    file.write_bytes(bytes(flipped))
    with pytest.raises(CorpusError, match=r"part-00001\.parquet does not match its checksum"):
        Corpus.open(tmp_path / "c", verify=True)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorpusError, match=r"part-00001.parquet has \d+ bytes"):
        Corpus.open(tmp_path / "c")
    file.unlink()
    with pytest.raises(CorpusError, match=r"part-00001.parquet is missing"):
        Corpus.open(tmp_path / "c")


def test_a_damaged_parquet_of_the_right_size_is_one_line(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", INFO, make_clips())
    file = Path(corpus.files[0])
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[: size // 2] + bytes(size - size // 2))
    with pytest.raises(CorpusError, match=r"part-00000.parquet cannot be read") as caught:
        list(Corpus.open(tmp_path / "c"))
    assert "\n" not in str(caught.value)


def test_missing_corpora_and_other_keypoint_layouts_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no corpus at .*nowhere"):
        Corpus.open(tmp_path / "nowhere")
    write_corpus(tmp_path / "c", INFO, make_clips(2))
    document = json.loads((tmp_path / "c" / "corpus.json").read_text())
    (tmp_path / "c" / "corpus.json").write_text(json.dumps(document | {"keypoint_layout": "openpose-137"}))
    with pytest.raises(CorpusError, match="openpose-137"):
        Corpus.open(tmp_path / "c")
    (tmp_path / "c" / "corpus.json").write_text('{"name": ')
    with pytest.raises(CorpusError, match="damaged"):
        Corpus.open(tmp_path / "c")


def rewrite_corpus_json(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((folder / "corpus.json").read_text())
    change(document)
    (folder / "corpus.json").write_text(json.dumps(document))


def test_corpora_of_format_1_open_unchanged(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", INFO, make_clips())

    def to_format_1(document: dict[str, Any]) -> None:
        assert document.pop("format") == 2
        document["licence"] = document.pop("license")

    rewrite_corpus_json(tmp_path / "c", to_format_1)
    old = Corpus.open(tmp_path / "c", verify=True)
    assert old.info == corpus.info and old.info.license == "Apache-2.0"
    for read, clip in zip(old, make_clips(), strict=True):
        assert_same(read, clip)


def test_newer_formats_are_one_line(tmp_path: Path) -> None:
    write_corpus(tmp_path / "c", INFO, make_clips(2))
    rewrite_corpus_json(tmp_path / "c", lambda document: document.update(format=3, unknown="x"))
    with pytest.raises(CorpusError, match=r"c has corpus format 3; this signatlas reads up to 2: update it") as caught:
        Corpus.open(tmp_path / "c")
    assert "\n" not in str(caught.value)
    rewrite_corpus_json(tmp_path / "c", lambda document: document.update(format="two"))
    with pytest.raises(CorpusError, match="damaged"):
        Corpus.open(tmp_path / "c")


def test_a_corpus_in_an_object_store(tmp_path: Path) -> None:
    uri = (tmp_path / "bucket").as_uri() + "/corpus"
    written = write_corpus(uri, INFO, make_clips(), clips_per_file=5)
    local = write_corpus(tmp_path / "local", INFO, make_clips())
    corpus = Corpus.open(uri, verify=True)
    assert corpus.info.fingerprint == local.info.fingerprint == written.info.fingerprint
    assert all(file.startswith("file://") for file in corpus.files)
    for read, clip in zip(corpus, make_clips(), strict=True):
        assert_same(read, clip)
    with pytest.raises(CorpusError, match="already exists"):
        write_corpus(uri, INFO, make_clips())
    write_corpus(uri, INFO, make_clips(2), overwrite=True)
    assert len(Corpus.open(uri, verify=True)) == 2


def test_plain_pyarrow_reads_it(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", INFO, make_clips(), clips_per_file=5)
    table = pq.read_table(tmp_path / "c" / "clips")
    assert table["id"].to_pylist() == [c.id for c in make_clips()]
    for poses, clip in zip(table["poses"].to_pylist(), corpus, strict=True):
        np.testing.assert_array_equal(np.array(poses, np.float32), clip.poses)


def test_datasets_reads_it(tmp_path: Path) -> None:
    import datasets

    corpus = write_corpus(tmp_path / "c", INFO, make_clips(), clips_per_file=5)
    loaded = datasets.load_dataset("parquet", data_files=corpus.files, split="train", cache_dir=str(tmp_path / "cache"))
    for row, clip in zip(loaded, make_clips(), strict=True):
        assert (row["id"], row["gloss"], row["num_frames"]) == (clip.id, clip.gloss, clip.num_frames)
        assert row["texts"] == [{"language": tag, "text": text} for tag, text in clip.texts]
        np.testing.assert_array_equal(np.array(row["poses"], np.float32), clip.poses)


def test_ray_data_reads_it(tmp_path: Path, ray_session: None) -> None:
    import ray

    corpus = write_corpus(tmp_path / "c", INFO, make_clips(), clips_per_file=5)
    poses = {}
    for batch in ray.data.read_parquet(corpus.files).iter_batches(batch_format="pyarrow", batch_size=5):
        for row in batch.select(["id", "poses"]).to_pylist():
            poses[row["id"]] = np.array(row["poses"], np.float32)
    assert len(poses) == 12
    for clip in make_clips():
        np.testing.assert_array_equal(poses[clip.id], clip.poses)
