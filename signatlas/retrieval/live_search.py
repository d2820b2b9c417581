"""Search in an index version with the signs that were added since, and without those that were removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval.index_version import ROW_SCHEMA, IndexVersion, shard_of
from signatlas.retrieval.operation_log.log import Log
from signatlas.retrieval.operation_log.record import Operation, Record
from signatlas.retrieval.shard import Shard
from signatlas.retrieval.shard_search import Row, ShardQuery, ShardResult, ShardSearch, merge_results

ADDITIONS = "additions"
Entry = tuple[Row, np.ndarray]  # columns, and unit vector float32 [E]


class LiveSearch:
    """Searches the shards with the given numbers, by default all of them, as the operations of a log left them.

    :meth:`follow` applies the operations that ``log`` has read; searches in between see a state of before. Additions
    belong to the shard that a build would put them into, so that no two shards have one. Raises IndexVersionError, and
    LogError where the log ends before the position that the version has folded in.
    """

    def __init__(
        self,
        index_version: IndexVersion,
        numbers: Sequence[int] | None = None,
        *,
        log: Log | None = None,
        verify: bool = False,
    ):
        self.index_version, self.manifest = index_version, index_version.manifest
        self.version, self.confidence = self.manifest.version, self.manifest.confidence
        count = len(self.manifest.shards)
        self._numbers, self._of = frozenset(range(count) if numbers is None else numbers), count
        self.base = ShardSearch(index_version, numbers, verify=verify)
        self.added: ShardSearch | None = None
        self._entries: dict[str, Entry] = {}
        self._embedded: dict[int, Entry] = {}  # by position, of operations that are not applied yet
        self.log: Log | None = None
        self.position = self.manifest.log_position
        if log is not None:
            self.attach(log)

    def attach(self, log: Log) -> None:
        """Apply the operations of ``log`` that the version lacks. Raises LogError where it does not fit."""
        log.require_reaches(self.position, self.version)
        self.log = log
        self.follow()

    def prepare(self, log: Log, operations: Sequence[Operation]) -> None:
        """Embed additions of other models before :meth:`attach`, which is then quick: this may take minutes.

        ``operations`` are those of ``log``, or the beginning of them; the log may be read on meanwhile.
        """
        known = (None, self.manifest.model.sha256)
        for operation in operations[self.position :]:
            if operation.model_sha256 in known or not self._owns(operation.id):
                continue
            if entry := self._entry(log, operation):
                self._embedded[operation.position] = entry

    def _entry(self, log: Log, operation: Operation) -> Entry | None:
        return _entry(log, operation, self.manifest.model.sha256, lambda: self._encoder)

    def _owns(self, id: str) -> bool:
        return shard_of(id, self._of) in self._numbers

    @property
    def shards(self) -> list[Shard]:
        """The shards of the version."""
        return self.base.shards

    @property
    def rows(self) -> pa.Table:
        """One row of ``ROW_SCHEMA`` for each entry that is there."""
        rows = self.base.rows
        if self.base.hidden:
            rows = rows.filter(pa.array([id not in self.base.hidden for id in rows["id"].to_pylist()], pa.bool_()))
        return rows if self.added is None else pa.concat_tables([rows, self.added.rows])

    def follow(self) -> int:
        """Apply what the log has read since the last time, and return the position it was read to. Raises LogError."""
        if self.log is None or self.position == self.log.end:
            return self.position
        end = self.log.end  # another thread may read on meanwhile
        new = [o for o in self.log.operations[self.position : end] if self._owns(o.id)]
        hidden = {operation.id for operation in new}
        entries = {id: entry for id, entry in self._entries.items() if id not in hidden}
        for operation in new:
            entry = self._embedded.pop(operation.position, None)
            if operation.kind == "remove":
                entries.pop(operation.id, None)
            elif not operation.erased and (entry := entry or self._entry(self.log, operation)):
                entries[operation.id] = entry
        self.base.hide(hidden)
        if hidden & (entries.keys() | self._entries.keys()):
            self._entries, self.added = entries, _in_memory(entries, self.added, hidden)
        self.position = end
        return self.position

    @cached_property
    def _encoder(self) -> SignEncoder:
        return self.index_version.encoder()

    def __contains__(self, id: str) -> bool:
        return id in self._entries or id in self.base

    def row(self, id: str) -> Row:
        """Return an entry's columns. Raises KeyError."""
        if id in self._entries:
            return self._entries[id][0]
        if id not in self.base:
            raise KeyError(id)
        return self.base.row(id)

    def removed(self, id: str) -> bool:
        """Return whether the entry with this id was removed, also before the version was built."""
        if self.log is None or not self._owns(id):
            return False
        last = self.log.touched(id)
        return 0 < last <= self.position and self.log.operations[last - 1].kind == "remove"

    def poses(self, id: str) -> np.ndarray | None:
        """Return the poses float32 [frames, 75, 3] of a sign that was added, None for other entries."""
        position = self.log.added(id) if self.log is not None and id in self else None
        return None if position is None or self.log is None else self.log.record(position).poses

    def search(self, queries: Sequence[ShardQuery]) -> list[ShardResult]:
        """Return the best entries of each query; a result does not depend on the other queries."""
        found = self.base.search(queries)
        if self.added is not None:
            also = self.added.search(queries)
            found = [merge_results(pair, q.k, q.group_by) for q, *pair in zip(queries, found, also, strict=True)]
        return [result._replace(position=self.position) for result in found]


