"""MNIST: 70,000 grey images of handwritten digits, 28 x 28 pixels, 10 classes (CC BY-SA 3.0).

LeCun, Cortes and Burges, "The MNIST database of handwritten digits". The 10,000 test images are the test split and 5,000 of the
60,000 training images become the validation split. Where only the test part is at hand (mnist-t10k/), all splits are drawn from
its 10,000 images.
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.data._contents import FlipRule, Found, Place
from archscout.data._download import RemoteFile
from archscout.data._published import IDX_FILES, at_hand, fetched, idx_family

_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
_FILES = tuple(
    RemoteFile(f"{name}.gz", tuple(f"{mirror}{name}.gz" for mirror in _MIRRORS), f"md5:{md5}")
    for name, md5 in zip(IDX_FILES, _MD5, strict=True)
)


@dataclass(frozen=True)
class Mnist:
    """MNIST, whole, or its test part where only that is at hand."""

    def find(self, place: Place) -> Found:
        """In the data directory under mnist/, MNIST/raw/ or mnist-t10k/, in the cache, or from the network."""
        whole = at_hand(place, IDX_FILES, ("mnist", "MNIST/raw"))
        part = None if whole else at_hand(place, IDX_FILES[2:], ("mnist-t10k", "mnist", "MNIST/raw"))
        paths = whole or part or fetched(place, _FILES, "mnist")
        notes = [
            f"The images are MNIST (LeCun, Cortes and Burges, CC BY-SA 3.0), read from '{paths[0].parent}'.",
            "Ink is bright on black; invert photographs of ink on paper before they are classified.",
        ]
        if part:
            notes.insert(1, "Only the 10,000 images of the test part are at hand, so results do not compare with published ones.")
        classes = [str(digit) for digit in range(10)]
        return idx_family("mnist", paths, classes, FlipRule(False, "a mirror changes digits"), notes)
