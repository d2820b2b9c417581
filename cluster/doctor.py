"""What this machine and a cluster have, what they lack, and what to do about it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from signatlas.errors import UserError

State = Literal["ok", "warn", "fail"]
GIB = 1 << 30
SERVE_CONFIG = Path("serve.yaml")


@dataclass(frozen=True)
class Check:
    """One line of the examination. ``advice`` says what to do when ``state`` is not ok."""

    name: str
    state: State
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(address: str | None = None) -> list[Check]:
    """Run every check; with ``address`` also those of a cluster's job server. Imports torch and DeepSpeed: seconds."""
    checks: list[Callable[[], Check | None]] = [
        python, torch, gpu, deepspeed, compiler, faiss, ray, protobuf, cores, memory, shared_memory, disk,
        lambda: port(8000, "signatlas serve"), lambda: port(8265, "Ray's dashboard"), token, mirror, replicas,
    ]  # fmt: skip
    found = [result for check in checks if (result := check()) is not None]
    return found + ([cluster(address)] if address else [])


def show(found: list[Check]) -> None:
    """Print a table, and below it what to do."""
    from rich.console import Console
    from rich.table import Table

    colors = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in found:
        text = f"{check.found}\n[dim]{check.advice}[/dim]" if check.advice else check.found
        table.add_row(f"[{colors[check.state]}]{check.state}[/]", check.name, text)
    console = Console()
    console.print(table)
    states = [check.state for check in found]
    console.print(f"{states.count('ok')} ok, {states.count('warn')} to look at, {states.count('fail')} to mend")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _import_error(module: str) -> str | None:
    """Why a module cannot be imported, in one line, or None; what it prints meanwhile is dropped."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            importlib.import_module(module)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    return None


def _package(name: str, module: str) -> Check:
    version = _version(name)
    if version is None:
        return Check(name, "fail", "missing", "make setup")
    if error := _import_error(module):
        return Check(name, "fail", f"{version}, but its import ends with {error}", "make setup")
    return Check(name, "ok", version)


def python() -> Check:
    found = f"{sys.version.split()[0]} ({sys.executable})"
    if (3, 11) <= sys.version_info < (3, 13):
        return Check("python", "ok", found)
    return Check("python", "fail", found, "use Python 3.11 or 3.12: make setup PYTHON=/path/to/python3.11")


def torch() -> Check:
    return _package("torch", "torch")


def gpu() -> Check | None:
    if _version("torch") is None or _import_error("torch"):
        return None
    import torch as library

    if library.cuda.is_available():
        names = [library.cuda.get_device_name(index) for index in range(library.cuda.device_count())]
        return Check("gpu", "ok", ", ".join(names))
    if shutil.which("nvidia-smi"):
        advice = "install a torch with CUDA that fits the driver (pip install torch==... from its CUDA index)"
        return Check("gpu", "warn", "a GPU's driver is there, but torch cannot use it", advice)
    return Check("gpu", "ok", "none; training and search run on the CPU")


def deepspeed() -> Check:
    return _package("deepspeed", "deepspeed")


def compiler() -> Check:
    missing = [tool for tool in ("g++", "ninja") if shutil.which(tool) is None]
    if missing:
        return Check("compiler", "ok", f"no {' and '.join(missing)}: DeepSpeed goes without its compiled operators")
    return Check("compiler", "ok", "g++ and ninja")


def faiss() -> Check:
    there = [name for name in ("faiss-cpu", "faiss-gpu") if _version(name)]
    if len(there) == 2:
        advice = "pip uninstall --yes faiss-cpu faiss-gpu; make setup EXTRA=cpu (or gpu)"
        return Check("faiss", "fail", "faiss-cpu and faiss-gpu, which share files", advice)
    if not there:
        return Check("faiss", "fail", "missing", "make setup EXTRA=cpu (or gpu)")
    error = _import_error("faiss")
    if error:
        return Check("faiss", "fail", f"{there[0]}, but its import ends with {error}", "make setup")
    return Check("faiss", "ok", f"{there[0]} {_version(there[0])}")


def ray() -> Check:
    return _package("ray", "ray")


def protobuf() -> Check:
    version = _version("protobuf")
    if version is None:
        return Check("protobuf", "fail", "missing", "make setup")
    if version.startswith("4."):
        return Check("protobuf", "ok", version)
    return Check("protobuf", "warn", version, "MediaPipe needs 4.25: pip install -c constraints.txt protobuf")


def cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if usable >= 2:
        return Check("cores", "ok", str(usable))
    return Check("cores", "warn", str(usable), "two workers share one core: train with --workers 1")


def memory() -> Check:
    import psutil

    available = psutil.virtual_memory()
    found = f"{available.available / GIB:.1f} of {available.total / GIB:.1f} GiB free"
    if available.available >= 4 * GIB:
        return Check("memory", "ok", found)
    return Check("memory", "warn", found, "Ray and two workers want about 4 GiB: end other programs")


def shared_memory() -> Check | None:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return None
    size = shutil.disk_usage(folder).total
    if size >= 2 * GIB:
        return Check("shared memory", "ok", f"{size / GIB:.1f} GiB")
    advice = "Ray's object store falls back to the disk; in a container: docker run --shm-size=4g"
    return Check("shared memory", "warn", f"{size / GIB:.1f} GiB", advice)


def disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    state: State = "ok" if free >= 5 * GIB else "warn" if free >= GIB else "fail"
    advice = "" if state == "ok" else "checkpoints and indexes want about 5 GiB: make room, or work in another folder"
    return Check("disk", state, f"{free / GIB:.1f} GiB free in {Path.cwd()}", advice)


def port(number: int, user: str) -> Check:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return Check(
                f"port {number}", "warn", "taken", f"{user} uses it by default: end what holds it, or pass --port"
            )
    return Check(f"port {number}", "ok", f"free, for {user}")


def token() -> Check:
    """Without a token, whoever reaches the dashboard runs code as its user."""
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    in_environment = bool(os.environ.get("RAY_AUTH_TOKEN"))
    there = in_environment or path.is_file()
    make = "ray get-auth-token --generate"
    if mode == "disabled":
        return Check("token", "warn", "RAY_AUTH_MODE=disabled: who reaches the cluster runs code on it", "unset it")
    if mode == "token" and not there:
        return Check("token", "fail", f"RAY_AUTH_MODE=token, but there is no {path}", make)
    if not there:
        found = "none yet; a local Ray makes one, but 'ray start' would run unprotected"
        return Check("token", "warn", found, make)
    if not in_environment and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) and _others_reach(path.parent):
        return Check("token", "warn", f"{path} can be read by others", f"chmod 600 {path}")
    return Check("token", "ok", "in RAY_AUTH_TOKEN" if in_environment else str(path))


def _others_reach(folder: Path) -> bool:
    return all(step.stat().st_mode & stat.S_IXOTH for step in (folder, *folder.parents))


def mirror() -> Check:
    path = os.environ.get("SIGNATLAS_MIRROR")
    if not path:
        return Check("mirror", "ok", "none (SIGNATLAS_MIRROR): corpora come over the network")
    if Path(path).is_dir():
        return Check("mirror", "ok", path)
    return Check("mirror", "fail", f"SIGNATLAS_MIRROR={path} is no folder", "set it to a folder, or unset it")


def replicas() -> Check | None:
    """Whether the replicas that serve.yaml asks for find their CPUs: those that do not never start."""
    if not SERVE_CONFIG.is_file():
        return None
    import yaml

    try:
        config = yaml.safe_load(SERVE_CONFIG.read_text(encoding="utf-8"))
        wanted = cpus_wanted(config)
    except (yaml.YAMLError, UserError) as error:
        return Check("replicas", "fail", f"{SERVE_CONFIG}: {' '.join(str(error).split())}", "mend the file")
    there = os.cpu_count() or 1
    found = f"{SERVE_CONFIG} asks for {wanted:g} of {there} cores"
    if wanted <= there:
        return Check("replicas", "ok", found)
    return Check(
        "replicas", "warn", found, "they start on a larger cluster only: give fractions in ray_actor_options.num_cpus"
    )


def cpus_wanted(config: Any) -> float:
    """The CPUs that all replicas of a Serve configuration hold at the least. Raises UserError for another shape.

    A deployment asks for 1 CPU a replica unless it says otherwise; an autoscaled one starts with min_replicas.
    """
    try:
        return sum(
            _replicas(deployment) * float((deployment.get("ray_actor_options") or {}).get("num_cpus", 1))
            for application in config["applications"]
            for deployment in application.get("deployments") or []
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"not the shape of a Serve configuration ({error!r})") from None


def _replicas(deployment: dict[str, Any]) -> float:
    scaling = deployment.get("autoscaling_config")
    number = deployment.get("num_replicas")
    if scaling or number == "auto":
        return float((scaling or {}).get("min_replicas", 1))
    return float(1 if number is None else number)


def cluster(address: str) -> Check:
    from cluster.jobs import ray_version

    try:
        there = ray_version(address)
    except UserError as error:
        return Check("cluster", "fail", str(error))
    here = _version("ray")
    if there == here:
        return Check("cluster", "ok", f"{address} answers with Ray {there}")
    return Check("cluster", "warn", f"Ray {there} there, {here} here", "install the same version on both sides")
