"""The log of one stage, written through to the run's database; snapshots lie in files beside it, the last two kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate, Failure, Observation
from archscout.core.moves import Move, Progress, Propose, Wait
from archscout.store.contents import Event
from archscout.store.files import made_folder, sha256_of, write_atomic
from archscout.store.log import KEPT_SNAPSHOTS, Entry, MemoryLog
from archscout.store.snapshots import pack, unpack

if TYPE_CHECKING:
    from archscout.store.runs import RunStore

SNAPSHOTS = "checkpoints"
_CLOCK_SECONDS = 4.0


class StageLog(MemoryLog):
    """A `Log` that lasts. Made by `RunStore.stage`."""

    def __init__(self, store: RunStore, name: str, events: Sequence[Event], spent: float) -> None:
        super().__init__()
        self.name = name
        self._store = store
        self._files: list[tuple[int, str, str]] = []
        self.seconds = spent
        self._session_seconds = 0.0
        self._written = monotonic()
        self._restore(events)
        if store.stage_finished(name):
            answer = store.stage_answer(name)
            self.answer = Architecture.parse(answer) if isinstance(answer, str) else None
            self.reason, self.finished = store.stage_reason(name), True

    def restart(self) -> tuple[int, Mapping[str, Any] | None]:
        """As `Log.restart`: from the newest snapshot that is whole; says in the store's warnings which one was not."""
        for number, name, digest in reversed(self._files[-KEPT_SNAPSHOTS:]):
            path = self._store.folder / name
            try:
                if sha256_of(path) == digest:
                    return number + 1, unpack(path.read_bytes())
                reason = "its checksum does not fit"
            except (OSError, ValueError, KeyError) as error:
                reason = str(error)
            self._store.warn(f"the snapshot '{path}' is left out ({reason}); going on from an earlier one")
        return 0, None

    def add_move(self, move: Move, delivered: int) -> None:
        """As `Log.add_move`; a proposal is written with the next result, a progress at once."""
        number = len(self.moves)
        writer = self._store.writer
        if isinstance(move, Progress):
            name, digest = self._snapshot(number, move.state)
            writer.append("moves", (self.name, number, "progress", _text(move.best), None, None, delivered))
            metrics = json.dumps({key: float(value) for key, value in move.metrics.items() if isfinite(value)})
            writer.append("progress", (self.name, number, metrics, name, digest))
            self._store.tick()
            if name and digest:
                self._files.append((number, name, digest))
            for _, old, _ in self._files[:-KEPT_SNAPSHOTS]:
                (self._store.folder / old).unlink(missing_ok=True)
            self._files = self._files[-KEPT_SNAPSHOTS:]
            move = Progress(move.best, move.metrics)
        elif isinstance(move, Propose):
            fidelity = None if move.fidelity is None else float(move.fidelity)
            writer.append("moves", (self.name, number, "propose", str(move.architecture), move.judge, fidelity, delivered))
        else:
            writer.append("moves", (self.name, number, "wait", None, None, None, delivered))
        self.moves.append(Entry(move, delivered))

    def add_result(self, number: int, observation: Observation, seconds: float, place: str = "") -> None:
        """As `Log.add_result`."""
        estimate, failure = observation.estimate, observation.failure
        self._store.writer.append(
            "observations",
            (
                self.name,
                number,
                float(estimate.value) if estimate else None,
                float(estimate.cost_seconds) if estimate else None,
                json.dumps(dict(estimate.metrics), allow_nan=False) if estimate else None,
                failure.kind if failure else None,
                failure.message if failure else None,
                float(seconds),
            ),
        )
        if place:
            self._store.add_share(place, failed=failure is not None, seconds=float(seconds))
        self._store.tick()
        super().add_result(number, observation, seconds)

    def spend(self, seconds: float) -> None:
        """As `Log.spend`."""
        super().spend(seconds)
        self._session_seconds += seconds
        self._store.writer.time(self.name, self._session_seconds)
        if monotonic() - self._written > _CLOCK_SECONDS:
            self._written = monotonic()
            self._store.tick()

    def finish(self, answer: Architecture | None, reason: str) -> None:
        """As `Log.finish`."""
        self._store.finish_stage(self.name, _text(answer), reason)
        super().finish(answer, reason)

    def _snapshot(self, number: int, state: Mapping[str, Any] | None) -> tuple[str | None, str | None]:
        if state is None:
            return None, None
        path = made_folder(self._store.folder / SNAPSHOTS) / f"{self.name}-{number}.safetensors"
        write_atomic(path, pack(state))
        return str(path.relative_to(self._store.folder)), sha256_of(path)

    def _restore(self, events: Sequence[Event]) -> None:
        metrics = {event.values[1]: event for event in events if event.table == "progress"}
        for event in events:
            if event.table == "moves":
                _, number, kind, architecture, judge, fidelity, delivered = event.values
                move: Move = Wait()
                if kind == "propose":
                    move = Propose(Architecture.parse(architecture), judge, fidelity)
                elif kind == "progress":
                    facts = json.loads(metrics[number].values[2]) if number in metrics else {}
                    move = Progress(Architecture.parse(architecture) if architecture else None, facts)
                self.moves.append(Entry(move, delivered))
            elif event.table == "observations":
                _, number, value, cost, facts, kind, message, seconds = event.values
                proposed = self.moves[number].move
                assert isinstance(proposed, Propose)
                estimate = None if value is None else Estimate(value, cost, json.loads(facts))
                failure = None if kind is None else Failure(kind, message)
                seen = Observation(proposed.architecture, estimate, failure, proposed.judge, proposed.fidelity)
                super().add_result(number, seen, seconds)
            else:
                _, number, _, name, digest = event.values
                if name and Path(name).parent != Path(SNAPSHOTS):  # the oldest are removed, and nothing else must ever be
                    raise ValueError(f"'{name}' is no snapshot")
                if name and digest and Path(self._store.folder / name).exists():
                    self._files.append((number, name, digest))


def _text(architecture: Architecture | None) -> str | None:
    return None if architecture is None else str(architecture)
