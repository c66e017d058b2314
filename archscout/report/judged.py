"""How the screening went, and how well judges that train nothing ranked what this run then trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import median

from archscout.core.architecture import Architecture
from archscout.core.protocols import Estimator, Learner
from archscout.core.seeds import derive
from archscout.engine.job import Job
from archscout.engine.run import Finding
from archscout.engine.stages import SEARCHED, Contestant, screening_judge
from archscout.nn.measure import counts
from archscout.report.facts import Calibration, Trace
from archscout.report.words import count

DEFAULT = "capacity for its cost"
"""How the report calls the default judge of a screening (decision 004)."""
Scores = Mapping[Architecture, float]
_POINTS = 300
_LEAST_RANKED, _LEAST_SURE = 4, 8
"""Networks from which a ranking is spoken of, and from which its interval is."""
_DEAR = 1.0
"""Seconds of a judgement above which the networks that took no search are not judged as well."""


def screened_by(job: Job) -> str:
    """The judge of the screening by name."""
    asked = job.request.estimator
    return asked if asked != "auto" else ("train" if job.customs.screens_by_training else DEFAULT)


def trace_of(job: Job, finding: Finding, roles: Mapping[str, str], scores: Scores) -> Trace | None:
    """The screening, candidate by candidate; None where a strategy asked no judge. roles: of the report by those of the contest.

    Of several fidelities those of the highest stand for themselves, since only equal ones can be compared.
    """
    rows = [row.observation for row in job.store.observations("screen") if row.observation.judge == "main"]
    fidelity = max((o.fidelity or 0.0 for o in rows if o.estimate), default=0.0)
    seen = [(float(n), o.value) for n, o in enumerate(rows, 1) if o.estimate and (o.fidelity or 0.0) == fidelity]
    if not seen:
        return None
    best: list[tuple[float, float]] = []
    for number, value in seen:
        if not best or value > best[-1][1]:
            best.append((number, value))
    step = -(-len(seen) // _POINTS)
    levels = tuple((c.role, roles[c.role], scores[c.architecture]) for c in _others(finding) if c.architecture in scores)
    judge = screened_by(job) + (f", {count(fidelity, 'epoch')}" if fidelity else "")
    return Trace(judge, tuple(seen[::step]), tuple(best), levels, len(rows))


def calibrations_of(job: Job, finding: Finding, roles: Mapping[str, str], scores: Scores) -> tuple[Calibration, ...]:
    """Parameters, MACs and the judge of the screening against the largest set of networks that were trained alike."""
    if finding.contest is None:
        return ()
    groups: dict[float, dict[Architecture, float]] = {}
    for row in job.store.observations("compare"):
        o = row.observation
        if o.estimate:
            groups.setdefault(o.fidelity or 0.0, {})[o.architecture] = o.value
    if not groups:
        return ()
    trained = max(groups.items(), key=lambda item: (len(item[1]), item[0]))[1]
    names = _named(finding.contest.contestants)
    sizes = {architecture: counts(job.arena, architecture, job.task) for architecture in trained}
    columns: dict[str, Scores] = {
        "parameters": {a: float(size["params"]) for a, size in sizes.items()},
        "MACs": {a: float(size["macs"]) for a, size in sizes.items()},
    }
    if not job.owns_loop:
        columns[screened_by(job)] = scores
    found = []
    for judge, column in columns.items():
        both = [(*names[a], column[a], value) for a, value in trained.items() if a in column and a in names]
        if len(both) >= _LEAST_RANKED:
            found.append(_calibration(judge, [(name, roles[role], score, value) for name, role, score, value in both]))
    return tuple(found)


def _calibration(judge: str, points: Sequence[tuple[str, str, float, float]]) -> Calibration:
    from archscout.analysis.ranks import agreement  # which loads scipy.stats, seconds that the start of a search does not have

    found = agreement([score for *_, score, _ in points], [value for *_, value in points])
    sure = len(points) >= _LEAST_SURE and all(map(isfinite, found.interval))
    return Calibration(judge, tuple(points), found.kendall if isfinite(found.kendall) else None, found.interval if sure else None)


def _named(contestants: Sequence[Contestant]) -> dict[Architecture, tuple[str, str]]:
    """How each is called in the comparison, and its role there; of an architecture in two roles the first."""
    named: dict[Architecture, tuple[str, str]] = {}
    number = 0
    for c in contestants:
        number += c.role == SEARCHED
        named.setdefault(c.architecture, (f"searched {number}" if c.role == SEARCHED else c.role, c.role))
    return named


def _others(finding: Finding) -> list[Contestant]:
    return [c for c in finding.contest.contestants if c.role != SEARCHED] if finding.contest else []


def scores_of(job: Job, finding: Finding) -> Scores:
    """What the judge of the screening said of the contestants; of those that it did not see it is asked here, if that is cheap."""
    rows = [row for row in job.store.observations("screen") if row.observation.judge == "main"]
    highest = max((row.observation.fidelity or 0.0 for row in rows), default=0.0)
    found = {
        row.observation.architecture: row.observation.value
        for row in rows
        if row.observation.estimate and (row.observation.fidelity or 0.0) == highest
    }
    missing = [c.architecture for c in _others(finding) if c.architecture not in found]
    if not missing or job.owns_loop or screened_by(job) == "train" or median([row.seconds for row in rows] or [_DEAR]) >= _DEAR:
        return found
    judge = screening_judge(job, finding.plan)
    if isinstance(judge, Learner):
        return found
    for architecture in missing:
        if (value := _asked(job, judge, architecture)) is not None:
            found[architecture] = value
    return found


def _asked(job: Job, judge: Estimator, architecture: Architecture) -> float | None:
    seed = derive(derive(job.request.seed, "screen"), "estimate", architecture)
    try:
        value = judge.estimate(job.problem({}, job.arena), architecture, seed=seed).value
    except Exception:  # a judge may refuse networks of another space, or break on them: then there is nothing to show
        return None
    return value if isfinite(value) else None
