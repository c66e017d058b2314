"""Which path of a supernet is trained next: every one is a choice of one option per row of gates.

Fair (Chu, Zhang and Xu 2021, FairNAS, arXiv 1907.01845): over as many paths as a row has options, every option comes exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archscout.core.seeds import generator


def fair_path(options: Sequence[int], seed: int, number: int) -> NDArray[np.int64]:
    """The path with this number, (G,): over a round of K = max(options) paths, every option of a row with K options comes once.

    options: how many each row has; those of shorter rows come again within a round.
    """
    turn, place = divmod(number, max(options))
    rows = (generator(seed, "fair", turn, row).permutation(count)[place % count] for row, count in enumerate(options))
    return np.array([int(option) for option in rows], np.int64)
