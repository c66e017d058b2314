"""Progress on standard error: a bar with the time left in a terminal or notebook, a line now and then elsewhere."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from archscout.core.evidence import Observation
from archscout.core.moves import Progress as Reported
from archscout.engine.drive import Event
from archscout.engine.job import Job

if TYPE_CHECKING:
    from rich.progress import Progress

_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""
_REDRAWN_EVERY = 0.1


class Display:
    """Call it with (stage, event or None, sentence). Shows nothing where `enabled` is False."""

    def __init__(self, enabled: bool, job: Job) -> None:
        self._enabled, self._job = enabled, job
        self._bar: Progress | None = None
        self._progress: Reported | None = None
        self._last = monotonic()
        self._since: tuple[str, int, float] = "", 0, 0.0

    def __enter__(self) -> Display:
        if self._enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("plan", total=1.0, left="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, stage: str, event: Event | None, sentence: str) -> None:
        """Show a sentence, or how far a stage is."""
        if not self._enabled:
            return
        if event is None or (sentence and event.kind in ("mismatch", "replayed")):
            self._line(f"{stage}: {sentence}")
        elif event.kind == "progress" and sentence:
            self._now_and_then(f"{stage}: {sentence}")
        elif event.kind in ("landed", "progress", "stopped"):
            self._count(stage, event)

    def _now_and_then(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=self._share(), left=self._left(None))
        elif monotonic() - self._last > _EVERY:
            self._line(text)

    def _count(self, stage: str, event: Event) -> None:
        best = f", best {_told(event.best)}" if event.best else ""
        failed = f", {event.failed} failed" if event.failed else ""
        done = f"{event.landed} judged{failed}{best}"
        self._progress = event.progress or self._progress
        if self._progress is not None and not event.landed:  # a strategy that learns by itself
            done = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in self._progress.metrics.items())
            done += f"; so far {self._progress.best}" if self._progress.best is not None else ""
        text = f"{stage}: {done}{self._pace(stage, event)}"
        if self._bar is None:
            if event.kind == "stopped" or monotonic() - self._last > _EVERY:
                self._line("; ".join(filter(None, (text, self._left(event)))))
        elif event.kind == "stopped" or monotonic() - self._last > _REDRAWN_EVERY:  # counting judges takes a moment
            self._last = monotonic()
            self._bar.update(self._task, description=text, completed=self._share(), left=self._left(event))

    def _pace(self, stage: str, event: Event) -> str:
        """How many land a second, and how workers elsewhere are getting on; nothing for those of this machine."""
        if not event.workers:
            return ""
        if self._since[0] != stage:
            self._since = stage, event.landed, monotonic()
        _, landed, begun = self._since
        return f" ({(event.landed - landed) / max(monotonic() - begun, 1e-3):.3g} a second, {event.workers})"

    def _line(self, text: str) -> None:
        self._last = monotonic()
        line = f"[{self._job.store.spent_seconds:6.0f} s] {text}"
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(line, highlight=False, markup=False)
            self._bar.update(self._task, completed=self._share(), left=self._left(None))

    def _share(self) -> float:
        job = self._job
        if job.seconds is not None:
            return min(1.0, job.store.spent_seconds / job.seconds)
        return min(1.0, len(job.store.observations()) / (job.evaluations or 1))

    def _left(self, event: Event | None) -> str:
        job = self._job
        if job.seconds is not None:
            return f"about {_spoken(job.left())} left" if job.left() > 0 else "nearly done"
        if event is None or not event.landed or job.evaluations is None:
            return ""
        left = max(0, job.evaluations - len(job.store.observations()))
        more = "" if job.request.screen_only else ", and the final training"
        return f"about {_spoken(event.seconds / event.landed * left)} left{more}"


def _told(observation: Observation) -> str:
    """The value of a judgement; of a training on a text, its perplexity."""
    perplexity = observation.estimate.metrics.get("perplexity") if observation.estimate else None
    return f"{observation.value:.4g}" if perplexity is None else f"perplexity {perplexity:.4g}"


def _spoken(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
