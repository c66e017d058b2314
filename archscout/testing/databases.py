"""A made-up database, in which what a dataset looks like decides which architectures suit it; it takes no training.

A task is a vector u, (4,) as a rule. Features of its images are N(A u, I), all classes alike. With n(G) how often each type of
inner vertex occurs in an architecture, its accuracy is 0.7 + 0.05 w(u) n(G) + N(0, 0.005^2), w(u) = W u; A and W are random and the
same for all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture
from archscout.core.database import MetaDatabase, Record, TaskName, make_database
from archscout.core.draw import sample
from archscout.core.protocols import Space
from archscout.core.seeds import generator
from archscout.core.vertices import vertex_encoding_of, vertices_of

_NOISE = 0.005


class MadeUp:
    """The tasks of one seed. width: F of an image. images: n of a class. hidden: numbers of u; the fewer, the easier."""

    def __init__(self, space: Space, *, width: int = 16, images: int = 30, hidden: int = 4, seed: int = 0) -> None:
        self.space, self.width, self.images, self.hidden, self.seed = space, width, images, hidden, seed
        rng = generator(seed, "made up")
        encoding = vertex_encoding_of(space)
        self._types, self._inner = encoding.types, encoding.count - 2
        self._seen = rng.standard_normal((width, hidden))
        # So that the accuracies of a task vary by about 0.05, whatever the space.
        scale = np.sqrt(6 / self._inner / (hidden * 5))
        self._suits = rng.standard_normal((self._types, hidden)) * scale

    def features(self, task: int) -> list[NDArray[np.float32]]:
        """Of each of its classes, 3 to 5 of them, (n, F)."""
        rng = generator(self.seed, "features", task)
        middle = self._seen @ self._vector(task)
        classes = 3 + int(rng.integers(3))
        return [(middle + rng.standard_normal((self.images, self.width))).astype(np.float32) for _ in range(classes)]

    def accuracy(self, task: int, architecture: Architecture) -> float:
        """Without noise."""
        occurs = np.bincount(vertices_of(self.space, architecture)[1:-1], minlength=self._types)
        counts = occurs - self._inner / (self._types - 2)
        return float(0.7 + 0.05 * (self._suits @ self._vector(task))[2:] @ counts[2:])

    def database(self, tasks: int, records: int) -> MetaDatabase:
        """Tasks 0 to `tasks` - 1, each with this many random architectures."""
        rng = generator(self.seed, "records")
        found = []
        for task in range(tasks):
            for _ in range(records):
                architecture = sample(self.space, rng)
                value = self.accuracy(task, architecture) + _NOISE * rng.standard_normal()
                found.append(Record(task, architecture, 0, float(value)))
        return make_database([TaskName("made-up", task, self.seed) for task in range(tasks)], found, {"space": self.space.name})

    def _vector(self, task: int) -> NDArray[np.float64]:
        return generator(self.seed, "task", task).standard_normal(self.hidden)
