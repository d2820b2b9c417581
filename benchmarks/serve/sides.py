"""Start and stop the sides of the comparison, each in its own process with its own Ray."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
MARK = "SIGNATLAS_BENCHMARK_SIDE"  # in the environment of every process that a side starts
PEERS = ("rpc", "uvicorn", "empty")
OURS = ("ours", "colocated", "today")
INGRESS = ("default", "throughput", "haproxy")
UNLIMITED = {"requests_per_s": 1e6, "burst": 1_000_000, "concurrent": 1_000}  # rates of one client
START_S, STOP_S = 180.0, 60.0


class SideError(Exception):
    """A side that does not start."""


class Side(NamedTuple):
    """One server: its name, its ingress (``none`` without Ray Serve), CPU threads of FAISS and torch, and more."""

    name: str
    ingress: str = "none"
    threads: int = 1
    pool: bool = False  # uvicorn: compute in one thread per core instead of the event loop
    checkout: Path = ROOT  # whose code runs
    changes: bool = False  # ours: takes additions and removals

    @property
    def label(self) -> str:
        """How tables and messages call it."""
        pool = " in a pool" if self.pool else ""
        ingress = "" if self.ingress == "none" else f", {self.ingress}"
        return f"{self.name}{ingress}, {self.threads} thread{'s' if self.threads > 1 else ''}{pool}"

    @property
    def old_schema(self) -> bool:
        """Whether it takes the requests of the service before step 6."""
        return self.name == "today"

    def command(self, index: Path, port: int, folder: Path) -> list[str]:
        """Return the command that serves ``index`` at ``port``; ``folder`` is for its files."""
        if self.name in PEERS:
            peer = ["uvicorn_peer", *(["--pool"] if self.pool else [])]
            module, *options = peer if self.name == "uvicorn" else ["ray_peers", self.name]
            address = ["--index", str(index), "--port", str(port)]
            return [sys.executable, "-m", f"benchmarks.serve.{module}", *options, *address]
        signatlas = [sys.executable, "-m", "cli", "serve"]
        if self.name == "today":
            return [*signatlas, "--index", str(index), "--port", str(port)]
        # By a configuration file: the number of threads has no option of its own, and one client makes all requests.
        parts = {name: {"threads": self.threads} for name in ("encoder", "shard")}
        application = {"name": "signs", "index": str(index), "colocate": self.name == "colocated", **parts,
                       "writer": {} if self.changes else None}  # fmt: skip
        config = {"http": {"port": port}, "gateway": {"authorization": {"allow_anonymous": True, **UNLIMITED}},
                  "applications": [application]}  # fmt: skip
        file = folder / "serve.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return [*signatlas, "--config", str(file)]

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the environment: threads, own folders, and the switches of Ray Serve, which it reads at import."""
        environment = os.environ | {
            "PYTHONPATH": str(self.checkout), "OMP_NUM_THREADS": str(self.threads), MARK: str(folder),
            "HOME": str(folder), "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "SIGNATLAS_API_KEY"):
            environment.pop(name, None)
        if self.ingress in ("throughput", "haproxy"):
            environment["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"
        if self.old_schema:
            # Its command calls a handle outside an event loop, which throughput mode refuses otherwise.
            environment["RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"] = "1"
        if self.ingress == "haproxy":
            files = {"CONFIG_FILE_LOC": "haproxy.cfg", "SOCKET_PATH": "admin.sock", "SERVER_STATE_BASE": "",
                     "SERVER_STATE_FILE": "server-state", "METRICS_SOCKET_PATH": "metrics.sock"}  # fmt: skip
            environment["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
            environment |= {f"RAY_SERVE_HAPROXY_{key}": str(folder / "h" / name) for key, name in files.items()}
            # Otherwise 9101 and 8404, which a second service on the machine cannot bind.
            environment |= {f"RAY_SERVE_HAPROXY_{key}_PORT": str(free_port()) for key in ("METRICS", "STATS")}
            environment["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = "1"
        return environment


class Service(NamedTuple):
    """A running side: its port, and the folder that marks its processes."""

    port: int
    folder: Path


@contextmanager
def running(side: Side, index: Path, probe: bytes) -> Iterator[Service]:
    """Serve ``index``; yields it once ``probe``, a request, is answered with 200. Raises SideError.

    At the end every process that the side started is stopped.
    """
    # Short, whatever TMPDIR says: a Unix socket's path has at most 97 characters, of which Ray and HAProxy use 70.
    folder = Path(tempfile.mkdtemp(prefix="sb-", dir="/tmp"))
    (folder / "h").mkdir()
    port, log = free_port(), folder / "log"
    command, environment = side.command(index, port, folder), side.environment(folder)
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=side.checkout, env=environment, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
    try:
        _wait_until_ready(process, port, probe)
        yield Service(port, folder)
    except SideError as error:
        with suppress(subprocess.TimeoutExpired):  # a service that fails takes a while to end
            process.wait(15)
            raise SideError(f"{error}: it ended with exit code {process.returncode}: {_last_line(log)}") from error
        raise
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            print(f"{side.label}: did not stop within {STOP_S:.0f} s", file=sys.stderr)
        stop_processes(folder)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, probe: bytes) -> None:
    deadline, status = time.monotonic() + START_S, "no connection"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SideError("not ready")
        try:
            code, body = request(port, probe, timeout=10)
        except (OSError, http.client.HTTPException) as error:
            status = str(error) or type(error).__name__
        else:
            if code == 200:
                return
            status = f"{code} {body[:200]!r}"
        time.sleep(0.5)
    raise SideError(f"not ready after {START_S:.0f} s ({status})")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it printed nothing"


def request(port: int, body: bytes, timeout: float = 30) -> tuple[int, bytes]:
    """Return status and body of a search. Raises OSError or HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", "/v1/search", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def processes(folder: Path) -> dict[int, str]:
    """Return the processes that belong to a side, by id with their names: ``folder`` is in their environment."""
    mark, found = f"{MARK}={folder}".encode(), dict[int, str]()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (path / "environ").read_bytes().split(b"\0"):
                found[int(path.name)] = (path / "comm").read_text().strip()
        except OSError:  # it has just ended, or belongs to another user
            continue
    return found


def stop_processes(folder: Path, patience: float = 10) -> None:
    """Wait for the processes of a side to end, then kill those that remain, such as HAProxy."""
    deadline = time.monotonic() + patience
    while (remaining := processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if remaining:
        print(f"killed after the end of their service: {', '.join(sorted(set(remaining.values())))}", file=sys.stderr)
    for number in remaining:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue


def free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
