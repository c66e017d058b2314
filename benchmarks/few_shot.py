"""Few-shot learning on Omniglot: AT-NAS beside MAML's networks at equal cost, and what its parts are worth; results/few_shot.csv.

    python benchmarks/few_shot.py --data-dir ../shared/data --parts omniglot [--budget 40] [--ways 5 --shots 1] [--threads 2]

    omniglot   `--methods` meta-trained on the background characters (with quarter turns), tested on 600 episodes of the evaluation
               characters; at-nas for about `--budget` minutes, the others for as many CPU seconds as it took (on a GPU, seconds) or
               for `--cost`; differences are paired by episode:
                   at-nas    supernet and evolution; the fittest path with the meta-weights
                   random    the same supernet with uniform paths instead of evolved ones; the fittest of a random population
                   single    the path that at-nas answered with, meta-trained alone from fresh weights
                   maml      the four convolutions of MAML, 64 filters, strided; `maml-32` with 32; both by `--method`
                   fomaml    `maml` by first-order MAML with MAML's settings of the inner loop, in place of `--method`
    adapting   architecture and weights from the support alone: accuracy on `--episodes` test episodes, seconds of an adaptation
    evolution  with the meta-weights of `random`, here without a focus: the mean fitness of generation 10 less generation 0, and the
               fittest against the best of as many random paths, on fresh episodes
    across     the meta-networks of `omniglot` on sign-digits and MNIST, 600 episodes each
    glyphs     5-way 1-shot on made-up characters of three strokes (400 classes for training, 100 for the test), first-order MAML,
               four convolutions of 32 filters

What is trained lies in --runs; the same command goes on. Test episodes are the fixed ones of the split, the same for all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import numpy as np
import torch
from _rows import HERE, append, claimed, commit, machine
from numpy.typing import NDArray

from archscout import catalogue
from archscout.analysis.intervals import mean_interval
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.problem import FEW_SHOT, Problem, Task
from archscout.core.seeds import derive, generator
from archscout.data._episodes import EpisodeForm
from archscout.data._opened import DataRequest, OpenedData, open_data
from archscout.engine.lectures import parted
from archscout.engine.threads import keep_memory
from archscout.nn import checkpoint
from archscout.nn.adapting import LearnableGraph, accuracies, accuracies_of, classified, learnable
from archscout.nn.at_nas import AcrossTasks, MetaTraining, adapt, evolved, paced
from archscout.nn.episode_course import EpisodeCourse
from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.episodes import EpisodeSplit
from archscout.nn.network import Network
from archscout.nn.recipe import new_network
from archscout.nn.supernet_training import kept, kept_optimizer, put_back_optimizer
from archscout.nn.threads import Threads, torch_threads
from archscout.testing.tasks import strokes

PARTS = ("omniglot", "adapting", "evolution", "across", "glyphs")
METHODS = ("maml", "maml-32", "fomaml", "at-nas", "random", "single")
PUBLISHED = {(5, 1): 0.987, (5, 5): 0.999}
"""MAML on Omniglot as the T-NAS paper prints it; of AT-NAS no table is known."""
_SAVED_EVERY = 60.0


class Bench:
    """One command."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.form = EpisodeForm(asked.ways, asked.shots, 0)
        self.opened = self.data("omniglot", self.form)
        self.task = self.opened.task
        self.test: Any = self.opened.test
        self.recipe = EpisodeRecipe(method=asked.method, statistics=asked.statistics, batch=asked.batch)
        self.settings = AcrossTasks(**asdict(self.recipe), focus=asked.focus)
        self.clock: Callable[[], float] = process_time if asked.device == "cpu" else monotonic
        self.space = catalogue.make("spaces", "few-shot", channels=asked.channels)
        self.name = f"{asked.ways}-way {asked.shots}-shot, statistics of the {asked.statistics}"

    def data(self, name: str, form: EpisodeForm) -> OpenedData:
        """A data set as episodes."""
        return open_data(DataRequest(name, self.asked.data_dir, task=FEW_SHOT.name, episodes=form))

    def row(
        self, claim: str, values: tuple[float, float | str, float | str], seconds: float, published: float | None = None
    ) -> None:
        """Write a row."""
        asked = self.asked
        words = f"python benchmarks/few_shot.py --parts {claim.split(':')[0]} --budget {asked.budget:g} --ways {asked.ways} "
        words += f"--shots {asked.shots} --threads {asked.threads} --channels {asked.channels} --statistics {asked.statistics}"
        words += f" --batch {asked.batch} --focus {asked.focus:g}" + (f" --device {asked.device}" if asked.device != "cpu" else "")
        cost = "" if claim.startswith("glyphs") else f", {self.cost:.0f} {'processor ' if asked.device == 'cpu' else ''}seconds"
        row = {
            **claimed(f"{claim}{cost}", *values, published=published), "command": words, "seed": asked.seed,
            "commit": commit(), "seconds": round(seconds), "machine": machine(asked.threads),
        }  # fmt: skip
        append(asked.results, [row])
        print(f"{claim}: {values[0]:.4f} ({values[1]} to {values[2]})", flush=True)

    def place(self, method: str, what: str = "") -> Path:
        """A file of a method's run."""
        asked = self.asked
        about = f"{asked.ways}-{asked.shots}-{asked.budget:g}-{asked.threads}-{asked.channels}-{asked.seed}{what}"
        about += f"-by-{asked.method}-{asked.statistics}-{asked.batch}-{asked.focus:g}"
        return Path(asked.runs) / f"{method}-{about}"

    def omniglot(self) -> None:
        """Meta-train, test, compare."""
        found: dict[str, NDArray[np.float64]] = {}
        for method in self.asked.methods:
            begun = monotonic()
            marks = self.tested(method, self.test)
            found[method] = marks
            low, high = mean_interval(marks.tolist())
            known = PUBLISHED.get((self.asked.ways, self.asked.shots)) if method in ("maml", "fomaml") else None
            self.row(f"omniglot: {self.name}, {method}: test accuracy", (marks.mean(), low, high), monotonic() - begun, known)
        for one, other in [*(("at-nas", method) for method in METHODS if method != "at-nas"), ("single", "maml")]:
            if one in found and other in found:
                gap = found[one] - found[other]
                low, high = mean_interval(gap.tolist())
                self.row(f"omniglot: {self.name}, {one} less {other}: test accuracy", (gap.mean(), low, high), 0)

    def tested(self, method: str, split: EpisodeSplit) -> NDArray[np.float64]:
        """The accuracies on a split, of a method that is trained now or was before."""
        net, weights, recipe = self.trained(method)
        with torch_threads(1), Threads(self.asked.threads) as threads:
            return accuracies(net, weights, split, recipe.test_inner, threads)

    def trained(self, method: str) -> tuple[LearnableGraph, dict[str, torch.Tensor], EpisodeRecipe]:
        """A network as a function, its meta-weights, and how it adapts."""
        if method in ("at-nas", "random"):
            training = self.supernet(method)
            return training.network.path(training.population[0]), dict(training.network.plain()), self.settings
        recipe = self.recipe
        if method == "fomaml":
            recipe = EpisodeRecipe(
                method="fomaml", learning_rate=1e-3, batch=32, inner_rate=0.4, inner_steps=1, test_steps=3,
                statistics=self.asked.statistics,
            )  # fmt: skip
        network = self.network(method)
        self.course(method, network, recipe)
        return learnable(network), {name: weight.detach() for name, weight in network.named_parameters()}, recipe

    def network(self, method: str) -> Network:
        """A fresh network."""
        space: Any = self.space
        if method == "single":
            architecture = self.supernet("at-nas").population[0]
        else:
            space = catalogue.make("spaces", "handmade-few-shot")
            architecture = space.architecture((1 if method == "maml-32" else 2, 0))
        network = new_network(space, architecture, self.task, seed=derive(self.asked.seed, method))
        assert isinstance(network, Network)
        return network.to(self.asked.device)

    def course(self, method: str, network: Network, recipe: EpisodeRecipe) -> None:
        """Meta-train a network for the budget; from its file where that is there."""
        path, seconds = self.place(method, ".safetensors"), self.cost
        course = EpisodeCourse(network, self.task, recipe, derive(self.asked.seed, method))
        contents, _ = checkpoint.load(path)
        step, spent = 0, 0.0
        if contents is not None:
            tensors, facts = contents
            network.load_state_dict(checkpoint.under("network.", tensors))
            put_back_optimizer(course.optimizer, tensors, "optimizer.")
            step, spent = facts["step"], facts["spent"]
        if spent >= seconds:
            return
        begun, saved = self.clock() - spent, monotonic()
        with torch_threads(1), course.shared(self.asked.threads):
            while (now := self.clock() - begun) < seconds:
                course.move(step, now / seconds)
                step += 1
                if monotonic() - saved > _SAVED_EVERY:
                    _save(path, network, course.optimizer, {"step": step, "spent": self.clock() - begun})
                    saved = monotonic()
        _save(path, network, course.optimizer, {"step": step, "spent": seconds})
        print(f"{method}: {step:,} steps of {course.batch} episodes in {now:.0f} seconds", flush=True)

    @property
    def cost(self) -> float:
        """The seconds of every method: those of at-nas, which trains first where it did not yet."""
        if self.asked.cost:
            return float(self.asked.cost)
        self.supernet("at-nas")
        contents, _ = checkpoint.load(self.place("at-nas", ".safetensors"))
        assert contents is not None
        return float(contents[1]["spent"])

    def supernet(self, method: str) -> MetaTraining:
        """The supernet of at-nas, random or unfocused, trained for the budget; from its file where that is there."""
        path = self.place(method, ".safetensors")
        settings = self.settings if method == "at-nas" else replace(self.settings, evolve=False)
        settings = replace(settings, focus=0.0) if method == "unfocused" else settings
        seed, problem = derive(self.asked.seed, method), Problem(self.space, self.task, device=self.asked.device)
        contents, _ = checkpoint.load(path)
        with Threads(self.asked.threads) as threads:
            if contents is not None:
                found = contents[1]["pace"]
            elif method == "at-nas":
                found, _ = paced(problem, settings, 60 * self.asked.budget, seed, threads)
            else:
                found = {"iterations": self._steps(MetaTraining(problem, settings, seed, threads))}
            pace: dict[str, Any] = found
            training = MetaTraining(problem, replace(settings, **pace), seed, threads)
            if contents is not None:
                training.restore({**contents[0], **contents[1]["state"]})
            begun, saved = self.clock() - (contents[1]["spent"] if contents else 0.0), monotonic()
            under_way = not training.done
            while not training.done:
                training.learn()
                if training.breeds():
                    training.breed()
                    print(f"{method}: step {training.step:,}, fittest of the last {max(training.fitness.values()):.3f}", flush=True)
                if monotonic() - saved > _SAVED_EVERY:
                    _keep(path, training, found, self.clock() - begun)
                    saved = monotonic()
            if under_way:
                training.finish()
                print(f"{method}: {training.step:,} steps in {self.clock() - begun:.0f} seconds", flush=True)
                _keep(path, training, found, self.clock() - begun)
        return training

    def _steps(self, training: MetaTraining) -> int:
        """How many steps, the last of them with one path alone, cost what at-nas cost."""
        cost, seconds = self.cost, []
        for alone in (False, True):
            training.finished = alone
            training.learn()
            begun = self.clock()
            for _ in range(10):
                training.learn()
            seconds.append((self.clock() - begun) / 10)
        return int(0.97 * cost / np.interp(training.settings.focus, (0, 1), seconds))

    def adapting(self) -> None:
        """Architecture and weights from the support."""
        training, begun = self.supernet("at-nas"), monotonic()
        fixed, chosen, times = [], [], []
        inner, net = self.settings.test_inner, training.network.path(training.population[0])
        for number in range(self.asked.episodes):
            episode = self.test.number(number)
            start = monotonic()
            with torch_threads(1):
                found = adapt(
                    training.network, self.space, training.population, episode.support, episode.support_labels, inner, seed=number
                )  # fmt: skip
            times.append(monotonic() - start)
            logits = classified(training.network.path(found.architecture), found.weights, episode, inner.statistics)
            chosen.append(float((logits.argmax(1) == episode.query_labels).double().mean()))
            fixed += accuracies_of(net, training.network.plain(), [episode], inner)
        gap = np.array(chosen) - np.array(fixed)
        for what, values in (("architecture and weights", np.array(chosen)), ("less the fittest path alone", gap)):
            low, high = mean_interval(values.tolist())
            self.row(f"adapting: {self.name}, {what}: test accuracy", (values.mean(), low, high), monotonic() - begun)
        self.row(
            f"adapting: {self.name}: seconds of an adaptation",
            (float(np.median(times)), round(min(times), 2), round(max(times), 2)), sum(times),
        )  # fmt: skip

    def evolution(self) -> None:
        """Whether evolution finds fitter paths than chance, with frozen weights."""
        training, begun = self.supernet("unfocused"), monotonic()
        settings = replace(self.settings, population=20, parents=5, crossed=6, mutated=6)
        rng, population, first = generator(0, "evolution"), list(training.population), None
        tried: dict[Architecture, None] = {}
        with Threads(self.asked.threads) as threads:
            training.threads, training.fitness = threads, {}
            for generation in range(11):
                training.generation = 10**6 + generation
                training.judge(settings.tasks, population)
                ranked = sorted(population, key=lambda a: -training.fitness[a])
                tried |= dict.fromkeys(population)
                if generation == 10:
                    break
                first = first or list(population)
                population = evolved(self.space, ranked[: settings.parents], settings, rng)
            drawn = [sample(self.space, rng) for _ in tried]
            training.judge(settings.tasks, drawn)
            luck = max(drawn, key=lambda a: training.fitness[a])
            assert first is not None
            plain, inner, fresh = training.network.plain(), settings.test_inner, replace(self.task.splits["valid"], count=400)

            def mean_of(paths: list[Architecture]) -> NDArray[np.float64]:
                return np.mean([accuracies(training.network.path(a), plain, fresh, inner, threads) for a in paths], axis=0)

            gaps = {
                "mean of generation 10 less generation 0": mean_of(population) - mean_of(first),
                f"the fittest less the best of {len(drawn)} random paths": mean_of(ranked[:1]) - mean_of([luck]),
            }
        for what, gap in gaps.items():
            low, high = mean_interval(gap.tolist())
            self.row(f"evolution: {self.name}, {what}: accuracy", (gap.mean(), low, high), monotonic() - begun)

    def across(self) -> None:
        """On other data sets."""
        for name in ("sign-digits", "mnist"):
            shape = self.task.shape
            request = DataRequest(
                name, self.asked.data_dir, image_size=str(shape[-1]), channels=1, task=FEW_SHOT.name,
                episodes=EpisodeForm(min(3, self.asked.ways), self.asked.shots, 0),
            )  # fmt: skip
            opened: Any = open_data(request)
            pool = replace(opened.test.pool, rows=np.sort(np.concatenate([opened.test.pool.rows, *(
                split.pool.rows for split in opened.task.splits.values())])))  # fmt: skip
            split = EpisodeSplit(pool, self.asked.ways, self.asked.shots, 5, 600)
            for method in self.asked.methods:
                begun, marks = monotonic(), self.tested(method, split)
                low, high = mean_interval(marks.tolist())
                self.row(f"across: {self.name} of {name}, {method}: accuracy", (marks.mean(), low, high), monotonic() - begun)

    def glyphs(self) -> None:
        """The sanity check of the specification."""
        splits = {
            name: EpisodeSplit(strokes(name, 28, classes, 20, 0), 5, 1, 5, count)
            for name, classes, count in (("train", 400, 1600), ("valid", 100, 200))
        }
        task = Task("strokes", FEW_SHOT, (1, 28, 28), 5, "strokes", splits)
        space = catalogue.make("spaces", "handmade-few-shot")
        network = new_network(space, space.architecture((1, 0)), task, seed=0)
        recipe = EpisodeRecipe(
            method="fomaml", learning_rate=1e-3, batch=16, inner_rate=0.4, inner_steps=1, test_steps=3, statistics="batch"
        )
        course, begun = EpisodeCourse(network, task, recipe, 0), self.clock()
        with torch_threads(1), course.shared(self.asked.threads):
            for step in range(2000):
                course.move(step, step / 2000)
            marks = course.marks()
        low, high = mean_interval(marks.tolist())
        self.row("glyphs: 5-way 1-shot, fomaml, 2,000 steps: accuracy", (float(marks.mean()), low, high), self.clock() - begun, 0.9)


