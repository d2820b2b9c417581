"""Damaged archives end in one line."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest

from signatlas.corpus.sources.archive import Archive
from signatlas.errors import CorpusError


def test_a_damaged_file_in_a_zip_is_one_line(tmp_path: Path) -> None:
    content = bytes(random.Random(0).choices(b"0123456789;\n", k=50_000))
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("folder/a.csv", content)
    raw = bytearray(path.read_bytes())
    for position in range(100, 2100, 100):
        damaged = bytearray(raw)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(CorpusError, match="is damaged"):
            Archive(path).read("folder/a.csv")
