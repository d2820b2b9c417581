"""Thousands of operations on a live index, with kill -9 and damage in between, against a dictionary."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signatlas.retrieval.index_version import IndexVersion, activate
from signatlas.retrieval.operation_log.log import record_name

SEED = int(os.environ.get("SIGNATLAS_MODEL_SEED", "0"))
ROOT = Path(__file__).parents[2]


class Oracle:
    """What the index must hold: entries by id as (gloss, vector), for each version those of its build."""

    def __init__(self, entries: dict[str, tuple[str | None, np.ndarray]]):
        self.corpus = entries
        self.versions = {"v0": (dict(entries), 0)}
        self.live = "v0"
        self.operations: list[tuple[str, str, tuple[str | None, np.ndarray] | None]] = []

    def entries(self) -> dict[str, tuple[str | None, np.ndarray]]:
        """Return the entries of the live version with all later operations."""
        base, position = self.versions[self.live]
        return self._apply(base, position)

    def _apply(self, base: dict[str, Any], position: int) -> dict[str, Any]:
        entries = dict(base)
        for kind, id, entry in self.operations[position:]:
            entries.pop(id, None)
            if kind == "add":
                entries[id] = entry
        return entries

    def publish(self, version: str) -> None:
        self.versions[version] = (self._apply(self.corpus, 0), len(self.operations))

    def search(
        self, vector: np.ndarray, k: int, leave_out: str | None, group_by: str | None, filter: dict[str, Any] | None
    ) -> list[list[Any]]:
        scored = [
            [id, gloss, float(np.float32(vector.astype(np.float64) @ other.astype(np.float64)))]
            for id, (gloss, other) in self.entries().items()
            if id != leave_out and (filter is None or gloss in filter["gloss"])
        ]
        scored.sort(key=lambda hit: (-hit[2], hit[0]))
        if group_by:
            seen: set[str] = set()
            scored = [hit for hit in scored if not (hit[1] in seen or seen.add(hit[1]))]
        return scored[:k]


class Index:
    """The process under test, started again whenever it was killed."""

    def __init__(self, root: Path):
        self.root, self.kills = root, 0
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "tests.retrieval.live_process", str(self.root)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._answer() == "ready"

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def send(self, name: str, **arguments: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()

    def ask(self, name: str, **arguments: Any) -> Any:
        self.send(name, **arguments)
        answer = self._answer()
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def refused(self, name: str, **arguments: Any) -> str:
        self.send(name, **arguments)
        answer = self._answer()
        assert isinstance(answer, dict), answer
        return f"{answer['error']}: {answer['message']}"

    def kill_during(self, seconds: float, name: str, **arguments: Any) -> None:
        """Send a command, kill the process with SIGKILL after ``seconds``, and start it again."""
        self.send(name, **arguments)
        time.sleep(seconds)
        self.process.kill()
        self.process.wait()
        self.kills += 1
        self._start()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def run_model(root: Path, oracle: Oracle, steps: int, kills: int, seed: int) -> dict[str, int]:
    """Run ``steps`` random operations with ``kills`` kills among them; return how many of each there were."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    index, counts, version = Index(root), dict[str, int](), 0
    killed_at = set(rng.sample(range(steps), kills))

    def vector() -> np.ndarray:
        values = numbers.standard_normal(32).astype(np.float32)
        return values / np.linalg.norm(values)

    def change(step: int) -> tuple[str, dict[str, Any], tuple[str, str, Any]]:
        present = sorted(oracle.entries())
        key = f"step-{step}"
        if rng.random() < 0.45 and len(present) > 60:
            id = rng.choice(present)
            return "remove", {"id": id, "key": key}, ("remove", id, None)
        gone = sorted({id for _, id, _ in oracle.operations} | set(oracle.corpus) - set(present))
        gone = [id for id in gone if id not in present]
        id = rng.choice(gone) if gone and rng.random() < 0.4 else f"new/{step}"
        gloss, values = f"gloss {rng.randrange(30)}", vector()
        arguments = {"id": id, "gloss": gloss, "vector": values.tolist(), "key": key}
        return "add", arguments, ("add", id, (gloss, values))

    def search() -> None:
        entries = oracle.entries()
        chosen = rng.choice(sorted(entries))
        query = entries[chosen][1] if rng.random() < 0.5 else vector()
        k = rng.choice([1, 3, 10, 50, 400])
        options = {"leave_out": chosen if rng.random() < 0.3 else None,
                   "group_by": "gloss" if rng.random() < 0.3 else None,
                   "filter": rng.choice([None, None, {"gloss": [f"gloss {rng.randrange(30)}", "wort 3"]}])}  # fmt: skip
        found = index.ask("search", vector=query.tolist(), k=k, **options)
        assert found == oracle.search(query, k, **options)

    try:
        for step in range(steps):
            kind = rng.choices(["change", "search", "publish", "activate", "damage"], [45, 45, 2, 2, 1])[0]
            if step in killed_at:
                name, arguments, operation = change(step)
                index.kill_during(rng.random() * 0.01, name, **arguments)
                # Nobody knows whether it was stored. The same request again makes sure, and is stored once.
                assert index.ask(name, **arguments) == len(oracle.operations) + 1
                oracle.operations.append(operation)
                search()
                kind = "killed"
            elif kind == "change":
                name, arguments, operation = change(step)
                assert index.ask(name, **arguments) == len(oracle.operations) + 1
                oracle.operations.append(operation)
                kind = name
            elif kind == "search":
                search()
            elif kind == "publish":
                version += 1
                assert index.ask("publish", version=f"v{version}", shards=rng.choice([1, 2, 3])) == len(
                    oracle.operations
                )
                oracle.publish(f"v{version}")
            elif kind == "activate":  # a later version, or back to an earlier one
                oracle.live = rng.choice(sorted(oracle.versions))
                index.ask("activate", version=oracle.live)
                search()
            else:
                damage(index, oracle, rng)
                search()
            counts[kind] = counts.get(kind, 0) + 1
        search()
        assert index.ask("end") == len(oracle.operations)
        return counts | {"kills": index.kills, "versions": len(oracle.versions), "entries": len(oracle.entries())}
    finally:
        index.close()


