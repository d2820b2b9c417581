"""ray_cluster.yaml, through the validation of Ray's cluster launcher."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.ray_internals import validated_launcher_config

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return validated_launcher_config(yaml.safe_load((REPOSITORY / "ray_cluster.yaml").read_text()))


def test_the_head_runs_no_work_and_there_are_cpu_and_gpu_workers(config: dict[str, Any]) -> None:
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}
    workers = {name for name, kind in config["available_node_types"].items() if kind["max_workers"] > 0}
    assert workers == {"cpu_worker", "gpu_worker"}


def test_every_start_command_requires_a_token(config: dict[str, Any]) -> None:
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert sum("ray start" in command for command in starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts if "ray start" in command)
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    assert any(target.endswith("/.ray/auth_token") for target in config["file_mounts"])


def test_commands_are_complete_shell_commands(config: dict[str, Any]) -> None:
    kinds = ("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    commands = [command for kind in kinds for command in config[kind]]
    assert len(commands) > 10
    for command in commands:  # a " #" in plain YAML would truncate one
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_all_packages_and_files_of_an_installation_are_mounted(config: dict[str, Any]) -> None:
    sources = {Path(source).name for source in config["file_mounts"].values() if source.startswith("./")}
    assert all((REPOSITORY / source).exists() for source in sources)
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    assert packages | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} == sources


def test_installation_uses_the_constraints(config: dict[str, Any]) -> None:
    installs = [command for command in config["setup_commands"] if "pip install" in command]
    assert installs
    assert all("-c constraints.txt" in command for command in installs)
    assert os.path.exists(REPOSITORY / "constraints.txt")
