"""FUSE: candidates are fused into one network, and what their outputs weigh says which is best; near like tasks, if some are known.

Le, Soltani, Ravier and Dong 2020 (arXiv 2010.13962), with the task distances of 2021 (arXiv 2103.12827; `nn/task_distance.py`). For
candidates c with outputs c(x), and weights alpha of their choice,

    cbar(x) = sum_c softmax(alpha)_c c(x),      min_alpha L_valid(w*(alpha), alpha),     w*(alpha) = argmin_w L_train(w, alpha),

by turns: passes that move the weights of all candidates on L_train, then passes that move alpha on L_valid. After `rounds` of both
the candidate with the largest alpha stays, with new weights, beside new draws; `turns` times.

The space that is drawn from is narrowed beforehand to the surroundings of what was good for like tasks (`core/narrowed.py`):
networks of the target and of the tasks in the dictionary (`archscout tasks add`) say which are nearest, `neighbours` of them are
taken.

Mended faults of the released code: alpha moves on a held-out half of the training images (there on the test images); all weights
of the incumbent are drawn anew (there its linear layer survives, so that it starts ahead); candidates do not start from equal
weights; optimizers keep their memory from round to round; every draw follows from the seed. `mix = "log-sum"` mixes probabilities
in place of logits, where strong candidates hide weak ones: log sum_c softmax(alpha)_c softmax(c(x)).

Deviations: candidates are networks of the space at the size of its supernets, where it has them, with normalisations that have
scales; those use the statistics of the batch. In a round alpha moves at the outputs for `items` held-out images, which are computed
once, since nothing else changes meanwhile. How a space is narrowed is ours: the papers do not say, and no code does it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from math import ceil, isfinite
from time import monotonic
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.architecture import Architecture
from archscout.core.baseline_tasks import baseline_file
from archscout.core.checks import check_least
from archscout.core.draw import Accept
from archscout.core.errors import LimitError, NotFinite, UserError
from archscout.core.kinds import check_kind
from archscout.core.moves import Progress, Search
from archscout.core.narrowed import Narrowed, Whole, narrowed
from archscout.core.problem import Problem
from archscout.core.protocols import SharedSpace, Snapshot, Space
from archscout.core.seeds import derive, generator
from archscout.nn.baseline_tasks import BaselineTask, read_baselines
from archscout.nn.batches import ImageSplit, Stream, halved
from archscout.nn.measure import acceptance
from archscout.nn.pace import seconds_of, steps_per_report
from archscout.nn.recipe import new_network
from archscout.nn.supernet import activations
from archscout.nn.supernet_training import kept, kept_optimizer, put_back, put_back_optimizer
from archscout.nn.task_distance import TaskDistance, centroids, matching, without_head
from archscout.nn.task_networks import TaskImages, accuracy_of, images_of, trained

_SLACK = 0.03
_MEASURING = 0.3
"""Share of the time that the target's networks and the distances may take."""
_LEAST_STEPS = 10
_DISTINCT = 20
_FISHER_COST = 3.0
"""Of an image whose gradient is squared, in images of training."""


