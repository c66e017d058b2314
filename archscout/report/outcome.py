"""From what a search found to what is handed over: the model files, the summary (`--json`), the manifest, the report page."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archscout.analysis.intervals import Difference
from archscout.core.architecture import Architecture
from archscout.core.evidence import Observation
from archscout.core.joint import member_space
from archscout.engine.finish import Trained, checkpoint_of, packed, unpacked
from archscout.engine.job import Job
from archscout.engine.machine import describe, versions
from archscout.engine.plan import Plan, recipe_of
from archscout.engine.resolve import genotype_of
from archscout.engine.run import Finding
from archscout.engine.stages import RANDOM, SEARCHED, Contest, Contestant, kept_weights, weights_folder
from archscout.export.folder import FORMATS, load_model, save_model
from archscout.nn import checkpoint
from archscout.nn.course import Marks
from archscout.nn.episode_recipe import adaptation_of
from archscout.nn.marks import marks_of
from archscout.nn.measure import counts, latency
from archscout.nn.recipe import new_network
from archscout.nn.threads import torch_threads
from archscout.report import page
from archscout.report.gather import gather
from archscout.report.metric import METRICS, Metric
from archscout.store.files import write_json


@dataclass(frozen=True)
class Verdict:
    """Whether search helped: the best searched network less the best other one, and on which items that was measured."""

    won: bool | None
    gain: Difference
    searched: Contestant | Trained
    against: Contestant | Trained
    split: str
    count: int


def write_outcome(job: Job, finding: Finding) -> dict[str, Any]:
    """Write everything that a finished run hands over; gives the summary."""
    notes: list[str] = []
    files: dict[str, Path | None] = dict.fromkeys(FORMATS)
    speed: tuple[float | None, float | None] = (None, None)
    if finding.finished is not None:
        files, speed = _export(job, finding.plan, finding.finished, notes)
    if finding.contest is not None:
        notes += missing(finding.contest)
    metric = METRICS[job.task.kind.metric]
    verdict = judge(job, finding)
    best = finding.finished.architecture if finding.finished else _screened_best(job, finding)
    summary = {
        "run": str(job.folder),
        "task": job.task.name,
        "metric": job.task.kind.metric,
        "best": {**facts_of(job, best), "latency_ms": speed[0]},
        "test_value": _number(metric, finding.finished.test_value if finding.finished else None),
        "test_interval": _interval(metric, finding.finished.test_marks) if finding.finished else None,
        "baselines": _baselines(job, finding),
        "search_won": verdict.won if verdict else None,
        "pareto": _pareto(job, finding),
        "artifacts": {"report": str(job.folder / "report.html"), **{name: _text(files[name]) for name in FORMATS}},
        "evaluations": sum(not o.refused and o.judge == "main" for o in _observations(job)),
        "seconds": round(job.store.spent_seconds, 1),
        "stopped": finding.stopped,
    }
    page.write(gather(job, finding, summary, verdict, speed, notes), job.folder)
    summary["seconds"] = round(job.store.spent_seconds, 1)
    _manifest(job)
    write_json(job.folder / "summary.json", summary)
    _sign(job, files)
    shutil.rmtree(weights_folder(job), ignore_errors=True)
    return summary


def missing(contest: Contest) -> list[str]:
    """What the comparison should have held and could not."""
    found = []
    handmade = [c for c in contest.contestants if c.role not in (SEARCHED, RANDOM)]
    if len(handmade) < 2:
        which = f"only {handmade[0].role}" if handmade else "none"
        found.append(f"Of the two families of hand-made networks {which} meets the limits, so the search had fewer rivals.")
    if not any(c.role == RANDOM for c in contest.contestants):
        found.append("No random architecture that meets the limits was found; the comparison goes without.")
    for c in contest.contestants:
        failure = contest.last[c.architecture].failure if c.architecture in contest.last else None
        if c.role != SEARCHED and failure:
            found.append(f"A rival could not be compared ({c.role}): {failure.message}.")
    return found


def _screened_best(job: Job, finding: Finding) -> Architecture:
    """What the screening answers: the strategy's own word, unless it was too slow; else the best that was judged."""
    answer, ranked = job.store.stage("screen").answer, finding.screened.ranked
    return answer if answer is not None and (answer in ranked or not job.owns_loop) else ranked[0]


