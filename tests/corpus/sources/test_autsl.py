"""AUTSL: labels, signers, splits, and our gallery and query."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from signatlas.corpus.sources import autsl
from signatlas.errors import CorpusError

from . import releases


def test_recordings(tmp_path: Path) -> None:
    root = releases.autsl(tmp_path)
    (root / "test" / "signer2_sample1_color.mp4").unlink()
    listing = autsl.read(root)
    assert len(listing) == 28 and [m.id for m in listing.missing] == ["autsl/test/signer2_sample1"]
    assert "signer2_sample1_color.mp4" in listing.missing[0].reason
    by_id = {item.id: item for item in listing}
    first, shared = by_id["autsl/train/signer0_sample0"], by_id["autsl/dev/signer1_sample1"]
    assert (first.signer, first.split, first.gloss) == ("signer0", "train", "sabah_kahvesi")
    assert first.texts == (("tr", "sabah kahvesi"), ("en", "morning coffee")) and first.sign_language == "tsm"
    assert (shared.split, shared.gloss) == ("dev", "süt-1") and shared.media.endswith("val/signer1_sample1_color.mp4")
    assert by_id["autsl/train/signer0_sample6"].gloss == "süt-2"
    assert by_id["autsl/train/signer0_sample6"].texts == (("tr", "süt"), ("en", "milk, old"))


def test_gallery_and_query(tmp_path: Path) -> None:
    listing = autsl.read(releases.autsl(tmp_path, signers=5))
    item = {i.id: i for i in listing}
    subset_ids = autsl.gallery_query(listing, seed=3)
    assert subset_ids.left_out == ("süt-2",)  # one signer alone
    assert len(subset_ids.gallery) == 8 and len(subset_ids.query) == 2
    for query in subset_ids.query:
        gallery = [item[id] for id in subset_ids.gallery if item[id].gloss == item[query].gloss]
        assert len(gallery) == 4 and item[query].signer not in {i.signer for i in gallery}
    assert subset_ids == autsl.gallery_query(reversed(listing.items), seed=3)
    assert subset_ids != autsl.gallery_query(listing, seed=4)
    subset = autsl.read(tmp_path, subset=True, seed=3)
    assert {i.id for i in subset if i.source == "gallery"} == set(subset_ids.gallery)
    assert {i.id for i in subset if i.source == "query"} == set(subset_ids.query) and len(subset) == 10
    assert subset.info.name == "autsl-gallery-query" and "a subset of ours" in subset.info.made["subset"]
    assert subset.info.made["labels_left_out"] == ["süt-2"]


def test_a_query_is_found_if_there_is_one(tmp_path: Path) -> None:
    """With four recordings by one signer and one by another, the latter is the query, for every seed."""
    root = releases.autsl(tmp_path)
    items = [i for i in autsl.read(root) if i.gloss == "süt-2"][:4]
    other = next(i for i in autsl.read(root) if i.signer == "signer1")
    items.append(replace(other, gloss="süt-2"))
    for seed in range(20):
        subset_ids = autsl.gallery_query(items, seed)
        assert subset_ids.query == (other.id,) and len(subset_ids.gallery) == 4


def test_incomplete_and_malformed_releases_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"does not contain SignList_ClassId_TR_EN.csv; AUTSL .*ankara.edu.tr"):
        autsl.read(tmp_path)
    root = releases.autsl(tmp_path)
    labels = root / "validation_labels.csv"
    content = labels.read_text(encoding="utf-8")
    labels.unlink()
    with pytest.raises(CorpusError, match=r"validation_labels.csv is missing"):
        autsl.read(root)
    (root / "val_labels.csv").write_text(content, encoding="utf-8")
    assert len(autsl.read(root)) == 29
    (root / "val_labels.csv").write_text("signer1_sample0,99\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"val_labels.csv line 1: 'signer1_sample0,99' is not signerX_sampleY,CLASS"):
        autsl.read(root)
    (root / "val_labels.csv").write_text("signer1_sample0,tea\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"line 1: label is 'tea', expected an integer"):
        autsl.read(root)
    (root / "SignList_ClassId_TR_EN.csv").write_text("Id,TR\n0,x\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="columns Id, TR, expected ClassId, TR and EN"):
        autsl.read(root)
