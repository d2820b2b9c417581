"""The updater of an index: watches which version is live, verifies a new one, has every replica load it, then switches.

Replicas report to it what they have loaded and learn from its answer what to load. A new version goes live when every
replica has it, so no gateway ever asks for a version that a part lacks; the old one stays loaded until no gateway
searches in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from serve.config import IndexApplication
from serve.versions import Report, Target
from signatlas.errors import UserError
from signatlas.retrieval.filters import available
from signatlas.retrieval.index_version import CURRENT, IndexVersion, current
from signatlas.retrieval.operation_log.log import RECORDS, log_location, record_name
from signatlas.retrieval.operation_log.storage import Storage, numbers, open_storage

logger = logging.getLogger("ray.serve")
POLL_S = 1.0  # how often CURRENT is read
LOG_POLL_S = 0.25  # how often the log is looked at: a gateway hears of a change within a second
FRESH_S = 4.0  # a replica that has not reported for this long counts as missing
FORGET_S = 30.0
DECIDE_S = 1.5  # a restarted updater first hears which version the gateways use
PREPARE_S = 600.0  # time for all replicas to load a new version


class Rollout:
    """Which version is live and which is being prepared, from reports and a clock; no Ray, no files."""

    def __init__(self, parts: tuple[str, ...], clock: Callable[[], float] = time.monotonic):
        self.parts, self._clock = parts, clock
        self.live: str | None = None
        self.candidate: str | None = None
        self._candidate_since = 0.0
        self._started = clock()
        self.reports: dict[str, tuple[Report, float]] = {}
        self.rejected: dict[str, str] = {}

    def report(self, report: Report) -> Target:
        """Record a replica's state; return what it shall load."""
        self.reports[report.replica] = (report, self._clock())
        if self.live is None and report.uses:
            self.live = report.uses
        if self.live is None:
            return Target(None, ())
        used = {r.uses for r in self.fresh("gateway") if r.uses}
        load = dict.fromkeys([self.live, *([self.candidate] if self.candidate else []), *sorted(used)])
        return Target(self.live, tuple(load))

    def start(self, version: str) -> None:
        """Begin with ``version`` unless a gateway already uses one."""
        if self.live is None:
            self.live = version

    @property
    def undecided(self) -> bool:
        """Whether no version is live yet and gateways had their time to say which one they use."""
        return self.live is None and self._clock() - self._started >= DECIDE_S

    def prepare(self, version: str) -> None:
        """Have all replicas load a verified version."""
        self.candidate, self._candidate_since = version, self._clock()
        self.rejected.pop(version, None)

    def reject(self, version: str, reason: str) -> None:
        """Give a version up: the live one stays."""
        self.rejected = {version: reason}
        if self.candidate == version:
            self.candidate = None

    def step(self, running: dict[str, int] | None = None) -> None:
        """Go live with the candidate when every replica has it, or reject it. ``running`` counts replicas by part."""
        now = self._clock()
        self.reports = {k: (r, at) for k, (r, at) in self.reports.items() if now - at < FORGET_S}
        if self.candidate is None:
            return
        for part in self.parts:
            for report in self.fresh(part):
                if reason := report.errors.get(self.candidate):
                    self.reject(self.candidate, f"{part} cannot load it: {reason}")
                    return
        if not self.missing(self.candidate, running):
            self.live, self.candidate = self.candidate, None
        elif now - self._candidate_since > PREPARE_S:
            self.reject(self.candidate, f"not loaded in time by {', '.join(self.missing(self.candidate, running))}")

    def fresh(self, part: str) -> list[Report]:
        """Return the reports of a part's replicas that have reported lately."""
        now = self._clock()
        return [r for r, at in self.reports.values() if r.part == part and now - at < FRESH_S]

    def count(self, part: str) -> int:
        """Return the number of a part's replicas, with those that may have been lost a moment ago."""
        now = self._clock()
        return sum(r.part == part and now - at < FORGET_S for r, at in self.reports.values())

    def missing(self, version: str | None, running: dict[str, int] | None = None) -> list[str]:
        """Return a message for each part that does not serve ``version`` with every replica."""
        messages = []
        for part in self.parts:
            reports = self.fresh(part)
            having = sum(version in r.loaded for r in reports)
            expected = max(len(reports), (running or {}).get(part, 1))
            if not reports:
                messages.append(f"{part} does not answer")
            elif having < expected:
                state = f"{having} of {expected} replicas have" if expected > 1 else "does not have"
                messages.append(f"{part}: {state} version {version}")
        return messages


