"""The commands doctor, submit, jobs, logs and stop."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared import AsJson, console, print_json
from cluster.connect import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.jobs import Job

# Not imported from cluster.jobs, so that --help stays fast.
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
Address = Annotated[
    str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="Address of the cluster's job server (its dashboard).")
]
JobId = Annotated[str, typer.Argument(help="Job id, as 'signatlas jobs' lists it.", metavar="JOB")]


def doctor(
    address: Annotated[str | None, typer.Option(help="Also check the job server of this cluster.")] = None,
    json: AsJson = False,
) -> None:
    """Check this machine and the cluster: what is installed, what is missing, how to fix it.

    Exits with code 1 if something is missing that signatlas cannot run without.

    Example: signatlas doctor --address http://127.0.0.1:8265
    """
    from cluster.doctor import print_checks, run_checks

    checks = run_checks(address)
    if json:
        print_json([check.as_dict() for check in checks], indent=2)
    else:
        print_checks(checks)
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)


def submit(
    arguments: Annotated[
        list[str],
        typer.Argument(help="A signatlas command, after --: train recipes/dgs_gesture.yaml", metavar="COMMAND"),
    ],
    address: Address = DEFAULT_ADDRESS,
    name: Annotated[str | None, typer.Option(help="Id of the job (default: generated).")] = None,
    working_dir: Annotated[Path, typer.Option(help="The checkout whose code the job runs.")] = Path(),
    wait: Annotated[bool, typer.Option("--wait", help="Print the log until the job ends.")] = False,
    json: AsJson = False,
) -> None:
    """Submit a signatlas command to a cluster as a Ray job.

    The working folder is uploaded, except files that match .gitignore or .rayignore. Data must be on storage that the
    cluster can reach. With --wait, the exit code is 0 if the job succeeds and 1 if not; Ctrl-C leaves it running.

    Example: signatlas submit --name dgs-1 --wait -- train recipes/dgs_gesture.yaml --workers 4
    """
    from cli.main import COMMANDS
    from cluster import jobs as server

    if arguments[0] not in COMMANDS:
        raise ClusterError(f"unknown signatlas command '{arguments[0]}': write 'signatlas submit -- train RECIPE'")
    job_id = server.submit(["python", "-m", "cli", *arguments], address=address, name=name, working_dir=working_dir)
    if not wait:
        if json:
            print_json({"id": job_id, "address": address})
        else:
            print(f"submitted {job_id}; follow its log: signatlas logs {job_id} --follow")
        return
    job = _follow(job_id, address, sys.stdout.write)
    if json:
        print_json(job.as_dict())
    else:
        print(f"{job.id}: {job.status.lower()}")
    if job.status != "SUCCEEDED":
        raise typer.Exit(1)


def _follow(job_id: str, address: str, write: Callable[[str], object]) -> Job:
    from cluster import jobs as server

    def write_and_flush(text: str) -> None:
        write(text)
        sys.stdout.flush()

    try:
        return server.follow(job_id, write_and_flush, address)
    except KeyboardInterrupt:
        print(f"\n{job_id} is still running; to stop it: signatlas stop {job_id}", file=sys.stderr)
        raise


def jobs(address: Address = DEFAULT_ADDRESS, json: AsJson = False) -> None:
    """List the jobs of a cluster, the newest first.

    Example: signatlas jobs --json
    """
    from cluster import jobs as server

    submitted = server.jobs(address)
    if json:
        print_json([job.as_dict() for job in submitted], indent=2)
        return
    if not submitted:
        print(f"no jobs at {address}")
        return
    from rich.table import Table

    table = Table("job", "status", "started", "duration", "command", box=None)
    for job in submitted:
        table.add_row(job.id, job.status.lower(), _clock(job.started), _duration(job), job.command)
    console().print(table)


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _duration(job: Job) -> str:
    if job.started is None:
        return ""
    seconds = round((job.ended or time.time()) - job.started)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def logs(
    job: JobId,
    address: Address = DEFAULT_ADDRESS,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the job ends.")] = False,
    json: AsJson = False,
) -> None:
    """Print or follow the log of a job.

    Example: signatlas logs dgs-1 --follow
    """
    from cluster import jobs as server

    if follow and json:
        raise ClusterError("--follow and --json exclude each other: leave one out")
    if follow:
        _follow(job, address, sys.stdout.write)
    elif json:
        print_json({"id": job, "log": server.log(job, address)})
    else:
        sys.stdout.write(server.log(job, address))


def stop(job: JobId, address: Address = DEFAULT_ADDRESS, json: AsJson = False) -> None:
    """Stop a job and wait until it has ended.

    Example: signatlas stop dgs-1
    """
    from cluster import jobs as server

    stopped = server.stop(job, address)
    if json:
        print_json(stopped.as_dict())
    else:
        print(f"{stopped.id}: {stopped.status.lower()}")
    if stopped.status not in server.FINAL_STATUSES:
        raise ClusterError(f"job '{job}' has not ended within 30 s: see 'signatlas jobs'")
