"""The command `signatlas serve`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from cli.main import main
from cluster.ray_internals import ingress_name
from serve.builder import build
from serve.config import ServeConfig, key_digest
from signatlas.errors import UserError


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run the command, which must fail with one line, and return the line."""
    with pytest.raises(SystemExit) as exit_info:
        main(["serve", *(str(argument) for argument in arguments)])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("signatlas: ") and error.count("\n") == 1
    return error


def test_mistakes_are_reported_before_ray_starts(
    index_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGNATLAS_API_KEY", raising=False)
    assert "no index at" in error_of(capsys, "--index", tmp_path)
    assert "no version 'v9'" in error_of(capsys, "--index", index_root, "--version", "v9")
    assert "set SIGNATLAS_API_KEY first" in error_of(capsys, "--index", index_root, "--host", "0.0.0.0")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert f"127.0.0.1:{port}: Address already in use; choose another --port" in error_of(
            capsys, "--index", index_root, "--port", port
        )


def test_an_address_beyond_loopback_requires_a_key() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        ServeConfig(index="x", host=host)
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(ValueError, match="set SIGNATLAS_API_KEY"):
            ServeConfig(index="x", host=host)
        ServeConfig(index="x", host=host, api_key_sha256=key_digest("k"))


def test_the_router_is_the_ingress_and_unknown_settings_are_rejected(index_root: Path) -> None:
    application = build({"index": str(index_root)})
    assert ingress_name(application) == "Router"
    with pytest.raises(UserError, match="service configuration: indx: Extra inputs"):
        build({"index": str(index_root), "indx": 1})


@pytest.mark.slow
def test_serve_build_writes_a_configuration(index_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "serve.yaml"
    command = [str(Path(sys.executable).parent / "serve"), "build", "serve.app:app", "-o", str(out)]
    subprocess.run(command, check=True, env={**os.environ, "SIGNATLAS_INDEX": str(index_root)}, timeout=120)
    deployments = yaml.safe_load(out.read_text())["applications"][0]["deployments"]
    assert sorted(d["name"] for d in deployments) == ["Encoder", "Router", "Shard0", "Shard1", "Shard2"]
    assert sum(d["ray_actor_options"]["num_cpus"] for d in deployments) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_the_service_starts_and_stops_on_a_signal(
    index_root: Path, small_corpus: Path, free_port: int, stop_signal: signal.Signals
) -> None:
    command = [sys.executable, "-m", "cli", "serve", "--index", index_root, "--port", free_port, "--num-cpus", 2]
    with subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "serving at" in line:
                break
        url = f"http://127.0.0.1:{free_port}"
        assert any(url in line for line in lines), "".join(lines)
        assert httpx.get(f"{url}/readyz", timeout=20).status_code == 200
        started = time.monotonic()
        process.send_signal(stop_signal)
        output = process.stdout.read()
        assert process.wait(timeout=60) == 0, output
        assert "Traceback" not in output and "stopping the service" in output
        assert time.monotonic() - started < 45
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")
