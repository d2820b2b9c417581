"""Ray jobs: submit commands, list jobs, read their logs, stop them."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.connect import TOKEN_ADVICE, ClusterError, require_listener
from cluster.ray_internals import server_ray_version, silence_job_client

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
FINAL_STATUSES = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Job:
    """A submitted job. Times are in seconds since the epoch, None if the job has not started or ended."""

    id: str
    status: str
    command: str
    started: float | None
    ended: float | None
    message: str

    def as_dict(self) -> dict[str, str | float | None]:
        return asdict(self)


def client(address: str = DEFAULT_ADDRESS) -> JobSubmissionClient:
    """Return a client of the job server, whose address is that of the dashboard. Raises ClusterError."""
    if "://" not in address:
        address = f"http://{address}"
    if not address.startswith(("http://", "https://")):
        raise ClusterError(
            f"'{address}' is not a valid job server address: give that of the dashboard, such as {DEFAULT_ADDRESS}"
        )
    require_listener(address, service="the job server", hint="is the cluster running, and its dashboard forwarded?")

    from ray.job_submission import JobSubmissionClient

    silence_job_client()
    with _as_cluster_errors(address):
        return JobSubmissionClient(address)


def ray_version(address: str = DEFAULT_ADDRESS) -> str:
    """Return the Ray version of the cluster. Raises ClusterError, also when it rejects the token."""
    jobs_client = client(address)
    with _as_cluster_errors(address):
        jobs_client.list_jobs()  # checks the token; the version alone is readable without one
    return server_ray_version(jobs_client)


def submit(
    command: Sequence[str], *, address: str = DEFAULT_ADDRESS, name: str | None = None, working_dir: Path = Path()
) -> str:
    """Submit ``command`` with the code in ``working_dir`` and return the job's id. Raises ClusterError.

    Files that match .gitignore or .rayignore are left out; the rest may have 512 MiB at most.
    """
    folder = working_dir.absolute()
    if not folder.is_dir():
        raise ClusterError(f"no folder at {folder}: set --working-dir to the checkout whose code the job runs")
    jobs_client = client(address)
    with _as_cluster_errors(address):
        job_id: str = jobs_client.submit_job(
            entrypoint=shlex.join(command),
            submission_id=name,
            runtime_env={"working_dir": str(folder), "env_vars": _job_environment()},
        )
    return job_id


def _job_environment() -> dict[str, str]:
    """Return the variables that a job needs in addition to those of its node.

    If the node has this interpreter's virtual environment, the job uses it, even if Ray was started without it. If
    not, the folder does not exist there and the job uses the node's python.
    """
    variables = {"PYTHONUNBUFFERED": "1"}
    if sys.prefix != sys.base_prefix:
        variables["PATH"] = f"{Path(sys.prefix) / 'bin'}{os.pathsep}${{PATH}}"
    return variables


def jobs(address: str = DEFAULT_ADDRESS) -> list[Job]:
    """Return all submitted jobs, the newest first."""
    jobs_client = client(address)
    with _as_cluster_errors(address):
        submitted = [_job(details) for details in jobs_client.list_jobs() if details.submission_id]
    return sorted(submitted, key=lambda job: job.started or float("inf"), reverse=True)


def job(job_id: str, address: str = DEFAULT_ADDRESS) -> Job:
    """Return one job. Raises ClusterError if there is none with this id."""
    jobs_client = client(address)
    with _as_cluster_errors(address, job_id):
        return _job(jobs_client.get_job_info(job_id))


def _job(details: object) -> Job:
    from ray.job_submission import JobDetails

    assert isinstance(details, JobDetails)
    started, ended = (None if time is None else time / 1000 for time in (details.start_time, details.end_time))
    return Job(
        id=details.submission_id or details.job_id or "",
        status=details.status.value,
        command=details.entrypoint,
        started=started,
        ended=ended,
        message=details.message or "",
    )


def log(job_id: str, address: str = DEFAULT_ADDRESS) -> str:
    """Return the log of a job so far."""
    jobs_client = client(address)
    with _as_cluster_errors(address, job_id):
        text: str = jobs_client.get_job_logs(job_id)
    return text


def follow(job_id: str, write: Callable[[str], object], address: str = DEFAULT_ADDRESS) -> Job:
    """Pass a job's log to ``write`` as it grows, until the job ends; return the job."""
    jobs_client = client(address)

    async def tail() -> None:
        async for text in jobs_client.tail_job_logs(job_id):
            write(text)

    with _as_cluster_errors(address, job_id):
        jobs_client.get_job_info(job_id)
        asyncio.run(tail())
    return wait(job_id, address)


def stop(job_id: str, address: str = DEFAULT_ADDRESS, *, seconds: float = 30.0) -> Job:
    """Stop a job, wait until it has ended, and return it; a job that had ended stays as it is."""
    jobs_client = client(address)
    with _as_cluster_errors(address, job_id):
        jobs_client.stop_job(job_id)
    return wait(job_id, address, seconds=seconds)


def wait(job_id: str, address: str = DEFAULT_ADDRESS, *, seconds: float = float("inf")) -> Job:
    """Wait until a job has ended or ``seconds`` have passed; return its state then."""
    jobs_client = client(address)
    deadline = time.monotonic() + seconds
    with _as_cluster_errors(address, job_id):
        while True:
            current = _job(jobs_client.get_job_info(job_id))
            if current.status in FINAL_STATUSES or time.monotonic() >= deadline:
                return current
            time.sleep(0.5)


@contextmanager
def _as_cluster_errors(address: str, job_id: str | None = None) -> Iterator[None]:
    """Turn errors of the job server into a ClusterError of one line that says what to do."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError:
        raise ClusterError(f"the job server at {address} requires a token: {TOKEN_ADVICE}") from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        text = str(error)
        if job_id and "404" in text:
            raise ClusterError(f"no job '{job_id}' at {address}: 'signatlas jobs' lists them") from None
        if "already exists" in text:
            raise ClusterError(f"a job with this name already exists at {address}: choose another --name") from None
        lines = [line for line in text.splitlines() if line.strip()]
        raise ClusterError(f"the job server at {address}: {lines[-1] if lines else type(error).__name__}") from error
