"""Each private part of Ray that signatlas uses, checked against the installed Ray; nothing else may use one."""

from __future__ import annotations

import ast
import importlib
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import yaml

from cluster import ray_internals

REPOSITORY = Path(__file__).parents[2]
RAY_PACKAGES = ("cli", "cluster", "trainers", "tune", "serve", "benchmarks")
RAY_FOLDER = Path(ray.__file__).parent
EXEMPT = {REPOSITORY / "cluster" / "ray_internals.py", Path(__file__)}


def test_the_pinned_ray_is_the_one_that_was_verified() -> None:
    assert ray.__version__ == ray_internals.VERIFIED_ON
    assert f"=={ray_internals.VERIFIED_ON}" in (REPOSITORY / "pyproject.toml").read_text()


def test_the_token_notice_is_logged_below_the_silenced_logger() -> None:
    setup = importlib.import_module(f"{ray_internals.TOKEN_LOGGER}.authentication_token_setup")
    assert setup.logger.name.startswith(f"{ray_internals.TOKEN_LOGGER}.")
    ray_internals.silence_token_notice()
    assert not setup.logger.isEnabledFor(logging.WARNING)


def test_the_job_client_logs_with_the_silenced_loggers() -> None:
    sdk, job_sdk, packages = (importlib.import_module(name) for name in ray_internals.JOB_LOGGERS)
    packaging = importlib.import_module(f"{packages.__name__}.packaging")
    ray_internals.silence_job_client()
    for logger in (sdk.logger, job_sdk.logger, packaging.default_logger):
        assert not logger.isEnabledFor(logging.WARNING)


def test_the_job_client_keeps_the_version_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.dashboard.modules.dashboard_sdk import SubmissionClient

    answer = SimpleNamespace(
        status_code=200, raise_for_status=lambda: None, json=lambda: {"version": "4", "ray_version": "2.60.0"}
    )
    monkeypatch.setattr(SubmissionClient, "_do_request", lambda *_, **__: answer)
    client = SubmissionClient("http://127.0.0.1:1")
    client._check_connection_and_version()
    assert ray_internals.server_ray_version(client) == "2.60.0"  # type: ignore[arg-type]


@pytest.mark.usefixtures("ray_session")
def test_the_dashboard_address_is_that_of_this_process() -> None:
    assert ray_internals.dashboard_address() == str(ray._private.worker._global_node.webui_url)


def test_the_launcher_rejects_a_wrong_configuration() -> None:
    config = yaml.safe_load((REPOSITORY / "ray_cluster.yaml").read_text())
    assert ray_internals.validated_launcher_config(config)["head_setup_commands"]
    with pytest.raises(Exception, match="no_such_key"):
        ray_internals.validated_launcher_config(config | {"no_such_key": 1})


def test_serve_deploys_the_code_version_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray import serve
    from ray.serve._private import client

    @serve.deployment
    class Echo:
        def __call__(self) -> str:
            return ""

    ray_internals.set_code_version(Echo, "code-1")
    application = Echo.bind()
    assert ray_internals.ingress_name(application) == "Echo"
    bound = application._bound_deployment
    assert bound._version == "code-1" and bound.options(num_replicas=2)._version == "code-1"

    # The client is what turns a deployment into a request to the controller.
    versions: list[str] = []

    def record_version(*_: object, version: str, **__: object) -> None:
        versions.append(version)
        raise InterruptedError

    monkeypatch.setattr(client, "get_deploy_args", record_version)
    built = SimpleNamespace(
        deployments=[bound], ingress_request_router_deployment=None, logging_config=None,
        ingress_deployment_name="Echo", route_prefix="/",
    )  # fmt: skip
    deploy = client.ServeControllerClient.deploy_applications
    with pytest.raises(InterruptedError):
        getattr(deploy, "__wrapped__", deploy)(SimpleNamespace(), [built])
    assert versions == ["code-1"]


