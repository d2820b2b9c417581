"""Indexes to search, queries with the ids that the exhaustive local search finds, and FAISS alone as the floor."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from signatlas.corpus.format import Clip, Corpus, clips_to_table, write_corpus
from signatlas.errors import PoseError
from signatlas.pose.serialization import from_json, to_json
from signatlas.retrieval import index_version
from signatlas.retrieval.index_version import CorpusPart, IndexVersion
from signatlas.retrieval.queries import ClipReader
from signatlas.retrieval.search import SignSearch, without
from signatlas.retrieval.shard import Ranked, merge

if TYPE_CHECKING:
    from signatlas.models.sign_encoder import SignEncoder

Kind = Literal["vector", "poses", "clip"]
K = 10
QUERIES = 32  # different requests of each kind
SHARDS = 2
COMPUTE_ENTRIES, COMPUTE_DIMS = 100_000, 256
TIE = 1e-5  # scores closer than this may change places with the batch that the encoder computes


class Query(NamedTuple):
    """One query as the API takes it, and the (id, score) that the exhaustive local search returns, some below ``K``."""

    content: dict[str, Any]
    ranked: Ranked

    def body(self, old_schema: bool = False) -> bytes:
        """Return the request; ``old_schema`` is that of the service before step 6."""
        whole = {**self.content, "top_k": K} if old_schema else {"queries": [self.content], "k": K}
        return json.dumps(whole, separators=(",", ":")).encode()


def hit_ids(answer: dict[str, Any]) -> list[str]:
    """Return the ids of the hits in an answer of either schema."""
    hits = answer["results"][0]["hits"] if "results" in answer else answer["hits"]
    return [hit["id"] for hit in hits]


def same_ranking(ids: list[str], expected: Ranked) -> bool:
    """Return whether ``ids`` are the first ``K`` of ``expected``; entries with nearly equal scores may change places.

    ``expected`` continues below rank ``K``, because a tie may cross it.
    """
    scores = dict(expected)
    best = [score for _, score in expected[:K]]
    if len(ids) != len(best) or len(set(ids)) != len(ids):
        return False
    return all(id in scores and abs(scores[id] - score) < TIE for id, score in zip(ids, best, strict=True))


def queries(root: Path, kind: Kind, count: int = QUERIES, seed: int = 0) -> list[Query]:
    """Return ``count`` queries of one kind to the live version of an index of signs.

    Vectors are random; poses and clips are recordings of the index's corpus.
    """
    search = SignSearch(IndexVersion.open(root, verify=False))
    rng = np.random.default_rng(seed)
    if kind == "vector":
        return [_vector_query(search, rng) for _ in range(count)]
    part, encoder = search.index_version.manifest.corpus, search.index_version.encoder()
    reader, made = ClipReader(part.path, part.fingerprint), list[Query]()
    for row in rng.permutation(np.array(Corpus.open(part.path).metadata(), dtype=object)):
        try:
            made.append(_recording_query(search, encoder, reader.clip(row["id"]), kind))
        except PoseError:  # a recording without hands
            continue
        if len(made) == count:
            break
    return made


def _vector_query(search: SignSearch, rng: np.random.Generator) -> Query:
    dims = search.index_version.manifest.dims
    vector = rng.standard_normal(dims)
    content = [round(float(x), 7) for x in vector / np.linalg.norm(vector)]
    sent = np.array(content) / np.linalg.norm(content)
    return Query({"vector": content}, search.rank(sent[None].astype(np.float32), K + 5)[0])


def _recording_query(search: SignSearch, encoder: SignEncoder, clip: Clip, kind: Kind) -> Query:
    nested = to_json(clip.poses, 5)
    poses = clip.poses if kind == "clip" else from_json(nested)
    aspect = encoder.aspect_of(clip.source, clip.width, clip.height)
    vectors = np.concatenate([encoder.embed([poses], aspect=aspect, mirror=side) for side in (False, True)])
    ranked = merge(search.rank(vectors, K + 6), K + 6)
    if kind == "clip":
        return Query({"clip": clip.id}, without(ranked, clip.id, K + 5))
    size = {"width": clip.width, "height": clip.height} if clip.width and clip.height else {"source": clip.source}
    return Query({"poses": nested, **size}, ranked)


def small_index(work: Path) -> Path:
    """Return an index of 1,200 random vectors of 128 dimensions; its recordings are procedural signs."""
    return _made(work, "small", None, 128)


def compute_index(work: Path, entries: int = COMPUTE_ENTRIES, dims: int = COMPUTE_DIMS) -> Path:
    """Return an index of ``entries`` random vectors in two shards, about 50,000 each."""
    return _made(work, f"compute-{entries}x{dims}", entries, dims)


def _made(work: Path, name: str, entries: int | None, dims: int) -> Path:
    """Build an index in ``work`` once; without ``entries`` it has one for each recording of the corpus."""
    root = work / name
    if (root / index_version.CURRENT).is_file():
        return root
    from signatlas.models.sign_encoder import SignEncoder, SignEncoderConfig
    from signatlas.synthetic.procedural import compose

    corpus = work / "corpus"
    if not (corpus / "corpus.json").is_file():
        info, clips = compose(signs=100, signers=6, takes=2, seed=0)
        write_corpus(corpus, info, clips)
    opened = Corpus.open(corpus)
    table = pa.concat_tables([clips_to_table(list(opened))])
    if entries is not None:
        template = table.slice(0, 1).to_pylist()[0]
        ids = [f"random/{n:07d}" for n in range(entries)]
        columns = {key: pa.array([template[key]] * entries, table.schema.field(key).type)
                   for key in index_version.ROW_COLUMNS}  # fmt: skip
        glosses = pa.array([f"random {n % 1000}" for n in range(entries)], table.schema.field("gloss").type)
        table = pa.table({**columns, "id": pa.array(ids), "gloss": glosses})
    rng = np.random.default_rng(len(name))
    vectors = rng.standard_normal((len(table), dims), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    import torch

    torch.manual_seed(0)
    model = work / f"model-{dims}"
    SignEncoder(SignEncoderConfig(points="nose_hands", dims=2, embedding=dims)).save_pretrained(model)
    info = opened.info
    part = CorpusPart(name=info.name, path=str(corpus.absolute()), fingerprint=info.fingerprint, license=info.license,
                      sign_languages=info.sign_languages, synthetic=True)  # fmt: skip
    rows = index_version.as_rows([table])
    index_version.write(root, vectors, rows, model=model, corpus=part, shards=SHARDS, version="v1")
    index_version.activate(root, "v1")
    return root


def faiss_alone(root: Path, batch: int, threads: int, seconds: float) -> dict[str, Any]:
    """Return searches per second in this process: ``batch`` vectors at a time, merged over the shards."""
    import faiss

    faiss.omp_set_num_threads(threads)
    search = SignSearch(IndexVersion.open(root, verify=False))
    vectors = np.random.default_rng(0).standard_normal((batch, search.index_version.manifest.dims), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    search.rank(vectors, K)
    times: list[float] = []
    started = time.perf_counter()
    while (now := time.perf_counter()) - started < seconds or not times:
        search.rank(vectors, K)
        times.append(time.perf_counter() - now)
    elapsed = time.perf_counter() - started
    percentiles = {f"p{p}_ms": round(1000 * float(np.percentile(times, p)), 2) for p in (50, 95, 99)}
    return {"requests": len(times) * batch, "per_s": round(len(times) * batch / elapsed, 2), **percentiles,
            "errors": {}, "wrong": 0, "stages_ms": {}}  # fmt: skip


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))
