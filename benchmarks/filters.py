"""Recall@10 and time of filtered search in IVF and HNSW indexes, beside exhaustive search and post-filtering by FAISS.

The entries are unit vectors around the centers of glosses, with more noise than distance, and the queries are drawn
from the same distribution. A filter allows a random share of the entries (a source, a split), or those of a share of
the glosses, which lie together. For each index, filter and effort, three searches of the same queries, one at a time on
one thread:

served    as a shard answers: up to SCANNED_ENTRIES allowed entries are scanned, more are searched by the index
selector  by the index alone, with FAISS's IDSelectorBitmap
post      the peer: FAISS's index without a filter, with the same effort, asked for twice as many entries as are
          needed on average, and filtered afterwards

Without nprobe or ef, the effort is the default one.

    python -m benchmarks.filters [--entries 60000] [--dims 64] [--queries 100] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import torch

from signatlas.retrieval import faiss_index
from signatlas.retrieval.faiss_index import Effort

K = 10
REPEATS = 3  # of each query, of which the fastest counts: other work on the machine only adds time
GLOSSES = 500
NOISE = 1.5  # norm of the noise around the unit center of a gloss
SHARES = (0.01, 0.1, 0.3, 0.7)
SCANNED = faiss_index.SCANNED_ENTRIES

Search = Callable[[np.ndarray], np.ndarray]  # a query [1, E] -> positions [1, K]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return rows float32 [N, E] of length one."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def draw(rng: np.random.Generator, centers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors float32 [count, E] and their glosses int [count]."""
    glosses = rng.integers(0, len(centers), count)
    noise = rng.standard_normal((count, centers.shape[1])) * NOISE / math.sqrt(centers.shape[1])
    return unit(centers[glosses] + noise), glosses


def post_filtered(index: Any, allowed: np.ndarray, effort: Effort) -> Search:
    """Return the peer: FAISS without a filter, asked for 2 K over the allowed share, and filtered."""
    depth = min(index.ntotal, math.ceil(2 * K / allowed.mean()))
    parameters = faiss_index.search_parameters(index, effort)

    def search(query: np.ndarray) -> np.ndarray:
        _, found = index.search(query, depth, params=parameters)
        kept = found[0][found[0] >= 0]
        kept = kept[allowed[kept]][:K]
        return np.pad(kept, (0, K - len(kept)), constant_values=-1)[None]

    return search


def ours(index: Any, allowed: np.ndarray | None, effort: Effort, scanned: int) -> Search:
    """Return the search of a shard, with a scan up to ``scanned`` allowed entries."""

    def search(query: np.ndarray) -> np.ndarray:
        faiss_index.SCANNED_ENTRIES = scanned
        return faiss_index.search(index, query, K, allowed=allowed, effort=effort)[1]

    return search


def measure(search: Search, queries: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Return recall@10 and the median over the queries of the milliseconds that one takes at best of ``REPEATS``."""
    seconds, hits = [], 0
    for query, best in zip(queries, expected, strict=True):
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            found = search(query[None])[0]
            times.append(time.perf_counter() - started)
        seconds.append(min(times))
        hits += len(set(found.tolist()) & set(best.tolist()))
    return {"recall@10": round(hits / expected.size, 4), "ms": round(1e3 * float(np.median(seconds)), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=60_000)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    centers = unit(rng.standard_normal((GLOSSES, arguments.dims)))
    vectors, glosses = draw(rng, centers, arguments.entries)
    queries, _ = draw(rng, centers, arguments.queries)
    masks = {f"random {share:.0%}": rng.random(arguments.entries) < share for share in SHARES}
    masks["glosses 30%"] = np.isin(glosses, rng.permutation(GLOSSES)[: round(0.3 * GLOSSES)])
    lists = 2 ** round(math.log2(4 * math.sqrt(arguments.entries)))
    factories = {
        f"IVF{lists},Flat": [*(Effort(nprobe=n) for n in (1, 8, 32)), Effort()],
        "HNSW16": [*(Effort(ef=n) for n in (16, 64)), Effort()],
    }
    exact = {}
    flat = faiss_index.build(vectors)
    rows: list[dict[str, Any]] = []
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    for name, allowed in {"none": None, **masks}.items():
        exact[name] = faiss_index.search(flat, queries, K, allowed=allowed)[1]
        row = {"index": "Flat", "filter": name, "allowed": arguments.entries if allowed is None else int(allowed.sum())}
        rows.append(row | {"served": measure(ours(flat, allowed, Effort(), SCANNED), queries, exact[name])})
        print(json.dumps(rows[-1]), flush=True)
    for factory, efforts in factories.items():
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        started = time.perf_counter()
        index = faiss_index.build(vectors, factory)
        print(f"{factory} built in {time.perf_counter() - started:.1f} s", flush=True)
        faiss.omp_set_num_threads(1)
        for effort in efforts:
            setting = {name: value for name, value in effort._asdict().items() if value is not None}
            for name, allowed in {"none": None, **masks}.items():
                row = {"index": factory, **setting, "filter": name,
                       "allowed": arguments.entries if allowed is None else int(allowed.sum()),
                       "served": measure(ours(index, allowed, effort, SCANNED), queries, exact[name])}  # fmt: skip
                if allowed is not None:
                    row["selector"] = measure(ours(index, allowed, effort, 0), queries, exact[name])
                    row["post"] = measure(post_filtered(index, allowed, effort), queries, exact[name])
                rows.append(row)
                print(json.dumps(row), flush=True)
    print(json.dumps({
        "benchmark": "filters", "default_nprobe": faiss_index.default_nprobe(lists),
        "default_ef": faiss_index.DEFAULT_EF, "scanned_entries": SCANNED, "seed": arguments.seed,
        "entries": arguments.entries, "dims": arguments.dims, "queries": arguments.queries, "rows": rows,
        "cores": os.cpu_count(),
        "machine": platform.machine(), "python": platform.python_version(), "faiss": faiss.__version__,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
