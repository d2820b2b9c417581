"""Find single clips of a corpus by id without reading the others."""

from __future__ import annotations

import os
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from signatlas.corpus.format import SCHEMA, Clip, Corpus, table_to_clips
from signatlas.errors import CorpusError
from signatlas.files import filesystem


class UnknownClip(CorpusError):
    """An id that the corpus does not hold."""


class ClipReader:
    """Reads ids once, then one row group a clip. ``fingerprint`` is that of the corpus an index was made from."""

    def __init__(self, path: str | os.PathLike[str], fingerprint: str | None = None):
        self.corpus = Corpus.open(path)
        if fingerprint not in (None, self.corpus.info.fingerprint):
            raise CorpusError(
                f"{self.corpus.path} is not the corpus that the index was built from (its fingerprint differs); "
                "build the index again or name the right corpus"
            )

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        """id -> (file, row group)."""
        places: dict[str, tuple[str, int]] = {}
        for name in self.corpus.files:
            file = self._open(name)
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["id"])["id"].to_pylist()
                places.update(dict.fromkeys(ids, (name, group)))
        return places

    def _open(self, name: str) -> pq.ParquetFile:
        store, path = filesystem(name)
        try:
            return pq.ParquetFile(store.open_input_file(path))
        except (pa.ArrowInvalid, OSError) as error:
            raise CorpusError(f"{name} cannot be read ({str(error).splitlines()[0]}); make the corpus again") from error

    def __contains__(self, id: str) -> bool:
        return id in self._places

    def clip(self, id: str) -> Clip:
        """Raises UnknownClip when there is no such clip."""
        if id not in self._places:
            raise UnknownClip(f"no clip '{id}' in {self.corpus.path}")
        name, group = self._places[id]
        file = self._open(name)
        table = file.read_row_group(group, columns=[c for c in SCHEMA.names if c in file.schema_arrow.names])
        for clip in table_to_clips(table.filter(pc.equal(table["id"], id)).combine_chunks()):
            return clip
        raise CorpusError(f"{name} was changed after it was opened; open the corpus again")
