"""The signals of a screening by regression, as pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archscout.core.problem import Task
from archscout.core.protocols import SignalJudge
from archscout.report.facts import Signals, SignalStage
from archscout.report.pictures import png

_SHOWN = 10
_GAP = 1
_LOW, _HIGH = np.array([33, 102, 172]), np.array([178, 24, 43])


def signals_of(judge: object, task: Task) -> Signals | None:
    """Those that a judge of this task has networks of images regress; None for other judges and tasks."""
    if not isinstance(judge, SignalJudge):
        return None
    signals, targets = judge.shown(task, "cpu")
    maps = [stage[0, :_SHOWN].numpy() for stage in targets]
    *lines, about = signals.lines()
    stages = tuple(SignalStage(line, _sheet(each)) for line, each in zip(lines, maps, strict=False))
    title = "" if judge.signals.startswith("{") else f"'{judge.signals}', "
    return Signals(stages, title + about) if stages else None


def _sheet(maps: NDArray[np.float32]) -> str:
    """Maps (N, H, W) side by side, blue below nought and red above, in base64."""
    count, height, width = maps.shape
    strength = np.clip(maps / max(float(np.abs(maps).max()), 1e-9), -1, 1)[..., None]
    coloured = 255 + np.where(strength < 0, -strength * (_LOW - 255), strength * (_HIGH - 255))
    sheet = np.zeros((height, count * (width + _GAP) - _GAP, 4), np.uint8)
    for place in range(count):
        start = place * (width + _GAP)
        sheet[:, start : start + width] = np.concatenate([coloured[place], np.full((height, width, 1), 255)], 2)
    return png(sheet)
