"""What every strategy must keep, as checks that run over the catalogue and over outsiders' strategies.

    from archscout.testing.strategies import CHECKS

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_mine(check):
        check(MyStrategy())

A check raises AssertionError with what was wanted. A strategy that does not claim to beat random search on a smooth problem says
so with the class attribute `BEATS_RANDOM = False`.

The first moves of the shipped strategies are recorded in `tests/golden/strategies.json`. After a change that is meant, write it
anew with `python -m archscout.testing.strategies tests/golden/strategies.json`, read the difference and name it in the changelog.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.evidence import Estimate
from archscout.core.kinds import kinds_of
from archscout.core.moves import Progress
from archscout.core.problem import FEW_SHOT, Problem
from archscout.core.protocols import Estimator, LoopOwner, Strategy
from archscout.core.seeds import generator
from archscout.nn.measure import acceptance, counts
from archscout.testing.drive import first_moves, run, stop_and_go
from archscout.testing.problems import Counting, counting
from archscout.testing.tasks import episode_task, image_task

_SEEDS = range(8)


@dataclass(frozen=True)
class Schooled:
    """The judge `Counting` with a fidelity, so that it serves every strategy.

    share: of the architectures fails, always the same ones.
    """

    epochs: float = 9.0
    share: float = 0.0

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The value of `Counting` at any fidelity; a second per epoch. Raises RuntimeError for the share that fails."""
        if int(architecture.digest, 16) < self.share * 16**16:
            raise RuntimeError(f"{architecture} is made to fail")
        return Estimate(Counting().estimate(problem, architecture, seed=seed).value, self.epochs)


def judges(share: float = 0.0) -> Mapping[str, Estimator]:
    """Judges "main" and "proxy" for the counting problem; the proxy fails only where everything does."""
    return {"main": Schooled(share=share), "proxy": Schooled(share=float(share == 1.0))}


def limited() -> Problem:
    """The counting problem with a limit that every second architecture exceeds."""
    problem = counting()
    rng = generator(0, "limited")
    found = sorted(counts(problem.space, sample(problem.space, rng), problem.task)["params"] for _ in range(101))
    assert found[0] < found[50] < found[-1], "the architectures of the counting problem should differ in size"
    return replace(problem, limits={"params": found[50]})


def owns_loop(strategy: Strategy) -> bool:
    """Whether a strategy learns on a supernet of its own; for such the checks of `LOOP_CHECKS` take the place of `CHECKS`."""
    return isinstance(strategy, LoopOwner) and strategy.owns_loop


def golden(names: list[str] | None = None) -> dict[str, list[str]]:
    """The first ten moves of the shipped strategies with their default settings and seed 0 on `counting()`."""
    chosen = (
        [n for n in catalogue.names("strategies") if not owns_loop(catalogue.make("strategies", n))] if names is None else names
    )
    return {name: first_moves(catalogue.make("strategies", name), counting(), judges()) for name in chosen}


def follows_from_the_seed(strategy: Strategy) -> None:
    """Equal seeds give equal moves, at one worker and at three; another seed gives others."""
    for workers in (1, 3):
        one, two, other = (first_moves(strategy, counting(), judges(), seed=s, count=40, workers=workers) for s in (3, 3, 4))
        assert one == two, f"equal seeds should give equal moves, but {one} and {two} came"
        assert one != other, f"another seed should give other moves, but {one} came twice"


def proposes_legal_architectures(strategy: Strategy) -> None:
    """Every proposal is an architecture that the space itself makes."""
    problem = counting()
    for architecture in _proposed(strategy, problem):
        wanted = problem.space.architecture(architecture.choices)
        assert architecture == wanted, f"the space makes {wanted} of these choices, but {architecture} was proposed"


def keeps_the_limits(strategy: Strategy) -> None:
    """No proposal exceeds the counted limits."""
    problem = limited()
    accept = acceptance(problem)
    assert accept is not None
    for architecture in _proposed(strategy, problem):
        assert accept(architecture), f"{architecture} exceeds {dict(problem.limits)}, but was proposed"


def survives_failures(strategy: Strategy) -> None:
    """Where four of ten architectures fail, it goes on and its answer is none of them; where all fail, there is no answer."""
    for workers in (1, 3):
        log = run(strategy, counting(), judges(0.4), evaluations=60, workers=workers)
        failed = {o.architecture for o in log.observations if o.failure}
        assert failed, "the check should meet failures; give the strategy more to do"
        assert log.answer is not None and log.answer not in failed, f"the answer should be no failure, but {log.answer} came"
        log = run(strategy, counting(), judges(1.0), evaluations=40, workers=workers)
        assert log.answer is None, f"where everything fails there is no answer, but {log.answer} came"


def bears_empty_landings(strategy: Strategy) -> None:
    """With more workers than it may ever propose at once, it waits for results instead of tripping over their absence."""
    log = run(strategy, counting(), judges(), evaluations=60, workers=16)
    assert len(log.observations) >= 13, f"some results should have landed, but only {len(log.observations)} did"
    assert log.answer is not None