def fold(
    vectors: np.ndarray, rows: pa.Table, log: Log, *, model_sha256: str, encoder: Callable[[], SignEncoder]
) -> tuple[np.ndarray, pa.Table]:
    """Return the vectors [N, E] and rows [N] of a build with the operations of a log folded in.

    Signs that were added while another model was live are embedded by ``encoder()``. Raises LogError.
    """
    added = (_entry(log, o, model_sha256, encoder) for o in log.operations if log.added(o.id) == o.position)
    entries = [entry for entry in added if entry is not None]
    kept = np.array([log.touched(id) == 0 for id in rows["id"].to_pylist()], bool)
    new = pa.Table.from_pylist([row for row, _ in entries], schema=ROW_SCHEMA)
    parts = [vectors[kept], *(vector[None] for _, vector in entries)]
    return np.concatenate(parts), pa.concat_tables([rows.filter(pa.array(kept)), new]).combine_chunks()


def _entry(log: Log, operation: Operation, model_sha256: str, encoder: Callable[[], SignEncoder]) -> Entry | None:
    """Return row and vector of an added sign, None where its poses are erased: it was removed since."""
    row = Record(operation).row()
    if operation.model_sha256 == model_sha256:
        return row, log.vector(operation.position)
    # Added while another model was live: the record's poses are embedded again, alone, so that the vector does not
    # depend on what else is in the log.
    poses = log.record(operation.position).poses
    if poses is None:
        return None  # the log was not yet read up to the removal
    aspect = encoder().aspect_of(row["source"], row["width"], row["height"])
    return row, encoder().embed([poses], aspect=aspect)[0]


def _in_memory(entries: dict[str, Entry], before: ShardSearch | None, changed: set[str]) -> ShardSearch | None:
    """Return a search in ``entries``: those of the search ``before``, except for the ids that ``changed``."""
    if not entries:
        return None
    # Rows are converted once: with thousands of additions, all of them would take longer than many searches.
    rows = pa.Table.from_pylist([entries[id][0] for id in changed & entries.keys()], schema=ROW_SCHEMA)
    if before is not None:
        kept = [id not in changed for id in before.rows["id"].to_pylist()]
        rows = pa.concat_tables([before.rows.filter(pa.array(kept, pa.bool_())), rows])
    rows = rows.sort_by("id").combine_chunks()
    return ShardSearch.of_entries(ADDITIONS, np.stack([entries[id][1] for id in rows["id"].to_pylist()]), rows)
