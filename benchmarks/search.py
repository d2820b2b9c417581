"""How much does two-stage search miss? Its best ten against exhaustive fine-grained scoring, and the pairs it scores.

Over the real clips of a split (the curve), or over as many as --entries says: a further entry takes tokens of one
encoded clip of that split, drawn with replacement, plus Gaussian noise of the deviation that tokens of one gloss have
around their mean, measured by the true spans. The windows of one sign share their noise, as they share a signer and a
recording; noise of each token for itself would average out in the pooled vector. No entry comes closer to another, by
the cosine of pooled vectors, than the closest two real clips are: such copies are drawn again. Run:

    python -m benchmarks.search --model runs/cico_phoenix_composed/model --corpus data/phoenix-composed \\
        --features data/features/phoenix [--entries 100000]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from signatlas.corpus.format import Corpus
from signatlas.evaluation.sign_to_word.pairs import gloss_at, token_frames
from signatlas.features.store import FeatureStore
from signatlas.models.dual_encoder.encoder import DualEncoder
from signatlas.retrieval import entries
from signatlas.retrieval import faiss_index as faiss_index
from signatlas.retrieval.shard import Shard
from signatlas.retrieval.tokens import TokenTable, unit
from signatlas.retrieval.two_stage import Query, queries, rank
from signatlas.similarity import fine_grained

K, TARGET, FEWER = 10, 0.99, 50
BLOCK = 1000  # entries that are scored or compared at a time
CANDIDATES = (10, 20, 50, 100, 150, 200, 300, 500, 1000, 2000, 5000)


class Gallery(NamedTuple):
    """Entries to search: unit vectors float32 [N, E] and tokens [N]."""

    vectors: np.ndarray
    tokens: TokenTable


def within_gloss_deviation(tokens: TokenTable, glosses: Sequence[Sequence[str | None]]) -> np.ndarray:
    """Standard deviation float32 [E] of tokens around the mean of their gloss, over all glosses, by dimension."""
    groups: dict[str, list[np.ndarray]] = defaultdict(list)
    for number, around in enumerate(glosses):
        own = tokens.tokens[tokens.offsets[number] : tokens.offsets[number + 1]].astype(np.float32)
        for token, gloss in zip(own, around, strict=True):
            if gloss is not None:
                groups[gloss].append(token)
    several = [np.stack(group) for group in groups.values() if len(group) > 1]
    if not several:
        raise SystemExit("no gloss has two tokens in its true spans: choose a composed corpus and windowed features")
    squares = sum(((group - group.mean(0)) ** 2).sum(0) for group in several)
    return np.asarray(np.sqrt(squares / sum(len(group) - 1 for group in several)), np.float32)


def closest(vectors: np.ndarray) -> float:
    """The largest cosine of two different rows."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    return float(cosines.max())


def grown(
    real: Gallery, signs: Sequence[np.ndarray], count: int, deviation: np.ndarray, limit: float, seed: int
) -> tuple[Gallery, int]:
    """``real`` and copies up to ``count``, none with a cosine above ``limit`` to another; how many were redrawn.

    ``signs`` number the signs of each real entry by token, as :func:`numbered` does.
    """
    rng = np.random.default_rng(seed)
    width = real.vectors.shape[1]
    vectors = np.empty((count, width), np.float32)
    done, rejected = len(real.vectors), 0
    vectors[:done] = real.vectors
    parts, lengths = [np.asarray(real.tokens.tokens)], list(np.diff(real.tokens.offsets))
    while done < count:
        chosen = rng.integers(len(real.tokens), size=BLOCK)
        drawn = [_copy(real.tokens, int(number), signs[number], deviation, rng) for number in chosen]
        pooled = unit(np.stack([unit(tokens.astype(np.float32)).mean(0) for tokens in drawn]))
        far = (pooled @ vectors[:done].T).max(1) <= limit
        among = pooled @ pooled.T
        for row in range(BLOCK):
            if done == count:
                break
            # Those of this block that were kept count too.
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


def numbered(glosses: Sequence[str | None]) -> np.ndarray:
    """Tokens that stand side by side in the same gloss, or between the same two, get the same number."""
    return np.cumsum([place > 0 and gloss != glosses[place - 1] for place, gloss in enumerate(glosses)])


def _copy(
    tokens: TokenTable, number: int, signs: np.ndarray, deviation: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    own = tokens.tokens[tokens.offsets[number] : tokens.offsets[number + 1]].astype(np.float32)
    chosen = rng.integers(len(own), size=len(own))
    noise = deviation * rng.standard_normal((int(signs.max()) + 1, own.shape[1]), dtype=np.float32)
    return unit(own[chosen] + noise[signs[chosen]]).astype(np.float16)


def exhaustive(model: DualEncoder, asked: Sequence[Query], tokens: TokenTable) -> tuple[np.ndarray, float]:
    """Positions [Q, K] of the best by the tiled similarity of all pairs, and seconds; memory is that of a block."""
    similarity = model.config.similarity
    text, text_mask = _padded([query.tokens for query in asked])
    best, where = np.full((len(asked), 0), 0.0, np.float32), np.zeros((len(asked), 0), np.int64)
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
        where = np.concatenate([where, np.broadcast_to(np.arange(start, start + len(block)), scores.shape)], 1)
        order = np.argsort(-best, 1, kind="stable")[:, :K]
        best, where = np.take_along_axis(best, order, 1), np.take_along_axis(where, order, 1)
    return where, time.perf_counter() - started


def _padded(rows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(np.ascontiguousarray(row)) for row in rows], True)
    return padded, torch.arange(padded.shape[1])[None] < lengths[:, None]


