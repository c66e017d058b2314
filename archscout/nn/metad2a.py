"""The two networks of MetaD2A as one model: what a dataset's architectures are worth, and which ones to try.

Lee, Hyung and Hwang 2021 (arXiv 2107.00860); `meta/metad2a.py` has the equations and trains them. A dataset is given by features of
its images, class by class; architectures by the types of their vertices (`core.vertices`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archscout.core.checks import check_least
from archscout.core.errors import UserError
from archscout.core.protocols import Space
from archscout.core.seeds import derive, generator, seeded
from archscout.core.vertices import VertexEncoding, vertex_encoding_of
from archscout.nn.checkpoint import under
from archscout.nn.sets import DatasetEncoder, Features, Sets, drawn
from archscout.nn.vertex_graphs import GraphDecoder, GraphEncoder, Written

Graph = Literal["fixed", "dataflow", "reference"]
Types = NDArray[np.int64]
Accept = Callable[[Sequence[int]], bool]

_FORMAT = 1
_NOISE = 0.01
"""Of the latent points in training, of the reference code."""
_GRAPHS_AT_ONCE = 2048
_SETS, _WRITTEN_AT_ONCE = 100, 256
"""Draws of a dataset that graphs are written for, and how many are written together."""
_DISTANCE_DRAWS, _DATASETS_AT_ONCE = 10, 16
_TYPICAL = 0.95


@dataclass(frozen=True)
class Sizes:
    """How large the networks are, and what they read.

    features: F of an image. code: numbers in the code of a dataset and in that of a graph, and the generator's states; published
    are 56. hidden: the predictor's states; published are 512. heads: of the attention, a divisor of `code`. per_class: images of a
    class in a draw of a dataset. graph: "fixed" reads the true edges and writes types alone; "dataflow" and "reference" write edges
    too, the true ones or those of the released code.
    """

    features: int
    code: int = 56
    hidden: int = 128
    heads: int = 4
    per_class: int = 20
    graph: Graph = "fixed"

    def __post_init__(self) -> None:
        check_least(self, features=1, code=1, hidden=1, heads=1, per_class=1)
        if self.code % self.heads:
            raise ValueError(f"heads divides code, but {self.heads} and {self.code} came")
        if self.graph not in ("fixed", "dataflow", "reference"):
            raise ValueError(f"graph is fixed, dataflow or reference, but '{self.graph}' came")

    def encoding(self, space: Space) -> VertexEncoding:
        """How the architectures of a space are written for these networks."""
        return vertex_encoding_of(space, "reference" if self.graph == "reference" else "dataflow")


class Predictor(nn.Module):
    """The standardised accuracy (B,) of graphs on datasets, from the codes (B, code) of both."""

    def __init__(self, encoding: VertexEncoding, sizes: Sizes) -> None:
        super().__init__()
        self.dataset = DatasetEncoder(sizes.features, sizes.code, sizes.heads)
        self.graph = GraphEncoder(encoding, sizes.hidden, sizes.code)
        self.head = nn.Sequential(nn.Linear(2 * sizes.code, sizes.hidden), nn.Tanh(), nn.Linear(sizes.hidden, 1))

    def forward(self, datasets: Tensor, graphs: Tensor) -> Tensor:
        """Codes of equal first sizes, or that one of them is repeated for."""
        both = torch.cat(torch.broadcast_tensors(datasets, graphs), -1)  # type: ignore[no-untyped-call]
        told: Tensor = self.head(both).squeeze(-1)
        return told


class Unlikely(NamedTuple):
    """What a generator's loss is made of, each (N,): types, edges, and the divergence of the latent points from N(0, I)."""

    types: Tensor
    edges: Tensor
    divergence: Tensor


class Generator(nn.Module):
    """Graphs for datasets: the code of a dataset gives a latent point, which a decoder makes a graph of."""

    def __init__(self, encoding: VertexEncoding, sizes: Sizes) -> None:
        super().__init__()
        self.dataset = DatasetEncoder(sizes.features, sizes.code, sizes.heads)
        self.mean = nn.Linear(sizes.code, sizes.code)
        self.log_variance = nn.Linear(sizes.code, sizes.code)
        self.decoder = GraphDecoder(encoding, sizes.code, sizes.code, "fixed" if sizes.graph == "fixed" else "generated")

    def forward(self, codes: Tensor, owner: Tensor, types: Tensor, rng: np.random.Generator | None = None) -> Unlikely:
        """How unlikely graphs (N, V) are for the datasets with codes (B, code). owner: (N,) which dataset. rng: of the noise."""
        mean, log_variance = self.mean(codes), self.log_variance(codes)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(-1)
        latent = mean[owner]
        if rng is not None:
            noise = torch.from_numpy(rng.standard_normal(latent.shape)).to(latent)
            latent = latent + _NOISE * noise * (log_variance / 2).exp()[owner]
        lost = self.decoder(latent, types)
        return Unlikely(lost.types, lost.edges, divergence[owner])

    def latent(self, sets: Sets) -> Tensor:
        """The latent points (B, code) of datasets, without noise."""
        latent: Tensor = self.mean(self.dataset(sets))
        return latent


