"""A service on a cluster of its own, in processes that a test may stop, kill and flood."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.serve.fault_load import Load, Local, over_http


class Service:
    """A running service."""

    def __init__(self, process: subprocess.Popen[str], url: str, local: Local, log: Path):
        self.process, self.url, self.local, self.log = process, url, local, log
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def answer(self, timeout_s: float = 60) -> Any:
        """Return the process's next answer."""
        try:
            return json.loads(self._lines.get(timeout=timeout_s))
        except queue.Empty:
            raise AssertionError(f"the service does not answer: {self.log.read_text()[-3000:]}") from None

    def ask(self, command: str) -> Any:
        """Send a command to the process, and return its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def pids(self, application: str, deployment: str) -> list[int]:
        """Return the processes of a deployment's replicas."""
        title = f"ray::ServeReplica:signatlas-{application}:{deployment}"
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if command and command[0].split(".")[0].split(" ")[0] == title:
                    found.append(process.pid)
        return found

    def gateway_bytes(self) -> int:
        """Return the memory of all gateway replicas."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.pids("gateway", "Gateway"))

    def load(self, index: str, connections: int = 8, **options: Any) -> Load:
        """Return load by searches in an index."""
        connect = over_http(self.url, self.local, index=index, **options)
        return Load(connect, len(self.local.queries), connections)

    def wait_until(self, condition: Callable[[], Any], seconds: float = 90) -> float:
        """Wait until ``condition()`` is true; return the seconds that took."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < seconds, f"not in {seconds} s: {self.ask('replicas')}"
            time.sleep(0.1)
        return time.monotonic() - started

    def wait_for_replacement(self, application: str, deployment: str, before: list[int], lost: int) -> None:
        """Wait until another process stands in for the lost one of ``before``, and the whole service is ready."""

        def replaced() -> bool:
            now = self.pids(application, deployment)
            return lost not in now and len(now) == len(before)

        self.wait_until(replaced, 200)
        self.wait_until(self.ready, 200)

    def wait_until_ended(self, pid: int) -> float:
        """Wait until a process has ended; return the seconds that took."""
        return self.wait_until(lambda: not psutil.pid_exists(pid), 200)

    def ready(self) -> bool:
        return httpx.get(f"{self.url}/readyz", timeout=30).status_code == 200

    def healthz_s(self) -> float:
        """Return the median time of five requests to /healthz."""
        seconds = []
        for _ in range(5):
            started = time.monotonic()
            assert httpx.get(f"{self.url}/healthz", timeout=30).status_code == 200
            seconds.append(time.monotonic() - started)
        return sorted(seconds)[2]


@contextlib.contextmanager
def running(config: dict[str, Any], folder: Path, local: Local) -> Iterator[Service]:
    """Start a service with this configuration on two nodes, and end all of its processes after the block."""
    (folder / "config.json").write_text(json.dumps(config))
    short = Path(f"/tmp/faults-{os.getpid()}")  # paths of Unix sockets are short
    environment = {**os.environ, "HOME": str(folder), "RAY_TMPDIR": str(short), "RAY_AUTH_MODE": "disabled",
                   "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}  # fmt: skip
    short.mkdir()
    command = [sys.executable, "-m", "tests.serve.fault_service", str(folder / "config.json")]
    log = folder / "service.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                                   text=True, env=environment, cwd=Path(__file__).parents[2])  # fmt: skip
    started = time.monotonic()
    children: list[psutil.Process] = []
    try:
        service = Service(process, f"http://127.0.0.1:{config['http']['port']}", local, log)
        assert service.answer(300) == "ready"
        print(f"\nstarted in {time.monotonic() - started:.0f} s")
        yield service
    finally:
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(process.pid).children(recursive=True)
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
        shutil.rmtree(short, ignore_errors=True)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[float]:
    """Stop a process while the block runs; yield the time when that was."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield time.monotonic()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
