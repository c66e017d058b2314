"""A Ray cluster of two machines on this one, started and stopped by the tests; see `make cluster`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# Of clusters that are started here: nothing is reported, and no token is needed on this machine.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_STORE = 100 << 20


@dataclass
class TwoMachines:
    """A head with room for one worker, and as many others with room for two as were added."""

    cluster: Any
    others: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Host and port."""
        return str(self.cluster.address)

    def add(self) -> None:
        """Another machine."""
        name = f"machine-{len(self.others) + 2}"
        self.others.append(self.cluster.add_node(num_cpus=2, object_store_memory=_STORE, node_name=name))

    def kill(self) -> None:
        """End the machine that was added last, at once, with all that runs there."""
        self.cluster.remove_node(self.others.pop(), allow_graceful=False)


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoMachines]:
    """The cluster of this session; its machines have a cache of their own."""
    from ray.cluster_utils import Cluster

    os.environ["ARCHSCOUT_CACHE"] = str(tmp_path_factory.mktemp("their-cache"))
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": _STORE, "node_name": "machine-1"}
    made = TwoMachines(Cluster(initialize_head=True, head_node_args=head))
    try:
        made.add()
        yield made
    finally:
        made.cluster.shutdown()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that all machines can write, being one."""
    return tmp_path


Once = Callable[[str, Callable[[Path], object]], Path]
