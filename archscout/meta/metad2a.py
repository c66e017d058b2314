"""MetaD2A: learn from many tasks which architectures suit a dataset, so that a new dataset needs forward passes alone.

Lee, Hyung and Hwang 2021 (arXiv 2107.00860). Two networks learn from a database of tasks D, architectures G and accuracies. Both
read a dataset as a set of sets of image features, with a code v of its own each (`nn.sets`), and graphs as typed vertices
(`nn.vertex_graphs`). The predictor is a regression; the generator writes the good architectures of a task:

    predictor   s(D, G) = W2 tanh(W1 [v; g(G)] + b1) + b2              loss: (s - (accuracy - mean) / deviation)^2
    generator   mu, log sigma^2 = affine(v);  z = mu + 0.01 sigma e,  e ~ N(0, I)
                loss: -log p(types and edges of G | z) + beta KL(N(mu, sigma^2) || N(0, I))

To search, z = mu of random draws of the new dataset; what is decoded from them is ranked by the predictor.

Deviations. From the paper, as its released code: the latent noise is scaled by 0.01 and left out after training, the divergence is
from N(0, I), and no posterior reads a graph; the graph encoder that the code's generator owns and never calls is left out, as are
layers of the predictor that are never called. From the released code:
- accuracies are standardised without the further division by 100; features are moved and scaled first;
- a step takes a batch of tasks, each drawn and encoded once, with many of its records, instead of a draw for every record; losses
  are means, not sums; the learning rate is larger and falls as a cosine after a short rise, instead of by plateaus of the training
  loss; gradients are clipped;
- a part of the predictor's loss compares records of the same task, pair by pair (`ranking`): the squared error is mostly about how
  hard tasks are, which does not matter for a choice among architectures;
- validation holds out whole tasks, and the kept predictor is the one with the best rank correlation within them; of the generator,
  the one under which their good architectures are the likeliest;
- a prediction is drawn towards the mean prediction over the tasks that were learned from, by as much as ranks the best on the tasks
  held out (`trust`): from a small database, what suits a dataset is learned less surely than what suits any;
- initial weights let what tells tasks and graphs apart through every layer, and give codes a variance of 1; with the usual ones the
  first tens of epochs learn nothing but the mean;
- by default the generator writes types alone, along the true edges (`graph`), and learns those of many random architectures that
  the predictor likes best (`teacher`), as the released code has it for its mobile space: of few records the best are luck;
- the networks are smaller by default, for a CPU.
"""

from __future__ import annotations

from collections.abc import Generator as Steps
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, cos, pi
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.checks import check_least
from archscout.core.database import MetaDatabase
from archscout.core.draw import sample
from archscout.core.errors import UserError
from archscout.core.moves import Lecture
from archscout.core.protocols import Snapshot, Space
from archscout.core.seeds import derive, generator
from archscout.core.vertices import vertices_of
from archscout.nn.metad2a import Graph, Model, Sizes, Types, check_features, new_networks, standardise
from archscout.nn.sets import DatasetEncoder, Features, drawn
from archscout.nn.supernet_training import back, kept, kept_optimizer, put_back_optimizer
from archscout.nn.threads import torch_threads

Teacher = Literal["records", "predictor"]