@dataclass(frozen=True)
class Fuse:
    """Fused candidates, near like tasks.

    turns, rounds: choices among candidates, and alternations in each. candidates: with the incumbent.
    epochs, passes: of a round, over the half of the training images that the weights see, and over the items that alpha sees.
    batch, learning_rate, choice_rate: of Adam for the weights, and for alpha. share: of the training images for the weights.
    items: held-out images on which alpha moves. mix: "logits" or "log-sum".
    neighbours: tasks of the dictionary around whose architectures is searched; 0 for the whole space.
    baselines: their names, joined by commas; all where empty. seeds: networks for the distances.
    target_epochs: of the target's networks; 0 for as many as the others had.
    mode, kind, match: of the distance; "centroid" where classes are numbered in no common order.
    channels, depth: of the candidates, in spaces with supernets; 0 for the size that is usual there.
    report: steps between two reports, each with a snapshot.
    """

    turns: int = 10
    rounds: int = 3
    candidates: int = 3
    epochs: float = 1.0
    passes: int = 2
    batch: int = 64
    learning_rate: float = 1e-3
    choice_rate: float = 1e-3
    share: float = 0.5
    items: int = 2048
    mix: Literal["logits", "log-sum"] = "logits"
    neighbours: int = 2
    baselines: str = ""
    seeds: int = 3
    target_epochs: float = 0.0
    mode: Literal["per-sample", "true", "reference"] = "per-sample"
    kind: Literal["frechet", "log-determinant"] = "frechet"
    match: Literal["none", "centroid"] = "none"
    channels: int = 8
    depth: int = 0
    report: int = 50

    def __post_init__(self) -> None:
        check_least(self, turns=1, rounds=1, candidates=2, passes=1, batch=2, items=1, seeds=1, report=1)
        if not self.epochs > 0 or not self.learning_rate > 0 or not self.choice_rate > 0 or not 0 < self.share < 1:
            raise ValueError(
                "epochs, learning_rate and choice_rate are above 0 and share lies between 0 and 1, "
                f"but {self.epochs}, {self.learning_rate}, {self.choice_rate} and {self.share} came"
            )
        if self.neighbours < 0 or self.target_epochs < 0:
            raise ValueError(f"neighbours and target_epochs are not negative, but {self.neighbours} and {self.target_epochs} came")
        for name in self.named:
            baseline_file(name)  # a name that nobody has is told of at once

    @property
    def named(self) -> list[str]:
        """The baseline tasks that alone are looked at; none where all are."""
        return [name.strip() for name in self.baselines.split(",") if name.strip()]

    @property
    def owns_loop(self) -> bool:
        """Always."""
        return True

    def paced(self, problem: Problem, seconds: float, *, seed: int) -> Mapping[str, Any]:
        """Fewer seeds and passes for the distances, shorter rounds, then fewer turns, as the time asks for."""
        known = _Dictionary(self, problem)
        found, spent = known.paced(seconds * _MEASURING) if known.tasks else ({}, 0.0)
        seconds = max(seconds - spent, 0.0)
        fusion, data = self._timed(problem, seed)
        step = seconds_of(lambda number: fusion.learn(data.weighed.at(number)))
        judge = seconds_of(lambda number: fusion.judge(data.judged(number), self.passes, self.batch))
        asked = self._steps(data)
        least = min(asked, _LEAST_STEPS)
        steps = min(asked, max(least, int((seconds / self.turns / self.rounds - judge) / step)))
        turns = min(self.turns, max(1, int(seconds / (self.rounds * (steps * step + judge)))))
        epochs = float(f"{steps / data.weighed.per_pass:.4g}")
        return {**found, "epochs": epochs, "turns": turns, "report": steps_per_report(self, step)}

    def memory(self, problem: Problem) -> int:
        """The results of the candidates' passes; 0 for spaces without supernets, which are not counted."""
        if not isinstance(problem.space, SharedSpace):
            return 0
        return self.candidates * activations(problem.space, problem.task, self.batch, self.channels, self.depth, path=True)

    def remarks(self, metrics: Mapping[str, float]) -> Sequence[str]:
        """Which tasks were near, and what became of the space."""
        before = f"{metrics['space']:,.0f}" if metrics["space"] < 1e12 else f"{metrics['space']:.1e}"
        if not self.neighbours:
            return [f"FUSE searched the whole space ({before} tuples of choices), as asked for."]
        if not metrics["baselines"]:
            return [
                "The dictionary of baseline tasks holds none with an architecture of this space, so FUSE searched the whole space "
                f"({before} tuples of choices); add tasks with archscout tasks add."
            ]
        if "narrowed" not in metrics:
            return [
                "The networks that stand for these data learned no better than chance, so no task of the dictionary could be "
                f"called near, and FUSE searched the whole space ({before} tuples of choices)."
            ]
        apart = {name.removeprefix("distance to "): value for name, value in metrics.items() if name.startswith("distance to ")}
        near = sorted(apart, key=lambda name: apart[name])
        told = ", ".join(f"{name} ({apart[name]:.3f})" for name in near[: self.neighbours])
        after = near[self.neighbours : self.neighbours + 1]
        others = "".join(f"; the next, {name}, lies at {apart[name]:.3f}" for name in after)
        found = f"Of {len(near)} baseline tasks the nearest are {told}{others}. "
        if metrics["left"]:
            return [
                f"{found}Nothing around their architectures meets the limits, so FUSE searched the whole space ({before} tuples)."
            ]
        size = f"{metrics['narrowed']:,.0f}"
        return [f"{found}Around their architectures the space was narrowed from {before} to {size} tuples of choices."]

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Measure distances, where tasks are known; then fuse, with a report every few steps."""
        check_kind(problem.task, None, "the strategy 'fuse'")
        place, facts, measured = yield from self._part(problem, state)
        data = _Data(problem, self, seed)
        steps = self._steps(data)
        per_turn = self.rounds * steps
        drawn = _Draws(place, acceptance(problem), seed)
        facts["left"] = float(drawn.left)
        first = int(state["step"]) if state is not None and "step" in state else 0
        best = problem.space.architecture(state["best"].tolist()) if state is not None and first else drawn.first()
        fusion: Fusion | None = None
        chosen: list[Architecture] = []
        for step in range(first, self.turns * per_turn):
            turn, within = divmod(step, per_turn)
            if fusion is None or not within:
                chosen = [best, *drawn.others(turn, best, self.candidates - 1)]
                fusion = self._fusion(problem, chosen, turn, seed)
                if state is not None and within:
                    fusion.restore(state)
                    state = None
            loss = fusion.learn(data.weighed.at(step))
            if not isfinite(loss):
                raise NotFinite(f"the loss of the candidates was {loss} at step {step + 1:,}; a smaller learning_rate may help")
            number, ended = divmod(within + 1, steps)
            if not ended:
                fusion.judge(data.judged(turn * self.rounds + number), self.passes, self.batch)
            over = within + 1 == per_turn
            if over:
                best = chosen[fusion.best]
            if over or (step + 1) % self.report == 0:
                shares = fusion.choice().tolist()
                metrics = {
                    "loss": loss, "turn": turn + 1.0, "largest": max(shares), "changed": float(over and fusion.best > 0),
                    "share": (step + 1) / (self.turns * per_turn), **facts,
                }  # fmt: skip
                now = best if over or within < steps - 1 else chosen[fusion.best]
                kept_here = {} if over else fusion.state()
                yield Progress(now, metrics, {"step": step + 1, "best": np.array(best.choices), **measured, **kept_here})
        return best

    def _part(
        self, problem: Problem, state: Snapshot | None
    ) -> Generator[Progress, Any, tuple[Narrowed | Whole, dict[str, float], dict[str, Any]]]:
        """The part of the space that is searched, numbers that tell of it, and what a snapshot keeps of them."""
        whole = Whole(problem.space)
        facts = {"space": float(whole.size), "baselines": 0.0}
        known = _Dictionary(self, problem)
        if not known.tasks:
            return whole, facts, {}
        facts["baselines"] = float(len(known.tasks))
        rows: list[np.ndarray[Any, np.dtype[np.float64]]] = []
        if state is not None and "distances" in state:
            if int(state["dictionary"]) != known.mark:
                raise UserError(
                    "the dictionary of baseline tasks changed since the search began; put it back, or begin a new search"
                )
            rows = list(np.asarray(state["distances"], np.float64))
        measured: dict[str, Any] = {"dictionary": known.mark}
        for seed in range(len(rows), known.seeds):
            rows.append(known.measured(seed))
            measured["distances"] = np.array(rows)
            yield Progress(None, {**facts, "accuracy": float(rows[-1][0]), "measured": len(rows) / known.seeds}, dict(measured))
        measured["distances"] = np.array(rows)
        accuracies, distances = measured["distances"][:, 0], measured["distances"][:, 1:]
        learned = np.array([known.images.learned(accuracy) for accuracy in accuracies])
        if not learned.any():
            return whole, facts, measured
        mean = distances[learned & (accuracies >= accuracies.max() - _SLACK)].mean(0)
        facts |= {f"distance to {task.name}": float(value) for task, value in zip(known.tasks, mean, strict=True)}
        nearest = [known.tasks[n] for n in np.argsort(mean, kind="stable")[: self.neighbours]]
        part = narrowed(problem.space, [architecture for task in nearest for architecture in known.architectures(task)])
        return part, {**facts, "narrowed": float(part.size)}, measured

    def _steps(self, data: _Data) -> int:
        """Of a round."""
        return max(1, round(self.epochs * data.weighed.per_pass))

    def _fusion(self, problem: Problem, chosen: Sequence[Architecture], turn: int, seed: int) -> Fusion:
        space: Any = problem.space
        small: Space = space.sized(self.channels, self.depth) if isinstance(space, SharedSpace) else space
        networks = [
            new_network(small, small.architecture(one.choices), problem.task, seed=derive(seed, "candidate", turn, place))
            for place, one in enumerate(chosen)
        ]
        return Fusion(networks, self.learning_rate, self.choice_rate, self.mix, problem.device)

    def _timed(self, problem: Problem, seed: int) -> tuple[Fusion, _Data]:
        drawn = _Draws(Whole(problem.space), acceptance(problem), seed)
        best = drawn.first()
        fusion = self._fusion(problem, [best, *drawn.others(0, best, self.candidates - 1)], 0, seed)
        return fusion, _Data(problem, self, seed)


class Fusion:
    """A choice among candidates, relaxed: their outputs are mixed, and learn together."""

    def __init__(
        self, networks: Sequence[nn.Module], learning_rate: float, choice_rate: float, mix: str = "logits", device: str = "cpu"
    ) -> None:  # fmt: skip
        self.networks = [network.to(device).train() for network in networks]
        self.alpha = torch.ones(len(networks), device=device, requires_grad=True)
        self._mix, self._device = mix, device
        self._optimizers = [
            torch.optim.Adam(network.parameters(), learning_rate) if _weights(network) else None for network in networks
        ]
        self._chooser = torch.optim.Adam([self.alpha], choice_rate)

    @property
    def best(self) -> int:
        """The candidate with the largest alpha, of equal ones the first."""
        return int(self.alpha.detach().argmax())

    def choice(self) -> Tensor:
        """softmax(alpha), (C,)."""
        return torch.softmax(self.alpha.detach(), 0)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Of the mixture of outputs (C, B, K) under alpha."""
        if self._mix == "logits":
            return F.cross_entropy(torch.einsum("c,cbk->bk", torch.softmax(self.alpha, 0), outputs), labels)
        logs = torch.log_softmax(self.alpha, 0)[:, None, None] + torch.log_softmax(outputs, 2)
        return F.nll_loss(torch.logsumexp(logs, 0), labels)

    def learn(self, batch: tuple[Tensor, Tensor]) -> float:
        """Move the weights of all candidates by one batch; its loss."""
        x, y = (part.to(self._device) for part in batch)
        optimizers = [optimizer for optimizer in self._optimizers if optimizer is not None]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = self.loss(torch.stack([network(x) for network in self.networks]), y)
        if loss.requires_grad and optimizers:
            loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        self.alpha.grad = None
        return float(loss.detach())

    def judge(self, batches: Sequence[tuple[Tensor, Tensor]], passes: int, batch: int) -> float:
        """Move alpha by so many passes over held-out batches, at steps of `batch` images; the mean loss before."""
        with torch.no_grad():
            outputs = torch.cat([torch.stack([network(x.to(self._device)) for network in self.networks]) for x, _ in batches], 1)
        labels = torch.cat([y for _, y in batches]).to(self._device)
        with torch.no_grad():
            before = float(self.loss(outputs, labels))
        for _ in range(passes):
            for start in range(0, len(labels), batch):
                self._chooser.zero_grad(set_to_none=True)
                loss = self.loss(outputs[:, start : start + batch], labels[start : start + batch])
                loss.backward()  # type: ignore[no-untyped-call]
                self._chooser.step()
        return before

    def state(self) -> dict[str, Any]:
        """For a snapshot; running statistics, which nothing reads, are left out."""
        found = {**kept({"alpha": self.alpha}, "choice."), **kept_optimizer(self._chooser, "choice-adam.")}
        for number, (network, optimizer) in enumerate(zip(self.networks, self._optimizers, strict=True)):
            found |= kept(dict(network.named_parameters()), f"weights{number}.")
            found |= {} if optimizer is None else kept_optimizer(optimizer, f"adam{number}.")
        return found

    def restore(self, state: Snapshot) -> None:
        """Back from a snapshot."""
        put_back({"alpha": self.alpha}, state, "choice.")
        put_back_optimizer(self._chooser, state, "choice-adam.")
        for number, (network, optimizer) in enumerate(zip(self.networks, self._optimizers, strict=True)):
            put_back(dict(network.named_parameters()), state, f"weights{number}.")
            if optimizer is not None:
                put_back_optimizer(optimizer, state, f"adam{number}.")


