"""The only file that touches private parts of Ray: one function for each, with a test that fails when Ray changes it.

Everything here was verified on Ray 2.60.0, the version that pyproject.toml pins. Before you raise the pin, run
tests/cluster/test_ray_internals.py. The same file checks that no other module uses private Ray names.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from signatlas.files import filesystem

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient
    from ray.serve import Application, Deployment

VERIFIED_ON = "2.60.0"
TOKEN_LOGGER = "ray._private.authentication"
JOB_LOGGERS = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env")
API_SERVER_VARIABLE = "RAY_API_SERVER_ADDRESS"
EXPERIMENT_STATE_PREFIX = "experiment_state"
FAILURE_HEADER = "Failure # "
WORKER_COUNT_WARNING = "worker processes have been started on node"


# --- Ray core and jobs


def silence_token_notice() -> None:
    """Stop Ray from logging at every start that a token protects it.

    Ray has no option for this notice; the logger is named after a private package. Verified on Ray 2.60.0.
    """
    logging.getLogger(TOKEN_LOGGER).setLevel(logging.ERROR)


def silence_job_client() -> None:
    """Stop the job client from logging every ignore file it reads.

    Ray has no option for these lines; the loggers are named after internal modules. Verified on Ray 2.60.0.
    """
    for name in JOB_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def server_ray_version(client: JobSubmissionClient) -> str:
    """Return the Ray version of the cluster that ``client`` talks to.

    The public ``get_version`` returns the version of the job API, not that of Ray. Verified on Ray 2.60.0.
    """
    return str(client._server_ray_version)


def dashboard_address() -> str:
    """Return ``host:port`` of the dashboard of the Ray that this process started.

    ``ray.init`` returns it once; there is no public way to ask later. Verified on Ray 2.60.0.
    """
    from ray._private import worker

    node: Any = worker._global_node
    return str(node.webui_url)


def validated_launcher_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return a cluster launcher configuration with its defaults filled in. Raises when Ray rejects it.

    ``ray up`` validates only while it creates a cluster; there is no dry run. Verified on Ray 2.60.0.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(config)
    validate_config(prepared)
    return prepared


# --- Ray Serve


def set_code_version(deployment: Deployment, version: str) -> None:
    """Set the version by which Ray Serve recognizes the code of ``deployment``.

    Without one, ``serve.run`` draws a random version and replaces every replica. With an equal one it only passes a
    changed ``user_config`` to running replicas. ``serve.deployment`` has no option for it. Verified on Ray 2.60.0.
    """
    deployment._version = version


def ingress_name(application: Application) -> str:
    """Return the name of the deployment that receives HTTP requests.

    A bound application has no public attributes. Verified on Ray 2.60.0.
    """
    return str(application._bound_deployment.name)


# --- Ray Train and Ray Tune


def name_cluster_for_train_cleaner() -> None:
    """Tell Ray Train's placement group cleaner which Ray this process belongs to.

    The cleaner frees the workers of a stopped Tune trial. It looks for a running Ray on the machine and stops for good
    if it finds two; trials that ASHA stops would then never free their CPUs. It inherits the variables that Ray Train
    passes to its controller, and there is no public way to add one. Verified on Ray 2.60.0.
    """
    import ray
    from ray.train.v2._internal import constants

    os.environ[API_SERVER_VARIABLE] = ray.get_runtime_context().gcs_address
    constants.ENV_VARS_TO_PROPAGATE.add(API_SERVER_VARIABLE)


def disable_tune_tables() -> None:
    """Stop Ray Tune from printing its own tables during a run.

    ``verbose=0`` alone does not; the variable is not documented. Verified on Ray 2.60.0.
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"


def has_experiment_state(folder: str) -> bool:
    """Return whether the Tune experiment at ``folder`` (a path or URI) has saved a state to resume from.

    ``Tuner.can_restore`` looks for another file, which exists before there is a state. Verified on Ray 2.60.0.
    """
    from pyarrow.fs import FileSelector

    store, path = filesystem(folder)
    files = store.get_file_info(FileSelector(path, allow_not_found=True))
    return any(file.base_name.startswith(EXPERIMENT_STATE_PREFIX) for file in files)


def last_failure(error_log: str) -> str:
    """Return the text of the last failure in the error file of a Tune trial.

    Tune appends each failure below a line that numbers and dates it; the format is not documented. Verified on Ray
    2.60.0.
    """
    return error_log.rpartition(FAILURE_HEADER)[2].partition("\n")[2].strip()


def is_worker_count_warning(text: str) -> bool:
    """Return whether ``text`` is the raylet's warning about many worker processes on one node.

    A trial is several small processes that mostly wait, so the warning appears on every machine with few cores. Ray
    has no option for it. Verified on Ray 2.60.0.
    """
    return WORKER_COUNT_WARNING in text
