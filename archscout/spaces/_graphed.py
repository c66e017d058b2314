"""What the spaces share that write their networks as operation graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from archscout.core.architecture import Architecture
from archscout.core.operations import OperationGraph
from archscout.core.problem import Task

if TYPE_CHECKING:
    from torch import nn


class Graphed(ABC):
    """A space whose networks are the modules of its graphs."""

    @abstractmethod
    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits."""

    def build(self, architecture: Architecture, task: Task) -> nn.Module:
        """The network as a module, with PyTorch's default initialisation: (B, C, H, W) -> (B, K)."""
        from archscout.nn.network import Network

        return Network(self.operations(architecture, task))