class Updater:
    """The ingress of an index's application. One replica."""

    def __init__(self, config: IndexApplication, num_shards: int, encoder: Any = None, shards: Any = ()) -> None:
        # Encoder and shards are arguments only so that they belong to this application.
        self.config = config
        self.parts = ("encoder", *(f"shard {n}" for n in range(num_shards)))
        self.rollout = Rollout(self.parts)
        self.message = ""
        self.position = 0  # of the last operation in the log
        self._storage: Storage | None = None
        self._watch: asyncio.Task[None] | None = None
        self._watch_log: asyncio.Task[None] | None = None
        self._app_name: str | None = None

    def follow(self, app_name: str | None) -> None:
        """Start to watch CURRENT; ``app_name`` is the application whose replicas Ray Serve counts."""
        self._app_name = app_name
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._follow())
            self._watch_log = asyncio.ensure_future(self._follow_log())

    async def report(self, report: Report) -> Target:
        """Record a replica's state; return what it shall load."""
        self.follow(self._app_name)
        return self.rollout.report(report)._replace(position=self.position)

    async def replicas(self) -> dict[str, int]:
        """Return the number of replicas of each part, with those that may have been lost a moment ago.

        A hung replica stops to report seconds before Ray Serve replaces it: until then it is still asked.
        """
        return {part: self.rollout.count(part) for part in self.parts}

    async def info(self, version: str) -> dict[str, Any]:
        """Return the manifest of a version, as JSON values, without the checksums of its files.

        ``filters`` are the values that its entries have, as :func:`filters.available`.
        """
        return await asyncio.to_thread(self._info, version)

    def _info(self, version: str) -> dict[str, Any]:
        opened = IndexVersion.open(self.config.index, version, verify=False)
        try:
            filters = available(opened.rows())
        except (OSError, pa.ArrowException):  # a damaged shard is refused by those who search it
            filters = {}
        return opened.manifest.model_dump(mode="json", exclude={"files"}) | {"filters": filters}

    async def status(self) -> dict[str, Any]:
        """Return the live version, what is missing of it, the version being prepared, and the last message."""
        running = await asyncio.to_thread(self._running)
        rollout = self.rollout
        return {
            "live": rollout.live,
            "preparing": rollout.candidate,
            "missing": rollout.missing(rollout.live, running),
            "replicas": {part: len(rollout.fresh(part)) for part in self.parts},
            "message": self.message,
        }

    async def _follow_log(self) -> None:
        """Look for new operations. Shards read the log themselves, and say what is wrong with it."""
        while True:
            with contextlib.suppress(Exception):
                self.position = await asyncio.to_thread(self._log_end, self.position)
            await asyncio.sleep(LOG_POLL_S)

    def _log_end(self, position: int) -> int:
        if self._storage is None:
            storage = open_storage(log_location(self.config.index, self.config.log))
            position = max(numbers(storage, RECORDS), default=0)
            self._storage = storage
        while self._storage.read(record_name(position + 1)) is not None:
            position += 1
        return position

    async def _follow(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:
                # Whatever is wrong with the file, the disk or Ray: the live version goes on, and this loop as well.
                self._say(error if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
            await asyncio.sleep(POLL_S if self.rollout.live else 0.1)

    async def _look(self) -> None:
        rollout = self.rollout
        if rollout.live is None and not rollout.undecided:
            return
        fixed = self.config.version
        named = fixed if fixed is not None else await asyncio.to_thread(self._current)
        if rollout.live is None:
            rollout.start(named)
            return
        if named not in (rollout.live, rollout.candidate) and named not in rollout.rejected:
            try:
                await asyncio.to_thread(self._verify, named, rollout.live)
            except (UserError, OSError) as error:
                rollout.reject(named, str(error))
            else:
                rollout.prepare(named)
        elif named == rollout.live and rollout.rejected:
            rollout.rejected = {}
        rollout.step(await asyncio.to_thread(self._running) if rollout.candidate else None)
        self._say(next(iter(rollout.rejected.values()), ""))

    def _current(self) -> str:
        """Return the version that CURRENT names. Raises UserError whatever is wrong with the file or its folder."""
        try:
            return current(self.config.index)
        except (OSError, ValueError) as error:  # a ValueError: bytes that are not UTF-8
            raise UserError(f"{Path(self.config.index) / CURRENT} cannot be read: {error}") from error

    def _verify(self, version: str, live: str) -> None:
        """Raise IndexVersionError for a damaged version, and for one of another kind than the live one."""
        opened = IndexVersion.open(self.config.index, version, verify=True)
        serving = IndexVersion.open(self.config.index, live, verify=False)
        if opened.manifest.kind != serving.manifest.kind:
            raise UserError(
                f"version {version} is an index of {opened.manifest.kind}, not of {serving.manifest.kind}: "
                "serve it as another application"
            )

    def _running(self) -> dict[str, int] | None:
        """Return the number of running replicas by part, as Ray Serve counts them; None in a gateway's process."""
        if self._app_name is None:
            return None
        from ray import serve

        application = serve.status().applications.get(self._app_name)
        if application is None:
            return None
        names = {"encoder": "Encoder", **{f"shard {n}": f"Shard{n}" for n in range(len(self.parts) - 1)}}
        counts = {
            name: sum(number for state, number in deployment.replica_states.items() if state == "RUNNING")
            for name, deployment in application.deployments.items()
        }
        return {part: counts[name] for part, name in names.items() if name in counts}

    def _say(self, message: object) -> None:
        live = self.rollout.live
        state = f"still serving version {live}" if live is not None else "no version can be served yet"
        text = f"{state}: {message}" if str(message) else ""
        if text and text != self.message:
            logger.warning("%s: %s", self.config.name, text)
        self.message = text
