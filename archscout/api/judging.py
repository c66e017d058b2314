"""Single architectures before judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archscout.api.opening import open_request
from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.kinds import check_kind
from archscout.core.problem import Problem, Task
from archscout.core.protocols import RefusingEstimator, Space
from archscout.engine.request import Request
from archscout.engine.resolve import genotype_of, resolve


def score(architecture: str, *, estimator: str = "naswot", data: str = "bundled", seed: int = 0, **options: Any) -> float:
    """The value that a judge gives an architecture; raises where it gives none."""
    [row] = score_all([architecture], estimator=estimator, data=data, seed=seed, **options)
    if row["value"] is None:
        raise UserError(f"'{architecture}' could not be judged by '{estimator}': {row['failure']}")
    return float(row["value"])


def score_all(
    architectures: Sequence[str],
    *,
    estimator: str = "naswot",
    space: str | None = None,
    data: str = "bundled",
    data_dir: str | Path | None = None,
    seed: int = 0,
    settings: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """One row per architecture: architecture, genotype, value (None for a failure), failure, params, macs, seconds."""
    from archscout import catalogue
    from archscout.core.evidence import Estimate, Failure
    from archscout.core.fitting import fitted
    from archscout.core.seeds import derive
    from archscout.engine.executors import Inline
    from archscout.engine.job import make
    from archscout.engine.resolve import with_settings

    request = Request(data=data, data_dir=str(data_dir) if data_dir else None, settings=dict(settings or {}), seed=seed)
    judge = make(request, "estimator", catalogue.room_of_judge(estimator), estimator)
    found = [with_settings(*resolve(text, space, request.settings), request.settings) for text in architectures]
    task = open_request(request).task
    check_kind(task, judge, f"the judge '{estimator}'")
    for owner in {owner.name: owner for owner, _ in found}.values():
        check_kind(task, owner, f"the space '{owner.name}'")
    problems = {owner.name: Problem(owner, task) for owner, _ in found}
    judges = {name: fitted(judge, problem, seed=derive(seed, "learn")) for name, problem in problems.items()}
    rows = []
    with Inline() as executor:
        for owner, architecture in found:
            problem, judge = problems[owner.name], judges[owner.name]
            if isinstance(judge, RefusingEstimator):
                judge.refusal(problem, architecture)  # says what is wrong with its settings; the reason comes again below
            job = executor.submit(judge, problem, architecture, derive(seed, "estimate", architecture))
            executor.wait(None)
            outcome = job.outcome
            rows.append(
                {
                    "architecture": str(architecture),
                    "genotype": genotype_of(owner, architecture),
                    "value": outcome.value if isinstance(outcome, Estimate) else None,
                    "failure": f"{outcome.kind}: {outcome.message}" if isinstance(outcome, Failure) else None,
                    **size_of(owner, architecture, task),
                    "seconds": job.seconds,
                }
            )
    return rows


def size_of(space: Space, architecture: Architecture, task: Task) -> dict[str, int]:
    """Parameters and MACs."""
    from archscout.nn.measure import counts

    found = counts(space, architecture, task)
    return {"params": found["params"], "macs": found["macs"]}
