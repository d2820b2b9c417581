"""The index versions that a replica has loaded, and its reports to the updater, which says which ones to load."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from signatlas.errors import UserError

logger = logging.getLogger("ray.serve")
T = TypeVar("T")
REPORT_S = 0.5  # time between two reports of a replica
REPORT_TIMEOUT_S = 3.0
START_PATIENCE_S = 30.0  # how long a new replica asks the updater before it reads CURRENT itself


class Report(NamedTuple):
    """What a replica tells the updater. ``uses`` is the version that a gateway searches in, None of other replicas."""

    part: str  # "encoder", "shard 0", "gateway"
    replica: str
    loaded: tuple[str, ...]
    uses: str | None = None
    errors: dict[str, str] = {}  # noqa: RUF012  version -> why it cannot be loaded


class Target(NamedTuple):
    """What the updater answers: the version to search in, and all versions to keep loaded; empty while undecided.

    ``position`` is that of the last operation in the index's log.
    """

    live: str | None
    load: tuple[str, ...]
    position: int = 0


class LoadedVersions(Generic[T]):
    """Loads versions with ``load`` in a thread, and unloads those that are no longer wanted."""

    def __init__(self, load: Callable[[str], T]):
        self._load = load
        self._loaded: dict[str, T] = {}
        self.errors: dict[str, str] = {}

    async def want(self, versions: tuple[str, ...]) -> None:
        """Load the missing ``versions``, then unload all others. A version that cannot be loaded is in ``errors``."""
        for version in versions:
            if version not in self._loaded and version not in self.errors:
                try:
                    self._loaded[version] = await asyncio.to_thread(self._load, version)
                except Exception as error:
                    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                    self.errors[version] = message
                    logger.error("version %s cannot be loaded: %s", version, message)
        kept = {name: content for name, content in self._loaded.items() if name in versions}
        # A replica never gives up its last version.
        self._loaded = kept or self._loaded
        self.errors = {name: message for name, message in self.errors.items() if name in versions}

    def get(self, version: str) -> T | None:
        """Return the content of a version, None where it is not loaded."""
        return self._loaded.get(version)

    def names(self) -> tuple[str, ...]:
        """Return the loaded versions."""
        return tuple(self._loaded)


class Reporter:
    """Reports a replica's versions to the updater for as long as the replica lives, and follows its answers."""

    def __init__(self, part: str, updater: Any, versions: LoadedVersions[Any]):
        self.part, self.updater, self.versions = part, updater, versions
        self.replica = uuid.uuid4().hex[:12]
        self._task: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None

    async def start(self, fallback: Callable[[], str]) -> None:
        """Load what the updater wants, or ``fallback()`` where it does not answer; then go on in the background.

        Raises UserError when nothing can be loaded: the replica does not start.
        """
        deadline = asyncio.get_running_loop().time() + START_PATIENCE_S
        while not self.versions.names():
            target = await self._report()
            if target is not None and target.load:
                await self.versions.want(target.load)
            elif asyncio.get_running_loop().time() > deadline:
                await self.versions.want((await asyncio.to_thread(fallback),))
            if self.versions.errors and not self.versions.names():
                raise UserError(next(iter(self.versions.errors.values())))
            await asyncio.sleep(0 if self.versions.names() else 0.2)
        self._task = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            try:
                target = await self._report()
                # Not awaited: a replica that loads for minutes still reports, or it would count as missing.
                if target is not None and target.load and (self._loading is None or self._loading.done()):
                    self._loading = asyncio.ensure_future(self.versions.want(target.load))
            except Exception:
                logger.exception("%s: versions cannot be followed; trying again", self.part)

    async def _report(self) -> Target | None:
        report = Report(self.part, self.replica, self.versions.names(), None, dict(self.versions.errors))
        try:
            target: Target = await asyncio.wait_for(self.updater.report.remote(report), REPORT_TIMEOUT_S)
        except Exception as error:  # the updater restarts: everything goes on with what is loaded
            logger.debug("%s: no answer from the updater: %s", self.part, error)
            return None
        return target
