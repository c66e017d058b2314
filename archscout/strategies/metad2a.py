"""MetaD2A as a search: architectures are written for the data set, ranked by their predicted accuracy, and the best are trained.

Lee, Hyung and Hwang 2021 (arXiv 2107.00860); `meta/metad2a.py` has the method and its training. Nothing is trained here: the images
become features, the generator writes distinct legal architectures, the predictor ranks them. Their order is the answer; what
follows (the comparison) trains the first ones beside baselines.

Published: 500 architectures for CIFAR-10 and CIFAR-100, 50 for other data, of which the best 30 or the best one are trained.

Deviations: writing ends after a bounded number of tries, so that a generator that repeats itself does not run for ever. Limits on
size are kept: what does not meet them is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.checks import check_least
from archscout.core.draw import sample
from archscout.core.models import model_file
from archscout.core.moves import Progress, Search
from archscout.core.problem import Problem
from archscout.core.protocols import Snapshot
from archscout.core.seeds import generator
from archscout.core.vertices import of_vertices, vertices_of
from archscout.learners._dataset_model import Opened, opened
from archscout.nn.measure import acceptance


@dataclass(frozen=True)
class MetaD2A:
    """Writes architectures for the data set and ranks them.

    model: a name (archscout meta list) or a .safetensors file; ours for the space where empty. generate: architectures that are
    written. keep: how many of the best go on. draws: of the data set's images, over which predictions are averaged.
    """

    model: str = ""
    generate: int = 200
    keep: int = 10
    draws: int = 10

    def __post_init__(self) -> None:
        check_least(self, generate=1, keep=1, draws=1)
        if self.model:
            model_file(self.model)  # a name that nobody has is told of at once

    @property
    def owns_loop(self) -> bool:
        """Always."""
        return True

    def paced(self, problem: Problem, seconds: float, *, seed: int) -> Mapping[str, Any]:
        """As it is: seconds are enough."""
        return {}

    def memory(self, problem: Problem) -> int:
        """Next to nothing."""
        return 0

    def remarks(self, metrics: Mapping[str, float]) -> Sequence[str]:
        """What a prediction is, whether anything written kept within the limits, and how like these data are to the model's."""
        found = [
            f"MetaD2A's model predicted {metrics['predicted']:.1%} for its first choice. That is the accuracy after the few "
            "seconds of training of its database, and serves to rank."
        ]
        if metrics["accepted"] == 0:
            found.append(
                f"None of the {metrics['written']:,.0f} architectures that it wrote is valid and within the limits, so the model "
                "ranked random ones that are; a larger budget or looser limits leave it its choice."
            )
        if metrics["distance"] > 1:
            found.append(
                f"These data lie {metrics['distance']:.1f} times as far from the tasks that the model learned from as those lie "
                "from one another at the most, so its ranking may be no better than chance; trust the comparison alone, or search "
                "with another strategy."
            )
        if metrics["seen before"]:
            found.append("Images of these data were among those that the model learned from; it knows them better than new ones.")
        return found

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """The best last, each told of with its prediction."""
        found = opened(self.model, problem, "the strategy 'metad2a'")
        space, accept = problem.space, acceptance(problem)

        def legal(types: Any) -> bool:
            architecture = of_vertices(space, types)
            return architecture is not None and (accept is None or accept(architecture))

        written = found.model.generate(found.features, self.generate, rng=generator(seed, "write"), accept=legal)
        architectures = [made for types in written.types.tolist() if (made := of_vertices(space, types)) is not None]
        facts = {"written": float(written.drawn), "accepted": written.valid / max(1, written.drawn), "distance": found.distance}
        facts |= {"seen before": float(bool(found.known))}
        if not architectures:  # within narrow limits the generator may know none; then chance offers some
            rng = generator(seed, "others")
            architectures = list(dict.fromkeys(sample(space, rng, accept) for _ in range(self.generate)))
        ranked = _ranked(found, problem, architectures, self.draws, seed)[: self.keep]
        for number, (architecture, value) in enumerate(reversed(ranked), 1):
            yield Progress(architecture, {**facts, "predicted": value, "share": number / len(ranked)})
        return ranked[0][0]


def _ranked(
    found: Opened, problem: Problem, architectures: list[Architecture], draws: int, seed: int
) -> list[tuple[Architecture, float]]:
    """Each with its prediction, the best first."""
    types = np.array([vertices_of(problem.space, architecture) for architecture in architectures], np.int64)
    told = found.model.predict(found.features, types, rng=generator(seed, "draws"), draws=draws)
    return sorted(zip(architectures, map(float, told), strict=True), key=lambda pair: -pair[1])