class _Data:
    """The batches that the weights see, and those that alpha sees; disjoint parts of the training images."""

    def __init__(self, problem: Problem, settings: Fuse, seed: int) -> None:
        train: ImageSplit = problem.task.splits["train"]
        weighed, held = halved(train, settings.share, derive(seed, "split"))
        self.weighed = Stream(weighed, settings.batch, seed=derive(seed, "weighed"), augment=True)
        self._held = Stream(held, settings.batch, seed=derive(seed, "held"))
        self._count = max(1, min(ceil(settings.items / settings.batch), self._held.per_pass))

    def judged(self, number: int) -> list[tuple[Tensor, Tensor]]:
        """Those of a round."""
        return [self._held.at(number * self._count + n) for n in range(self._count)]


class _Draws:
    """Candidates from a part of the space, or from all of it where none in the part meets the limits."""

    def __init__(self, place: Narrowed | Whole, accept: Accept | None, seed: int) -> None:
        self._place, self._accept, self._seed = place, accept, seed
        self.left = False
        """Whether nothing in the part meets the limits, so that the whole space is drawn from."""
        try:
            place.sample(generator(seed, "probe"), accept)
        except LimitError:
            self._place, self.left = Whole(place.space), True

    def first(self) -> Architecture:
        """The first incumbent."""
        return self._draw(generator(self._seed, "first"))

    def others(self, turn: int, best: Architecture, count: int) -> list[Architecture]:
        """New ones beside the incumbent; unlike it and each other, where the part of the space is not too small for that."""
        rng = generator(self._seed, "draw", turn)
        found = [best]
        for _ in range(count):
            one = self._draw(rng)
            for _ in range(_DISTINCT):
                if one not in found:
                    break
                one = self._draw(rng)
            found.append(one)
        return found[1:]

    def _draw(self, rng: np.random.Generator) -> Architecture:
        try:
            return self._place.sample(rng, self._accept)
        except LimitError:
            if isinstance(self._place, Whole):
                raise
            return Whole(self._place.space).sample(rng, self._accept)  # `_place` stays, so that whoever goes on draws the same