@dataclass(frozen=True, eq=False)
class Generated:
    """What was written for a dataset.

    types: (N, V) the distinct legal graphs, in the order in which they came. drawn: how many graphs were written. valid: how many
    of them were legal. distinct: N, before more than were wanted were left out.
    """

    types: Types
    drawn: int
    valid: int
    distinct: int


class Model:
    """A trained predictor and generator for one space.

    encoding: of its architectures. mean, spread: of the accuracies (0 to 1) that were learned from, to which predictions are
    brought back. codes: (T, code) of the datasets that were learned from. reach: how far such a one typically is from the nearest
    other. trust: the share of a prediction that is of the dataset asked about; the rest is the mean over those learned from.
    """

    def __init__(
        self, space: str, encoding: VertexEncoding, sizes: Sizes, predictor: Predictor, generator: Generator,
        mean: float, spread: float, codes: NDArray[np.float32] | None = None, reach: float = 1.0, trust: float = 1.0,
    ) -> None:  # fmt: skip
        self.space, self.encoding, self.sizes = space, encoding, sizes
        self.predictor, self.generator = predictor.eval(), generator.eval()
        self.mean, self.spread = mean, spread
        self.codes = np.zeros((0, sizes.code), np.float32) if codes is None else codes
        self.reach, self.trust = reach, trust

    @torch.no_grad()
    def predict(self, features: Features, types: Types, *, rng: np.random.Generator, draws: int = 10) -> NDArray[np.float64]:
        """The predicted accuracy (N,), 0 to 1, of architectures (N, V) on a dataset: the mean over `draws` of the dataset.

        Each draw is encoded once for all architectures. Raises UserError for features that do not fit.
        """
        told = self._told(self._dataset_codes(self.predictor.dataset, features, draws, rng), types)
        return told if self.trust == 1 else self.trust * told + (1 - self.trust) * self.predict_blind(types)

    def predict_blind(self, types: Types) -> NDArray[np.float64]:
        """The mean predicted accuracy (N,) of architectures (N, V) on the datasets that were learned from."""
        return self._told(torch.from_numpy(self.codes), types)

    @torch.no_grad()
    def _told(self, codes: Tensor, types: Types) -> NDArray[np.float64]:
        """The mean over datasets with these codes (B, code)."""
        given = torch.from_numpy(np.asarray(types, np.int64))
        told = [self.predictor(codes[:, None], self.predictor.graph(part)).mean(0) for part in torch.split(given, _GRAPHS_AT_ONCE)]
        return torch.cat(told).double().numpy() * self.spread + self.mean

    @torch.no_grad()
    def generate(
        self, features: Features, count: int, *, rng: np.random.Generator, most_tries: int = 0, accept: Accept | None = None
    ) -> Generated:
        """Up to `count` distinct legal architectures for a dataset, fewer where `most_tries` graphs give no more.

        most_tries: 0 for 20 times as many as are wanted, and 1,000 at the least. accept: whether the space takes legal types.
        """
        most = most_tries or max(1000, 20 * count)
        codes = self._dataset_codes(self.generator.dataset, features, _SETS, rng)
        latent = self.generator.mean(codes)
        found: dict[tuple[int, ...], bool] = {}
        written = valid = 0
        while written < most and sum(found.values()) < count:
            chosen = torch.from_numpy(rng.integers(len(latent), size=min(_WRITTEN_AT_ONCE, most - written)))
            graphs: Written = self.generator.decoder.write(latent[chosen], rng)
            written += len(chosen)
            for types in map(tuple, graphs.types[graphs.legal].tolist()):
                if types not in found:
                    found[types] = accept is None or accept(types)
                valid += found[types]
        distinct = [types for types, accepted in found.items() if accepted]
        shown = np.array(distinct[:count], np.int64).reshape(-1, self.encoding.count)
        return Generated(shown, written, valid, len(distinct))

    def distance(self, features: Features) -> float:
        """How far a dataset is from the nearest that was learned from, in the predictor's codes; 1 is the edge of what was seen.

        The unit is `reach`: of 95 in 100 datasets that were learned from, the nearest other is not further. Raises UserError for
        features that do not fit.
        """
        return float(np.linalg.norm(self.codes - self.placed(features), axis=1).min() / self.reach)

    @torch.no_grad()
    def placed(self, features: Features) -> NDArray[np.float32]:
        """The predictor's code (code,) of a dataset, the mean over a few draws that are always the same."""
        rng = generator(0, "distance")
        found: NDArray[np.float32] = self._dataset_codes(self.predictor.dataset, features, _DISTANCE_DRAWS, rng).mean(0).numpy()
        return found

    @torch.no_grad()
    def remember(self, datasets: Sequence[Features]) -> None:
        """Measure distances from these datasets, two or more, from now on."""
        rng = generator(0, "remembered")
        encoder, size = self.predictor.dataset, self.sizes.per_class
        parts = [datasets[first : first + _DATASETS_AT_ONCE] for first in range(0, len(datasets), _DATASETS_AT_ONCE)]
        codes = [torch.cat([encoder(drawn(part, size, rng)) for part in parts]) for _ in range(_DISTANCE_DRAWS)]
        self.codes = torch.stack(codes).mean(0).numpy()
        gaps = np.linalg.norm(self.codes[:, None] - self.codes[None], axis=2)
        np.fill_diagonal(gaps, np.inf)
        self.reach = max(float(np.quantile(gaps.min(1), _TYPICAL)), 1e-9)

    def state(self) -> dict[str, Any]:
        """Tensors by name, and `facts`, a text in JSON."""
        facts = {
            "format": _FORMAT, "space": self.space, "sizes": asdict(self.sizes), "encoding": asdict(self.encoding),
            "mean": self.mean, "spread": self.spread, "reach": self.reach, "trust": self.trust,
        }  # fmt: skip
        tensors = {f"predictor.{name}": tensor.clone() for name, tensor in self.predictor.state_dict().items()}
        tensors |= {f"generator.{name}": tensor.clone() for name, tensor in self.generator.state_dict().items()}
        return {**tensors, "codes": torch.from_numpy(self.codes), "facts": json.dumps(facts)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Model:
        """The model that a state is of. Raises UserError where it is of another version, or not whole."""
        try:
            facts = json.loads(state["facts"])
            if facts["format"] != _FORMAT:
                raise UserError(f"the model has format {facts['format']}, but this version reads {_FORMAT}; train it again")
            written = facts["encoding"]
            encoding = VertexEncoding(
                written["types"], tuple(map(tuple, written["allowed"])), tuple((one, other) for one, other in written["edges"])
            )
            sizes = Sizes(**facts["sizes"])
            predictor, writer = new_networks(encoding, sizes, seed=0)
            tensors = {name: torch.as_tensor(value) for name, value in state.items() if name != "facts"}
            predictor.load_state_dict(under("predictor.", tensors))
            writer.load_state_dict(under("generator.", tensors))
            numbers = facts["mean"], facts["spread"], tensors["codes"].numpy(), facts["reach"], facts["trust"]
            return cls(facts["space"], encoding, sizes, predictor, writer, *numbers)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"this is no model of MetaD2A that this version can read ({reason}); train it again") from error

    def check_space(self, space: Space) -> None:
        """Raises UserError where the model is of another space, or of this one with other settings."""
        if space.name != self.space or self.sizes.encoding(space) != self.encoding:
            which = "has other settings" if space.name == self.space else f"is '{space.name}'"
            raise UserError(f"the model was trained for architectures of '{self.space}', but the space {which}; train one for it")

    def _dataset_codes(self, encoder: DatasetEncoder, features: Features, draws: int, rng: np.random.Generator) -> Tensor:
        """(draws, code); a single one where a draw holds all images, since all would be the same."""
        check_features(features, self.sizes.features)
        if all(len(rows) <= self.sizes.per_class for rows in features):
            draws = 1
        parts = [min(_DATASETS_AT_ONCE, draws - first) for first in range(0, draws, _DATASETS_AT_ONCE)]
        return torch.cat([encoder(drawn([features] * part, self.sizes.per_class, rng)) for part in parts])


