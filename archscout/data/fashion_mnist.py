"""Fashion-MNIST: 70,000 grey images of clothes, 28 x 28 pixels, 10 classes (MIT licence).

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms" (2017,
arXiv:1708.07747). The 10,000 test images are the test split; 5,000 of the 60,000 training images become the validation split.
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.data._contents import FlipRule, Found, Place
from archscout.data._download import RemoteFile
from archscout.data._published import IDX_FILES, at_hand, fetched, idx_family

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
_FILES = tuple(
    RemoteFile(f"{name}.gz", tuple(f"{mirror}{name}.gz" for mirror in _MIRRORS), f"md5:{md5}")
    for name, md5 in zip(IDX_FILES, _MD5, strict=True)
)


@dataclass(frozen=True)
class FashionMnist:
    """Fashion-MNIST, whole."""

    def find(self, place: Place) -> Found:
        """In the data directory under fashion-mnist/ or FashionMNIST/raw/, in the cache, or from the network."""
        paths = at_hand(place, IDX_FILES, ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw"))
        paths = paths or fetched(place, _FILES, "fashion-mnist")
        notes = [f"The images are Fashion-MNIST (Zalando Research, MIT licence), read from '{paths[0].parent}'."]
        flip = FlipRule(True, "clothes keep their class in a mirror")
        return idx_family("fashion-mnist", paths, CLASSES, flip, notes)
