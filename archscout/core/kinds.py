"""Which kinds of task a space or a judge serves; a mismatch is told before anything runs."""

from __future__ import annotations

from archscout.core.errors import UserError
from archscout.core.problem import IMAGE_CLASSIFICATION, Task, TaskKind
from archscout.core.protocols import ServesKinds


def kinds_of(plugin: object) -> tuple[TaskKind, ...]:
    """The kinds of task that a space or judge serves: those that it states, else image classification."""
    return plugin.kinds if isinstance(plugin, ServesKinds) else (IMAGE_CLASSIFICATION,)


def check_kind(task: Task, plugin: object, what: str) -> None:
    """Raises UserError where `plugin` does not serve tasks of this kind. what: how to call it, such as "the space 'nas201'"."""
    served = kinds_of(plugin)
    if task.kind not in served:
        known = " and ".join(kind.name for kind in served) or "no kind of task"
        raise UserError(f"{what} serves {known}, but the task is {task.kind.name}; choose another one, or data of that kind")
