"""The parts that compute: one encoder, and one deployment a shard. Each holds one version and swaps it whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from ray import serve

from serve.config import ServeConfig
from signatlas.errors import PoseError, UserError
from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval.merge import Ranked
from signatlas.retrieval.shard import Shard as ShardIndex
from signatlas.retrieval.snapshot import Snapshot

logger = logging.getLogger("ray.serve")
T = TypeVar("T")


class Recording(NamedTuple):
    """One clip to embed: float32 [frames, 75, 3] in image units; ``aspect`` is width/height where known."""

    poses: np.ndarray
    aspect: float | None
    source: str | None
    mirror: bool


class Live(Generic[T]):
    """What a replica serves now, and the version it belongs to."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.content: T | None = None

    async def swap(self, version: str, load: Callable[[], T]) -> None:
        """Load ``version`` in a thread, then put it in place of the old one, which goes on serving if that fails."""
        if version == self.version:
            return
        try:
            content = await asyncio.to_thread(load)
        except UserError as error:
            if self.version is None:
                raise
            logger.error("version %s goes on serving: %s", self.version, error)
            return
        self.version, self.content = version, content

    def get(self) -> tuple[str, T]:
        assert self.version is not None and self.content is not None
        return self.version, self.content


class Encoder:
    """Embeds poses; requests of several routers are embedded together."""

    def __init__(self, config: ServeConfig) -> None:
        import torch

        torch.set_num_threads(config.threads)
        self.config, self.live = config, Live[SignEncoder]()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        version = user_config["version"]

        def load() -> SignEncoder:
            import torch

            encoder = Snapshot.open(self.config.index, version, verify=False).encoder(verify=True)
            return encoder.cuda() if self.config.encoder.num_gpus and torch.cuda.is_available() else encoder

        await self.live.swap(version, load)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.001)
    async def embed(self, requests: list[list[Recording]]) -> list[tuple[str, list[np.ndarray | PoseError]]]:
        """For each request the version and one unit vector [E] a recording, or why there is none."""
        version, encoder = self.live.get()
        recordings = [recording for request in requests for recording in request]
        vectors = iter(await asyncio.to_thread(_embed, encoder, recordings))
        return [(version, [next(vectors) for _ in request]) for request in requests]

    async def version(self) -> str:
        return self.live.get()[0]


def _embed(encoder: SignEncoder, recordings: list[Recording]) -> list[np.ndarray | PoseError]:
    """In batches by side; when one of a batch cannot be embedded, each is tried alone."""
    results: list[np.ndarray | PoseError] = [PoseError("not embedded")] * len(recordings)
    for mirror in (False, True):
        chosen = [i for i, recording in enumerate(recordings) if recording.mirror is mirror]
        poses = [recordings[i].poses for i in chosen]
        aspects = [recordings[i].aspect or encoder.aspect_of(recordings[i].source, None, None) for i in chosen]
        try:
            vectors: list[Any] = list(encoder.embed(poses, aspect=aspects, mirror=mirror))
        except PoseError:
            vectors = [_embed_one(encoder, p, a, mirror) for p, a in zip(poses, aspects, strict=True)]
        for i, vector in zip(chosen, vectors, strict=True):
            results[i] = vector
    return results


def _embed_one(encoder: SignEncoder, poses: np.ndarray, aspect: float | None, mirror: bool) -> np.ndarray | PoseError:
    try:
        vector: np.ndarray = encoder.embed([poses], aspect=aspect, mirror=mirror)[0]
    except PoseError as error:
        return error
    return vector


class Shard:
    """Searches one shard of the live version."""

    def __init__(self, config: ServeConfig, number: int) -> None:
        import faiss

        faiss.omp_set_num_threads(config.threads)
        self.config, self.number, self.live = config, number, Live[ShardIndex]()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        version = user_config["version"]

        def load() -> ShardIndex:
            return Snapshot.open(self.config.index, version, verify=False).shard(self.number, verify=True)

        await self.live.swap(version, load)

    async def search(self, vectors: np.ndarray, ks: list[int]) -> tuple[str, list[Ranked]]:
        """The version, and for each query of float32 [Q, E] its own number ``ks[q]`` of (id, score)."""
        version, shard = self.live.get()
        return version, await asyncio.to_thread(_search, shard, vectors, np.array(ks))

    async def version(self) -> str:
        return self.live.get()[0]


def _search(shard: ShardIndex, vectors: np.ndarray, ks: np.ndarray) -> list[Ranked]:
    """One FAISS call for each distinct k, so that an answer never depends on what else was asked at the time."""
    results: list[Ranked] = [[] for _ in ks]
    for k in np.unique(ks):
        chosen = np.flatnonzero(ks == k)
        for i, ranked in zip(chosen, shard.search(vectors[chosen], int(k)), strict=True):
            results[i] = ranked
    return results
