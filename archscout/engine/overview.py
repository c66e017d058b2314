"""What is known of runs, read while they may still be going on: for `archscout runs` and `archscout show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from archscout.core.errors import ArchscoutError, RunError
from archscout.core.evidence import Observation
from archscout.core.moves import Progress
from archscout.store.contents import DATABASE
from archscout.store.runs import RunStore


def overview(folder: Path) -> list[dict[str, Any]]:
    """One row per run folder below `folder`, oldest first. A run that cannot be read is listed with the reason.

    Runs that are no search but a part of what another command does (`explain --strategy`) are left out.
    """
    rows = []
    for path in sorted(folder.glob(f"**/{DATABASE}")):
        run = path.parent
        try:
            with RunStore.read(run) as store:
                if "part_of" not in store.request:
                    rows.append({"run": str(run), "created": store.created, **_state(store)})
        except ArchscoutError as error:
            unknown = {"created": "", "task": "?", "architecture": None, "test_value": None, "metric": None}
            rows.append({"run": str(run), **unknown, "state": str(error)})
    return sorted(rows, key=lambda row: str(row["created"]))


def details(run: Path, top: int) -> dict[str, Any]:
    """The plan, the stages with their best architectures, and the answer if there is one.

    The `progress` of a stage is what its strategy reported last of itself, after so many `reports`; None where it reported nothing.
    """
    with RunStore.read(run) as store:
        stages = []
        for name in store.stages:
            landed = [row.observation for row in store.observations(name)]
            judged = sorted((o for o in landed if o.estimate), key=lambda o: (-(o.fidelity or 0.0), -o.value))[:top]
            reports = [move for _, _, move in store.progress(name)]
            stages.append(
                {
                    "name": name,
                    "done": store.stage_finished(name),
                    "landed": len(landed),
                    "failed": sum(o.failure is not None for o in landed),
                    "best": [
                        {"architecture": str(o.architecture), "value": o.value, "fidelity": o.fidelity, **_perplexity(o)}
                        for o in judged
                    ],
                    "reports": len(reports),
                    "progress": _progress(reports[-1]) if reports else None,
                }
            )
        return {
            "run": str(run),
            **_state(store),
            "budget": store.request["budget"],
            "seconds": store.spent_seconds,
            "plan": list(store.meta["plan"]["sentences"]) if "plan" in store.meta else [],
            "stages": stages,
        }


def _perplexity(observation: Observation) -> dict[str, float]:
    """Of a training on a text; nothing of other judgements."""
    found = observation.estimate.metrics.get("perplexity") if observation.estimate else None
    return {} if found is None else {"perplexity": found}


def _progress(report: Progress) -> dict[str, Any]:
    best = None if report.best is None else str(report.best)
    return {"architecture": best, "metrics": dict(report.metrics)}


def _state(store: RunStore) -> dict[str, Any]:
    summary = _summary(store.folder)
    return {
        "task": summary["task"] if summary else store.request["data"],
        "state": "done" if summary else (store.stages[-1] if store.stages else "planned"),
        "architecture": summary["best"]["architecture"] if summary else None,
        "test_value": summary["test_value"] if summary else None,
        "metric": summary["metric"] if summary else None,
    }


def _summary(folder: Path) -> dict[str, Any] | None:
    path = folder / "summary.json"
    if not path.is_file():
        return None
    try:
        summary: dict[str, Any] = json.loads(path.read_text("utf8"))
    except (ValueError, RecursionError) as error:
        raise RunError(f"'{path}' is damaged ({error}); write it again with: archscout resume {folder}") from error
    return summary
