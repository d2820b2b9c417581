"""The deployments that compute: one encoder, and one deployment for each shard of the index."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from ray import serve

from serve.config import ServeConfig
from signatlas.errors import IndexVersionError, PoseError, UserError
from signatlas.models.sign_encoder import SignEncoder
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.shard import Ranked
from signatlas.retrieval.shard import Shard as ShardIndex

logger = logging.getLogger("ray.serve")
T = TypeVar("T")
KEEP_PREVIOUS_S = 120.0  # time for routers of the previous version to answer their last request


class Recording(NamedTuple):
    """One clip to embed: float32 [frames, 75, 3] in image units; ``aspect`` is width/height where known."""

    poses: np.ndarray
    aspect: float | None
    source: str | None
    mirror: bool


class LoadedVersions(Generic[T]):
    """The index versions that a replica has loaded: the newest and, for a while, the one before.

    Replicas switch one after the other, so a router may ask for either version until all have switched.
    """

    def __init__(self, load: Callable[[str], T]) -> None:
        self._load, self._newest = load, ""
        self._loaded: dict[str, T] = {}

    async def switch(self, version: str, previous: str | None = None) -> None:
        """Load ``version`` in a thread and make it the newest; also load ``previous`` if it is readable.

        Raises UserError when ``version`` cannot be loaded and there is no other; otherwise the old one stays in use.
        """
        previous = previous or self._newest
        for name in (previous, version):
            try:
                if name and name not in self._loaded:
                    self._loaded[name] = await asyncio.to_thread(self._load, name)
            except UserError as error:
                if name == version and not self._newest:
                    raise
                logger.error("version %s cannot be loaded: %s", name, error)
        if version in self._loaded:
            self._newest = version
            self._loaded = {name: self._loaded[name] for name in (version, previous) if name in self._loaded}
            asyncio.get_running_loop().call_later(KEEP_PREVIOUS_S, self._unload_all_but, version)

    def _unload_all_but(self, version: str) -> None:
        if self._newest == version:
            self._loaded = {version: self._loaded[version]}

    def get(self, version: str | None = None) -> tuple[str, T]:
        """Return (version, content) of ``version`` if it is loaded, else of the newest."""
        name = version if version in self._loaded and version is not None else self._newest
        return name, self._loaded[name]

    def versions(self) -> list[str]:
        """Return the loaded versions, the newest first."""
        return list(self._loaded)


class Encoder:
    """Embeds poses; requests of several routers are embedded in one batch."""

    def __init__(self, config: ServeConfig) -> None:
        import torch

        torch.set_num_threads(config.threads)
        self.config, self.loaded = config, LoadedVersions(self._load)

    def _load(self, version: str) -> SignEncoder:
        import torch

        encoder = IndexVersion.open(self.config.index, version, verify=False).encoder(verify=True)
        return encoder.cuda() if self.config.encoder.num_gpus and torch.cuda.is_available() else encoder

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        await self.loaded.switch(**user_config)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.001)
    async def embed(
        self, requests: list[tuple[str, list[Recording]]]
    ) -> list[tuple[str, list[np.ndarray | PoseError]]]:
        """Embed the recordings of each request, a (version, recordings) pair.

        Returns (version, results) for each request: a unit vector [E] or a PoseError for each recording. If this
        replica has not loaded the version, it returns another version and no results.
        """
        # Looked up once: another version may become the newest while a batch is computed in its thread.
        encoders = {version: self.loaded.get(version) for version, _ in requests}
        results: list[tuple[str, list[np.ndarray | PoseError]]] = [
            (encoders[version][0], []) for version, _ in requests
        ]
        for version, (loaded_version, encoder) in encoders.items():
            indices = [i for i, (requested, _) in enumerate(requests) if requested == version == loaded_version]
            recordings = [recording for i in indices for recording in requests[i][1]]
            vectors = iter(await asyncio.to_thread(_embed, encoder, recordings))
            for i in indices:
                results[i] = version, [next(vectors) for _ in requests[i][1]]
        return results

    async def version(self) -> str:
        return self.loaded.get()[0]


def _embed(encoder: SignEncoder, recordings: list[Recording]) -> list[np.ndarray | PoseError]:
    """Embed unmirrored and mirrored recordings in one batch each; if a batch fails, embed its recordings singly."""
    results: list[np.ndarray | PoseError] = [PoseError("not embedded")] * len(recordings)
    for mirror in (False, True):
        indices = [i for i, recording in enumerate(recordings) if recording.mirror is mirror]
        poses = [recordings[i].poses for i in indices]
        aspects = [recordings[i].aspect or encoder.aspect_of(recordings[i].source, None, None) for i in indices]
        try:
            vectors: list[Any] = list(encoder.embed(poses, aspect=aspects, mirror=mirror))
        except PoseError:
            vectors = [_embed_one(encoder, p, a, mirror) for p, a in zip(poses, aspects, strict=True)]
        for i, vector in zip(indices, vectors, strict=True):
            results[i] = vector
    return results


def _embed_one(encoder: SignEncoder, poses: np.ndarray, aspect: float | None, mirror: bool) -> np.ndarray | PoseError:
    try:
        vector: np.ndarray = encoder.embed([poses], aspect=aspect, mirror=mirror)[0]
    except PoseError as error:
        return error
    return vector


class Shard:
    """Searches one shard of the index."""

    def __init__(self, config: ServeConfig, number: int) -> None:
        import faiss

        faiss.omp_set_num_threads(config.threads)
        self.config, self.number, self.loaded = config, number, LoadedVersions(self._load)

    def _load(self, version: str) -> ShardIndex:
        index_version = IndexVersion.open(self.config.index, version, verify=False)
        if self.number >= len(index_version.manifest.shards):
            raise IndexVersionError(f"version {version} has no shard {self.number}")
        return index_version.shard(self.number, verify=True)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        await self.loaded.switch(**user_config)

    async def search(self, version: str, vectors: np.ndarray, ks: list[int]) -> tuple[str, list[Ranked]]:
        """Return (version, rankings): for query q of float32 [Q, E] its best ``ks[q]`` as (id, score).

        If this replica has not loaded ``version``, it returns another version and no rankings.
        """
        loaded_version, shard = self.loaded.get(version)
        if loaded_version != version:
            return loaded_version, []
        return loaded_version, await asyncio.to_thread(_search, shard, vectors, np.array(ks))

    async def version(self) -> str:
        return self.loaded.get()[0]


def _search(shard: ShardIndex, vectors: np.ndarray, ks: np.ndarray) -> list[Ranked]:
    """Call FAISS once for each distinct k, so that a result never depends on the other queries of its batch."""
    results: list[Ranked] = [[] for _ in ks]
    for k in np.unique(ks):
        indices = np.flatnonzero(ks == k)
        for i, ranked in zip(indices, shard.search(vectors[indices], int(k)), strict=True):
            results[i] = ranked
    return results
