"""What no family may draw from, so that methods which learn across tasks can be tested on data that they never saw.

The sets are Fashion-MNIST, MNIST, the sign digits and the evaluation alphabets of Omniglot. Their sketches (`core.sketch`) lie in
`held_out.npz`, made by `scripts/build_held_out.py`. Images of theirs are found in any source, also one of the user's, as they are,
as grey or RGB, and inverted; scaled or compressed copies are not.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import DataError
from archscout.core.sketch import shared, sketch

FILE = Path(__file__).with_name("held_out.npz")
LEAST_SHARED = 3
"""A source that shares so many images with a set is not drawn from; fewer may be chance, such as a mere stroke."""
_NAMES = {
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "MNIST",
    "sign_digits": "the sign digits",
    "omniglot_evaluation": "Omniglot's evaluation alphabets",
}


def check(images: NDArray[np.uint8], name: str) -> NDArray[np.uint64]:
    """The sketch of a source's images (N, H, W, C). Raises DataError where they are, in part, those of a set that is held out."""
    found = sketch(images)
    for held_out, hashes in sketches().items():
        if shared(found, hashes) >= LEAST_SHARED:
            raise DataError(
                f"'{name}' holds images of {_NAMES.get(held_out, held_out)}, which is kept for testing and never learned from; "
                "give other data"
            )
    return found


@cache
def sketches() -> dict[str, NDArray[np.uint64]]:
    """The sketch of each set that is held out."""
    with np.load(FILE, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
