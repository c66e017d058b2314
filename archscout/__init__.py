"""archscout: neural architecture search on a small budget.

    import archscout as scout
    result = scout.search("./images", budget="10m", limits={"params": 500_000})

The names below are all there is; they are loaded when first used, so that `import archscout` stays light.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archscout.api import Result, create_model, load, resume, score, search
    from archscout.core.architecture import Architecture, Decision
    from archscout.core.errors import ArchscoutError, UserError
    from archscout.engine.asktell import AskTell

# Threads of an operation wait for one another by spinning, 300,000 turns by default: where another program wants one of the cores,
# they mostly spin (decision 005). Read when torch is loaded; whoever has set either variable is obeyed.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

__version__ = "0.1.0"
__all__ = [
    "Architecture", "ArchscoutError", "AskTell", "Decision", "Result", "UserError", "__version__",
    "create_model", "load", "resume", "score", "search",
]  # fmt: skip

_HOMES = {
    "Architecture": "core.architecture",
    "ArchscoutError": "core.errors",
    "AskTell": "engine.asktell",
    "Decision": "core.architecture",
    "Result": "api",
    "UserError": "core.errors",
    "create_model": "api",
    "load": "api",
    "resume": "api",
    "score": "api",
    "search": "api",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"archscout.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'archscout' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
