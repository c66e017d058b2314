"""Few-shot episodes: small classification tasks drawn from many classes.

An episode has `ways` classes in a fresh random order, of each a few images to learn from (the support) and others to be judged by
(the queries). Which it is follows from a seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archscout.core.errors import UserError
from archscout.core.seeds import derive
from archscout.nn.batches import ImageSplit

QUARTERS = 4


@dataclass(frozen=True)
class Episode:
    """support, queries: images (N, C, H, W), normalised. support_labels, query_labels: (N,) int64, 0 to ways - 1.

    The support has its classes one after the other, `shots` images each; so have the queries.
    """

    support: Tensor
    support_labels: Tensor
    queries: Tensor
    query_labels: Tensor

    def to(self, device: str | torch.device) -> Episode:
        """The same on a device."""
        return Episode(*(part.to(device) for part in (self.support, self.support_labels, self.queries, self.query_labels)))


@dataclass(frozen=True, eq=False)
class EpisodeSplit:
    """Classes of which episodes are drawn; other splits have others.

    pool: their images. ways, shots, queries: classes of an episode, images of each in the support and among the queries.
    count: how many episodes an evaluation has, or a pass of training. quarters: turned by 90, 180 and 270 degrees, the images of a
    class make three further classes.
    """

    pool: ImageSplit
    ways: int
    shots: int
    queries: int
    count: int
    quarters: bool = False

    def __post_init__(self) -> None:
        if self.ways < 2 or min(self.shots, self.queries, self.count) < 1:
            raise ValueError(
                "episodes have at least 2 ways, a shot and a query, and there is at least one, but "
                f"{self.ways}, {self.shots}, {self.queries} and {self.count} came"
            )
        if self.classes < self.ways:
            raise UserError(f"{self.ways}-way episodes need as many classes, but there are {self.classes}; ask for fewer ways")
        fewest = min(map(len, self._members))
        if fewest < self.shots + self.queries:
            raise UserError(
                f"{self.shots} shots and {self.queries} queries need {self.shots + self.queries} images of every class, but one "
                f"has {fewest}; ask for fewer, or leave the class out"
            )

    def __len__(self) -> int:
        return self.count

    @property
    def classes(self) -> int:
        """How many there are to draw from."""
        return len(self._members) * (QUARTERS if self.quarters else 1)

    @property
    def images(self) -> int:
        """Of an episode."""
        return self.ways * (self.shots + self.queries)

    @cached_property
    def _members(self) -> list[NDArray[np.int64]]:
        """Of each class, the positions of its images in the pool."""
        labels = self.pool.labels[self.pool.rows]
        return [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def episode(self, seed: int) -> Episode:
        """The episode of a seed."""
        rng = np.random.default_rng(derive(seed, "episode"))
        chosen = rng.permutation(self.classes)[: self.ways]
        members = [rng.permutation(self._members[number % len(self._members)]) for number in chosen]
        each = self.shots + self.queries
        images, _ = self.pool.take(np.concatenate([rows[:each] for rows in members]))
        images = self.pool.normalise(images)
        channels, height, width = images.shape[1:]
        by_class = images.contiguous().view(self.ways, each, channels, height, width)
        if self.quarters:
            turned = [torch.rot90(by_class[n], int(number) // len(self._members), (-2, -1)) for n, number in enumerate(chosen)]
            by_class = torch.stack(turned)
        labels = torch.arange(self.ways)
        return Episode(
            by_class[:, : self.shots].flatten(0, 1).contiguous(), labels.repeat_interleave(self.shots),
            by_class[:, self.shots :].flatten(0, 1).contiguous(), labels.repeat_interleave(self.queries),
        )  # fmt: skip

    def number(self, index: int) -> Episode:
        """One of the fixed episodes of an evaluation, which are the same for every network. index: 0 to count - 1."""
        return self.episode(derive(0, "fixed", index))
