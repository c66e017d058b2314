"""Tests on a Ray cluster, which `make cluster` runs. One that is skipped has tested nothing, so it fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from socket import socket
from typing import Any

import pytest
from two_machines import STORE_BYTES, TwoMachines

# Of clusters that are started here: nothing is reported, and no token is needed on this machine.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.skipped and item.get_closest_marker("cluster"):
        report.outcome = "failed"
    return report


def _started(start: Callable[[], Any]) -> Any:
    """Ray gives a machine 30 s to start, which a busy one may need."""
    for _ in range(3):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoMachines]:
    """The cluster of this session; its machines have a cache of their own."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("ARCHSCOUT_CACHE")
    os.environ["ARCHSCOUT_CACHE"] = str(tmp_path_factory.mktemp("their-cache"))
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE_BYTES, "node_name": "machine-1"}
    made = TwoMachines(_started(lambda: Cluster(True, head_node_args={**head, "ray_client_server_port": port})), port)
    try:
        _started(made.add)
        yield made
    finally:
        made.cluster.shutdown()
        if before is None:
            del os.environ["ARCHSCOUT_CACHE"]
        else:
            os.environ["ARCHSCOUT_CACHE"] = before
