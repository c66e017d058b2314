"""AT-NAS: a supernet whose weights are learned to adapt to new tasks, and a population of architectures that evolves with them.

Rong, Yu, Zhang and Ou 2021, "Across-Task Neural Architecture Search via Meta Learning" (arXiv 2110.05842). Of the paper only the
abstract could be read, and no code was found. From it: one supernet for all tasks, its weights meta-learned by gradients, encodings
of its paths adapted by evolution meanwhile, and a meta-network that fits a new task within a few steps. All else is put together
from methods nearby: inner loop and its settings from MAML (Finn et al. 2017, arXiv 1703.03400), cells from T-NAS and MetaNAS
(`spaces/few_shot.py`), truncation selection and the shares of crossovers and mutations from Guo et al. 2020 (arXiv 1904.00420).

With the meta-weights W, a path a and an episode (support S, queries Q), W_S(a) being W after a few steps of descent on S:

    weights    W moves by the mean over a batch of episodes of the meta-gradient (`nn.adapting`), each episode with a path of its
               own: uniform ones in the warm-up, then ones of the population; weights that no path touches stay;
    fitness    F(a) = the mean accuracy on Q with W_S(a), over episodes of the validation classes, the same for a generation;
    evolution  now and then the fittest stay, crossovers (node by node) and mutations of them and random paths join them;
    focus      the last of the iterations go to the fittest path alone. That is ours: paths that share weights learn each a little,
               and the answer caught up with the same path trained alone only so (docs/few-shot.md).

A new task is met by `adapt`: the population, and mutations of its best, are judged on the support alone, and the winner adapts to
it, or the fittest path where the winner is not clearly better. With K >= 2 shots a path is judged by leaving one shot out; with one
shot the support's loss after the steps says nothing (every path fits it), so shifted copies of the support stand in for queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from time import monotonic
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.draw import Accept, mutate, sample
from archscout.core.errors import NotFinite, UserError
from archscout.core.problem import Problem
from archscout.core.protocols import Snapshot, Space
from archscout.core.seeds import derive, generator
from archscout.nn.adapting import (
    AT_ONCE,
    Found,
    Inner,
    LearnableGraph,
    Tensors,
    accuracies_of,
    adapted,
    meta_gradients,
    right_answers,
)
from archscout.nn.batches import Augmentation, augmented
from archscout.nn.episode_course import follow
from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.episodes import Episode, EpisodeSplit
from archscout.nn.measure import acceptance
from archscout.nn.pace import seconds_of
from archscout.nn.supernet import GraphSupernet, supernet_of
from archscout.nn.supernet_training import kept, kept_optimizer, put_back, put_back_optimizer
from archscout.nn.threads import Threads, torch_threads

Fitness = Literal["post", "pre", "gain"]
_KEPT_PATHS = 256
_VIEWS, _SHIFT = 4, 2
_JUDGED, _SHARE_JUDGING, _FINALISTS, _LONG = 4, 0.15, 5, 10_000
_TRIES = 200
_CLEAR = 1.96
"""Deviations by which another path must be better on the support than the fittest: the best of forty looks better than it is."""


@dataclass(frozen=True)
class AcrossTasks(EpisodeRecipe):
    """A meta-trained supernet with a population of its paths.

    iterations: steps of the meta-weights. warm_up: share of them with uniform paths, before the population is used. focus: share of
    them at the end for the fittest path alone; the learning rate starts anew for them.
    population, parents, crossed, mutated: paths; how many stay in a generation; children of either sort; random ones fill it up.
    paths: different ones in a step; its episodes are shared out between them.
    every: iterations from one generation to the next. tasks: episodes that judge it; final_tasks: those that judge its best, last.
    evolve: False for uniform paths throughout, from which the fittest of a random population answers.
    fitness: accuracy after the adaptation ("post"), before it ("pre"), or the difference ("gain").
    channels, cells: of the supernet; 0 for those of the space. report: steps between two reports.
    """

    iterations: int = 4000
    warm_up: float = 0.2
    focus: float = 0.6
    population: int = 20
    parents: int = 5
    crossed: int = 6
    mutated: int = 6
    paths: int = 2
    every: int = 250
    tasks: int = 50
    final_tasks: int = 200
    evolve: bool = True
    fitness: Fitness = "post"
    channels: int = 0
    cells: int = 0
    report: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.iterations, self.population, self.parents, self.every, self.tasks, self.final_tasks) < 1:
            raise UserError("iterations, population, parents, every, tasks and final_tasks of at-nas are at least 1")
        if self.parents + self.crossed + self.mutated > self.population:
            raise UserError(
                f"parents, crossed and mutated are together at most the population, {self.population}, but "
                f"{self.parents}, {self.crossed} and {self.mutated} came"
            )
        if min(self.warm_up, self.focus) < 0 or self.warm_up + self.focus > 1:
            raise UserError(
                f"warm_up and focus are shares of the iterations, together at most 1, but {self.warm_up} and {self.focus} came; "
                "lower one of them"
            )
        if self.fitness not in ("post", "pre", "gain"):
            raise UserError(f"fitness is post, pre or gain, but {self.fitness} came")

    @property
    def together(self) -> int:
        """The iterations before those of the fittest path alone."""
        return self.iterations - round(self.focus * self.iterations)

    def rate_at(self, step: int) -> float:
        """The share of the peak learning rate at a step, 0 to iterations - 1."""
        first, last = (0, self.together) if step < self.together else (self.together, self.iterations)
        return self.rate((step - first) / (last - first))


class MetaNetwork:
    """The supernet of a space, its meta-weights, and learnable paths."""

    def __init__(self, problem: Problem, seed: int, channels: int = 0, cells: int = 0) -> None:
        found = supernet_of(problem.space, problem.task, seed=seed, init="kaiming-normal", channels=channels, depth=cells)
        if not isinstance(found, GraphSupernet):
            raise UserError(f"at-nas needs a space of image networks, but '{problem.space.name}' has others; take few-shot")
        self.net = found.to(problem.device)
        self.weights: dict[str, Tensor] = dict(self.net.named_parameters())
        self.path = lru_cache(_KEPT_PATHS)(self._path)

    def _path(self, architecture: Architecture) -> LearnableGraph:
        return LearnableGraph(self.net.path(architecture))

    def plain(self) -> Tensors:
        """The meta-weights, detached."""
        return {name: weight.detach() for name, weight in self.weights.items()}


@dataclass
class MetaTraining:
    """Meta-weights and population under way.

    fitness: by the last judgement, of those of the population that it saw; empty before the first.
    """

    problem: Problem
    settings: AcrossTasks
    seed: int
    threads: Threads = field(default_factory=Threads)
    network: MetaNetwork = field(init=False)
    population: list[Architecture] = field(init=False)
    fitness: dict[Architecture, float] = field(init=False, default_factory=dict)
    step: int = field(init=False, default=0)
    generation: int = field(init=False, default=0)
    finished: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.network = MetaNetwork(self.problem, derive(self.seed, "weights"), settings.channels, settings.cells)
        self.optimizer = settings.optimizer_of(list(self.network.net.parameters()))
        self.accept: Accept | None = acceptance(self.problem)
        self.population = [self._random("population", number) for number in range(settings.population)]
        self.train: EpisodeSplit = self.problem.task.splits["train"]
        self.valid: EpisodeSplit = self.problem.task.splits["valid"]

    @property
    def done(self) -> bool:
        """Whether all iterations are made."""
        return self.step >= self.settings.iterations

    @property
    def best(self) -> Architecture:
        """The fittest of the population; before any is judged the first."""
        return self.ranked()[0]

    def learn(self) -> float:
        """One step of the meta-weights; the mean loss of its episodes. Raises NotFinite."""
        settings, step = self.settings, self.step
        if step >= settings.together:
            self.finish()
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * settings.rate_at(step)
        paths = min(settings.paths, settings.batch)
        chosen = [(self._drawn(step, n), range(n, settings.batch, paths)) for n in range(paths)]

        def one(of: tuple[Architecture, range]) -> Found:
            architecture, numbers = of
            episodes = [self._episode(self.train, "training", step, number) for number in numbers]
            return meta_gradients(self.network.path(architecture), self.network.weights, episodes, settings.train_inner)

        with torch_threads(1):
            loss = float(follow(self.optimizer, self.network.weights, self.threads.map(one, chosen), settings.clip))
        if not np.isfinite(loss):
            raise NotFinite(
                f"the meta-training's loss was {loss} at step {step + 1:,}; a smaller inner_rate than {settings.inner_rate} or "
                f"learning_rate than {settings.learning_rate} may help"
            )
        self.step += 1
        return loss

    @property
    def warm(self) -> bool:
        """Whether the population is in use."""
        return self.settings.evolve and self.step >= self.settings.warm_up * self.settings.iterations

    def breeds(self) -> bool:
        """Whether a generation is due after the last step."""
        return self.warm and self.step % self.settings.every == 0 and self.step < self.settings.together

    def breed(self) -> None:
        """Judge the population on common episodes, and renew it."""
        self.fitness = {}
        self.judge(self.settings.tasks)
        rng = generator(self.seed, "generation", self.generation)
        self.population = evolved(self.problem.space, self.ranked()[: self.settings.parents], self.settings, rng, self.accept)
        self.generation += 1

    def judge(self, tasks: int, among: Iterable[Architecture] | None = None) -> None:
        """Set the fitness of the population, or of some, by so many episodes, the same for all."""
        chosen = list(self.population if among is None else among)
        episodes = [self._episode(self.valid, "fitness", self.generation, number) for number in range(tasks)]
        weights, inner, kind = self.network.plain(), self.settings.test_inner, self.settings.fitness

        def one(architecture: Architecture) -> float:
            net = self.network.path(architecture)
            post = 0.0 if kind == "pre" else float(np.mean(accuracies_of(net, weights, episodes, inner)))
            pre = 0.0 if kind == "post" else float(np.mean(accuracies_of(net, weights, episodes, replace(inner, steps=0))))
            return {"post": post, "pre": pre, "gain": post - pre}[kind]

        with torch_threads(1):
            self.fitness |= dict(zip(chosen, self.threads.map(one, chosen), strict=True))

    def finish(self) -> Architecture:
        """The answer: the population is judged once more, and its best five on more episodes, those alone.

        It is given before the iterations of the fittest path, and does not change in them.
        """
        if self.finished:
            return self.population[0]
        self.generation += 1
        self.fitness = {}
        self.judge(self.settings.tasks)
        best = self.ranked()[:_FINALISTS]
        self.generation += 1
        self.judge(self.settings.final_tasks, best)
        self.population = [*sorted(best, key=lambda a: -self.fitness[a]), *(a for a in self.ranked() if a not in best)]
        self.finished = True
        return self.population[0]

    def ranked(self) -> list[Architecture]:
        """The population, the fittest first; those that were not judged last."""
        if self.finished:
            return list(self.population)
        return sorted(self.population, key=lambda architecture: -self.fitness.get(architecture, -1.0))

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        judged = [architecture for architecture in self.population if architecture in self.fitness]
        return {
            **kept(self.network.weights, "weights."), **kept_optimizer(self.optimizer, "optimizer."),
            "population": np.array([architecture.choices for architecture in self.population], np.int64),
            "judged": np.array([self.population.index(architecture) for architecture in judged], np.int64),
            "fitness": np.array([self.fitness[architecture] for architecture in judged]),
            "step": self.step, "generation": self.generation, "finished": int(self.finished),
        }  # fmt: skip

    def restore(self, state: Snapshot) -> None:
        """Back from a snapshot."""
        put_back(self.network.weights, state, "weights.")
        put_back_optimizer(self.optimizer, state, "optimizer.")
        self.population = architectures_in(self.problem.space, state["population"])
        judged = zip(np.asarray(state["judged"]).tolist(), np.asarray(state["fitness"]).tolist(), strict=True)
        self.fitness = {self.population[place]: value for place, value in judged}
        self.step, self.generation, self.finished = int(state["step"]), int(state["generation"]), bool(state["finished"])

    def _episode(self, split: EpisodeSplit, *words: object) -> Episode:
        return split.episode(derive(self.seed, *words)).to(self.problem.device)

    def _random(self, *words: object) -> Architecture:
        return sample(self.problem.space, generator(self.seed, *words), self.accept)

    def _drawn(self, step: int, number: int) -> Architecture:
        """A path of a step."""
        if self.finished:
            return self.population[0]
        if not self.warm:
            return self._random("path", step, number)
        return self.population[int(generator(self.seed, "member", step, number).integers(len(self.population)))]


def paced(problem: Problem, settings: AcrossTasks, seconds: float, seed: int, threads: Threads) -> tuple[dict[str, int], float]:
    """The settings with which a meta-training ends within about `seconds` here, and the mean seconds of a step.

    A step of one path alone is measured apart: it costs less where starting kernels is what takes the time. Judging paths gets at
    most about a third of the time: in a short training on fewer episodes, and seldom.
    """
    training = MetaTraining(problem, replace(settings, iterations=_LONG), seed, threads)  # its end is not what is timed
    step = seconds_of(lambda _: training.learn())
    if settings.focus:
        training.finished = True
        step += settings.focus * (seconds_of(lambda _: training.learn()) - step)
    some = training.population[:_JUDGED]
    begun = monotonic()
    training.judge(AT_ONCE, some)
    judged = max((monotonic() - begun) / len(some) / AT_ONCE, 1e-5)
    generation, last = settings.population * settings.tasks, _FINALISTS * settings.final_tasks
    share = min(1.0, _SHARE_JUDGING * seconds / (judged * (2 * generation + last)))
    tasks, final = (min(most, max(4, int(share * most))) for most in (settings.tasks, settings.final_tasks))
    left = seconds - judged * share * (generation + last)
    count = max(1, int(_SHARE_JUDGING * left / (judged * settings.population * tasks))) if settings.evolve else 0
    iterations = max(1, int((left - count * judged * settings.population * tasks) / step))
    evolving = int((1 - settings.warm_up - settings.focus) * iterations)
    every = max(1, min(settings.every, evolving), evolving // max(1, count))
    return {"iterations": iterations, "every": every, "tasks": tasks, "final_tasks": final}, step


def architectures_in(space: Space, choices: Any) -> list[Architecture]:
    """The architectures of an array of choices (N, D)."""
    return [space.architecture(row) for row in np.asarray(choices).tolist()]


def evolved(
    space: Space, parents: Sequence[Architecture], settings: AcrossTasks, rng: np.random.Generator, accept: Accept | None = None
) -> list[Architecture]:
    """The next generation: the parents, crossovers, mutations and random paths, all different as far as there are enough."""
    found = dict.fromkeys(parents)

    def grown(count: int, child: Any) -> None:
        wanted = len(found) + count
        for _ in range(_TRIES):
            if len(found) >= wanted:
                break
            made = child()
            if accept is None or accept(made):
                found[made] = None

    def one() -> Architecture:
        return parents[int(rng.integers(len(parents)))]

    grown(settings.crossed, lambda: crossed(space, one(), one(), rng))
    grown(settings.mutated, lambda: mutate(space, one(), rng, accept))
    grown(settings.population - len(found), lambda: sample(space, rng, accept))
    return list(found)


def crossed(space: Space, one: Architecture, other: Architecture, rng: np.random.Generator) -> Architecture:
    """A child that has every node from either parent: decisions whose names differ in the last word alone go together."""
    nodes = [decision.name.rpartition(" ")[0] or decision.name for decision in space.decisions]
    mine = {node: bool(rng.random() < 0.5) for node in dict.fromkeys(nodes)}
    pairs = zip(nodes, one.choices, other.choices, strict=True)
    return space.architecture([first if mine[node] else second for node, first, second in pairs])


@dataclass(frozen=True)
class Adapted:
    """What a new task got: a path, its weights, and the share of held-out images of the support that it classified right."""

    architecture: Architecture
    weights: Mapping[str, Tensor]
    score: float


def adapt(
    network: MetaNetwork, space: Space, population: Sequence[Architecture], support: Tensor, labels: Tensor, inner: Inner, *,
    seed: int, rounds: int = 3, size: int = 10, accept: Accept | None = None,
) -> Adapted:  # fmt: skip
    """Choose a path of a meta-trained supernet for a new task, and adapt it, from the support alone.

    population: paths, the fittest of the meta-training first. support (N, C, H, W) and labels (N,), of each class as many images.
    rounds: generations of mutations of the best. size: paths in each. inner: the adaptation.
    """
    weights, rng = network.plain(), generator(seed, "adapt")
    folds = list(folded(support, labels, seed))
    views = len(folds[0].support) == len(support)  # nothing was left out: the queries of all folds are the same images
    right: dict[Architecture, Tensor] = {}  # (N,), of each image of the support the share of its questions that is answered right

    def judge(architecture: Architecture) -> None:
        if architecture not in right:
            answers = right_answers(network.path(architecture), weights, folds, inner)
            right[architecture] = torch.stack(answers).double().mean(0) if views else torch.cat(answers).double()

    def best() -> Architecture:  # the first of equals, so the fitter
        return max(right, key=lambda architecture: float(right[architecture].sum()))

    for architecture in population[:size]:
        judge(architecture)
    for _ in range(rounds):
        parent = best()
        for _ in range(size):
            judge(mutate(space, parent, rng, accept))
    winner, fittest = best(), population[0]
    chosen = winner if _clearly(right[winner], right[fittest]) else fittest
    score = float(right[chosen].mean())
    return Adapted(chosen, adapted(network.path(chosen), weights, support, labels, inner), score)


def _clearly(one: Tensor, other: Tensor) -> bool:
    """Whether the first of two rows of right answers (N,) is better by so many deviations, as in McNemar's test."""
    gaps = one - other
    return float(gaps.sum()) > _CLEAR * float(gaps.square().sum().sqrt())


def folded(support: Tensor, labels: Tensor, seed: int) -> Iterable[Episode]:
    """Episodes of a support alone: each shot of all classes left out in turn, or of one shot, shifted copies as queries."""
    order = torch.argsort(labels, stable=True)
    ways = len(torch.unique(labels))
    shots = len(labels) // ways
    if shots < 2:
        for view in range(_VIEWS):
            noise = torch.Generator().manual_seed(derive(seed, "view", view))
            shifted = augmented(support.cpu(), Augmentation(shift=_SHIFT), noise).contiguous().to(support.device)
            yield Episode(support, labels, shifted, labels)
        return
    by_class, names = support[order].view(ways, shots, *support.shape[1:]), labels[order].view(ways, shots)
    for left_out in range(shots):
        rest = [shot for shot in range(shots) if shot != left_out]
        yield Episode(
            by_class[:, rest].flatten(0, 1),
            names[:, rest].flatten(),
            by_class[:, left_out].contiguous(),
            names[:, left_out].contiguous(),
        )