def new_networks(encoding: VertexEncoding, sizes: Sizes, *, seed: int) -> tuple[Predictor, Generator]:
    """Networks with random weights. Global random states stay as they are."""
    with seeded(derive(seed, "predictor")):
        predictor = Predictor(encoding, sizes)
    with seeded(derive(seed, "generator")):
        return predictor, Generator(encoding, sizes)


@torch.no_grad()
def standardise(layer: nn.Linear, outputs: Tensor) -> None:
    """Change a last layer so that what were its outputs (N, code) have mean 0, and 1 as the mean of their variances."""
    spread = outputs.var(0, correction=0).mean().sqrt().clamp_min(1e-6)
    layer.weight.div_(spread)
    layer.bias.sub_(outputs.mean(0)).div_(spread)


def check_features(features: Features, width: int, what: str = "a dataset") -> None:
    """Raises UserError where a dataset has fewer than two classes, a class without images, or features that are not (n, width)."""
    if len(features) < 2:
        raise UserError(f"{what} needs two classes or more, but {len(features)} came")
    for number, rows in enumerate(features):
        if rows.ndim != 2 or rows.shape[1] != width:
            shape = " x ".join(map(str, rows.shape))
            raise UserError(
                f"{what} needs {width} features an image, but class {number} has {shape}; use the extractor of the model"
            )
        if not len(rows):
            raise UserError(f"{what} needs an image of every class at least, but class {number} has none")
        if not np.isfinite(rows).all():
            raise UserError(f"{what} needs features that are finite, but those of class {number} are not")
