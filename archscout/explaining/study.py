"""Networks trained alike and looked at: how fast they converge, the loss around them, and the noise of their gradients there.

Losses are those of validation images; the test images stay closed. All networks of a study have one recipe and one number of passes
over the same images; what they cost is told, since other connections change strides in reducing cells, and so parameters and MACs.

Every number is kept as soon as it is there (`LineFile`, and checkpoints of the trainings): a killed study goes on with the same
command to the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from math import inf, isfinite
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.analysis.ranks import agreement
from archscout.analysis.surfaces import curve_area, mean_shape, shape_of
from archscout.catalogue import plain_record
from archscout.comparison.telling import Countdown
from archscout.core.architecture import Architecture
from archscout.core.errors import Interrupted, NotFinite, UserError
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.protocols import CellSpace, SharedSpace, Space
from archscout.core.seeds import derive, generator
from archscout.engine.machine import cores, versions
from archscout.explaining.settings import Study
from archscout.nn import checkpoint
from archscout.nn.batches import ImageSplit, batches_of, some
from archscout.nn.evaluate import evaluate
from archscout.nn.landscape import Plane, settle
from archscout.nn.measure import counts
from archscout.nn.recipe import Recipe, new_network
from archscout.nn.threads import Threads, torch_threads
from archscout.nn.train import fit, lanes_of
from archscout.store.lines import LineFile

RECIPE = Recipe(
    learning_rate=0.025, nesterov=False, weight_decay=3e-4, decay_all=True, warm_up=0.0, schedule="cosine", batch=80,
    label_smoothing=0.0, small_share=0.0, clip=5.0,
)  # fmt: skip
"""As Shu, Wang and Cai train: SGD with momentum 0.9, gradients clipped at 5, no drop-path, no auxiliary head."""
_CHANNELS, _DEPTH, _MACS = 8, 5, 2_000_000
_SETTLING = 10
_LEAST = 1e-30
_BACKWARD = 4.0
"""What a gradient costs, in forward passes."""
Correlated = Mapping[str, Sequence[float]]


@dataclass(frozen=True, eq=False)
class Member:
    """A network of a study.

    seen: whether its surroundings are looked at. network: of a run, already trained. weights: the digest of that one's, so that the
    numbers of one run are never taken for those of another with the same architecture.
    """

    name: str
    architecture: Architecture
    seen: bool = True
    network: nn.Module | None = None
    weights: str = ""


@dataclass(frozen=True, eq=False)
class Question:
    """A study. space: with the size that the networks have. seed: of weights, batches and directions."""

    space: Space
    task: Task
    members: Sequence[Member]
    study: Study
    recipe: Recipe
    seed: int = 0
    device: str = "cpu"

    def record(self) -> dict[str, Any]:
        """What the file of its numbers belongs to."""
        return {
            "space": plain_record(self.space), "data": self.task.fingerprint, "study": asdict(self.study),
            "recipe": self.recipe.record(),
            "members": [[one.name, str(one.architecture), one.seen, one.weights] for one in self.members],
            "seed": self.seed, "device": self.device, "archscout": versions()["archscout"],
        }  # fmt: skip


class _TimeIsUp(Exception):
    pass


def small(space: Space, architecture: Architecture, task: Task) -> Space:
    """The same space with small networks: 8 channels, and as deep as 5 where that keeps to 2 million MACs."""
    if not isinstance(space, SharedSpace):
        return replace(space, channels=min(_CHANNELS, space.channels)) if hasattr(space, "channels") else space  # type: ignore[type-var]
    for depth in range(_DEPTH, 0, -1):
        made = space.sized(_CHANNELS, depth)
        if counts(made, architecture, task)["macs"] <= _MACS:
            break
    return made


def prepared(task: Task, study: Study) -> Task:
    """The task with as many images as a study uses. Raises UserError for a task that is not of images."""
    if task.kind != IMAGE_CLASSIFICATION:
        raise UserError(
            f"networks are trained and looked at on images, but the data are a task of {task.kind.name}; "
            "leave out --landscape and --deep, or give other --data"
        )
    splits = {
        "train": some(task.splits["train"], study.train_images, 0),
        "valid": some(task.splits["valid"], study.valid_images, 0),
    }
    return replace(task, splits=splits, fingerprint=f"{task.fingerprint} {study.train_images} {study.valid_images}")


def conduct(question: Question, folder: Path, minutes: float | None = None) -> tuple[dict[str, Any], bool]:
    """The numbers of a study (JSON), and whether it is complete; what the folder knows is not computed again.

    minutes: starts no further part after so many.
    """
    asked = question.record()
    name = blake2b(str(asked).encode(), digest_size=6).hexdigest()
    lines = LineFile(folder / f"study-{name}.lines", asked)
    sitting = _Sitting(question, lines, folder / "networks" / name, inf if minutes is None else monotonic() + 60 * minutes)
    complete = True
    try:
        with torch_threads(1):
            sitting.work()
    except _TimeIsUp:
        complete = False
    except Interrupted as stop:
        stop.hint = "Go on with the same command."
        raise
    finally:
        sitting.countdown.close()
        lines.close()
    return sitting.record(), complete


class _Sitting:
    """One go at a study."""

    def __init__(self, question: Question, lines: LineFile, networks: Path, deadline: float) -> None:
        self.question, self.study, self._lines, self._networks, self._deadline = question, question.study, lines, networks, deadline
        self._known: dict[str, Any] = dict(lines.entries)
        self._lanes = self._remember("lanes", lambda: 1 if question.device != "cpu" else cores())
        self._trained: dict[tuple[str, int], nn.Module] = {}
        self._parts = dict(self._plan())
        self._done = sum(cost for key, cost in self._parts.items() if key in self._known)
        self.countdown = Countdown("explain: image passes", round(sum(self._parts.values())), round(self._done))

    def work(self) -> None:
        """All parts, in an order in which the most telling come first."""
        for member in self.question.members:
            for seed in range(self.study.seeds):
                if member.network is None and self.study.epochs and f"trained {member.name} {seed}" not in self._known:
                    self._network(member, seed)
        for pair in range(self.study.pairs):
            for member in self._seen():
                self._rows("loss", member, pair, self.study.axis())
        for member in self._seen():
            self._rows("noise", member, 0, self.study.noise_axis())

    def record(self) -> dict[str, Any]:
        """What is known so far."""
        found = [self._record_of(member) for member in self.question.members]
        return {
            "settings": asdict(self.study),
            "recipe": asdict(self.question.recipe),
            "space": plain_record(self.question.space),
            "data": {
                "name": self.question.task.name,
                "shape": list(self.question.task.shape),
                "fingerprint": self.question.task.fingerprint,
            },
            "seed": self.question.seed,
            "networks": found,
            "correlations": correlations(found),
        }

    def _plan(self) -> Iterator[tuple[str, float]]:
        """Every part with what it costs in forward passes of an image."""
        train, valid = (len(self.question.task.splits[name]) for name in ("train", "valid"))
        for member in self.question.members:
            for seed in range(self.study.seeds if member.network is None else 0):
                for epoch in range(1, self.study.epochs + 1):
                    yield f"curve {member.name} {seed} {epoch}", _BACKWARD * train + valid
        for member in self._seen():
            for pair in range(self.study.pairs):
                for row in range(self.study.grid):
                    yield f"loss {member.name} {pair} {row}", float(self.study.grid * self.study.images)
            for row in range(self.study.noise_grid):
                cost = _BACKWARD * self.study.noise_grid * self.study.batches * self.study.batch
                yield f"noise {member.name} 0 {row}", cost

    def _seen(self) -> list[Member]:
        return [member for member in self.question.members if member.seen]

    def _remember(self, key: str, make: Callable[[], Any]) -> Any:
        """What is known under a key; else it is made, and kept."""
        if key not in self._known:
            self._known[key] = make()
            self._lines.add([key, self._known[key]])
        return self._known[key]

    def _keep(self, key: str, value: Any, note: str) -> None:
        if key in self._known:  # an epoch that a checkpoint did not hold any more
            return
        self._remember(key, lambda: value)
        self._done += self._parts.get(key, 0.0)
        self.countdown.at(round(self._done), f" ({note})")
        if monotonic() > self._deadline:
            raise _TimeIsUp

    def _network(self, member: Member, seed: int) -> nn.Module:
        """Trained, or with settled statistics, in evaluation mode; kept for the parts that follow."""
        if member.network is not None:
            return member.network.to(self.question.device)
        if (member.name, seed) not in self._trained:
            self._trained[member.name, seed] = self._made(member, seed)
        return self._trained[member.name, seed]

    def _made(self, member: Member, seed: int) -> nn.Module:
        question, weights = self.question, derive(self.question.seed, "weights", seed)
        network = new_network(question.space, member.architecture, question.task, seed=weights).to(question.device)
        train: ImageSplit = question.task.splits["train"]
        if not self.study.epochs:
            batches = batches_of(train, question.recipe.batch_for(len(train)), seed=derive(question.seed, "settling"))
            settle(network, [x.to(question.device) for _, (x, _) in zip(range(_SETTLING), batches, strict=False)])
            return network
        path = self._networks / f"{member.architecture.digest}-{seed}.safetensors"
        if f"trained {member.name} {seed}" in self._known:
            network.load_state_dict(checkpoint.weights(path))
            return network.eval()
        lanes = min(self._lanes, lanes_of(question.recipe, len(train), self._lanes))

        def tell(report: Any) -> None:
            right, loss = evaluate(network, question.task.splits["valid"])
            value = {"loss": loss, "error": float(1 - right.mean()), "train_loss": report.train_loss}
            self._keep(f"curve {member.name} {seed} {round(report.epoch)}", value, f"training {member.name}")

        seconds = 0.0
        try:
            result = fit(
                network, question.task, question.recipe, seed=derive(question.seed, "training", seed), epochs=self.study.epochs,
                checkpoint=path, on_epoch=tell, lanes=lanes,
            )  # fmt: skip
            seconds = result.seconds
        except NotFinite as error:
            raise UserError(f"the training of '{member.name}' ({member.architecture}) broke down: {error}") from error
        self._remember(f"trained {member.name} {seed}", lambda: round(seconds, 1))
        return network.eval()

    def _rows(self, what: str, member: Member, pair: int, axis: Sequence[float]) -> None:
        """Rows of a surface, as many at a time as there are lanes."""
        missing = [row for row in range(len(axis)) if f"{what} {member.name} {pair} {row}" not in self._known]
        if not missing:
            return
        plane = Plane(self._network(member, 0), derive(self.question.seed, "directions", pair))
        lanes = max(1, min(self._lanes, cores()))
        planes = [plane, *(plane.twin() for _ in range(lanes - 1))]
        x, y = self._images() if what == "loss" else self._batches()

        def compute(item: tuple[int, Plane]) -> Any:
            row, here = item
            return here.losses(axis[row], axis, x, y) if what == "loss" else here.noise(axis[row], axis, x, y)

        note = f"{'the loss' if what == 'loss' else 'the noise'} around {member.name}"
        with Threads(lanes) as threads:
            for start in range(0, len(missing), lanes):
                rows = missing[start : start + lanes]
                for row, found in zip(rows, threads.map(compute, list(zip(rows, planes, strict=False))), strict=True):
                    self._keep(f"{what} {member.name} {pair} {row}", found, note)

    def _images(self) -> tuple[Tensor, Tensor]:
        """The validation images of the surfaces."""
        valid: ImageSplit = self.question.task.splits["valid"]
        return self._taken(generator(0, "surface images").permutation(len(valid))[: self.study.images])

    def _batches(self) -> tuple[Tensor, Tensor]:
        """Minibatches (m, B, C, H, W) of validation images, drawn with replacement; the same at every point."""
        valid: ImageSplit = self.question.task.splits["valid"]
        size = self.study.batches, self.study.batch
        x, y = self._taken(generator(self.question.seed, "noise batches").integers(len(valid), size=size).ravel())
        return x.reshape(*size, *x.shape[1:]), y.reshape(size)

    def _taken(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[Tensor, Tensor]:
        valid: ImageSplit = self.question.task.splits["valid"]
        images, labels = valid.take(rows)
        x = valid.normalise(images).contiguous(memory_format=torch.channels_last)
        return x.to(self.question.device), labels.to(self.question.device)

    def _record_of(self, member: Member) -> dict[str, Any]:
        question = self.question
        found: dict[str, Any] = {"name": member.name, "architecture": str(member.architecture)}
        if member.network is None:
            found |= {name: counts(question.space, member.architecture, question.task)[name] for name in ("params", "macs")}
        else:
            found["params"] = sum(weight.numel() for weight in member.network.parameters())
        if isinstance(question.space, CellSpace):
            cells = question.space.topologies(member.architecture)
            found["cells"] = {name: {"width": float(cell.width), "depth": cell.depth} for name, cell in cells.items()}
        curves = [curve for seed in range(self.study.seeds) if (curve := self._curve(member.name, seed))]
        found["curves"] = curves
        whole = [curve for curve in curves if len(curve) == self.study.epochs]
        if whole:
            losses = np.array([[point["loss"] for point in curve] for curve in whole], np.float64).mean(0)
            found |= {
                "loss_area": _number(curve_area(losses.tolist())), "final_loss": _number(float(losses[-1])),
                "final_error": float(np.mean([curve[-1]["error"] for curve in whole])),
            }  # fmt: skip
        if member.seen:
            found["landscape"] = self._landscape(member)
            found["noise"] = self._noise(member)
        return found

    def _curve(self, name: str, seed: int) -> list[dict[str, Any]]:
        """By epoch; a validation loss that is no number, of a network that broke down, is None."""
        keys = (f"curve {name} {seed} {epoch}" for epoch in range(1, self.study.epochs + 1))
        return [
            {"epoch": epoch, **{part: _number(value) for part, value in self._known[key].items()}}
            for epoch, key in enumerate(keys, 1)
            if key in self._known
        ]

    def _surfaces(self, what: str, name: str, size: int) -> list[list[Any]]:
        every = ([self._known.get(f"{what} {name} {pair} {row}") for row in range(size)] for pair in range(self.study.pairs))
        return [rows for rows in every if all(row is not None for row in rows)]

    def _landscape(self, member: Member) -> dict[str, Any] | None:
        surfaces = self._surfaces("loss", member.name, self.study.grid) if self.study.grid else []
        if not surfaces:
            return None
        axis = self.study.axis()
        shape = mean_shape([shape_of(surface, axis) for surface in surfaces])
        plain = [[[value if isfinite(value) else None for value in row] for row in surface] for surface in surfaces]
        return {"axis": axis, "loss": plain, **shape.record()}

    def _noise(self, member: Member) -> dict[str, Any] | None:
        surfaces = self._surfaces("noise", member.name, self.study.noise_grid)[:1] if self.study.noise_grid else []
        if not surfaces:
            return None
        variance, square = np.moveaxis(np.array(surfaces[0]), 2, 0)
        ratio, middle = variance / np.maximum(square, _LEAST), self.study.noise_grid // 2
        centre, around = float(variance[middle, middle]), _geometric(variance)
        return {
            "axis": self.study.noise_axis(),
            "variance": _plain(variance),
            "ratio": _plain(ratio),
            "centre_variance": _number(centre),
            "mean_variance": around,
            "rise": None if around is None else _number(around / max(centre, _LEAST)),
            "centre_ratio": _number(float(ratio[middle, middle])),
            "mean_ratio": _geometric(ratio),
        }


def correlations(networks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Spearman's rho of width and depth of the (first) cells with how networks of equal operations converge and end; intervals.

    Signs are turned so that what the paper expects is positive: wide cells have a small area and a small final error, deep ones a
    large area. None where fewer than four networks tell.
    """
    told = [one for one in networks if one.get("loss_area") is not None and one.get("cells") and one["name"] != "random operations"]
    if len(told) < 4:
        return None
    first = [next(iter(one["cells"].values())) for one in told]
    width, depth = ([cell[name] for cell in first] for name in ("width", "depth"))
    area, error = ([one[name] for one in told] for name in ("loss_area", "final_error"))
    pairs: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        "width with faster convergence": (width, [-value for value in area]),
        "depth with slower convergence": (depth, area),
        "width with lower final error": (width, [-value for value in error]),
    }
    found = {}
    for name, (one, other) in pairs.items():
        agreed = agreement(one, other, statistic="spearman")
        found[name] = {"spearman": _number(agreed.spearman), "interval": [_number(end) for end in agreed.interval]}
    return {"networks": len(told), **found}


def _geometric(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    """The geometric mean, which the corners of a plane do not decide alone."""
    known = values[np.isfinite(values)]
    return _number(float(np.exp(np.log(np.maximum(known, _LEAST)).mean()))) if len(known) else None


def _plain(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[list[float | None]]:
    return [[_number(value) for value in row] for row in values]


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
