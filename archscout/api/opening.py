"""Opens the data of a request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from archscout.core.errors import UserError
from archscout.engine.request import Request

if TYPE_CHECKING:
    from archscout.data._opened import DataRequest, OpenedData


def open_request(request: Request, progress: bool = False) -> OpenedData:
    """The data that a request names."""
    from archscout.data._opened import open_data

    return open_data(_data_request(request), _now_and_then() if progress else None)


def open_memory(request: Request, data: Any) -> OpenedData:
    """Data that were handed over in Python: a pair (images, labels) of arrays, or a map-style Dataset."""
    from archscout.data._opened import open_arrays, open_dataset

    if isinstance(data, tuple):
        if len(data) != 2:
            raise UserError(f"data in memory are a pair (images, labels) or a Dataset, but a tuple of {len(data)} came")
        return open_arrays(data[0], data[1], _data_request(request))
    return open_dataset(data, replace(_data_request(request), source="dataset"))


def _data_request(request: Request) -> DataRequest:
    """What a request says of the data."""
    from archscout.data._episodes import EpisodeForm
    from archscout.data._opened import DataRequest

    return DataRequest(
        request.data,
        Path(request.data_dir) if request.data_dir else None,
        request.image_size,
        _channels(request),
        request.seed,
        Path(request.labels) if request.labels else None,
        request.augment,
        settings=tuple((k.removeprefix("data."), v) for k, v in request.settings.items() if k.startswith("data.")),
        task=request.task,
        vocabulary=request.vocabulary,
        episodes=EpisodeForm(request.ways, request.shots, request.queries),
    )


def _channels(request: Request) -> Any:
    return "auto" if request.channels == "auto" else int(request.channels)


def tell(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


def _now_and_then() -> Callable[[str, int, int], None]:
    """Tells how far something is: nothing of what is done within ten seconds, and a line every ten after."""
    last = monotonic()

    def told(what: str, done: int, count: int) -> None:
        nonlocal last
        if monotonic() - last > 10:
            last = monotonic()
            tell(f"{what}: {done:,} of {count:,}" if count else f"{what}: {done:,}")

    return told
