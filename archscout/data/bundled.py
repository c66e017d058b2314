"""A part of Fashion-MNIST that comes with archscout: 6,500 grey images of clothes, 28 x 28 pixels, 10 classes (MIT licence).

Of each class the first 450 training images as train, the next 100 as valid, and the first 100 test images as test, so nothing
needs to be downloaded. `scripts/make_bundled.py` rebuilds the file. Scores on it do not compare with the whole set's.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archscout.core.errors import DataError
from archscout.data._contents import SPLITS, Contents, FlipRule, Found, Place, from_array

FILE = Path(__file__).with_name("bundled") / "fashion_mnist_part.npz"
SHA256 = "49152ecc3aaef758271006fd8c12f7a1e5677230357fd1484dc6dfd1f68a9f4d"


@dataclass(frozen=True)
class Bundled:
    """The bundled part of Fashion-MNIST."""

    def find(self, place: Place) -> Found:
        """Always at hand. Raises DataError for a damaged installation."""
        return Found("bundled", SHA256, _contents)


def _contents() -> Contents:
    try:
        packed = FILE.read_bytes()
    except OSError as error:
        raise DataError(f"the bundled images '{FILE}' cannot be read ({error.strerror}); install archscout again") from error
    if hashlib.sha256(packed).hexdigest() != SHA256:
        raise DataError(f"the bundled images '{FILE}' are not the ones that archscout came with; install archscout again")
    with np.load(io.BytesIO(packed), allow_pickle=False) as file:
        images, labels, split, classes = (file[name] for name in ("images", "labels", "split", "classes"))
    return from_array(
        images[:, :, :, None],
        labels,
        [str(name) for name in classes],
        splits={name: np.flatnonzero(split == number) for number, name in enumerate(SPLITS)},
        flip=FlipRule(True, "clothes keep their class in a mirror"),
        notes=["The images are the part of Fashion-MNIST (Zalando Research, MIT licence) that comes with archscout."],
    )
