"""The signals of a screening by regression, as pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

from archscout.core.problem import Task
from archscout.core.signals import signal_task
from archscout.nn.regression import regressed_images
from archscout.nn.signals import targets
from archscout.report.facts import Signals, SignalStage

_SHOWN = 10
_GAP = 1
_LOW, _HIGH = np.array([33, 102, 172]), np.array([178, 24, 43])


def signals_of(judge: object, task: Task) -> Signals | None:
    """Those that a judge of this task has networks of images regress; None for other judges.

    The batch is that of the judge where this has the usual `draw` and `split`; the images are as large as they are.
    """
    name = getattr(judge, "signals", None)
    if not isinstance(name, str):
        return None
    signals = signal_task(name)
    if signals.for_sequences:
        return None
    settings = {key: getattr(judge, key) for key in ("draw", "split") if hasattr(judge, key)}
    images = regressed_images(task, signals, **settings)
    maps = [stage[0, :_SHOWN].numpy() for stage in targets(signals, images, settings.get("draw", 0))]
    *lines, about = signals.lines()
    return Signals(tuple(SignalStage(line, _png(each)) for line, each in zip(lines, maps, strict=True)), f"{_title(name)}{about}")


def _title(name: str) -> str:
    return "" if name.startswith("{") else f"'{name}', "


def _png(maps: NDArray[np.float32]) -> str:
    """Maps (N, H, W) side by side, blue below nought and red above, in base64."""
    from PIL import Image

    count, height, width = maps.shape
    strength = np.clip(maps / max(float(np.abs(maps).max()), 1e-9), -1, 1)[..., None]
    coloured = 255 + np.where(strength < 0, -strength * (_LOW - 255), strength * (_HIGH - 255))
    sheet = np.zeros((height, count * (width + _GAP) - _GAP, 4), np.uint8)
    for place in range(count):
        start = place * (width + _GAP)
        sheet[:, start : start + width] = np.concatenate([coloured[place], np.full((height, width, 1), 255)], 2)
    file = io.BytesIO()
    Image.fromarray(sheet, "RGBA").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
