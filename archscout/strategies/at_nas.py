"""AT-NAS as a strategy: meta-train a supernet on the episodes of a few-shot task, evolve paths with it, answer with the fittest.

The method is in `nn/at_nas.py`. Its meta-weights serve the search here, so none of the time goes to the weights of the answer (no
`focus`); the run then meta-trains the answer by itself, beside hand-made and random networks at equal cost. `archscout meta train
at-nas` keeps supernet and population for new tasks.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from archscout.core.evidence import Observation
from archscout.core.moves import Progress, Search
from archscout.core.problem import FEW_SHOT, Problem, TaskKind
from archscout.core.protocols import Snapshot
from archscout.nn.at_nas import AcrossTasks, MetaTraining, paced
from archscout.nn.pace import steps_per_report
from archscout.nn.supernet import activations
from archscout.nn.threads import Threads


@dataclass(frozen=True)
class AtNas(AcrossTasks):
    """AT-NAS.

    method, learning_rate, batch, inner_rate, inner_steps, test_steps, statistics: of the meta-training, as in a recipe of episodes.
    iterations: steps of the meta-weights. warm_up: share of them with uniform paths, before the population is used. focus: share of
        them at the end for the fittest path alone.
    population, parents, crossed, mutated: paths; how many stay in a generation; children of either sort; random ones fill it up.
    paths: different ones in a step. every: iterations from one generation to the next. tasks, final_tasks: episodes that judge it,
        and its best at the end.
    evolve: False for uniform paths throughout. fitness: "post" adaptation, "pre", or the "gain" between.
    channels, cells: of the supernet; 0 for those of the space. report: steps between two reports, each with a snapshot.
    """

    focus: float = 0.0

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """Few-shot tasks."""
        return (FEW_SHOT,)

    @property
    def owns_loop(self) -> bool:
        """Always."""
        return True

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Steps of the weights and generations of the population; a report and a snapshot every `report` steps."""
        with Threads(torch.get_num_threads()) as threads:
            training = MetaTraining(problem, self, seed, threads)
            if state is not None:
                training.restore(state)
            yield from self._reports(training)
            return training.finish()

    def _reports(self, training: MetaTraining) -> Generator[Progress, Sequence[Observation], None]:
        loss, counted = 0.0, 0
        while not training.done:
            loss, counted = loss + training.learn(), counted + 1
            if training.breeds():
                training.breed()
            if training.step % self.report == 0 or training.done:
                metrics = {"step": float(training.step), "loss": loss / counted, "generation": float(training.generation)}
                known = [training.fitness[a] for a in training.population if a in training.fitness]
                metrics |= {"fittest": max(known)} if known else {}
                yield Progress(training.best, metrics, training.state())
                loss, counted = 0.0, 0

    def paced(self, problem: Problem, seconds: float, *, seed: int) -> Mapping[str, Any]:
        """As many iterations as fit beside the generations, and a report every ten seconds."""
        with Threads(torch.get_num_threads()) as threads:
            found, step = paced(problem, self, seconds, seed, threads)
        return {**found, "report": steps_per_report(self, step)}

    def memory(self, problem: Problem) -> int:
        """The results of one path for an episode, several times."""
        data = problem.task.splits["train"]
        return 3 * activations(problem.space, problem.task, data.images, self.channels, self.cells, path=True)

    def remarks(self, metrics: Mapping[str, float]) -> list[str]:
        """What the last report says of the population."""
        if "fittest" not in metrics:
            return ["No generation was judged on the way: the answer is the fittest of the random paths that were there."]
        return [f"The fittest path reached {metrics['fittest']:.1%} on validation episodes with the supernet's meta-weights."]
