"""Random numbers by name.

`derive(seed, "estimate", architecture)` hashes its labels, so adding a consumer never shifts another, the order of
evaluation never matters, and a worker needs only an integer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np


def derive(seed: int, *labels: object) -> int:
    """A sub-seed in 0 .. 2**63 - 1, named by `labels` (by their text)."""
    text = "\x1f".join([str(seed), *map(str, labels)])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *labels: object) -> np.random.Generator:
    """A NumPy generator for the sub-seed that `labels` name."""
    return np.random.default_rng(derive(seed, *labels) if labels else seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run code that must use torch's global generators (layer initialisation, dropout) under `seed`, and restore them after."""
    import torch

    # Of GPUs, those in use: else a network built for the CPU would start every GPU of the machine, in every worker.
    in_use = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(in_use):
        torch.manual_seed(seed)
        yield