_DRAWS = 4
_TRUSTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of a prediction that may be of the dataset asked about."""
_GRAPHS = 1000
"""At the most, whose codes are standardised."""
_RISE, _LEAST = 0.05, 1e-3
"""Share of a training in which the learning rate rises, from a small part of it."""
_RANKED = 3
"""Records of a task, below which their order says nothing."""
_FEW = 10
"""Records a task in the mean, below which the good ones are looked for among those of all tasks."""


@dataclass(frozen=True)
class MetaD2A:
    """A predictor of accuracies and a generator of architectures, for any dataset.

    code, hidden: numbers in the code of a dataset or graph, and the predictor's states; published are 56 and 512.
    per_class: images of a class in a draw of a dataset.
    graph: "fixed" writes types along the true edges; "dataflow" writes those edges too; "reference" those of the released code.
    epochs: passes over the tasks, for the predictor and then again for the generator. batch: tasks a step. records: of a task, at
        the most, in a step. rate: of Adam, falling as a cosine. clip: the largest norm of a gradient.
    held_out: share of the tasks that tells which epoch was the best; 0 takes the last.
    ranking: weight of the comparison of records of the same task.
    top: share of a task's architectures that the generator learns to write, at least one. teacher: among the "records", or among
        `pool` random ones by the "predictor". beta: weight of the divergence.
    """

    code: int = 56
    hidden: int = 96
    per_class: int = 20
    graph: Graph = "fixed"
    epochs: int = 100
    batch: int = 16
    records: int = 32
    rate: float = 1e-3
    clip: float = 5.0
    held_out: float = 0.15
    ranking: float = 1.0
    top: float = 0.1
    teacher: Teacher = "predictor"
    pool: int = 500
    beta: float = 5e-3

    def __post_init__(self) -> None:
        check_least(self, epochs=1, batch=1, records=1, pool=1, ranking=0, beta=0)
        if not (0 <= self.held_out < 1 and 0 < self.top <= 1):
            raise ValueError(f"held_out is in [0, 1) and top in (0, 1], but {self.held_out} and {self.top} came")
        if not (self.rate > 0 and self.clip > 0):
            raise ValueError(f"rate and clip are above 0, but {self.rate} and {self.clip} came")
        if self.teacher not in ("records", "predictor"):
            raise ValueError(f"teacher is records or predictor, but '{self.teacher}' came")
        _ = self._sizes(1)

    def training(
        self, database: MetaDatabase, space: Space, features: Sequence[Features], *, seed: int, state: Snapshot | None = None
    ) -> Steps[Lecture, None, None]:
        """Train the predictor, then the generator; a lecture an epoch. The last state has the model (`nn.metad2a.Model`)."""
        with torch_threads(1):
            course = _Course(self, database, space, features, seed)
        done, total = 0, 2 * self.epochs
        if state is not None:
            if state["database"] != database.digest:
                raise UserError("the training that is to go on was of another database; begin it anew")
            done = int(state["done"])
            if done == total:
                yield Lecture(done, total, {}, state)
                return
            course.restore(state)
        while done < total:
            # Only while something is computed: between two lectures, others may count on their own threads.
            with torch_threads(1):
                metrics = course.epoch(done)
                done += 1
                kept = course.state() if done < total else kept_model(course.model())
            yield Lecture(done, total, metrics, {"done": done, "database": database.digest, **kept})

    def _sizes(self, features: int) -> Sizes:
        return Sizes(features, self.code, self.hidden, per_class=self.per_class, graph=self.graph)


def kept_model(model: Model) -> dict[str, Any]:
    """A model as it stands in the state of a lecture."""
    return {f"learned.{name}": value for name, value in model.state().items()}


class _Known(NamedTuple):
    """Records as arrays: the types (R, V) of their architectures, and accuracy (R,); the rows of each task, and its dataset."""

    types: Tensor
    accuracy: NDArray[np.float64]
    rows: list[NDArray[np.int64]]
    features: Sequence[Features]


class _Course:
    """The training: which tasks are held out, the networks, the best of them so far."""

    def __init__(self, settings: MetaD2A, database: MetaDatabase, space: Space, features: Sequence[Features], seed: int) -> None:
        _check(database, space, features)
        self.settings, self.space, self.seed = settings, space, seed
        self.sizes = settings._sizes(features[0][0].shape[1])
        types = torch.tensor([vertices_of(space, architecture) for architecture in database.architectures])
        rows = [np.flatnonzero(database.task == task) for task in range(len(database.tasks))]
        self.known = _Known(types, database.accuracy.astype(np.float64), rows, features)
        self.trained, self.aside = _split(database, settings.held_out, seed)
        mine = np.concatenate([self.known.accuracy[rows[task]] for task in self.trained])
        self.mean, self.spread = float(mine.mean()), float(mine.std()) or 1.0
        encoding = self.sizes.encoding(space)
        self.predictor, self.generator = new_networks(encoding, self.sizes, seed=derive(seed, "networks"))
        for network in (self.predictor, self.generator):
            network.dataset.fit_features([features[task] for task in self.trained])
        self._standardise()
        self.encoding = encoding
        self.best: dict[str, Tensor] = {}
        self.score, self.trust = -np.inf, 1.0
        self.optimizer = self._adam(self.predictor)
        self.writes = False
        self.targets: list[Tensor] = []

    @torch.no_grad()
    def _standardise(self) -> None:
        """Have the codes of tasks and graphs vary by 1 to begin with, so that what is made of both is not all but linear."""
        tasks = self.trained[: self.settings.batch * _DRAWS]
        for network in (self.predictor, self.generator):
            standardise(network.dataset.classes.last, self._averaged(network.dataset, tasks).mean(1))
        standardise(self.predictor.graph.code, self.predictor.graph(self.known.types[:_GRAPHS]))

    def epoch(self, number: int) -> dict[str, float]:
        """Train one, and measure it."""
        if number >= self.settings.epochs and not self.writes:
            self._turn()
        network: nn.Module = self.generator if self.writes else self.predictor
        rng = generator(self.seed, "epoch", number)
        network.train()
        metrics = self._write(number, rng) if self.writes else self._judge(number, rng)
        network.eval()
        with torch.no_grad():
            found, score = self._writing() if self.writes else self._judging()
        if not len(self.aside) or score > self.score or not self.best:
            self.score = score
            self.trust = self.trust if self.writes else found.get("trust", 1.0)
            self.best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        return metrics | found

    def model(self) -> Model:
        """What was learned."""
        self.generator.load_state_dict(self.best)
        networks = self.predictor, self.generator
        model = Model(self.space.name, self.encoding, self.sizes, *networks, self.mean, self.spread, trust=self.trust)
        model.remember(self.known.features)
        return model

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        network: nn.Module = self.generator if self.writes else self.predictor
        found = {**kept(network.state_dict(), "network."), **kept(self.best, "best."), **kept_optimizer(self.optimizer, "adam.")}
        if self.writes:
            found |= kept(self.predictor.state_dict(), "predictor.")
        return {**found, "score": float(self.score), "trust": self.trust, "writes": int(self.writes)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back from a snapshot."""
        self.trust = float(state["trust"])
        if state["writes"]:
            self.best = back(state, "predictor.")
            self._turn()
        network: nn.Module = self.generator if self.writes else self.predictor
        network.load_state_dict(back(state, "network."))
        put_back_optimizer(self.optimizer, state, "adam.")
        self.best, self.score = back(state, "best."), float(state["score"])

    def _turn(self) -> None:
        """From the predictor, of which the best is taken, to the generator."""
        self.predictor.load_state_dict(self.best)
        self.predictor.eval()
        self.best, self.score, self.writes = {}, -np.inf, True
        self.optimizer = self._adam(self.generator)
        with torch.no_grad():
            chosen = self._preferred if self.settings.teacher == "predictor" else self._best_records
            self.targets = chosen()

    def _adam(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), self.settings.rate, fused=True)

    def _judge(self, number: int, rng: np.random.Generator) -> dict[str, float]:
        """An epoch of the predictor; the mean loss."""
        losses = []
        for at, part in self._batches(self.trained, number, rng):
            chosen = [rng.permutation(self.known.rows[task])[: self.settings.records] for task in part.tolist()]
            owner = torch.from_numpy(np.repeat(np.arange(len(part)), list(map(len, chosen))))
            taken = np.concatenate(chosen)
            wanted = torch.from_numpy((self.known.accuracy[taken] - self.mean) / self.spread).float()
            codes = self._codes(self.predictor.dataset, part, rng)
            told = self.predictor(codes[owner], self.predictor.graph(self.known.types[torch.from_numpy(taken)]))
            loss = F.mse_loss(told, wanted)
            if self.settings.ranking:
                loss = loss + self.settings.ranking * _misordered(told, wanted, owner)
            self._step(self.predictor, loss, at)
            losses.append(float(loss.detach()))
        return {"predictor-loss": float(np.mean(losses))}

    def _write(self, number: int, rng: np.random.Generator) -> dict[str, float]:
        """An epoch of the generator; the mean losses by kind."""
        tasks = np.array([task for task in self.trained.tolist() if len(self.targets[task])])
        losses = []
        for at, part in self._batches(tasks, number, rng):
            chosen = [rng.permutation(len(self.targets[task]))[: self.settings.records] for task in part.tolist()]
            owner = torch.from_numpy(np.repeat(np.arange(len(part)), list(map(len, chosen))))
            types = torch.cat([self.targets[task][torch.from_numpy(which)] for task, which in zip(part, chosen, strict=True)])
            codes = self._codes(self.generator.dataset, part, rng)
            parts = [kind.mean() for kind in self.generator(codes, owner, types, rng)]
            self._step(self.generator, parts[0] + parts[1] + self.settings.beta * parts[2], at)
            losses.append([float(kind.detach()) for kind in parts])
        return dict(zip(("types-loss", "edges-loss", "divergence"), map(float, np.mean(losses, 0)), strict=True))

    def _judging(self) -> tuple[dict[str, float], float]:
        """How the predictor does on the tasks that are held out, and what its epoch is chosen by."""
        if not len(self.aside):
            return {}, 0.0
        wanted = [self.known.accuracy[self.known.rows[task]] for task in self.aside]
        told, blind = self._told(self.aside)
        measured = []
        for trust in _TRUSTS:
            mixed = [trust * one + (1 - trust) * other for one, other in zip(told, blind, strict=True)]
            error = float(np.mean((np.concatenate(mixed) - np.concatenate(wanted)) ** 2)) ** 0.5
            found = {"error": error, "trust": trust} | correlations(mixed, wanted)
            measured.append((found.get("spearman", -error), found))
        score, found = max(measured, key=lambda pair: pair[0])
        return found, score

    def _told(self, tasks: NDArray[np.int64]) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """The predicted accuracies of the records of each of some tasks; and as the mean over the tasks that are learned from."""
        rows = [self.known.rows[task] for task in tasks]
        graphs = self.predictor.graph(self.known.types[torch.from_numpy(np.concatenate(rows))])
        ends = np.cumsum(list(map(len, rows)))[:-1]
        codes = self._averaged(self.predictor.dataset, tasks)
        parts = graphs.tensor_split(ends.tolist())
        told = [self.predictor(code[:, None], part).mean(0) for code, part in zip(codes, parts, strict=True)]
        others = self._averaged(self.predictor.dataset, self.trained, 1)
        blind = self.predictor(others, graphs).mean(0)
        split = np.split(blind.double().numpy() * self.spread + self.mean, ends)
        return [part.double().numpy() * self.spread + self.mean for part in told], split

    def _writing(self) -> tuple[dict[str, float], float]:
        """How unlikely the good architectures of the tasks that are held out are, and the variance of latent points over tasks."""
        if not len(self.aside):
            return {}, 0.0
        codes = self._averaged(self.generator.dataset, self.aside).mean(1)
        counts = [len(self.targets[task]) for task in self.aside]
        found = {"latent-variance": float(self.generator.mean(codes).var(0, correction=0).mean())}
        if not sum(counts):
            return found, self._later()
        owner = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
        unlikely = self.generator(codes, owner, torch.cat([self.targets[task] for task in self.aside]))
        found["aside-loss"] = float((unlikely.types + unlikely.edges).mean())
        return found, -found["aside-loss"]

    def _later(self) -> float:
        """A score better than the best, for an epoch of which nothing can be told."""
        return self.score + 1 if np.isfinite(self.score) else 0.0

    def _best_records(self) -> list[Tensor]:
        return _good(self.known, self.trained, self.settings.top)

    def _preferred(self) -> list[Tensor]:
        """For every task, the random architectures that the predictor likes best."""
        rng = generator(self.seed, "pool")
        types = torch.tensor(sorted({vertices_of(self.space, sample(self.space, rng)) for _ in range(self.settings.pool)}))
        graphs = self.predictor.graph(types)
        everyone, found = self._averaged(self.predictor.dataset, np.arange(len(self.known.features))), []
        blind = self.predictor(everyone[torch.from_numpy(self.trained), :1], graphs).mean(0)
        for codes in everyone:
            told = self.trust * self.predictor(codes[:, None], graphs).mean(0) + (1 - self.trust) * blind
            found.append(types[told.topk(_share(self.settings.top, len(types))).indices])
        return found

    def _averaged(self, encoder: DatasetEncoder, tasks: NDArray[np.int64], draws: int = _DRAWS) -> Tensor:
        """The codes (tasks, draws, code) of a few draws of tasks; each time the same draws."""
        rng = generator(self.seed, "aside")
        parts = np.array_split(tasks, ceil(len(tasks) / self.settings.batch))
        return torch.stack([torch.cat([self._codes(encoder, part, rng) for part in parts]) for _ in range(draws)], 1)

    def _codes(self, encoder: DatasetEncoder, tasks: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        codes: Tensor = encoder(drawn([self.known.features[task] for task in tasks], self.settings.per_class, rng))
        return codes

    def _batches(
        self, tasks: NDArray[np.int64], number: int, rng: np.random.Generator
    ) -> Iterator[tuple[float, NDArray[np.int64]]]:
        """Batches of tasks in random order, each with the share of the network's training that lies before it."""
        order, epoch = rng.permutation(tasks), number % self.settings.epochs
        count = ceil(len(order) / self.settings.batch)
        for place, part in enumerate(np.array_split(order, count)):
            yield (epoch + place / count) / self.settings.epochs, part

    def _step(self, network: nn.Module, loss: Tensor, at: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate * min((1 + cos(pi * at)) / 2, (at + _LEAST) / _RISE)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), self.settings.clip)
        self.optimizer.step()


