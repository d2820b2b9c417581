"""Searches of a live index under load: with a filter, beside additions and removals, and after them.

The service (encoder and two shards in replicas of their own) on 2 shards of 50,000 x 256, searched by vectors over
loopback in a closed loop, all in one run. The last searches, without what was added, show what the machine did
meanwhile. The client that changes the index
adds a recording and removes it again, one request after the other. Every answer is checked for the best hit of the
local search. One JSON line per measurement goes to --out.

Example: python -m benchmarks.live_index --work /tmp/benchmark --out live_index.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serve import data
from benchmarks.serve.sides import ROOT, Side, running
from signatlas.client import Client
from signatlas.corpus.format import Corpus
from signatlas.retrieval.filters import Filter
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.search import SignSearch

GLOSSES = 300  # of 1,000: the filter keeps 30 % of the entries
CONSENT = {"given_by": "procedural", "use": "benchmark"}
Row = dict[str, Any]


def load(port: int, exchanges: list[dict[str, str]], arguments: argparse.Namespace, folder: Path) -> Row:
    """Return what the load generator of benchmarks.serve measures."""
    spec = {"port": port, "path": "/v1/search", "exchanges": exchanges, "connections": arguments.connections,
            "seconds": arguments.seconds, "warmup": 1.0}  # fmt: skip
    file = folder / "load.json"
    file.write_text(json.dumps(spec), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.serve.load", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result: Row = json.loads(done.stdout.splitlines()[-1])
    names = ("per_s", "p50_ms", "p95_ms", "p99_ms", "errors", "wrong", "stages_ms")
    return {name: result[name] for name in names}


def exchanges(search: SignSearch, filter: Filter | None) -> list[dict[str, str]]:
    """Return requests by random vectors, each with the id of the best entry that meets the filter."""
    rng, made = np.random.default_rng(0), []
    for _ in range(data.QUERIES):
        vector = rng.standard_normal(search.index_version.manifest.dims)
        content = [round(float(x), 7) for x in vector / np.linalg.norm(vector)]
        sent = (np.array(content) / np.linalg.norm(content)).astype(np.float32)
        body: Row = {"queries": [{"vector": content}], "k": data.K}
        if filter is not None:
            body["filter"] = filter.conditions()
        made.append({"body": json.dumps(body), "expected": search.rank(sent[None], 1, filter=filter)[0][0][0]})
    return made


class Changes(threading.Thread):
    """Adds recordings of a corpus and removes them, until it is stopped, and keeps the times."""

    def __init__(self, url: str, corpus: Path):
        super().__init__()
        self.clips, self.url = list(Corpus.open(corpus))[:50], url
        self.seconds: dict[str, list[float]] = {"add": [], "remove": []}
        self.ended = threading.Event()

    def run(self) -> None:
        with Client(self.url, timeout_s=60) as client:
            number = 0
            while not self.ended.is_set():
                clip, id = self.clips[number % len(self.clips)], f"changed/{number}"
                started = time.perf_counter()
                client.add_sign(clip.poses, id=id, sign_language=clip.sign_language, gloss=clip.gloss,
                                width=clip.width, height=clip.height, consent=CONSENT)  # fmt: skip
                added = time.perf_counter()
                client.remove_sign(id)
                self.seconds["add"].append(added - started)
                self.seconds["remove"].append(time.perf_counter() - added)
                number += 1


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Return one row for each kind of load, in the order of the run."""
    root = data.compute_index(arguments.work, arguments.entries)
    search = SignSearch(IndexVersion.open(root, verify=False))
    plain = exchanges(search, None)
    filtered = exchanges(search, Filter.of({"gloss": [f"random {n}" for n in range(GLOSSES)]}))
    side = Side("ours", "default", changes=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, running(side, root, plain[0]["body"].encode()) as service:

        def add(name: str, requests: list[dict[str, str]]) -> Row:
            rows.append({"load": name, **load(service.port, requests, arguments, Path(folder))})
            return rows[-1]

        url = f"http://127.0.0.1:{service.port}"
        add("plain", plain)
        add("filtered, 30 %", filtered)
        changes = Changes(url, arguments.work / "corpus")
        changes.start()
        row = add("plain, beside changes", plain)
        changes.ended.set()
        changes.join()
        for name, times in changes.seconds.items():
            row |= {f"{name}_per_s": round(len(times) / sum(map(sum, changes.seconds.values())), 1),
                    f"{name}_p50_ms": round(1e3 * float(np.median(times)), 1)}  # fmt: skip
        with Client(url, timeout_s=60) as client:
            for number in range(arguments.additions):
                clip = changes.clips[number % len(changes.clips)]
                client.add_sign(clip.poses, id=f"added/{number}", sign_language=clip.sign_language, gloss=clip.gloss,
                                width=clip.width, height=clip.height, consent=CONSENT)  # fmt: skip
        add(f"plain, {arguments.additions} additions", plain)
        with Client(url, timeout_s=60) as client:
            for number in range(arguments.additions):
                client.remove_sign(f"added/{number}")
        add("plain, additions removed", plain)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark"), help="folder of the indexes")
    parser.add_argument("--entries", type=int, default=data.COMPUTE_ENTRIES)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--additions", type=int, default=200, help="signs that are added, searched beside, removed")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--out", type=Path, help="JSON Lines file to append to")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = measure(arguments)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    origin = {
        "benchmark": "live_index", "command": shlex.join(["python", "-m", "benchmarks.live_index", *sys.argv[1:]]),
        "commit": commit.stdout.strip(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "cores": data.cores(),
        "machine": platform.machine(), "python": platform.python_version(),
        "machine_load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(f"{'':32} requests/s    p50    p95    p99 ms  wrong")
    for row in rows:
        print(f"{row['load']:32} {row['per_s']:10.1f} {row['p50_ms']:6.0f} {row['p95_ms']:6.0f} {row['p99_ms']:6.0f} "
              f"{row['wrong']:9d}{'  ' + json.dumps(row['errors']) if row['errors'] else ''}")  # fmt: skip
        if arguments.out is not None:
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(origin | row) + "\n")
    beside = next(row for row in rows if "add_per_s" in row)
    print(f"changes: {beside['add_per_s']} additions a second, median {beside['add_p50_ms']} ms; removals "
          f"{beside['remove_p50_ms']} ms")  # fmt: skip


if __name__ == "__main__":
    main()