def goes_on_where_it_was_stopped(strategy: Strategy) -> None:
    """A run stopped at random moments equals a straight one, move for move and to the byte, and repeats no finished evaluation."""
    for seed, (workers, share) in enumerate([(1, 0.0), (3, 0.0), (1, 0.4)]):
        stop_and_go(strategy, counting(), judges(share), seed=seed, evaluations=40, workers=workers)


def beats_random(strategy: Strategy) -> None:
    """Over eight seeds the mean best value of 60 evaluations is above that of random search, where this is claimed."""
    if not getattr(strategy, "BEATS_RANDOM", True):
        return
    mine, chance = (mean(_best(s, seed) for seed in _SEEDS) for s in (strategy, catalogue.make("strategies", "random")))
    assert mine > chance, f"the mean best value should be above random search's {chance:.3f}, but it is {mine:.3f}"


CHECKS: Mapping[str, Callable[[Strategy], None]] = {
    check.__name__: check
    for check in (
        follows_from_the_seed,
        proposes_legal_architectures,
        keeps_the_limits,
        survives_failures,
        bears_empty_landings,
        goes_on_where_it_was_stopped,
        beats_random,
    )
}


def learns_as_the_seed_says(strategy: Strategy) -> None:
    """Equal seeds give equal reports, numbers included; another seed gives others. The global random state stays as it was."""
    noise = torch.random.get_rng_state()
    one, two, other = (_reports(strategy, seed) for seed in (3, 3, 4))
    assert one == two, f"equal seeds should give equal reports, but {one} and {two} came"
    assert one != other, "another seed should give other reports"
    assert torch.equal(noise, torch.random.get_rng_state()), "the global random state should stay as it was"


def learns_on_where_it_was_stopped(strategy: Strategy) -> None:
    """A run killed at random moments and resumed from its snapshots equals a straight one, numbers and optimizers included."""
    for seed in range(3):
        stop_and_go(strategy, folded(strategy), judges(), seed=seed, evaluations=None)


def answers_within_the_limits(strategy: Strategy) -> None:
    """Every answer on the way and the last one meet the limits, and are the same where the run is stopped and goes on."""
    problem = folded(strategy)
    rng = generator(0, "limited")
    sizes = sorted(counts(problem.space, sample(problem.space, rng), problem.task)["params"] for _ in range(31))
    bounded = replace(problem, limits={"params": sizes[3]})
    log = run(strategy, bounded, judges(), evaluations=None)
    accept = acceptance(bounded)
    assert accept is not None and log.answer is not None
    for architecture in (log.answer, *(entry.move.best for entry in log.moves if isinstance(entry.move, Progress))):
        assert architecture is None or accept(architecture), f"{architecture} exceeds {dict(bounded.limits)}"
    stop_and_go(strategy, bounded, judges(), evaluations=None, stops=(1, 1, 1))


def ends_in_time(strategy: Strategy) -> None:
    """What `paced` gives are settings, with which a search for next to no time is a short one."""
    assert isinstance(strategy, LoopOwner)
    change: Any = replace
    short = change(strategy, **strategy.paced(folded(strategy), 1e-6, seed=0))
    assert len(_reports(short, 0)) <= len(_reports(strategy, 0)), "a search for less time should not be longer"


LOOP_CHECKS: Mapping[str, Callable[[Strategy], None]] = {
    check.__name__: check
    for check in (learns_as_the_seed_says, learns_on_where_it_was_stopped, answers_within_the_limits, ends_in_time)
}
"""For strategies that own their loop, with settings that make them short: a few steps of batches of 8."""


def folded(strategy: Strategy | None = None) -> Problem:
    """A tiny space with a supernet, and images, or the episodes that the strategy serves."""
    if strategy is not None and kinds_of(strategy) == (FEW_SHOT,):
        return Problem(catalogue.make("spaces", "few-shot", channels=2, nodes=2), episode_task())
    return Problem(catalogue.make("spaces", "nas201", channels=2, cells=1), image_task((3, 8, 8), 3, 64))


def _reports(strategy: Strategy, seed: int) -> list[object]:
    log = run(strategy, folded(strategy), judges(), seed=seed, evaluations=None)
    assert log.moves and log.answer is not None, "a strategy that owns its loop should report, and answer"
    return [*((entry.move.best, dict(entry.move.metrics)) for entry in log.moves if isinstance(entry.move, Progress)), log.answer]


def _proposed(strategy: Strategy, problem: Problem) -> list[Architecture]:
    logs = [run(strategy, problem, judges(), evaluations=60, workers=workers) for workers in (1, 3)]
    found = [observation.architecture for log in logs for observation in log.observations]
    assert found, "the strategy should propose something"
    return found


def _best(strategy: Strategy, seed: int) -> float:
    log = run(strategy, counting(decisions=10), judges(), seed=seed, evaluations=60)
    return max(observation.value for observation in log.observations)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(golden(), indent=1) + "\n", "utf8")