def correlations(told: Sequence[NDArray[np.float64]], wanted: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """Of predictions and accuracies by task: `spearman`, the mean over tasks, and `pearson` of all together, where there are such.

    The first counts for a choice among architectures; the second is mostly about how hard the tasks are.
    """
    found = {}
    ranked = [
        float(spearmanr(one, other).statistic)
        for one, other in zip(told, wanted, strict=True)
        if len(other) >= _RANKED and np.ptp(one) > 0 and np.ptp(other) > 0
    ]
    if ranked:
        found["spearman"] = float(np.mean(ranked))
    all_told, all_wanted = np.concatenate(told), np.concatenate(wanted)
    if len(all_told) > 1 and np.ptp(all_told) > 0 and np.ptp(all_wanted) > 0:
        found["pearson"] = float(pearsonr(all_told, all_wanted).statistic)
    return found


def _misordered(told: Tensor, wanted: Tensor, owner: Tensor) -> Tensor:
    """How unsure the order (N,) of records of the same task is: log(1 + exp(-gap)) of pairs, weighed by how far apart they are."""
    gaps, right = told[:, None] - told[None, :], wanted[:, None] - wanted[None, :]
    weights = right.clamp_min(0) * (owner[:, None] == owner[None, :])
    total = weights.sum()
    # Gaps are measured in the mean distance of such pairs, so that tasks whose architectures are nearly alike count as others do.
    unit = total / (weights > 0).sum().clamp_min(1)
    return (weights * F.softplus(-gaps / unit.clamp_min(1e-6))).sum() / total.clamp_min(1e-6)


def _good(known: _Known, trained: NDArray[np.int64], top: float) -> list[Tensor]:
    """For every task the types (n, V) of the best of its architectures, by the mean of their records.

    With few records a task the best of them are often not good; then it is the best of all by how far above the mean of their task
    they are, in deviations within it, and some tasks have none; but not all that are learned from.
    """
    labelled = []
    for rows in known.rows:
        types, which = np.unique(known.types[torch.from_numpy(rows)].numpy(), axis=0, return_inverse=True)
        labelled.append((types, np.bincount(which.ravel(), known.accuracy[rows]) / np.bincount(which.ravel())))
    counts = [len(means) for _, means in labelled]
    if np.mean(counts) >= _FEW:
        return [_best(types, means, np.sort(means)[-_share(top, len(means))]) for types, means in labelled]
    squares = [float(((means - means.mean()) ** 2).sum()) for _, means in labelled]
    usual = sum(squares) / max(sum(counts) - len(counts), 1)
    above = []
    for (_, means), square in zip(labelled, squares, strict=True):
        # The variance of few records is drawn towards the usual one, as if that were of `_RANKED` more.
        variance = (square + _RANKED * usual) / (len(means) - 1 + _RANKED)
        # The mean of n records leans towards each of them, which makes distances from it too small by the root of (n - 1) / n.
        above.append((means - means.mean()) * np.sqrt(len(means) / max(len(means) - 1, 1) / max(variance, 1e-12)))
    least = np.sort(np.concatenate(above))[-_share(top, sum(counts))]
    least = min(least, max(above[task].max() for task in trained))
    return [_best(types, values, least) for (types, _), values in zip(labelled, above, strict=True)]


def _best(types: Types, values: NDArray[np.float64], least: float) -> Tensor:
    return torch.from_numpy(types[values >= least])


def _share(top: float, count: int) -> int:
    return max(1, round(top * count))


def _split(database: MetaDatabase, held_out: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tasks to learn from and those held out, at least one of each where any are."""
    order = generator(seed, "held out").permutation(len(database.tasks))
    aside = min(max(1, round(held_out * len(order))), len(order) - 1) if held_out else 0
    return np.sort(order[aside:]), np.sort(order[:aside])


def _check(database: MetaDatabase, space: Space, features: Sequence[Features]) -> None:
    """Raises UserError where the three do not go together, or are too little to learn from."""
    if not len(database):
        raise UserError("the database is empty; build one with more --records")
    if database.space != space.name:
        raise UserError(f"the database is of '{database.space}', but the space is '{space.name}'; name the database's")
    if len(database.tasks) < 2:
        raise UserError(f"metad2a learns from two tasks or more, but the database has {len(database.tasks)}; build more --tasks")
    if len(features) != len(database.tasks):
        raise UserError(
            f"features of {len(database.tasks)} tasks are needed, but those of {len(features)} came; extract them again"
        )
    if missing := [str(name) for task, name in enumerate(database.tasks) if task not in set(database.task.tolist())]:
        raise UserError(f"every task needs a record, but {missing[0]} has none; build more --records")
    if not len(features[0]) or features[0][0].ndim != 2:
        raise UserError("features are (images, numbers) for each class of a task, but others came; extract them again")
    for name, dataset in zip(database.tasks, features, strict=True):
        check_features(dataset, features[0][0].shape[1], f"the task {name}")
