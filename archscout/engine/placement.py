"""Where candidates are judged: here, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.engine.executors import Inline, OpenExecutor, Pool
from archscout.engine.machine import cores

EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Placement:
    """What a command says of it; every field has its option.

    executor: `local` or `ray`. address: of the cluster. workers: 0 for one per core, or for as many as the cluster has room for.
    cpus_per_candidate, gpus_per_candidate: on a cluster. candidate_timeout: in seconds, candidate_memory: in MiB; 0 for no limit.
    """

    executor: str = "local"
    address: str = "auto"
    workers: int = 0
    cpus_per_candidate: float = 1.0
    gpus_per_candidate: float = 0.0
    candidate_timeout: float = 0.0
    candidate_memory: float = 0.0

    def check(self, *, join: bool = True) -> None:
        """Raises UserError where it cannot be had, before anything is spent: Ray is missing, no cluster answers, or has no room.

        join: else only what is asked for is looked at, and no cluster.
        """
        if self.workers < 0:
            raise UserError(f"--workers is at least 1, or 0 for as many as there is room for, but {self.workers} came")
        if self.executor not in EXECUTORS:
            raise UnknownName(f"there is no executor '{self.executor}'; {suggestion(self.executor, EXECUTORS)}")
        if self.executor == "local":
            for name in ("address", "cpus_per_candidate", "gpus_per_candidate"):
                if getattr(self, name) != getattr(HERE, name):
                    raise UserError(f"--{name.replace('_', '-')} is of a cluster; give --executor ray with it, or leave it out")
            return
        if self.cpus_per_candidate + self.gpus_per_candidate <= 0:
            raise UserError("a candidate needs a share of a CPU or a GPU; give more --cpus-per-candidate")
        if not join:
            return
        ray = _ray()
        ray.hosts_with(self.cpus_per_candidate, self.gpus_per_candidate)
        ray.connect(self.address)
        if not self.workers:
            ray.room(self.cpus_per_candidate, self.gpus_per_candidate)

    @property
    def device(self) -> str:
        """On which candidates compute, whatever their problem says; empty where it is that of the problem."""
        if self.executor == "local":
            return ""
        return "cuda" if self.gpus_per_candidate else "cpu"

    def crew(self) -> int:
        """How many workers there will be."""
        if self.executor == "ray" and not self.workers:
            self.check()
            found: int = _ray().room(self.cpus_per_candidate, self.gpus_per_candidate)
            return found
        return self.workers or cores()

    def pool(self) -> OpenExecutor:
        """Processes of their own for candidates."""
        timeout, memory = self.candidate_timeout or None, self.candidate_memory or None
        if self.executor == "ray":
            self.check()
            made: OpenExecutor = _ray().RayExecutor(
                self.workers, cpus=self.cpus_per_candidate, gpus=self.gpus_per_candidate, timeout=timeout, memory_mb=memory
            )
            return made
        return Pool(self.workers or cores(), timeout=timeout, memory_mb=memory)

    def quickest(self) -> OpenExecutor:
        """The same, but this process where one worker of this machine is enough and nothing is limited."""
        alone = (
            self.executor == "local" and (self.workers or cores()) == 1 and not (self.candidate_timeout or self.candidate_memory)
        )
        return Inline() if alone else self.pool()


HERE = Placement()
"""Processes of this machine, one per core."""


def cluster_at(address: str) -> list[dict[str, Any]]:
    """The machines of a cluster. Raises UserError where there is no Ray, or no cluster."""
    ray = _ray()
    ray.connect(address)
    found: list[dict[str, Any]] = ray.machines()
    return found


def _ray() -> Any:
    if any(find_spec(name) is None for name in ("ray", "grpc")):
        raise UserError("--executor ray needs Ray, which is not installed here; install it with: pip install 'archscout[ray]'")
    from archscout.engine import ray_executor

    return ray_executor
