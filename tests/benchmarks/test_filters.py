"""The benchmark of filtered search on small data: a scan finds everything, and so does an exhaustive index."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import filters, pose_attributes
from signatlas.retrieval import faiss_index


def test_scans_and_flat_indexes_have_full_recall(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faiss_index, "SCANNED_ENTRIES", 500)
    monkeypatch.setattr(filters, "SCANNED", 500)
    monkeypatch.setattr(sys, "argv", ["filters", "--entries", "1500", "--dims", "12", "--queries", "10"])
    filters.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {row["index"] for row in result["rows"]} == {"Flat", "IVF128,Flat", "HNSW16"}
    for row in result["rows"]:
        small = row["allowed"] <= 500 and row["filter"] != "none"
        assert row["served"]["recall@10"] == 1 or (row["index"] != "Flat" and not small), row
        assert 0 <= row["served"]["recall@10"] <= 1 and row["served"]["ms"] > 0
        assert ("post" in row) == ("selector" in row) == (row["index"] != "Flat" and row["filter"] != "none")
    one = {row["filter"]: row for row in result["rows"] if row.get("nprobe") == 1}
    assert one["none"]["served"]["recall@10"] < 1 and one["random 70%"]["selector"]["recall@10"] < 1


def test_agreement_is_counted_over_pairs() -> None:
    groups = [["a", "a", "b"], ["b", "b", None], ["c"]]
    # Within groups: aa, ab, ab, bb; of all six known values: aa, three of bb; 15 pairs.
    assert pose_attributes.agreement(groups) == {"agree": 0.5, "chance": round(4 / 15, 4), "pairs": 4}
