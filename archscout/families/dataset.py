"""Some classes of any labelled images: a folder, an .npz file or a named set, from its training images, varied in each task.

Sets that are kept for testing are refused, whatever the files are called: Fashion-MNIST, MNIST, the sign digits and the evaluation
alphabets of Omniglot. A class needs 10 training images; where these are fewer than a task needs, each is varied several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import DataError
from archscout.core.pictures import Pictures, TaskForm
from archscout.families._drawing import drawn
from archscout.families._subsets import Source, named_source, of_any_classes


@dataclass(frozen=True)
class Dataset:
    """data: a folder of images by class, an .npz or .csv file, or the name of a data set."""

    data: str = ""

    def draw(self, number: int, form: TaskForm, *, seed: int, data_dir: Path | None = None) -> Pictures:
        """The task of a number. Raises DataError where the data cannot be read or may not be used."""
        source = self._source(data_dir)
        return drawn(f"dataset {source.name}", number, form, seed, partial(of_any_classes, source))

    def sources(self, data_dir: Path | None = None) -> Mapping[str, NDArray[np.uint64]]:
        """What it reads: the name of the set and the sketch of its images."""
        source = self._source(data_dir)
        return {source.name: source.sketch}

    def _source(self, data_dir: Path | None) -> Source:
        if not self.data:
            raise DataError("the family 'dataset' needs data; give a folder, a file or the name of a data set as its setting data")
        return named_source(self.data, data_dir)
