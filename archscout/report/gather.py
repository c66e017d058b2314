"""From a job and what it found to the facts of the report page."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.joint import member_space
from archscout.core.operations import OperationGraph
from archscout.core.problem import FEW_SHOT
from archscout.core.protocols import GraphSpace, PicturedSpace, Space
from archscout.engine.finish import Trained, checkpoint_of
from archscout.engine.job import Job
from archscout.engine.machine import describe, versions
from archscout.engine.request import IN_MEMORY
from archscout.engine.run import Finding
from archscout.engine.stages import RANDOM, SEARCHED
from archscout.nn import checkpoint
from archscout.nn.batches import Augmentation, ImageSplit, batches_of
from archscout.nn.language import sampled
from archscout.nn.measure import counts
from archscout.nn.recipe import new_network
from archscout.report.cells import cell_of, cells
from archscout.report.drawing import blocks
from archscout.report.facts import (
    Answer,
    Cell,
    Comparison,
    Contestant,
    Curve,
    Data,
    Errors,
    Mistake,
    Repeat,
    ReportFacts,
    Skipped,
    StageTime,
    Trial,
)  # fmt: skip
from archscout.report.judged import calibrations_of, scores_of, screened_by, trace_of
from archscout.report.learning import learning_notes
from archscout.report.metric import METRICS
from archscout.report.pictures import png
from archscout.report.signals import signals_of

if TYPE_CHECKING:
    from archscout.report.outcome import Verdict

_MOST_TRIALS, _MISTAKES = 400, 12
_SAMPLED = {"word": 120, "byte": 600}
"""Tokens of the text that the report shows."""
_LEARNED = "the strategy worked by itself, and was asked for its answer"
_WHAT = {
    "compare": "short trainings, hand-made and random networks among them",
    "finish": "the full training and the test",
    "verify": "the others trained as long",
}


def gather(
    job: Job, finding: Finding, summary: dict[str, Any], verdict: Verdict | None,
    speed: tuple[float | None, float | None], notes: list[str],
) -> ReportFacts:  # fmt: skip
    """Everything that the page shows."""
    best = Architecture.parse(summary["best"]["architecture"])
    space = member_space(job.arena, best)
    graph = space.operations(best, job.task) if isinstance(space, GraphSpace) else None
    roles = {c.role: _role(c.role) for c in finding.contest.contestants} if finding.contest else {}
    scores = scores_of(job, finding)
    return ReportFacts(
        run=str(job.folder),
        task=job.task.name,
        created=job.store.created,
        budget=job.request.budget,
        seconds=job.store.spent_seconds,
        stopped=finding.stopped,
        answer=_answer(job, finding, summary, speed),
        data=_data(job),
        repeat=_repeat(job),
        comparison=_comparison(job, finding, verdict),
        network=blocks(graph) if graph is not None else (),
        cells=_cells(space, best, graph),
        trace=trace_of(job, finding, roles, scores),
        calibrations=calibrations_of(job, finding, roles, scores),
        trials=_trials(job, finding),
        curves=tuple(_curve(t, "finish" if t is finding.finished else "verify") for t in _trained(finding)),
        errors=_errors(job, finding.finished) if finding.finished else None,
        metric=job.task.kind.metric,
        sample=_sample(job, finding.finished) if finding.finished else "",
        signals=signals_of(job.estimator(job.request.estimator), job.task) if job.request.estimator != "auto" else None,
        stages=_stages(job, finding),
        plan=finding.plan.sentences,
        limits=dict(job.request.limits),
        notes=(*notes, *_order_notes(job), *learning_notes(job), *(finding.finished.remarks if finding.finished else ())),
    )


def _cells(space: Space, architecture: Architecture, graph: OperationGraph | None) -> tuple[Cell, ...]:
    if graph is not None:
        return cells(graph)
    return (cell_of(space.cell(architecture), "The cell, one step in time"),) if isinstance(space, PicturedSpace) else ()


def _order_notes(job: Job) -> tuple[str, ...]:
    if job.request.order == "proposed":
        return ()
    return ("The strategy was told of results as they came: this run can go on, but the same command makes another one.",)


def _trained(finding: Finding) -> list[Trained]:
    return finding.verified or ([finding.finished] if finding.finished else [])


def _role(name: str) -> str:
    return {SEARCHED: "searched", RANDOM: "random"}.get(name, "baseline")


def _answer(job: Job, finding: Finding, summary: dict[str, Any], speed: tuple[float | None, float | None]) -> Answer:
    best, done = summary["best"], finding.finished
    files = {"results": "results.csv", "manifest": "manifest.json"}
    if done is None:
        return Answer(
            "best by screening",
            "searched",
            best["architecture"],
            best["params"],
            best["macs"],
            genotype=best["genotype"],
            files=files,
        )
    weights = job.folder / "model.safetensors"
    names = (
        "model.safetensors", "model.pt2", "model.onnx", "architecture.json", "labels.json", "preprocessing.json", "vocabulary.json",
        "adaptation.json", "language_model.py",
    )  # fmt: skip
    files |= {name.removeprefix("model."): name for name in names if (job.folder / name).exists()}
    return Answer(
        name=done.role if done.role != SEARCHED else "searched network",
        role=_role(done.role),
        architecture=best["architecture"],
        params=best["params"],
        macs=best["macs"],
        metric=job.task.kind.metric,
        genotype=best["genotype"],
        test_value=done.test_value,
        test_interval=METRICS[job.task.kind.metric].interval(done.test_marks) if len(done.test_marks) else None,
        test_correct=int(done.test_marks.sum()) if done.test_marks.dtype == np.bool_ else 0,
        test_count=len(done.test_marks),
        valid_value=done.valid_value,
        valid_count=len(done.valid_marks),
        latency_ms=speed[0],
        latency_p95_ms=speed[1],
        epochs=done.epochs,
        train_seconds=done.seconds,
        weights_bytes=weights.stat().st_size if weights.exists() else 0,
        files=files,
    )


def _comparison(job: Job, finding: Finding, verdict: Verdict | None) -> Comparison | None:
    contest = finding.contest
    if contest is None:
        return None
    tested = {t.architecture: t for t in finding.verified}
    metric = METRICS[job.task.kind.metric]
    count = len(job.task.splits["valid"])
    rows = []
    number = 0
    for c in contest.contestants:
        number += c.role == SEARCHED
        reached = contest.last.get(c.architecture)
        value = reached.estimate.value if reached and reached.estimate else None
        full = tested.get(c.architecture)
        measured = counts(job.arena, c.architecture, job.task)
        rows.append(
            Contestant(
                name=f"searched {number}" if c.role == SEARCHED else c.role,
                role=_role(c.role),
                architecture=str(c.architecture),
                params=measured["params"],
                macs=measured["macs"],
                valid_value=value,
                valid_interval=metric.of_estimate(value, reached.estimate.metrics, count)
                if reached and reached.estimate and value is not None
                else None,
                test_value=full.test_value if full else None,
                test_interval=metric.interval(full.test_marks) if full and len(full.test_marks) else None,
                epochs=reached.estimate.metrics.get("epochs", 0.0) if reached and reached.estimate else 0.0,
                chosen=finding.finished is not None and c.architecture == finding.finished.architecture,
            )
        )
    full_cost = ""
    if finding.finished is not None:
        timed = f"{finding.finished.seconds:.0f} s" if job.seconds is not None else f"{finding.finished.epochs:.3g} epochs"
        full_cost = f"a full training of {timed} each"
    verified = verdict is not None and verdict.split == "test"
    return Comparison(
        search_won=verdict.won if verdict else None,
        difference=verdict.gain.difference if verdict else None,
        interval=(verdict.gain.low, verdict.gain.high) if verdict else None,
        searched=str(verdict.searched.architecture) if verdict else "",
        against=verdict.against.role if verdict else "",
        split=verdict.split if verdict else "validation",
        count=verdict.count if verdict else count,
        cost=full_cost if verified else f"equal cost, that of {contest.fidelity or 0:.3g} epochs of a network at the plan's bound",
        verified=verified,
        contestants=tuple(rows),
    )


def _trials(job: Job, finding: Finding) -> tuple[Trial, ...]:
    """The best of each stage and every failure; the page counts them from the stages."""
    roles = {c.architecture: c.role for c in finding.contest.contestants} if finding.contest else {}
    found = []
    main = screened_by(job)
    for stage in job.store.stages:
        rows = sorted(job.store.observations(stage), key=lambda row: -row.observation.value)
        # A screening may hold thousands: the best, and the rest thinned evenly, show the same cloud.
        kept = rows if len(rows) <= _MOST_TRIALS else rows[:100] + rows[100 :: max(1, len(rows) // 300)]
        trained = stage == "screen" and _screens_by_training(job)
        for row in kept:
            o = row.observation
            role = roles.get(o.architecture, SEARCHED) if stage == "compare" else SEARCHED
            metrics = o.estimate.metrics if o.estimate else {}
            sizes = metrics if "params" in metrics else counts(job.arena, o.architecture, job.task)
            found.append(
                Trial(
                    architecture=str(o.architecture),
                    stage=stage,
                    judge="train" if trained or stage != "screen" else main if o.judge == "main" else o.judge,
                    value=o.estimate.value if o.estimate else None,
                    fidelity=o.fidelity,
                    role=_role(role),
                    name="" if role == SEARCHED else role,
                    params=int(sizes["params"]),
                    macs=int(sizes["macs"]),
                    latency_ms=metrics.get("latency_ms"),
                    seconds=row.seconds,
                    failure=o.failure.kind if o.failure else None,
                    message=o.failure.message if o.failure else "",
                )
            )
    return tuple(found)


def _curve(trained: Trained, stage: str) -> Curve:
    history = trained.history
    return Curve(
        name="searched network" if trained.role == SEARCHED else trained.role,
        role=_role(trained.role),
        stage=stage,
        epochs=tuple(report.epoch for report in history),
        loss=tuple(report.train_loss for report in history),
        valid=tuple(report.valid_value for report in history),
    )


def _errors(job: Job, done: Trained) -> Errors | None:
    if not done.confusion.size:
        return None
    matrix = tuple(tuple(int(n) for n in row) for row in done.confusion)
    return Errors(job.opened.classes, matrix, tuple(_mistakes(job, done)))


def _mistakes(job: Job, done: Trained) -> list[Mistake]:
    """The test images that the network was surest of and wrong about."""
    import torch

    test = job.opened.test
    assert isinstance(test, ImageSplit)
    wrong = np.flatnonzero(done.test_marks == 0)[:256]
    if not len(wrong):
        return []
    network = new_network(job.arena, done.architecture, job.task, seed=0)
    network.load_state_dict(checkpoint.weights(checkpoint_of(job.folder, done.architecture)))
    some = type(test)(test.images, test.labels, test.rows[wrong], test.mean, test.std)
    with torch.inference_mode():
        [(x, y)] = list(batches_of(some, len(wrong)))
        sure, guess = network.eval()(x).softmax(1).max(1)
    found = []
    for k in torch.where(guess != y, sure, -1.0).argsort(descending=True)[:_MISTAKES].tolist():
        pixels = np.asarray(some.images[some.rows[k]])
        picture = png(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        found.append(Mistake(picture, job.opened.classes[int(y[k])], job.opened.classes[int(guess[k])], float(sure[k])))
    return found


def _screens_by_training(job: Job) -> bool:
    asked = job.request.estimator
    return asked == "train" or (asked == "auto" and job.customs.screens_by_training)


def _screened_by(job: Job) -> str:
    return f"architectures judged {'by very short trainings' if _screens_by_training(job) else 'without training'}"


def _stages(job: Job, finding: Finding) -> tuple[StageTime, ...]:
    found = []
    for name in job.store.stages:
        rows = job.store.observations(name)
        seconds = job.store.stage(name).seconds
        if name in ("finish", "verify"):
            seconds = sum(t.seconds for t in _trained(finding) if (t is finding.finished) == (name == "finish"))
        failed = sum(row.observation.failure is not None for row in rows)
        what = _LEARNED if name == "screen" and job.owns_loop else _WHAT.get(name, _screened_by(job))
        found.append(StageTime(name, seconds, len(rows), failed, what))
    return tuple(found)


def _data(job: Job) -> Data:
    opened = job.opened
    return Data(
        name=job.task.name,
        shape=job.task.shape,
        fingerprint=job.task.fingerprint,
        counts=opened.counts,
        resizing=str(opened.preprocessing.get("resize", "")),
        augmentation=_augmented(opened.augmentation),
        skipped=tuple(Skipped(str(file), reason) for file, reason in opened.skipped),
        notes=tuple(opened.notes),
    )


def _augmented(made: Augmentation) -> str:
    """What is varied in training images, in words; empty for nothing."""
    found = [
        f"moved by up to {made.shift} pixels" if made.shift else "",
        "mirrored left to right half of the time" if made.flip else "",
        f"a square of {made.cutout} pixels cut out" if made.cutout else "",
    ]
    return ", ".join(filter(None, found))


def _uses(job: Job, folder: str) -> tuple[tuple[str, str], ...]:
    if job.opened.vocabulary is not None:
        return (
            (f"archscout predict {folder} --data PATH", "the perplexity of other texts"),
            (f"archscout sample {folder} --start 'Once'", "text that the network writes"),
            ("python language_model.py --sample 100", "the same without archscout, in the run folder"),
        )
    if job.task.kind == FEW_SHOT:
        return ((f"archscout predict {folder} --support FOLDER --data PATH", "adapt to a few images by class, and label others"),)
    return (
        (f"archscout predict {folder} --data PATH", "label new images"),
        (f"archscout export {folder} --format onnx", "the network in another format"),
    )


def _sample(job: Job, done: Trained) -> str:
    """What the trained network writes; empty for other tasks."""
    vocabulary = job.opened.vocabulary
    if vocabulary is None:
        return ""
    network = new_network(job.arena, done.architecture, job.task, seed=0)
    network.load_state_dict(checkpoint.weights(checkpoint_of(job.folder, done.architecture)))
    start = job.task.splits["valid"].ids[: job.task.shape[0]].tolist()
    count = _SAMPLED[vocabulary.level]
    written = sampled(network, start, count, temperature=0.8, seed=job.request.seed, never=vocabulary.unwritten)
    return vocabulary.text(written)


def _repeat(job: Job) -> Repeat:
    words = ["archscout", "search", "--data", job.request.data, "--budget", job.request.budget, "--seed", str(job.request.seed)]
    defaults = type(job.request)(data="").as_dict()
    for name, value in job.request.as_dict().items():
        if name in ("data", "budget", "seed", "limits", "settings") or value == defaults[name]:
            continue
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    for name, bound in job.request.limits.items():
        words += [f"--max-{name.removesuffix('_ms')}", str(int(bound) if float(bound).is_integer() else bound)]
    for name, text in job.request.settings.items():
        words += ["--set", f"{name}={text}"]
    folder = shlex.quote(str(job.folder))
    # Data that were handed over in Python have no name that a command line could give.
    again = ((shlex.join(words), "the same search again"),) if job.request.data != IN_MEMORY else ()
    commands = (
        *again,
        *_uses(job, folder),
    )
    machine = {name: str(value) for name, value in describe().items()}
    for place, share in job.store.shares.items():
        failed = f", {share.failed} of them failed" if share.failed else ""
        machine[f"judged by {place}"] = f"{share.judged} candidates in {share.seconds:.0f} s{failed}"
    settings = {name: str(value) for name, value in {**job.store.meta["plan"]["recipe"]}.items()}
    return Repeat(commands, job.request.seed, versions(), machine, settings)
