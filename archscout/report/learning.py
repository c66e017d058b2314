"""What a strategy that worked by itself said of itself."""

from __future__ import annotations

from archscout.core.protocols import RemarkingStrategy
from archscout.engine.job import Job


def learning_notes(job: Job) -> tuple[str, ...]:
    """Its last numbers, and the alarm where skip connections have taken over; nothing of other strategies."""
    if not job.owns_loop:
        return ()
    reports = [entry for _, _, entry in job.store.progress("screen") if entry.best is not None]
    if not reports:
        return ()
    last = reports[-1].metrics
    numbers = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in last.items() if name != "collapsed")
    found = [f"'{job.strategy_name}' worked by itself and reported {len(reports):,} times; its last numbers: {numbers}."]
    if last.get("collapsed"):
        found.append(
            f"The answer of '{job.strategy_name}' has {last['skips']:.0f} skip connections, more than a quarter of its edges: the "
            "known collapse of gradient-based search, in which they win because they are easy to train. Look at --set "
            "strategy.skip_dropout=0.3 and strategy.most_skips=2, and at other seeds."
        )
    strategy = job.strategy()
    return (*found, *(strategy.remarks(last) if isinstance(strategy, RemarkingStrategy) else ()))
