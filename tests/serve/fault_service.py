"""A service on a cluster of its own, for tests that break it: ``python -m tests.serve.fault_service CONFIG.json``.

It reads commands from stdin, one a line, and answers each with a line of JSON. Two Ray clusters in one process do not
go together, and the tests of this process may share another one.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.cluster_utils import Cluster

from serve.app import GATEWAY
from serve.config import parse
from serve.service import start

NODE: dict[str, Any] = {"num_cpus": 3, "num_gpus": 1, "object_store_memory": 80_000_000}


def replica_states() -> dict[str, dict[str, int]]:
    """Return the number of replicas in each state, by application and deployment."""
    return {
        f"{application}:{name}": {str(state): count for state, count in deployment.replica_states.items()}
        for application, status in serve.status().applications.items()
        for name, deployment in status.deployments.items()
    }


def main() -> None:
    # Ray prints to stdout at any moment, also into the middle of a line: answers have it for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    config = parse(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    node = cluster.add_node(**NODE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    # All nodes are on this machine: proxies on both would share the port, and their connections.
    http = {"host": config.http.host, "port": config.http.port, "request_timeout_s": config.http.request_timeout_s}
    serve.start(proxy_location="HeadOnly", http_options=http)
    gateway: Any = None
    start(config)
    answer: object = "ready"
    while True:
        print(json.dumps(answer), file=answers, flush=True)
        line = sys.stdin.readline().strip()
        gateway = gateway or serve.get_app_handle(GATEWAY)
        if line == "replicas":
            answer = replica_states()
        elif line == "news":
            answer = gateway.news.remote().result(timeout_s=30)
        elif line == "gpus":
            answer = {"all": ray.cluster_resources()["GPU"], "free": ray.available_resources()["GPU"]}
        elif line == "remove node":
            cluster.remove_node(node, allow_graceful=False)
            answer = "removed"
        elif line == "add node":
            node = cluster.add_node(**NODE)
            answer = "added"
        else:  # the test has ended
            break
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
