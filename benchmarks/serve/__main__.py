"""Load on the service and on simpler servers that give the same answers, in one run on this machine.

Closed loop over loopback: each connection sends its next request after the last answer; the client is a process of its
own. Sides: the service with encoder and shards in their own replicas (ours) or in the gateway's (colocated); a plain
Ray Serve application with one call per request and shard (rpc); one uvicorn process (uvicorn); a Ray Serve deployment
that does nothing (empty); FAISS without HTTP (faiss); with --today, the service of an older checkout (today). Sides on
Ray Serve run behind each --ingress, and every side with each number of --threads on the compute index.

Indexes: small (of --index, or 1,200 random vectors) measures overhead, compute (2 shards of 50,000 x 256, Flat)
computing. Each side first answers 20 queries of each kind, which must have the ids of the exhaustive local search.

Trust ratios within one run only. `relative` divides by what a reference, the uvicorn process on the small index with 8
connections, answered just before and after. One JSON line per measurement goes to --out; the last line is JSON.

Example: python -m benchmarks.serve --work /tmp/benchmark --ingress default,haproxy --out serve.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, get_args

from benchmarks.serve import data
from benchmarks.serve.report import print_tables, summary
from benchmarks.serve.sides import INGRESS, ROOT, Side, SideError, request, running

INDEXES = ("small", "compute")
SIDES = ("faiss", "uvicorn", "empty", "rpc", "ours", "colocated")
PROBES = 20
ATTEMPTS = 2  # Ray does not always start on a busy machine
REFERENCE = Side("uvicorn")
REFERENCE_CONNECTIONS, REFERENCE_S = 8, 1.5
Row = dict[str, Any]


class Workload:
    """The queries of one kind to one index: requests of either schema, as files for the load generator."""

    def __init__(self, name: str, root: Path, kind: data.Kind, folder: Path):
        self.name, self.root, self.kind, self.folder = name, root, kind, folder
        self.queries = data.queries(root, kind)

    def load(self, side: Side, port: int, connections: int, seconds: float, warmup: float) -> Row:
        """Run the load generator; return its figures."""
        exchanges = [
            {"body": q.body(side.old_schema).decode(), "expected": "{}" if side.name == "empty" else q.ranked[0][0]}
            for q in self.queries
        ]
        spec = {"port": port, "path": "/v1/search", "exchanges": exchanges, "connections": connections,
                "seconds": seconds, "warmup": warmup}  # fmt: skip
        file = self.folder / "load.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.serve.load", str(file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the load generator failed: {done.stderr[-1000:]}")
        result: Row = json.loads(done.stdout.splitlines()[-1])
        return result

    def probe(self, side: Side, port: int) -> str | None:
        """Return how the answers to the first queries differ from the local search; None if they do not.

        Raises SideError if the side does not answer.
        """
        if side.name == "empty":
            return None
        different = []
        for number, query in enumerate(self.queries[:PROBES]):
            try:
                status, body = request(port, query.body(side.old_schema))
            except (OSError, HTTPException) as error:
                raise SideError(f"does not answer any more: {error}") from error
            if status != 200:
                different.append(f"query {number} is answered with {status} {body[:200]!r}")
            elif not data.same_ranking(data.hit_ids(json.loads(body)), query.ranked):
                different.append(f"query {number} has other hits")
        return f"{len(different)} of {PROBES} answers differ: {different[0]}" if different else None


def sides(name: str, index: str, arguments: argparse.Namespace) -> list[Side]:
    """Return the variants of one side to measure on an index: every ingress, thread count and, for uvicorn, pool."""
    threads = arguments.threads if index == "compute" else [1]
    if name == "uvicorn":
        pools = [Side(name, pool=True)] if threads[0] == 1 else []
        return [Side(name, threads=n) for n in threads] + pools
    checkout = arguments.today.absolute() if name == "today" else ROOT
    return [Side(name, ingress, n, checkout=checkout) for ingress in arguments.ingress for n in threads]


def measure_side(
    side: Side, workloads: list[Workload], reference: Reference, arguments: argparse.Namespace
) -> list[Row]:
    """Start a side, check its answers and measure every workload with every number of connections."""
    rows = []
    with running(side, workloads[0].root, workloads[0].queries[0].body(side.old_schema)) as service:
        port = service.port
        before = reference.per_s()
        for workload in workloads:
            difference = workload.probe(side, port)
            if difference:
                print(f"{side.label}, {workload.kind}: {difference}", file=sys.stderr)
            for connections in arguments.connections:
                result = workload.load(side, port, connections, arguments.seconds, arguments.warmup)
                rows.append({"queries": workload.kind, "connections": connections, **result, "different": difference})
        per_s = (before + reference.per_s()) / 2
    return [row | {"reference_per_s": round(per_s, 1)} for row in rows]


def measure_faiss(workload: Workload, arguments: argparse.Namespace) -> Iterator[Row]:
    """Measure FAISS alone, in a process for each number of threads; a batch of queries stands for connections."""
    for threads in arguments.threads:
        for batch in arguments.connections:
            call = f"faiss_alone(pathlib.Path({str(workload.root)!r}), {batch}, {threads}, {arguments.seconds / 2})"
            code = f"import json, pathlib; from benchmarks.serve.data import faiss_alone; print(json.dumps({call}))"
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            options: Any = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "text": True}
            done = subprocess.run([sys.executable, "-c", code], check=True, **options)
            yield {"side": "faiss", "ingress": "none", "threads": threads, "queries": workload.kind,
                   "connections": batch, **json.loads(done.stdout.splitlines()[-1]), "different": None}  # fmt: skip


class Reference:
    """One uvicorn process on the small index, which runs all the time: how fast the machine is just now."""

    def __init__(self, workload: Workload, port: int):
        self.workload, self.port = workload, port

    def per_s(self) -> float:
        """Return its requests per second under a short load."""
        result = self.workload.load(REFERENCE, self.port, REFERENCE_CONNECTIONS, REFERENCE_S, 0.3)
        return float(result["per_s"])


def measure(arguments: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Yield a row for each measurement, or one with ``failed`` for a side that does not start."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    small = arguments.index or data.small_index(arguments.work)
    roots = {"small": small}
    if "compute" in arguments.indexes:
        roots["compute"] = data.compute_index(arguments.work)
    steady = Workload("small", small, "vector", folder)
    with running(REFERENCE, small, steady.queries[0].body()) as service:
        reference = Reference(steady, service.port)
        for index in arguments.indexes:
            # The encoder's share is the same on either index: poses and clip ids are measured on the small one.
            kinds = [k for k in arguments.queries if index == "small" or k == "vector"]
            workloads = [Workload(index, roots[index], kind, folder) for kind in kinds]
            vectors = [w for w in workloads if w.kind == "vector"]
            about = _about(roots[index])
            for name in arguments.sides:
                used = vectors if name in ("empty", "faiss") else workloads
                # An empty deployment does not depend on the index.
                if not used or (name == "empty" and index != arguments.indexes[0]):
                    continue
                if name == "faiss":
                    yield from ({"index": index, **about, **row} for row in measure_faiss(used[0], arguments))
                    continue
                for side in sides(name, index, arguments):
                    which = {"index": index, **about, "side": side.name, "ingress": side.ingress,
                             "threads": side.threads, "pool": side.pool}  # fmt: skip
                    yield from ({**which, **row} for row in measure_or_fail(side, used, reference, arguments))


def measure_or_fail(
    side: Side, workloads: list[Workload], reference: Reference, arguments: argparse.Namespace
) -> list[Row]:
    """Call :func:`measure_side`, again if the side does not start; return a row with ``failed`` if it never does."""
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            return measure_side(side, workloads, reference, arguments)
        except SideError as error:
            print(f"{workloads[0].name}: {side.label}: {error}", file=sys.stderr)
            reason = str(error).split(":")[0]  # the rest may name paths
    return [{"failed": reason}]


def _about(root: Path) -> Row:
    manifest = data.IndexVersion.open(root, verify=False).manifest
    return {"entries": manifest.count, "dims": manifest.dims, "shards": len(manifest.shards),
            "factory": manifest.factory}  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    def several(convert: type, *choices: Any) -> Any:
        def parse(text: str) -> list[Any]:
            values = [convert(part) for part in text.split(",")]
            if choices and (unknown := [v for v in values if v not in choices]):
                raise argparse.ArgumentTypeError(f"{unknown[0]} is not one of {', '.join(map(str, choices))}")
            return values

        return parse

    kinds = get_args(data.Kind)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder in which indexes are made once and kept")
    parser.add_argument("--index", type=Path, help="small index, such as that of 'signatlas demo'")
    parser.add_argument("--indexes", type=several(str, *INDEXES), default=list(INDEXES), help=", ".join(INDEXES))
    parser.add_argument("--sides", type=several(str, *SIDES), default=list(SIDES), help=", ".join(SIDES))
    parser.add_argument("--today", type=Path, metavar="CHECKOUT", help="also measure the service before step 6")
    parser.add_argument("--ingress", type=several(str, *INGRESS), default=list(INGRESS), help=", ".join(INGRESS))
    parser.add_argument("--queries", type=several(str, *kinds), default=list(kinds), help=", ".join(kinds))
    parser.add_argument("--connections", type=several(int), default=[1, 8, 32], help="such as 1,8,32 (default)")
    parser.add_argument("--threads", type=several(int), default=sorted({1, data.cores()}),
                        help="CPU threads on the compute index; the best counts (default: 1 and all)")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=6, help="of one measurement")
    parser.add_argument("--warmup", type=float, default=1.5, help="seconds of load before it")
    parser.add_argument("--out", type=Path, help="file to which JSON lines are appended")
    return parser


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.today:
        arguments.sides.append("today")
    if arguments.index:
        arguments.index = arguments.index.absolute()
    arguments.work = arguments.work.absolute()
    # A shell script starts its background jobs with SIGINT ignored, and the sides are stopped with it. SIGTERM stops
    # the sides, too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True,
                              text=True, check=False).stdout.strip()  # fmt: skip
    common = {"benchmark": "serve", "command": shlex.join(["python", "-m", "benchmarks.serve", *sys.argv[1:]]),
              "commit": commit, "date": time.strftime("%Y-%m-%d"), "cores": data.cores(),
              "machine": platform.machine(), "python": platform.python_version(),
              "seconds": arguments.seconds}  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in measure(arguments, Path(folder)):
            rows.append(row)
            if "failed" not in row:
                where = ", ".join(str(row[key]) for key in ("index", "side", "ingress", "threads", "queries"))
                figures = f"{row['per_s']} requests/s, p50 {row['p50_ms']} ms, errors {row['errors']}"
                print(f"{where}, {row['connections']} connections: {figures}, wrong {row['wrong']}", flush=True)
            if arguments.out:
                with arguments.out.open("a", encoding="utf-8") as output:
                    output.write(json.dumps(common | row) + "\n")
    print_tables(rows)
    result = common | summary(rows)
    if arguments.out:
        with arguments.out.open("a", encoding="utf-8") as output:
            output.write(json.dumps(result) + "\n")
    print(json.dumps(result))
    sys.exit(not result["answers_equal"] or bool(result["failed"]))


if __name__ == "__main__":
    main()
