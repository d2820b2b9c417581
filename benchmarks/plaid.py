"""Recall@10 of fast-plaid against its own exhaustive answer, by its own score, on the tokens of the search benchmark.

Its score is ColBERT's: the sum over query tokens of the highest cosine with a token of the entry (MaxSim). By hand, in
an environment of its own, since fast-plaid requires another version of torch (4.8 GB to install):

    python -m venv fp && fp/bin/pip install fast-plaid
    python -m benchmarks.search ... --entries 100000 --tokens tokens.npz
    fp/bin/python benchmarks/plaid.py tokens.npz [--entries 100000]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

K = 10
BLOCK = 2000  # entries that are scored together
FULL_SCORES = (256, 512, 1024, 2048, 4096)  # candidates after the centroids; a quarter of them is scored by residuals


def rows_of(tokens: np.ndarray, offsets: np.ndarray) -> list[torch.Tensor]:
    """Return the tokens of each entry as float32 [M, E]."""
    return [torch.from_numpy(np.asarray(row, np.float32)) for row in np.split(tokens, offsets[1:-1])]


def exhaustive(queries: list[torch.Tensor], entries: list[torch.Tensor]) -> np.ndarray:
    """Return the positions [Q, K] of the entries with the highest MaxSim."""
    best = torch.zeros(len(queries), 0)
    for start in range(0, len(entries), BLOCK):
        block = entries[start : start + BLOCK]
        tokens = torch.cat(block)
        entry = torch.arange(len(block)).repeat_interleave(torch.tensor([len(row) for row in block]))
        scores = torch.empty(len(queries), len(block))
        for number, query in enumerate(queries):
            highest = torch.full((len(block), len(query)), -2.0)
            index = entry[:, None].expand(-1, len(query))
            scores[number] = highest.scatter_reduce(0, index, tokens @ query.T, "amax").sum(1)
        best = torch.cat([best, scores], 1)
    return best.topk(K, dim=1).indices.numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path, help="file that benchmarks.search --tokens has written")
    parser.add_argument("--entries", type=int, help="number of entries, the first ones; all by default")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--probes", type=int, default=8, help="centroids probed for each query token")
    arguments = parser.parse_args()
    from fast_plaid import search

    torch.set_num_threads(arguments.threads)
    with np.load(arguments.tokens) as file:
        count = min(arguments.entries or len(file["offsets"]) - 1, len(file["offsets"]) - 1)
        offsets = file["offsets"][: count + 1]
        entries = rows_of(file["tokens"][: offsets[-1]], offsets)
        queries = rows_of(file["query_tokens"], file["query_offsets"])[: arguments.queries]
    started = time.perf_counter()
    expected = exhaustive(queries, entries)
    result: dict[str, Any] = {
        "benchmark": "plaid", "fast_plaid": importlib.metadata.version("fast-plaid"), "torch": torch.__version__,
        "entries": count, "queries": len(queries), "threads": arguments.threads, "probes": arguments.probes,
        "exhaustive_ms": round(1000 * (time.perf_counter() - started) / len(queries), 1), "curve": [],
    }  # fmt: skip
    print(f"exhaustive: {result['exhaustive_ms']} ms a query", flush=True)
    with tempfile.TemporaryDirectory(prefix="plaid-") as folder:
        index = search.FastPlaid(index=folder, device="cpu")
        started = time.perf_counter()
        index.create(documents_embeddings=entries, seed=0)
        result["build_s"] = round(time.perf_counter() - started, 1)
        files = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
        result["bytes_an_entry"] = round(sum(files) / count, 1)
        settings: dict[str, Any] = {"top_k": K, "n_ivf_probe": arguments.probes, "show_progress": False}
        index.search(queries[:2], **settings)  # loads the index
        for full_scores in FULL_SCORES:
            started, processor = time.perf_counter(), time.process_time()
            found = [index.search(query[None], n_full_scores=full_scores, **settings)[0] for query in queries]
            seconds, processor = time.perf_counter() - started, time.process_time() - processor
            hits = sum(
                len({id for id, _ in ranked} & set(row.tolist())) for ranked, row in zip(found, expected, strict=True)
            )
            result["curve"].append({
                "full_scores": full_scores, "recall@10": round(hits / expected.size, 4),
                "ms": round(1000 * seconds / len(queries), 2),
                "processor_ms": round(1000 * processor / len(queries), 2),
            })  # fmt: skip
            print(result["curve"][-1], flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
