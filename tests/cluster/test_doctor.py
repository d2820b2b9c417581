"""The checks of a machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster import doctor
from signatlas.errors import UserError


def test_the_command_lists_every_check_as_json(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "doctor", "--json"],
        cwd=Path(__file__).parents[2],
        env=dict(os.environ) | {"SIGNATLAS_MIRROR": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["mirror"]["state"] == "fail"
    assert done.returncode == 1  # because of the mirror
    assert {"python", "torch", "deepspeed", "faiss", "ray", "protobuf", "cores", "memory", "disk"} <= set(checks)
    assert all(checks[name]["state"] == "ok" for name in ("python", "torch", "deepspeed", "faiss", "ray", "protobuf"))
    assert all(check["advice"] for check in checks.values() if check["state"] != "ok")


def test_a_port_in_use_is_a_warning() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        number = server.getsockname()[1]
        assert doctor.port(number, "signatlas serve").state == "warn"
    assert doctor.port(number, "signatlas serve").state == "ok"


@pytest.mark.parametrize(
    ("mode", "exists", "state"),
    [
        ("disabled", True, "warn"),
        ("token", True, "ok"),
        ("token", False, "fail"),
        ("", True, "ok"),
        ("", False, "warn"),
    ],
)
def test_token_states(mode: str, exists: bool, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    if exists:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").touch(0o600)
    assert doctor.token().state == state


def test_a_token_that_others_can_read_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.touch()
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(doctor, "_reachable_by_others", lambda folder: True)  # pytest's folders are private
    assert doctor.token().advice == f"chmod 600 {token}"


def serve_config(*deployments: dict[str, Any]) -> dict[str, Any]:
    return {"applications": [{"name": "signatlas", "deployments": list(deployments)}]}


def test_requested_cpus_are_those_of_all_replicas() -> None:
    config = serve_config(
        {"name": "Encoder", "num_replicas": 2, "ray_actor_options": {"num_cpus": 0.5}},
        {"name": "Shard", "ray_actor_options": {"num_cpus": 0.25}},
        {"name": "Router"},
        {"name": "Idle", "num_replicas": 0},
        {"name": "Scaled", "autoscaling_config": {"min_replicas": 3}, "ray_actor_options": {"num_cpus": 0.1}},
        {"name": "Auto", "num_replicas": "auto", "ray_actor_options": {"num_cpus": 0.5}},
    )
    assert doctor.requested_cpus(config) == pytest.approx(1.0 + 0.25 + 1.0 + 0.0 + 0.3 + 0.5)


def test_replicas_without_enough_cpus_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctor.replicas() is None
    Path("serve.yaml").write_text(json.dumps(serve_config({"name": "Shard", "num_replicas": 10_000})))
    check = doctor.replicas()
    assert check is not None
    assert check.state == "warn"
    assert "10000 of" in check.detail
    Path("serve.yaml").write_text("applications: 3")
    check = doctor.replicas()
    assert check is not None
    assert check.state == "fail"


@pytest.mark.parametrize("config", [None, [], {}, {"applications": [{"deployments": ["Shard"]}]}])
def test_an_invalid_serve_config_is_a_user_error(config: Any) -> None:
    with pytest.raises(UserError, match="not a valid Ray Serve configuration"):
        doctor.requested_cpus(config)
