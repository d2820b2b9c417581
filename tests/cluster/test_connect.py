"""Starting a local Ray, and addresses without a Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.connect import ClusterError, connected

LOCAL = """
from cluster.connect import connected
from cluster.ray_internals import dashboard_address
with connected(num_cpus=2.5):
    import ray
    with connected():  # a nested block uses the same connection
        print("cpus", ray.cluster_resources()["CPU"])
        print("dashboard", dashboard_address())
    assert ray.is_initialized()
assert not ray.is_initialized()
"""


def test_a_local_ray_starts_without_output_and_stops(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", LOCAL],
        cwd=Path(__file__).parents[2],
        env=env | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "cpus 3.0"
    assert done.stdout.splitlines()[1].startswith("dashboard 127.0.0.1:")
    assert done.stderr == ""
    assert (tmp_path / ".ray" / "auth_token").stat().st_size > 0  # a token protects it


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process look unconnected, whatever other tests have started in it."""
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_unreachable_address_is_a_user_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError, match=r"Ray does not answer at .*127.0.0.1:1"), connected():
        pass


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("address", ["nonsense", "host:port", "ray://"])
def test_an_invalid_address_is_a_user_error(address: str) -> None:
    with pytest.raises(ClusterError, match="is not a valid address of Ray"), connected(address):
        pass


def test_a_python_path_with_spaces_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("sys.executable", "/opt/my project/bin/python")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ClusterError, match="a path without spaces"), connected():
        pass
