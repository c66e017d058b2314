"""Plain small networks that tell of every training step, and may end the driver at one of them.

Torch is loaded where a network is built: the workers that screen need none.
"""

import os
import signal
import sys
from dataclasses import dataclass

from archscout.core.architecture import Architecture, Decision, checked

WIDTHS, DEPTHS, ACTIVATIONS = ("4", "6", "8", "12"), ("1", "2", "3"), ("relu", "silu", "gelu")


@dataclass(frozen=True)
class Watched:
    """Plain networks. trace: a file that gets a line per training step; at the line `stop_at` the driver is killed."""

    trace: str = ""
    stop_at: int = 0

    @property
    def name(self):
        return "watched"

    @property
    def decisions(self):
        return (Decision("width", WIDTHS), Decision("depth", DEPTHS), Decision("activation", ACTIVATIONS))

    def architecture(self, choices):
        return checked(self.name, self.decisions, tuple(choices))

    def build(self, architecture: Architecture, task):
        from torch import nn

        width, depth, activation = architecture.choices
        layers, channels = [], task.shape[0]
        for _ in range(int(DEPTHS[depth])):
            layers += [nn.Conv2d(channels, int(WIDTHS[width]), 3, 1, 1, bias=False), nn.BatchNorm2d(int(WIDTHS[width]))]
            layers += [(nn.ReLU, nn.SiLU, nn.GELU)[activation]()]
            channels = int(WIDTHS[width])
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.classes))

        def tell(module, _):
            if module.training and self.trace:
                step(self.trace, self.stop_at, str(architecture))

        network.register_forward_pre_hook(tell)
        return network


def step(trace, stop_at, text):
    """Add a line to the trace; kill the driver where it is the one to stop at."""
    judging = sys.argv[0] == "-c"  # a worker process, whose parent is the driver
    with open(trace, "a") as file:
        file.write(f"{'compare' if judging else 'finish'} {text}\n")
    with open(trace) as file:
        lines = len(file.readlines())
    if lines == stop_at:
        os.kill(os.getppid() if judging else os.getpid(), signal.SIGKILL)