def _save(path: Path, network: Network, optimizer: torch.optim.Optimizer, facts: dict[str, Any]) -> None:
    tensors, _ = parted({**kept(network.state_dict(), "network."), **kept_optimizer(optimizer, "optimizer.")})
    checkpoint.save(path, tensors, facts)


def _keep(path: Path, training: MetaTraining, pace: dict[str, int], spent: float) -> None:
    tensors, rest = parted(training.state())
    checkpoint.save(path, tensors, {"state": rest, "pace": pace, "spent": spent})


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["omniglot"], choices=PARTS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--method", default="anil", help="of the meta-gradient")
    parser.add_argument("--statistics", default="batch", choices=("batch", "support"), help="batch is transductive, as published")
    parser.add_argument("--budget", type=float, default=40, help="minutes of meta-training of each method")
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--shots", type=int, default=1)
    parser.add_argument("--channels", type=int, default=16, help="of the supernet")
    parser.add_argument("--episodes", type=int, default=100, help="of the part adapting")
    parser.add_argument("--batch", type=int, default=8, help="episodes of a step")
    parser.add_argument(
        "--focus", type=float, default=AcrossTasks.focus, help="share of the steps of at-nas and random for one path"
    )
    parser.add_argument("--cost", type=float, default=0.0, help="seconds of the other methods; without it those of at-nas")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (parts omniglot, across)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=HERE / "runs" / "few-shot")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "few_shot.csv")
    asked = parser.parse_args()
    keep_memory()
    bench = Bench(asked)
    for part in asked.parts:
        work: Callable[[], None] = getattr(bench, part)
        work()


if __name__ == "__main__":
    main()
