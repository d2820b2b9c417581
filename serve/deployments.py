"""The parts that compute: one encoder, and one deployment a shard. Each holds one version and swaps it whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from ray import serve

from serve.config import ServeConfig
from signatlas.errors import PoseError, SnapshotError, UserError
from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval.index_version import Snapshot
from signatlas.retrieval.merge import Ranked
from signatlas.retrieval.shard import Shard as ShardIndex

logger = logging.getLogger("ray.serve")
T = TypeVar("T")
KEEP_PREVIOUS_S = 120.0  # a router of the previous version has answered its last request by then


class Recording(NamedTuple):
    """One clip to embed: float32 [frames, 75, 3] in image units; ``aspect`` is width/height where known."""

    poses: np.ndarray
    aspect: float | None
    source: str | None
    mirror: bool


class Live(Generic[T]):
    """What a replica serves, by version: the live one and, for a while, the one before it.

    Replicas are exchanged one after the other, so that a router may ask for either version until all have changed.
    """

    def __init__(self, load: Callable[[str], T]) -> None:
        self._load, self._newest = load, ""
        self._held: dict[str, T] = {}

    async def take(self, version: str, previous: str | None = None) -> None:
        """Load ``version``, in a thread, as the newest; ``previous`` too, if it can still be read.

        Raises UserError when ``version`` cannot be loaded and nothing else is held; else the old one goes on serving.
        """
        previous = previous or self._newest
        for name in (previous, version):
            try:
                if name and name not in self._held:
                    self._held[name] = await asyncio.to_thread(self._load, name)
            except UserError as error:
                if name == version and not self._newest:
                    raise
                logger.error("version %s cannot be loaded: %s", name, error)
        if version in self._held:
            self._newest = version
            self._held = {name: self._held[name] for name in (version, previous) if name in self._held}
            asyncio.get_running_loop().call_later(KEEP_PREVIOUS_S, self._forget_all_but, version)

    def _forget_all_but(self, version: str) -> None:
        if self._newest == version:
            self._held = {version: self._held[version]}

    def get(self, version: str | None = None) -> tuple[str, T]:
        """(version, content): that of ``version`` if it is held, else of the newest."""
        name = version if version in self._held and version is not None else self._newest
        return name, self._held[name]

    def versions(self) -> list[str]:
        """Those that can be asked for, the newest first."""
        return list(self._held)


class Encoder:
    """Embeds poses; requests of several routers are embedded together."""

    def __init__(self, config: ServeConfig) -> None:
        import torch

        torch.set_num_threads(config.threads)
        self.config, self.live = config, Live(self._load)

    def _load(self, version: str) -> SignEncoder:
        import torch

        encoder = Snapshot.open(self.config.index, version, verify=False).encoder(verify=True)
        return encoder.cuda() if self.config.encoder.num_gpus and torch.cuda.is_available() else encoder

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        await self.live.take(**user_config)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.001)
    async def embed(
        self, requests: list[tuple[str, list[Recording]]]
    ) -> list[tuple[str, list[np.ndarray | PoseError]]]:
        """For each request (version, recordings) one unit vector [E] a recording, or why there is none.

        The version of the answer is another one, and there are no vectors, where this replica does not hold it.
        """
        # Looked up once: while a batch is computed in its thread, another version may become the newest.
        held = {version: self.live.get(version) for version, _ in requests}
        results: list[tuple[str, list[np.ndarray | PoseError]]] = [(held[version][0], []) for version, _ in requests]
        for version, (found, encoder) in held.items():
            chosen = [i for i, (asked, _) in enumerate(requests) if asked == version == found]
            recordings = [recording for i in chosen for recording in requests[i][1]]
            vectors = iter(await asyncio.to_thread(_embed, encoder, recordings))
            for i in chosen:
                results[i] = version, [next(vectors) for _ in requests[i][1]]
        return results

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
        self.config, self.number, self.live = config, number, Live(self._load)

    def _load(self, version: str) -> ShardIndex:
        snapshot = Snapshot.open(self.config.index, version, verify=False)
        if self.number >= len(snapshot.manifest.shards):
            raise SnapshotError(f"version {version} has no shard {self.number}")
        return snapshot.shard(self.number, verify=True)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        await self.live.take(**user_config)

    async def search(self, version: str, vectors: np.ndarray, ks: list[int]) -> tuple[str, list[Ranked]]:
        """For each query of float32 [Q, E] its own number ``ks[q]`` of (id, score), and the version that answers.

        That is another version than the one asked for where this replica does not hold it; then there are no answers.
        """
        found, shard = self.live.get(version)
        if found != version:
            return found, []
        return found, await asyncio.to_thread(_search, shard, vectors, np.array(ks))

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
