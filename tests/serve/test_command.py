"""`signatlas serve` as a user starts it."""

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
from serve.builder import build
from serve.config import ServeConfig, key_digest
from signatlas.errors import UserError


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *(str(w) for w in words)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("signatlas: ") and error.count("\n") == 1
    return error


def test_mistakes_are_told_before_ray_starts(
    index_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGNATLAS_API_KEY", raising=False)
    assert "no index at" in said(capsys, "--index", tmp_path)
    assert "no version 'v9'" in said(capsys, "--index", index_root, "--version", "v9")
    assert "set SIGNATLAS_API_KEY first" in said(capsys, "--index", index_root, "--host", "0.0.0.0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}: Address already in use; choose another --port" in said(
            capsys, "--index", index_root, "--port", port
        )


def test_an_address_beyond_loopback_needs_a_key() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        ServeConfig(index="x", host=host)
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(ValueError, match="set SIGNATLAS_API_KEY"):
            ServeConfig(index="x", host=host)
        ServeConfig(index="x", host=host, api_key_sha256=key_digest("k"))


def test_the_builder_names_one_deployment_a_shard(index_root: Path) -> None:
    application = build({"index": str(index_root)})
    assert application._bound_deployment.name == "Router"
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
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_from_start_to_end(index_root: Path, small_corpus: Path, free_port: int, ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "cli", "serve", "--index", index_root, "--port", free_port, "--num-cpus", 2]
    with subprocess.Popen(
        [str(w) for w in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout is not None
        lines = []
        for line in run.stdout:
            lines.append(line)
            if "serving at" in line:
                break
        url = f"http://127.0.0.1:{free_port}"
        assert any(url in line for line in lines), "".join(lines)
        assert httpx.get(f"{url}/readyz", timeout=20).status_code == 200
        started = time.monotonic()
        run.send_signal(ending)
        rest = run.stdout.read()
        assert run.wait(timeout=60) == 0, rest
        assert "Traceback" not in rest and "ending the service" in rest
        assert time.monotonic() - started < 45
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")
