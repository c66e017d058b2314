"""A Ray cluster of two machines on this one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psutil

STORE_BYTES = 100 << 20


@dataclass
class TwoMachines:
    """A head with room for one worker, and as many others with room for two, and two GPUs by their word, as were added.

    port: for clients (ray://).
    """

    cluster: Any
    port: int
    others: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Host and port."""
        return str(self.cluster.address)

    def add(self) -> None:
        """Another machine."""
        self.others.append(self.cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=STORE_BYTES, node_name="machine-2"))

    def kill(self) -> None:
        """End the machine that was added last, at once, with all that runs there."""
        self.cluster.remove_node(self.others.pop(), allow_graceful=False)


def hosts() -> list[psutil.Process]:
    """The workers that are there, of the cluster that this process has started."""
    return [one for one in psutil.Process().children(recursive=True) if one.name().startswith("ray::Host")]