@pytest.mark.usefixtures("ray_session")
def test_train_passes_the_address_of_this_cluster_to_its_cleaner(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.dashboard.utils import get_address_for_submission_client
    from ray.train.v2._internal import constants

    monkeypatch.setattr(constants, "ENV_VARS_TO_PROPAGATE", set(constants.ENV_VARS_TO_PROPAGATE))
    monkeypatch.setenv(ray_internals.API_SERVER_VARIABLE, "nowhere:1")  # restored after the test
    ray_internals.name_cluster_for_train_cleaner()
    address = ray.get_runtime_context().gcs_address
    assert constants.get_env_vars_to_propagate()[ray_internals.API_SERVER_VARIABLE] == address
    # The variable is the first thing that Ray's state API, which the cleaner uses, looks at.
    monkeypatch.setattr("ray.dashboard.utils.ray_address_to_api_server_url", lambda gcs: f"of {gcs}")
    assert get_address_for_submission_client(None) == f"of {address}"


def test_tune_prints_no_tables_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.experimental.output import get_air_verbosity

    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "1")
    assert get_air_verbosity(0) is not None
    ray_internals.disable_tune_tables()
    assert get_air_verbosity(0) is None


def test_tune_names_its_experiment_state_as_expected(tmp_path: Path) -> None:
    from ray.tune.execution.tune_controller import TuneController

    assert not ray_internals.has_experiment_state(str(tmp_path / "none"))
    (tmp_path / "tuner.pkl").touch()
    assert not ray_internals.has_experiment_state(str(tmp_path))
    (tmp_path / TuneController.CKPT_FILE_TMPL.format("today")).touch()
    assert ray_internals.has_experiment_state(str(tmp_path))


def test_tune_writes_failures_in_the_format_that_is_read(tmp_path: Path) -> None:
    from ray.train._internal.storage import StorageContext
    from ray.tune.experiment import Trial

    storage = StorageContext(str(tmp_path), experiment_dir_name="experiment", trial_dir_name="trial")
    trial = Trial("stub", stub=True, storage=storage)
    Path(trial.local_path).mkdir(parents=True)
    for text in ("the first", "the second\nwith one more line"):
        trial.handle_error(RuntimeError(text))
    error_log = Path(trial.error_file).read_text()
    assert error_log.count(ray_internals.FAILURE_HEADER) == 2
    assert ray_internals.last_failure(error_log) == "the second\nwith one more line"


def test_the_raylet_still_warns_of_many_workers_in_these_words() -> None:
    raylet = RAY_FOLDER / "core" / "src" / "ray" / "raylet" / "raylet"
    assert ray_internals.WORKER_COUNT_WARNING.encode() in raylet.read_bytes()
    assert ray_internals.is_worker_count_warning("(raylet) 8 PYTHON worker processes have been started on node: x")
    assert not ray_internals.is_worker_count_warning("8 trials have been started")


# --- no other file

PRIVATE_MODULE = re.compile(r"\bray(?:\.\w+)*\._(?!_)\w+")
PRIVATE_NAMES = re.compile(
    r"\._(?:version|server_ray_version|bound_deployment|global_node|training_actor_item_queue"
    r"|get_or_create_inter_actor_queue)\b|\b_in_tune_session\b"
)
PUBLIC = {"_asdict", "_fields", "_replace", "_exit"}  # of named tuples and of os, despite the underscore


def test_no_other_file_names_a_private_ray_module_or_attribute() -> None:
    files = [path for folder in (*RAY_PACKAGES, "tests") for path in (REPOSITORY / folder).rglob("*.py")]
    assert len(files) > 100
    hits = []
    for path in (path for path in files if path not in EXEMPT):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if PRIVATE_MODULE.search(line) or PRIVATE_NAMES.search(line):
                hits.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}")
    assert hits == []


def test_the_ray_packages_use_no_private_name_that_they_do_not_define() -> None:
    """An attribute with a leading underscore belongs to the file that uses it, or it is a private part of a library."""
    hits = []
    for path in (path for folder in RAY_PACKAGES for path in (REPOSITORY / folder).rglob("*.py")):
        if path in EXEMPT:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        uses = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and re.match(r"_(?!_)", node.attr):
                (defined.add if isinstance(node.ctx, ast.Store) and _is_self(node.value) else uses.append)(node.attr)
        hits += [f"{path.relative_to(REPOSITORY)}: {name}" for name in uses if name not in defined | PUBLIC]
    assert hits == []


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def test_ray_internals_imports_ray_only_inside_functions() -> None:
    """The command line imports cluster.connect for its errors; it must not pay for Ray."""
    tree = ast.parse((REPOSITORY / "cluster" / "ray_internals.py").read_text())
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [line for line in imports if re.search(r"\bray\b", line)]
