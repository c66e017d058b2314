"""Make archscout/data/bundled/fashion_mnist_part.npz from the published Fashion-MNIST files.

    python scripts/make_bundled.py DATA_DIR        # DATA_DIR/fashion-mnist/*.gz

The choice is fixed (of each class the first 450 and the next 100 training images and the first 100 test images), and so are the
dates inside the file; prints the checksum that archscout/data/bundled.py must state.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np

from archscout.data._published import read_idx
from archscout.data.bundled import FILE, SHA256
from archscout.data.fashion_mnist import CLASSES

PER_CLASS = (450, 100, 100)
MOST_BYTES = 3_000_000


def chosen(source: Path) -> dict[str, np.ndarray]:
    """The arrays of the file: images (6500, 28, 28), labels, split (0 train, 1 valid, 2 test), classes."""
    data = {
        part: (read_idx(source / f"{part}-images-idx3-ubyte.gz", 3), read_idx(source / f"{part}-labels-idx1-ubyte.gz", 1))
        for part in ("train", "t10k")
    }
    images, labels, splits = [], [], []
    train, valid, test = PER_CLASS
    for number, (part, begin, count) in enumerate([("train", 0, train), ("train", train, valid), ("t10k", 0, test)]):
        for label in range(len(CLASSES)):
            rows = np.flatnonzero(data[part][1] == label)[begin : begin + count]
            images.append(data[part][0][rows])
            labels += [label] * count
            splits += [number] * count
    return {
        "images": np.concatenate(images),
        "labels": np.array(labels, np.uint8),
        "split": np.array(splits, np.uint8),
        "classes": np.array(CLASSES),
    }


def main() -> int:
    """Write the file; 1 if it is too large or its checksum is not the stated one."""
    arrays = chosen(Path(sys.argv[1]) / "fashion-mnist")
    FILE.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(FILE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    made = hashlib.sha256(FILE.read_bytes()).hexdigest()
    print(f"{FILE}: {FILE.stat().st_size:,} bytes, SHA256 = {made}{'' if made == SHA256 else '  <- put this into bundled.py'}")
    return int(FILE.stat().st_size > MOST_BYTES or made != SHA256)


if __name__ == "__main__":
    raise SystemExit(main())