def damage(index: Index, oracle: Oracle, rng: random.Random) -> None:
    """Damage a version that is not live, which is then refused; or a record, which a new reader refuses."""
    others = sorted(set(oracle.versions) - {oracle.live})
    if others:
        name = rng.choice(others)
        path = sorted((index.root / name).glob("shard-*/index.faiss"))[0]
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert "is refused" in index.refused("activate", version=name)
        path.write_bytes(content)
    if oracle.operations:
        position = rng.randrange(len(oracle.operations)) + 1
        path = index.root / "log" / record_name(position)
        content = path.read_bytes()
        path.write_bytes(content[: rng.randrange(len(content))])
        assert f"record {position} is damaged" in index.refused("publish", version="damaged", shards=1)
        assert not (index.root / "damaged").exists()
        path.write_bytes(content)


@pytest.fixture
def oracle(write: Callable[..., IndexVersion], rows: pa.Table, vectors: np.ndarray, tmp_path: Path) -> Oracle:
    write(tmp_path, shards=2, version="v0")
    activate(tmp_path, "v0")
    np.savez(tmp_path / "corpus.npz", vectors=vectors)
    pq.write_table(rows, tmp_path / "corpus.parquet")
    ids, glosses = rows["id"].to_pylist(), rows["gloss"].to_pylist()
    return Oracle({id: (gloss, v) for id, gloss, v in zip(ids, glosses, vectors, strict=True)})


def test_operations_and_a_kill(oracle: Oracle, tmp_path: Path) -> None:
    counts = run_model(tmp_path, oracle, steps=150, kills=1, seed=SEED)
    assert counts["kills"] == 1 and counts["add"] > 10 and counts["remove"] > 10 and counts["search"] > 30


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(1800)
def test_some_thousand_operations_and_kills(oracle: Oracle, tmp_path: Path) -> None:
    counts = run_model(tmp_path, oracle, steps=5000, kills=40, seed=SEED)
    print(f"\nseed {SEED}: {counts}")
    assert counts["kills"] == 40 and counts["damage"] > 10 and counts["activate"] > 20
