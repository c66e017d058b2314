"""Make archscout/families/held_out.npz: the sketches of the sets on which methods that learn across tasks are tested.

    PYTHONPATH=. python scripts/build_held_out.py ../shared/data

Fashion-MNIST (70,000 images: all), MNIST (10,000: the test part; the training part is not in that folder), sign digits (2,062:
all), Omniglot (13,180: the evaluation alphabets, bright ink on black, 28 x 28). Of each the 4,096 smallest hashes are kept, or
all. Images are hashed as the data plug-ins read them, so a source that archscout opens is compared like for like.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from archscout.core.places import cache_folder
from archscout.core.sketch import sketch
from archscout.data._contents import Place, read_npz
from archscout.data.fashion_mnist import FashionMnist
from archscout.data.mnist import Mnist
from archscout.data.sign_digits import SignDigits
from archscout.families._held_out import FILE


def main(folder: Path) -> None:
    """Write the file, and say what is in it."""
    place = Place(cache_folder(), folder)
    sets = {"fashion_mnist": FashionMnist(), "mnist": Mnist(), "sign_digits": SignDigits()}
    images = {name: found.find(place).read().array for name, found in sets.items()}
    images["omniglot_evaluation"] = read_npz(folder / "omniglot28_evaluation.npz")["images"][..., None]
    made = {name: sketch(array) for name, array in images.items() if array is not None}
    assert len(made) == 4
    np.savez(FILE, **made)
    for name, hashes in made.items():
        print(f"{name}: {len(images[name]):,} images, {len(hashes):,} hashes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
