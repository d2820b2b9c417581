"""Recall@10 of two-stage search against exhaustive fine-grained scoring, and the products of vectors it computes.

Two shards over the same entries are searched in turn, each in a process of its own: one whose candidates are chosen by
centroids and clusters, as an index is built today, and one with segments, as it was built before. A product is an inner
product of two vectors of the tokens' width, whatever they are: a query token with a centroid, a cluster, a segment or a
token, the query's vector with an entry's. Looking up a product that was computed is none. Exhaustive scoring takes one
product of each query token with each token of each entry.

Entries are the real clips of a split, or --entries: additional entries are synthetic. A synthetic entry has tokens of
one encoded clip of the split, drawn with replacement, plus Gaussian noise with the standard deviation of tokens around
the mean of their gloss, measured on the true spans. All windows of a sign share their noise, like the signer and the
recording; independent noise would average out in the pooled vector. Entries whose pooled vector has a higher cosine
with another than the closest two real clips are rejected and drawn again. Run:

    python -m benchmarks.search --model runs/cico_phoenix_composed/model --corpus data/phoenix-composed \\
        --features data/features/phoenix [--entries 100000] [--tokens FILE.npz]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from signatlas.corpus.format import Corpus
from signatlas.evaluation.sign_to_word.maps import gloss_at, token_frames
from signatlas.features.store import FeatureStore
from signatlas.models.dual_encoder.config import SimilarityConfig
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval import entries, faiss_index
from signatlas.retrieval.clusters import CLUSTER_FOLDER, ClusterTable
from signatlas.retrieval.shard import Shard
from signatlas.retrieval.tokens import SEGMENT_FOLDER, TOKENS, TokenTable, unit
from signatlas.retrieval.two_stage import Query, encode_queries, rank
from signatlas.similarity import fine_grained

K, TARGET_RECALL, TARGET_RATIO = 10, 0.99, 50
BLOCK = 1000  # entries that are scored or compared together
CANDIDATES = (10, 20, 50, 100, 150, 200, 300, 500, 1000, 2000, 5000)
DESIGNS = ("segments", "clusters")


class Gallery(NamedTuple):
    """Entries of an index: unit vectors float32 [N, E] and tokens [N]."""

    vectors: np.ndarray
    tokens: TokenTable


def within_gloss_deviation(tokens: TokenTable, glosses: Sequence[Sequence[str | None]]) -> np.ndarray:
    """Return the standard deviation float32 [E] of tokens around the mean of their gloss, over all glosses.

    ``glosses`` has the gloss of each token, or None. Raises SystemExit if no gloss has two tokens.
    """
    groups: dict[str, list[np.ndarray]] = defaultdict(list)
    for number, entry_glosses in enumerate(glosses):
        entry_tokens = tokens.tokens[tokens.offsets[number] : tokens.offsets[number + 1]].astype(np.float32)
        for token, gloss in zip(entry_tokens, entry_glosses, strict=True):
            if gloss is not None:
                groups[gloss].append(token)
    repeated = [np.stack(group) for group in groups.values() if len(group) > 1]
    if not repeated:
        raise SystemExit("no gloss has two tokens in its true spans: use a composed corpus and windowed features")
    squares = sum(((group - group.mean(0)) ** 2).sum(0) for group in repeated)
    return np.asarray(np.sqrt(squares / sum(len(group) - 1 for group in repeated)), np.float32)


def largest_cosine(vectors: np.ndarray) -> float:
    """Return the largest cosine of two different rows."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    return float(cosines.max())


def add_synthetic_entries(
    real: Gallery, signs: Sequence[np.ndarray], count: int, deviation: np.ndarray, limit: float, seed: int
) -> tuple[Gallery, int]:
    """Return ``real`` with synthetic entries up to ``count``, and the number of rejected draws.

    No entry has a cosine above ``limit`` with another. ``signs`` has the sign number of each token of a real entry, as
    returned by :func:`sign_numbers`.
    """
    rng = np.random.default_rng(seed)
    width = real.vectors.shape[1]
    vectors = np.empty((count, width), np.float32)
    done, rejected = len(real.vectors), 0
    vectors[:done] = real.vectors
    parts, lengths = [np.asarray(real.tokens.tokens)], list(np.diff(real.tokens.offsets))
    while done < count:
        chosen = rng.integers(len(real.tokens), size=BLOCK)
        drawn = [_synthetic_tokens(real.tokens, int(number), signs[number], deviation, rng) for number in chosen]
        pooled = unit(np.stack([unit(tokens.astype(np.float32)).mean(0) for tokens in drawn]))
        far = (pooled @ vectors[:done].T).max(1) <= limit
        among = pooled @ pooled.T
        for row in range(BLOCK):
            if done == count:
                break
            # Compare with the accepted entries of this block too.
            if far[row] and (among[row, :row][far[:row]] <= limit).all():
                vectors[done] = pooled[row]
                parts.append(drawn[row])
                lengths.append(len(drawn[row]))
                done += 1
            else:
                far[row] = False
                rejected += 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Gallery(vectors, TokenTable(np.concatenate(parts), offsets)), rejected


