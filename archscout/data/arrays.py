"""An .npz file with arrays: x and y (or images and labels), or x_train, y_train, x_test, y_test and so on.

Names of classes may lie beside them as `classes`. Pickled contents are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from archscout.core.errors import DataError
from archscout.data._contents import Contents, Found, Place, file_identity, read_npz
from archscout.data._memory import found_arrays, split_name

_IMAGES, _LABELS = ("x", "images", "image", "data"), ("y", "labels", "label", "targets")


@dataclass(frozen=True)
class Arrays:
    """Arrays in an .npz file at `path`."""

    path: Path = Path("data.npz")

    def find(self, place: Place) -> Found:
        """Locate the file. Raises DataError when it does not exist."""
        path = Path(self.path).expanduser().resolve()
        if not path.is_file():
            raise DataError(f"there is no file '{path}'; give an .npz file with the arrays x and y")
        return Found(path.stem, file_identity([path]), lambda: _read(path))


def _read(path: Path) -> Contents:
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
        raise DataError(f"the file '{path}' cannot be read as .npz without pickle ({error}); use np.savez") from error
    images, labels = _roles(arrays)
    if not images or set(images) != set(labels):
        listed = ", ".join(sorted(arrays)) or "nothing"
        raise DataError(f"'{path}' needs the arrays x and y, or x_train, y_train, x_test, y_test, but holds {listed}")
    names = arrays.get("classes", arrays.get("class_names"))
    classes = None if names is None else [str(name) for name in names.tolist()]
    if set(images) == {""}:
        found = found_arrays(images[""], labels[""], classes, None, path.stem)
    elif "" in images or "train" not in images:
        raise DataError(f"'{path}' needs training arrays x_train and y_train beside those of the other splits")
    else:
        found = found_arrays(images, labels, classes, None, path.stem)
    contents = found.read()
    return Contents(**{**vars(contents), "notes": [f"The images come from the file '{path}'."]})


def _roles(arrays: dict[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Images and labels by split ("" for none), from names such as x, images, x_train, train_images."""
    images: dict[str, NDArray[Any]] = {}
    labels: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        words = re.split(r"[_.]", name.lower())
        split = next((found for word in words if (found := split_name(word))), "")
        rest = [word for word in words if split_name(word) is None]
        if len(rest) == 1 and rest[0] in _IMAGES:
            images[split] = array
        elif len(rest) == 1 and rest[0] in _LABELS:
            labels[split] = array
    return images, labels
