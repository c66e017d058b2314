"""How many threads compute an operation, and things that are done side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Compute operations with `count` threads inside, and with as many as before after."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Threads:
    """Does things side by side and gives the results in order; a context manager that ends its threads."""

    def __init__(self, count: int = 1) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def map(self, work: Callable[[Item], Outcome], items: Sequence[Item]) -> list[Outcome]:
        """The results of all items; one after the other where there is a single thread, or once the threads have ended."""
        return list(map(work, items) if self._pool is None else self._pool.map(work, items))

    def shares(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """The items in order, parted evenly between the threads; no part is empty."""
        size = -(-len(items) // self._count)
        return [items[start : start + size] for start in range(0, len(items), size)]