def sign_numbers(glosses: Sequence[str | None]) -> np.ndarray:
    """Return a sign number [T] for each token: adjacent tokens with the same gloss (or none) have the same number."""
    return np.cumsum([index > 0 and gloss != glosses[index - 1] for index, gloss in enumerate(glosses)])


def _synthetic_tokens(
    tokens: TokenTable, number: int, signs: np.ndarray, deviation: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    source = tokens.tokens[tokens.offsets[number] : tokens.offsets[number + 1]].astype(np.float32)
    chosen = rng.integers(len(source), size=len(source))
    noise = deviation * rng.standard_normal((int(signs.max()) + 1, source.shape[1]), dtype=np.float32)
    return unit(source[chosen] + noise[signs[chosen]]).astype(np.float16)


def exhaustive(model: DualEncoder, queries: Sequence[Query], tokens: TokenTable) -> tuple[np.ndarray, float]:
    """Return the indices [Q, K] of the best entries by the tiled similarity of all pairs, and the seconds.

    Needs the memory of one block of entries.
    """
    similarity = model.config.similarity
    text, text_mask = _padded([query.tokens for query in queries])
    best, indices = np.full((len(queries), 0), 0.0, np.float32), np.zeros((len(queries), 0), np.int64)
    started = time.perf_counter()
    for start in range(0, len(tokens), BLOCK):
        block = tokens.take(np.arange(start, min(start + BLOCK, len(tokens))))
        video, mask = _padded(np.split(block.tokens.astype(np.float32), block.offsets[1:-1]))
        with torch.no_grad():
            to_text, to_video = fine_grained(
                video, text, mask, text_mask, tau=similarity.tau, aggregation=similarity.aggregation, backend="tiled"
            )
        scores = (similarity.beta * to_text + (1 - similarity.beta) * to_video).T.numpy()
        best = np.concatenate([best, scores], 1)
        indices = np.concatenate([indices, np.broadcast_to(np.arange(start, start + len(block)), scores.shape)], 1)
        order = np.argsort(-best, 1, kind="stable")[:, :K]
        best, indices = np.take_along_axis(best, order, 1), np.take_along_axis(indices, order, 1)
    return indices, time.perf_counter() - started


def _padded(rows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(np.ascontiguousarray(row)) for row in rows], True)
    return padded, torch.arange(padded.shape[1])[None] < lengths[:, None]


class _Searcher:
    """A shard and queries in a process of its own."""

    current: _Searcher

    def __init__(self, folder: Path, queries: list[Query], similarity: SimilarityConfig, threads: int):
        import faiss

        torch.set_num_threads(threads)
        faiss.omp_set_num_threads(threads)
        before = _resident()
        self.shard, self.queries, self.similarity = Shard.load(folder), queries, similarity
        self.loaded = [(now - then) / 2**10 for now, then in zip(_resident(), before, strict=True)]
        self.before = before
        _Searcher.current = self

    @staticmethod
    def measure(candidates: int) -> dict[str, Any]:
        """Return what a pass over the queries finds and costs."""
        me = _Searcher.current
        started, processor = time.perf_counter(), time.process_time()
        results = [rank(me.shard, query, me.similarity, K, candidates) for query in me.queries]
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        anonymous, mapped = ((now - then) / 2**10 for now, then in zip(_resident(), me.before, strict=True))
        return {
            "ids": [[id for id, _ in result.ranked] for result in results],
            "pairs": sum(result.scored for result in results),
            "coarse": sum(result.coarse for result in results),
            "products": sum(result.products for result in results),
            "seconds": seconds, "processor": processor, "loaded_mib": round(me.loaded[0], 1),
            "anonymous_mib": round(anonymous, 1), "mapped_mib": round(mapped, 1),
        }  # fmt: skip