def facts_of(job: Job, architecture: Architecture) -> dict[str, Any]:
    """Text form, published form, parameters and MACs of an architecture of either space."""
    space = member_space(job.arena, architecture)
    found = counts(space, architecture, job.task)
    genotype = genotype_of(space, architecture)
    return {"architecture": str(architecture), "genotype": genotype, "params": found["params"], "macs": found["macs"]}


def judge(job: Job, finding: Finding) -> Verdict | None:
    """The best searched network against the best other one: by the test split after `--verify`, else by the validation split."""
    metric = METRICS[job.task.kind.metric]
    if finding.contest is None:
        return None
    if len(finding.verified) > 1 and len(finding.verified[0].test_marks):
        searched = [t for t in finding.verified if t.role == SEARCHED]
        others = [t for t in finding.verified if t.role != SEARCHED]
        if searched and others:
            # Which one represents its side is chosen on the validation split, so that the test split only measures.
            mine, theirs = (max(group, key=lambda t: t.valid_value) for group in (searched, others))
            gain = metric.difference(mine.test_marks, theirs.test_marks)
            return Verdict(_won(gain), gain, mine, theirs, "test", len(mine.test_marks))
    best = finding.contest.best(SEARCHED)
    rivals = [c for c in finding.contest.contestants if c.role != SEARCHED and finding.contest.value(c) is not None]
    if best is None or not rivals:
        return None
    rival = max(rivals, key=lambda c: finding.contest.value(c) or 0.0)  # type: ignore[union-attr]
    count = len(job.task.splits["valid"])
    my_marks, their_marks = _marks(job, finding, best), _marks(job, finding, rival)
    if my_marks is not None and their_marks is not None:
        gain = metric.difference(my_marks, their_marks)
    else:
        gain = metric.of_estimates(_estimated(finding, best), _estimated(finding, rival), count)
    return Verdict(_won(gain), gain, best, rival, "validation", count)


def _won(gain: Difference) -> bool | None:
    return gain.difference > 0 if gain.decided else None


def _estimated(finding: Finding, contestant: Contestant) -> tuple[float, Mapping[str, float]]:
    assert finding.contest is not None
    estimate = finding.contest.judged[contestant.architecture].estimate
    assert estimate is not None
    return estimate.value, estimate.metrics


def _marks(job: Job, finding: Finding, contestant: Contestant) -> Marks | None:
    """How a contestant did on the validation split after its short training, from its kept weights; stored once known."""
    assert finding.contest is not None
    key = f"valid_marks {contestant.architecture}"
    if key not in job.store.meta:
        path = kept_weights(job, finding.plan, contestant.architecture, finding.contest.fidelity)
        if path is None or not path.exists():
            return None
        network = new_network(job.arena, contestant.architecture, job.task, seed=0)
        network.load_state_dict(checkpoint.weights(path))
        network.to(job.device)
        job.store.meta[key] = packed(marks_of(network, job.task.splits["valid"], recipe_of(job, finding.plan)))
    return unpacked(job.store.meta[key])


