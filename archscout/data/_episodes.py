"""Images as few-shot tasks: classes, not images, are divided into training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import DataError
from archscout.core.seeds import generator
from archscout.data._contents import SPLITS, Rows

TEST_SHARE, VALID_SHARE = 0.2, 0.15
"""Of the classes, as far as each part has as many as an episode; the validation's of those that the test leaves."""
VALID_EPISODES, TEST_EPISODES = 200, 600
"""How many fixed ones an evaluation has."""
LEAST_EPISODES = 160
"""Of a pass, in which every image is seen about once where there are many; a pass of fewer would have but a few steps."""
_MOST_QUERIES = 5


@dataclass(frozen=True)
class EpisodeForm:
    """What episodes are wanted. queries: of each class; 0 for five, or fewer where classes have fewer images."""

    ways: int = 5
    shots: int = 1
    queries: int = 0

    def __post_init__(self) -> None:
        if self.ways < 2 or self.shots < 1 or self.queries < 0:
            raise DataError(
                "few-shot episodes have at least 2 --ways and 1 of --shots, and --queries from 0 on, but "
                f"{self.ways}, {self.shots} and {self.queries} came"
            )

    def queries_of(self, labels: Rows, classes: Sequence[str]) -> int:
        """How many queries of each class an episode has. Raises DataError naming a class with too few images."""
        counts = np.bincount(labels, minlength=len(classes))
        fewest = int(counts.argmin())
        least = self.shots + max(1, self.queries)
        if counts[fewest] < least:
            raise DataError(
                f"{self.shots} shots and {max(1, self.queries)} queries need {least} images of every class, but "
                f"'{classes[fewest]}' has {counts[fewest]}; ask for fewer --shots, add images, or leave the class out"
            )
        return self.queries or min(_MOST_QUERIES, int(counts[fewest]) - self.shots)


def divided(labels: Rows, classes: Sequence[str], given: Mapping[str, Rows], form: EpisodeForm, seed: int) -> dict[str, Rows]:
    """Rows of "train", "valid" and "test", which share no class.

    Classes that stand in the given test part alone are the test classes; without such, and for the validation, classes are drawn.
    Raises DataError where there are too few.
    """
    own = np.setdiff1d(labels[given["test"]], np.delete(labels, given["test"])) if len(given.get("test", ())) else np.empty(0)
    published = len(own) >= form.ways
    order = generator(seed, "classes").permutation(np.setdiff1d(np.unique(labels), own) if published else np.unique(labels))
    tested = 0 if published else max(form.ways, round(TEST_SHARE * len(order)))
    checked = max(form.ways, round(VALID_SHARE * (len(order) - tested)))
    if len(order) - tested - checked < form.ways:
        parts = 2 if published else 3
        raise DataError(
            f"{form.ways}-way episodes for training, validation and test need {parts * form.ways} classes"
            f"{' beside those of the test' if published else ''}, but there are {len(order)}; ask for fewer --ways or add classes"
        )
    chosen: dict[str, NDArray[np.generic]] = {
        "train": order[tested + checked :], "valid": order[tested : tested + checked], "test": own if published else order[:tested],
    }  # fmt: skip
    return {name: np.flatnonzero(np.isin(labels, chosen[name])) for name in SPLITS}