def _resident() -> tuple[int, int]:
    """Return anonymous and file-backed resident memory in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["RssAnon"].split()[0]), int(fields["RssFile"].split()[0])


def write_shards(gallery: Gallery, root: Path) -> dict[str, dict[str, Any]]:
    """Write a shard for each of ``DESIGNS`` below ``root``; return bytes an entry and seconds to build."""
    everything, sizes = np.arange(len(gallery.vectors)), {}
    for design in DESIGNS:
        folder = root / design
        folder.mkdir()
        faiss_index.write(faiss_index.build(gallery.vectors), folder / "index.faiss")
        pq.write_table(pa.table({"id": [f"{n:08d}" for n in everything]}), folder / "ids.parquet")
        if design == DESIGNS[0]:
            gallery.tokens.write(folder, everything)
        else:  # both map the same pages
            for name in (TOKENS, "offsets.npy"):
                os.link(root / DESIGNS[0] / name, folder / name)
        started = time.perf_counter()
        if design == "segments":
            (folder / SEGMENT_FOLDER).mkdir()
            gallery.tokens.segments().write(folder / SEGMENT_FOLDER, everything)
        else:
            (folder / CLUSTER_FOLDER).mkdir()
            ClusterTable.build(gallery.tokens).write(folder / CLUSTER_FOLDER, everything)
        files = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
        first_stages = sum(size for name, size in files.items() if "/" in name or name == "index.faiss")
        sizes[design] = {
            "build_s": round(time.perf_counter() - started, 1),
            "token_bytes": round(files[TOKENS] / len(everything), 1),
            "other_bytes": round(first_stages / len(everything), 1),
        }
        print(f"{design}: {sizes[design]}", flush=True)
    return sizes


def curves(
    model: DualEncoder,
    queries: list[Query],
    gallery: Gallery,
    expected: np.ndarray,
    candidates: Sequence[int],
    threads: int,
) -> dict[str, dict[str, Any]]:
    """Return for each design recall, products, pairs and milliseconds per query for increasing numbers of candidates.

    ``expected`` are the indices [Q, K] of the exhaustive search. The designs are measured in turn.
    """
    all_products = sum(len(query.tokens) for query in queries) * len(gallery.tokens.tokens)
    count, context = len(gallery.vectors), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="signatlas-search-") as folder:
        result = write_shards(gallery, Path(folder))
        pools = {
            design: ProcessPoolExecutor(
                1, context, _Searcher, (Path(folder) / design, queries, model.config.similarity, threads)
            )
            for design in DESIGNS
        }
        for design in DESIGNS:
            result[design]["curve"] = []
            pools[design].submit(_Searcher.measure, K).result()  # reads the files
        done: set[str] = set()
        for number in candidates:
            if number > max(count // 20, 1000):
                break
            for design in (design for design in DESIGNS if design not in done):
                measured = pools[design].submit(_Searcher.measure, min(number, count)).result()
                row = _row(number, measured, expected, count, all_products)
                result[design]["curve"].append(row)
                result[design] |= {name: measured[name] for name in ("loaded_mib", "anonymous_mib", "mapped_mib")}
                print(f"{design} {json.dumps(row)}", flush=True)
                if row["recall@10"] == 1:
                    done.add(design)  # more candidates cannot improve the recall
        for pool in pools.values():
            pool.shutdown()
    return result


def _row(
    candidates: int, measured: dict[str, Any], expected: np.ndarray, count: int, all_products: int
) -> dict[str, Any]:
    best = [[int(id) for id in ids] for ids in measured["ids"]]
    hits = sum(len(set(ids) & set(row.tolist())) for ids, row in zip(best, expected, strict=True))
    first = float(np.mean([ids[0] == row[0] for ids, row in zip(best, expected, strict=True)]))
    pairs, coarse = measured["pairs"] / len(best), measured["coarse"] / len(best)
    return {
        "candidates": candidates, "recall@10": round(hits / expected.size, 4), "first": round(first, 4),
        "pairs": round(pairs, 1), "coarse_pairs": round(coarse, 1), "fewer": round(count / pairs, 1),
        "fewer_with_coarse": round(count / (pairs + coarse), 1),
        "fewer_products": round(all_products / measured["products"], 1),
        "ms": round(1000 * measured["seconds"] / len(best), 2),
        "processor_ms": round(1000 * measured["processor"] / len(best), 2),
    }  # fmt: skip


def first_enough(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the row with the fewest candidates that reaches the target recall."""
    return next((row for row in rows if row["recall@10"] >= TARGET_RECALL), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a dual encoder")
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--language", default="de")
    parser.add_argument(
        "--entries", type=int, help="number of entries, including synthetic ones; only real ones by default"
    )
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--candidates", type=int, nargs="+", default=CANDIDATES)
    parser.add_argument("--tokens", type=Path, help="also write the tokens of entries and queries to this .npz file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    corpus, store = Corpus.open(arguments.corpus), FeatureStore.open(arguments.features)
    model = DualEncoder.from_pretrained(arguments.model)
    entries.check_features(store, corpus, model)
    rows = [row for row in corpus.metadata() if row["split"] == arguments.split]
    encoded = entries.encode(model, "clips", entries.clip_rows(rows), store)
    if encoded.tokens is None:
        raise SystemExit("the model has a pooled similarity and no second stage: use one that compares tokens")
    real = Gallery(encoded.vectors, encoded.tokens)
    result: dict[str, Any] = {
        "benchmark": "search", "model": arguments.model, "corpus": corpus.info.name, "features": store.fingerprint,
        "synthetic": corpus.info.synthetic, "seed": arguments.seed, "entries": len(rows),
    }  # fmt: skip
    gallery = real
    if arguments.entries and arguments.entries > len(rows):
        gallery, statistics = _grow_gallery(real, model, store, rows, arguments)
        result |= statistics
    texts = sorted({t["text"] for row in rows for t in row["texts"] or () if t["language"] == arguments.language})
    rng = np.random.default_rng(arguments.seed)
    chosen = [texts[n] for n in sorted(rng.choice(len(texts), min(arguments.queries, len(texts)), replace=False))]
    queries = encode_queries(model, "text", model.embed_texts(chosen))
    if arguments.tokens:
        write_tokens(arguments.tokens, gallery, queries)
    expected, seconds = exhaustive(model, queries, gallery.tokens)
    print(f"exhaustive: {len(queries)} queries x {len(gallery.tokens):,} entries in {seconds:.1f} s", flush=True)
    designs = curves(model, queries, gallery, expected, arguments.candidates, arguments.threads)
    before, now = (first_enough(designs[design]["curve"]) for design in DESIGNS)
    result |= {
        "queries": len(queries), "threads": arguments.threads,
        "query_tokens": round(float(np.mean([len(query.tokens) for query in queries])), 2),
        "entry_tokens": round(len(gallery.tokens.tokens) / len(gallery.tokens), 2),
        "exhaustive_ms": round(1000 * seconds / len(queries), 1), "designs": designs, "enough": now,
        "enough_with_segments": before,
        "met": bool(now and now["fewer_products"] >= TARGET_RATIO and (before is None or now["ms"] < before["ms"])),
    }  # fmt: skip
    print(json.dumps(result))


def write_tokens(path: Path, gallery: Gallery, queries: Sequence[Query]) -> None:
    """Write the tokens of entries and queries, for ``benchmarks/plaid.py``."""
    np.savez(
        path, tokens=gallery.tokens.tokens, offsets=gallery.tokens.offsets,
        query_tokens=np.concatenate([query.tokens for query in queries]),
        query_offsets=np.cumsum([0, *(len(query.tokens) for query in queries)]),
    )  # fmt: skip


def _grow_gallery(
    real: Gallery, model: DualEncoder, store: FeatureStore, rows: list[dict[str, Any]], arguments: argparse.Namespace
) -> tuple[Gallery, dict[str, Any]]:
    glosses = [[gloss_at(row, frame) for frame in token_frames(model, store, row)] for row in rows]
    deviation = within_gloss_deviation(real.tokens, glosses)
    limit = largest_cosine(real.vectors)
    gallery, rejected = add_synthetic_entries(
        real, [sign_numbers(g) for g in glosses], arguments.entries, deviation, limit, arguments.seed
    )
    print(f"within-gloss standard deviation of unit tokens: {deviation.mean():.4f} per dimension "
          f"({deviation.min():.4f} to {deviation.max():.4f}), norm {np.linalg.norm(deviation):.3f}; "
          f"largest cosine of real clips {limit:.6f}; "
          f"{rejected:,} draws rejected")  # fmt: skip
    return gallery, {
        "entries": len(gallery.vectors), "real": len(rows), "deviation": round(float(deviation.mean()), 5),
        "deviation_length": round(float(np.linalg.norm(deviation)), 4), "closest_real_pair": round(limit, 6),
        "rejected": rejected,
    }  # fmt: skip


if __name__ == "__main__":
    main()