def curve(model: DualEncoder, asked: Sequence[Query], gallery: Gallery, right: np.ndarray) -> list[dict[str, Any]]:
    """Recall of the exhaustive best, pairs and milliseconds a query, for growing numbers of candidates."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="signatlas-search-") as folder:
        gallery.tokens.write(Path(folder), np.arange(len(gallery.tokens)))
        segments = gallery.tokens.segments()
        names = [f"{n:08d}" for n in range(len(gallery.vectors))]
        shard = Shard("all", faiss_index.build(gallery.vectors), names, TokenTable.open(Path(folder), "all"), segments)
        for candidates in CANDIDATES:
            if candidates > max(len(names) // 20, 1000):
                break
            candidates = min(candidates, len(names))
            started = time.perf_counter()
            found = [rank(shard, query, model.config.similarity, K, candidates) for query in asked]
            seconds = time.perf_counter() - started
            best = [[int(id) for id, _ in f.ranked] for f in found]
            hits = sum(len(set(ids) & set(row.tolist())) for ids, row in zip(best, right, strict=True))
            first = float(np.mean([ids[0] == row[0] for ids, row in zip(best, right, strict=True)]))
            pairs, coarse = (sum(getattr(f, name) for f in found) / len(asked) for name in ("scored", "coarse"))
            row = {
                "candidates": candidates, "recall@10": round(hits / right.size, 4), "first": round(first, 4),
                "pairs": round(pairs, 1), "coarse_pairs": round(coarse, 1), "fewer": round(len(names) / pairs, 1),
                "fewer_with_coarse": round(len(names) / (pairs + coarse), 1),
                "ms": round(1000 * seconds / len(asked), 2),
            }  # fmt: skip
            rows.append(row)
            print(f"{candidates:>7} candidates: recall@10 {row['recall@10']:.4f}, first right {first:.4f}, "
                  f"{row['fewer']:>6} x fewer pairs, {row['fewer_with_coarse']} with those of segments, "
                  f"{row['ms']:.1f} ms", flush=True)  # fmt: skip
            if hits == right.size:
                break  # more candidates find no more
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a dual encoder")
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--language", default="de")
    parser.add_argument("--entries", type=int, help="resampled up to so many; the real ones alone by default")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    corpus, store = Corpus.open(arguments.corpus), FeatureStore.open(arguments.features)
    model = DualEncoder.from_pretrained(arguments.model)
    entries.check_features(store, corpus, model)
    rows = [row for row in corpus.metadata() if row["split"] == arguments.split]
    encoded = entries.encode(model, "clips", entries.clip_rows(rows), store)
    if encoded.tokens is None:
        raise SystemExit("a pooled similarity has no second stage: choose a model that compares tokens")
    real = Gallery(encoded.vectors, encoded.tokens)
    result: dict[str, Any] = {
        "benchmark": "search", "model": arguments.model, "corpus": corpus.info.name, "features": store.fingerprint,
        "synthetic": corpus.info.synthetic, "seed": arguments.seed, "entries": len(rows),
    }  # fmt: skip
    gallery = real
    if arguments.entries and arguments.entries > len(rows):
        gallery, made = _grow(real, model, store, rows, arguments)
        result |= made
    texts = sorted({t["text"] for row in rows for t in row["texts"] or () if t["language"] == arguments.language})
    rng = np.random.default_rng(arguments.seed)
    chosen = [texts[n] for n in sorted(rng.choice(len(texts), min(arguments.queries, len(texts)), replace=False))]
    asked = queries(model, "text", model.embed_texts(chosen))
    right, seconds = exhaustive(model, asked, gallery.tokens)
    print(f"exhaustive: {len(asked)} queries x {len(gallery.tokens):,} entries in {seconds:.1f} s")
    found = curve(model, asked, gallery, right)
    enough = next((row for row in found if row["recall@10"] >= TARGET), None)
    result |= {"queries": len(asked), "exhaustive_ms": round(1000 * seconds / len(asked), 1), "curve": found,
               "enough": enough, "met": bool(enough and enough["fewer_with_coarse"] >= FEWER)}  # fmt: skip
    print(json.dumps(result))


def _grow(
    real: Gallery, model: DualEncoder, store: FeatureStore, rows: list[dict[str, Any]], arguments: argparse.Namespace
) -> tuple[Gallery, dict[str, Any]]:
    glosses = [[gloss_at(row, frame) for frame in token_frames(model, store, row)] for row in rows]
    deviation = within_gloss_deviation(real.tokens, glosses)
    limit = closest(real.vectors)
    gallery, rejected = grown(real, [numbered(g) for g in glosses], arguments.entries, deviation, limit, arguments.seed)
    print(f"within-gloss deviation of unit tokens: {deviation.mean():.4f} a dimension ({deviation.min():.4f} to "
          f"{deviation.max():.4f}), length {np.linalg.norm(deviation):.3f}; closest real pair {limit:.6f}, "
          f"{rejected:,} copies redrawn")  # fmt: skip
    return gallery, {
        "entries": len(gallery.vectors), "real": len(rows), "deviation": round(float(deviation.mean()), 5),
        "deviation_length": round(float(np.linalg.norm(deviation)), 4), "closest_real_pair": round(limit, 6),
        "rejected": rejected,
    }  # fmt: skip


if __name__ == "__main__":
    main()