class _Dictionary:
    """The baseline tasks that can be compared with the target: those of one plan, with an architecture of the space."""

    def __init__(self, settings: Fuse, problem: Problem) -> None:
        self._settings, self._problem = settings, problem
        every = read_baselines(settings.named) if settings.neighbours else []
        usable = [task for task in every if self.architectures(task)]
        plans = [task.plan for task in usable]
        most = max(plans, key=plans.count, default=None)  # distances of networks of different plans do not compare
        self.tasks = [task for task in usable if task.plan == most]

    @property
    def seeds(self) -> int:
        """Of how many seeds all of them have networks, at the most as many as asked for."""
        return min([self._settings.seeds, *(len(task.accuracies) for task in self.tasks)])

    @property
    def mark(self) -> int:
        """A number that names these tasks."""
        text = "\n".join(f"{task.name} {task.fingerprint} {task.architectures}" for task in self.tasks)
        return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big")

    @cached_property
    def images(self) -> TaskImages:
        """The target in the form of the plan."""
        return images_of(self._problem.task, self.tasks[0].plan)

    def architectures(self, task: BaselineTask) -> list[Architecture]:
        """Those of the space."""
        parsed = [Architecture.parse(text) for text in task.architectures]
        space = self._problem.space
        return [space.architecture(one.choices) for one in parsed if one.space == space.name]

    def measured(self, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The accuracy of the target's network of a seed, then its distance to each of the tasks, (1 + B,)."""
        plan, images = self.tasks[0].plan, self.images
        network = trained(images, replace(plan, epochs=self._settings.target_epochs or plan.epochs), seed)
        distance = TaskDistance(self._settings.mode, self._settings.kind, match=self._settings.match)
        own = distance.fisher(network, images.x, images.y)
        found = [accuracy_of(network, images)]
        left_out = distance.leaves_head_out({images.task.classes, *(task.classes for task in self.tasks)})
        for task in self.tasks:
            other = task.network(seed)
            labels = images.y
            if distance.match == "centroid":
                labels = matching(task.centroids[seed], centroids(other, images.x, images.y, images.task.classes))[images.y]
            source = distance.fisher(other, images.x, labels)
            if left_out:  # for all or for none, or they do not compare
                found.append(distance.between(without_head(source, other), without_head(own, network)))
            else:
                found.append(distance.between(source, own))
        return np.array(found)

    def paced(self, seconds: float) -> tuple[dict[str, Any], float]:
        """The settings with which it takes no more than so long, if it can; and how long."""
        plan, images = self.tasks[0].plan, self.images
        begun = monotonic()
        trained(images, replace(plan, epochs=_LEAST_STEPS * plan.batch / len(images.train)), 0)
        each = (monotonic() - begun) / (_LEAST_STEPS * plan.batch)
        fixed = (1 + len(self.tasks)) * len(images.x) * _FISHER_COST * each
        epochs = self._settings.target_epochs or plan.epochs
        a_pass = len(images.train) * each
        seeds = max(1, min(self.seeds, int(seconds / (epochs * a_pass + fixed))))
        epochs = max(1.0, min(epochs, (seconds / seeds - fixed) / a_pass))
        return {"seeds": seeds, "target_epochs": float(f"{epochs:.3g}")}, seeds * (epochs * a_pass + fixed)


def _weights(network: nn.Module) -> bool:
    return any(True for _ in network.parameters())
