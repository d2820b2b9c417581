"""An index that a test changes and kills: reads commands as JSON lines from stdin, answers each with one line.

``python -m tests.retrieval.live_process ROOT``. It holds the writer's lease and searches with a reader of its own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from signatlas.errors import UserError
from signatlas.retrieval import index_version
from signatlas.retrieval.filters import Filter
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.live_search import LiveSearch, fold
from signatlas.retrieval.operation_log.log import Log
from signatlas.retrieval.operation_log.record import AddedSign, Consent
from signatlas.retrieval.operation_log.writer import Writer
from signatlas.retrieval.shard_search import ShardQuery, merge_results

CONSENT = Consent(given_by="signer", use="search")


class Process:
    """The commands, by name."""

    def __init__(self, root: Path):
        self.root = root
        self.writer = Writer(root, name="model test")
        self.log = Log.open(root / "log")
        self.loaded: dict[str, list[LiveSearch]] = {}

    def add(self, id: str, gloss: str, vector: list[float], key: str) -> Any:
        sign = AddedSign(gloss=gloss, sign_language="gsg", consent=CONSENT)
        poses = np.full((2, 75, 3), len(id), np.float32)
        values = np.array(vector, np.float32)
        return self.writer.add(id, sign, poses, values, model_sha256=self._model(), key=key).position

    def remove(self, id: str, key: str) -> Any:
        return self.writer.remove(id, key=key).position

    def search(self, vector: list[float], k: int, **options: Any) -> Any:
        """Search as a service does: the shards of the live version apart, each after it has read the log."""
        version = index_version.current(self.root)
        if version not in self.loaded:
            opened = IndexVersion.open(self.root, version)
            numbers = range(len(opened.manifest.shards))
            self.loaded = {version: [LiveSearch(opened, [n], log=self.log) for n in numbers]}
        self.log.update()
        filter = options.pop("filter")
        query = ShardQuery(np.array([vector], np.float32), k, filter=Filter.of(filter) if filter else None, **options)
        parts = []
        for shard in self.loaded[version]:
            shard.follow()
            parts.append(shard.search([query])[0])
        hits = merge_results(parts, k, query.group_by).hits
        return [[row["id"], row["gloss"], score] for score, row in hits]

    def publish(self, version: str, shards: int) -> Any:
        """Build a version of the rows and vectors in the root, with the log folded in."""
        import pyarrow.parquet as pq

        with np.load(self.root / "corpus.npz") as saved:
            vectors = saved["vectors"]
        rows = pq.read_table(self.root / "corpus.parquet")
        first = IndexVersion.open(self.root, "v0", verify=False)
        log = Log.open(self.root / "log")
        folded, rows = fold(vectors, rows, log, model_sha256=self._model(), encoder=first.encoder)
        index_version.write(self.root, folded, rows, model=first.path / "model", corpus=first.manifest.corpus,
                            shards=shards, version=version, log_position=log.end)  # fmt: skip
        return log.end

    def activate(self, version: str) -> Any:
        index_version.activate(self.root, version)

    def end(self) -> Any:
        return self.writer.log.end

    def _model(self) -> str:
        return IndexVersion.open(self.root, verify=False).manifest.model.sha256


def main() -> None:
    process = Process(Path(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w")
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = getattr(process, name)(**arguments)
        except UserError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
