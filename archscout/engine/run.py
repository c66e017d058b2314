"""The whole of a search, stage after stage; every stage that is done is taken from the store."""

from __future__ import annotations

from dataclasses import dataclass

from archscout.engine.drive import failed_share
from archscout.engine.finish import Trained, finish, save_results, verify
from archscout.engine.job import Job, Workers
from archscout.engine.plan import Plan, plan_of
from archscout.engine.stages import Contest, Screened, compare, screen


@dataclass(frozen=True)
class Finding:
    """What a search found. Only `plan` and `screened` are there after `--screen-only`; `verified` begins with `finished`.

    stopped: which part of the budget ended it, `time` or `evaluations`, or `done` where it came to its own end.
    """

    plan: Plan
    screened: Screened
    contest: Contest | None
    finished: Trained | None
    verified: list[Trained]
    failed_share: float
    stopped: str


def search(job: Job) -> Finding:
    """Plan, screen, compare, finish and, where asked for, verify."""
    if job.request.seed != job.store.seed:
        raise AssertionError("the store belongs to another seed")
    plan = plan_of(job)
    for sentence in plan.sentences:
        job.say("plan", sentence)
    try:
        with Workers(job) as workers:
            screened = screen(job, plan, workers)
            screen_log = job.store.stage("screen")
            stopped = screen_log.reason or "done"
            if job.request.screen_only:
                return Finding(plan, screened, None, None, [], failed_share(screen_log), stopped)
            contest = compare(job, plan, screened, workers)
        finished = finish(job, plan, contest)
        verified = verify(job, plan, contest, finished) if job.request.verify else []
        share = max(failed_share(screen_log), failed_share(job.store.stage("compare")))
        if job.seconds is not None:  # the screening may end by a count of its own, but the final training takes the time left
            stopped = "time" if finished.shortened else "done"
        return Finding(plan, screened, contest, finished, verified, share, stopped)
    finally:
        save_results(job)
