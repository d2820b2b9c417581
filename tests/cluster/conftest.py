"""A real Ray head for the tests, with its own home, token, ports and processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.prefix) / "bin"


@dataclass(frozen=True)
class Head:
    address: str
    gcs: str
    env: dict[str, str]

    def run(self, *arguments: str | Path, seconds: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout with the head's token; an empty value in ``env`` removes the variable."""
        variables = {name: value for name, value in (self.env | env).items() if value}
        command = [str(argument) for argument in arguments]
        return subprocess.run(
            command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=seconds, check=False
        )

    def signatlas(self, *arguments: str, seconds: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "cli", *arguments, seconds=seconds, **env)


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in sockets]
    for probe in sockets:
        probe.close()
    return ports


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """A head with token authentication, 2 logical CPUs, started without the environment on PATH."""
    folder = Path(tempfile.mkdtemp(prefix="sa-"))  # short, because the length of socket paths below it is limited
    (folder / "home" / ".ray").mkdir(parents=True)
    (folder / "home" / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    gcs, dashboard, client, agent, agent_grpc, metrics, *workers = free_ports(30)
    env = {
        "HOME": str(folder / "home"),
        "PATH": os.defpath,
        "RAY_AUTH_MODE": "token",
        "RAY_TMPDIR": str(folder / "ray"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", f"--temp-dir={folder / 'ray'}"]
    command += [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    command += [f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"]
    command += [f"--metrics-export-port={metrics}", f"--worker-port-list={','.join(map(str, workers))}"]
    command += ["--object-store-memory=200000000", "--node-ip-address=127.0.0.1"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_for(process, env["RAY_API_SERVER_ADDRESS"], folder / "log")
        yield Head(env["RAY_API_SERVER_ADDRESS"], f"127.0.0.1:{gcs}", env)
    finally:
        _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(process: subprocess.Popen[bytes], address: str, log: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the head did not start:\n{log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the head and its child processes only: `ray stop` would stop every Ray on the machine."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in psutil.wait_procs(children, timeout=5)[1]:
        child.kill()