def _export(job: Job, plan: Plan, finished: Trained, notes: list[str]) -> tuple[dict[str, Path | None], tuple[float, float]]:
    """The model files, and the latency of one image or window (median and 95th percentile, in milliseconds)."""
    network = new_network(job.arena, finished.architecture, job.task, seed=0)
    network.load_state_dict(checkpoint.weights(checkpoint_of(job.folder, finished.architecture)))
    network.eval()
    files = save_model(
        job.folder, network, job.arena, finished.architecture, job.task, job.opened.classes, job.opened.preprocessing,
        formats=job.request.format_names(), note=notes.append, vocabulary=job.opened.vocabulary,
        adaptation=adaptation_of(recipe_of(job, plan)),
    )  # fmt: skip
    if "latency_ms" not in job.store.meta:
        loaded, _ = load_model(job.folder)
        with torch_threads(1):
            times = latency(loaded, job.task, device=job.device, repeats=30)  # where the limit on latency was measured
        job.store.meta["latency_ms"] = [round(times[len(times) // 2], 4), round(times[int(len(times) * 0.95)], 4)]
    p50, p95 = job.store.meta["latency_ms"]
    return files, (p50, p95)


def _interval(metric: Metric, marks: Marks) -> list[float] | None:
    return metric.numbers(metric.interval(marks)) if len(marks) else None


def _number(metric: Metric, value: float | None) -> float | None:
    return None if value is None else metric.number(value)


def _baselines(job: Job, finding: Finding) -> list[dict[str, Any]]:
    if finding.contest is None:
        return []
    tested = {t.architecture: t.test_value for t in finding.verified}
    metric = METRICS[job.task.kind.metric]
    return [
        {
            "name": c.role,
            "params": facts_of(job, c.architecture)["params"],
            "valid_value": _number(metric, finding.contest.value(c)),
            "test_value": _number(metric, tested.get(c.architecture)),
        }
        for c in finding.contest.contestants
        if c.role != SEARCHED
    ]


def _pareto(job: Job, finding: Finding) -> list[dict[str, Any]]:
    """The networks that no other beats in value, parameters and MACs at once: of the deciding rung, or of the screening."""
    if finding.contest is not None:
        judged = [(c.architecture, c.role, finding.contest.value(c)) for c in finding.contest.contestants]
    else:
        judged = [(o.architecture, SEARCHED, o.value) for o in finding.screened.judged]
    rows = [{**facts_of(job, a), "role": role, "value": value} for a, role, value in judged if value is not None]
    front = sorted(unbeaten(rows), key=lambda row: row["params"])
    if finding.contest is not None:  # the values of a screening are of its judge, and mean what that says
        front = [{**row, "value": METRICS[job.task.kind.metric].number(row["value"])} for row in front]
    return front


def unbeaten(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows than which no other has as much `value` at as few `params` and `macs`, and is better in one of the three."""
    front: list[dict[str, Any]] = []
    # In this order only one that was kept before can beat a row; so thousands of rows need no comparison of each with each.
    for row in sorted(rows, key=lambda row: (-row["value"], row["params"], row["macs"])):
        mine = row["value"], row["params"], row["macs"]
        if not any(o["params"] <= mine[1] and o["macs"] <= mine[2] and (o["value"], o["params"], o["macs"]) != mine for o in front):
            front.append(dict(row))
    return front


def _observations(job: Job) -> list[Observation]:
    return [row.observation for row in job.store.observations()]


def _manifest(job: Job) -> None:
    write_json(
        job.folder / "manifest.json",
        {
            "request": job.request.as_dict(),
            "seed": job.request.seed,
            "created": job.store.created,
            "versions": versions(),
            "machine": describe(),
            "device": job.device,
            "data": {"name": job.task.name, "fingerprint": job.task.fingerprint, "notes": list(job.opened.notes)},
            "skipped": [{"file": str(file), "reason": reason} for file, reason in job.opened.skipped],
            "plan": job.store.meta["plan"],
        },
    )


def _sign(job: Job, files: dict[str, Path | None]) -> None:
    """Name the files of the run, with their checksums, in the store."""
    named = {name: path for name, path in files.items() if path is not None}
    named |= {name: job.folder / name for name in ("report.html", "manifest.json", "summary.json")}
    for name, path in named.items():
        job.store.artifact(name, path)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def three_lines(folder: Path, summary: dict[str, Any]) -> list[str]:
    """How good, where the files are, what to do next."""
    best = summary["best"]
    size = f"{best['params']:,} parameters, {best['macs'] / 1e6:.2f} million multiply-accumulates"
    if summary["test_interval"] is None:
        if summary["artifacts"]["safetensors"] is None:
            first = f"Best by screening: {best['architecture']} ({size}); nothing was trained."
        else:
            first = f"Trained {best['architecture']} ({size}); there is no test split."
        return [first, f"Report: {summary['artifacts']['report']}", f"Next: archscout show {folder}"]
    metric = METRICS[summary["metric"]]
    use = f"{'label new images' if metric.share else 'measure another text'}: archscout predict {folder}"
    form = ".1%" if metric.share else ".2f"
    value, low, high = (format(number, form) for number in (summary["test_value"], *summary["test_interval"]))
    outcome = {True: "search won", False: "a hand-made or random network won", None: "search or baseline: undecided"}
    return [
        f"Test {summary['metric']} {value} (95 % interval {low} to {high}) with {size}; {outcome[summary['search_won']]}.",
        f"Report, model and results: {summary['artifacts']['report']} and beside it.",
        f"Next: open the report, or {use}{' --support FOLDER' * (metric.item == 'episode')} --data PATH",
    ]
