"""Starting a local Ray, and addresses where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.connect import ClusterError, connected

LOCAL = """
from cluster.connect import connected
with connected(num_cpus=2.5):
    import ray
    with connected():  # a second block uses the first one's connection
        print("cpus", ray.cluster_resources()["CPU"])
        print("dashboard", ray._private.worker._global_node.webui_url)
    assert ray.is_initialized()
assert not ray.is_initialized()
"""


def test_a_local_ray_starts_quietly_and_ends(tmp_path: Path) -> None:
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
    assert (tmp_path / ".ray" / "auth_token").stat().st_size > 0  # it was guarded by a token


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh process, whatever other tests have started in this one."""
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
def test_what_is_no_address_is_a_user_error(address: str) -> None:
    with pytest.raises(ClusterError, match="is no address of Ray"), connected(address):
        pass


def test_a_path_that_ray_cannot_start_workers_from_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("sys.executable", "/opt/my project/bin/python")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ClusterError, match="a path without spaces"), connected():
        pass
