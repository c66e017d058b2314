"""What users call: the Python side of every command.

result = search("./images", budget="10m", limits={"params": 500_000})
result.best, result.pareto, result.model()
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from archscout.core.architecture import Architecture
from archscout.core.errors import Interrupted, RunError, UserError
from archscout.core.kinds import check_kind
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.core.protocols import RefusingEstimator, Space
from archscout.engine.display import Display
from archscout.engine.job import Job
from archscout.engine.request import IN_MEMORY, Request
from archscout.engine.resolve import genotype_of, resolve
from archscout.engine.threads import keep_memory
from archscout.nn.threads import torch_threads

if TYPE_CHECKING:
    from torch import nn

    from archscout.comparison.tasks import TaskMatrix
    from archscout.data._opened import DataRequest, OpenedData
    from archscout.nn.baseline_tasks import BaselineTask
    from archscout.nn.course import AnyRecipe
    from archscout.nn.recipe import Recipe
    from archscout.nn.recipes import PublishedRecipe
    from archscout.nn.task_networks import Build


@dataclass(frozen=True)
class Result:
    """A run that is done. `summary` is what `--json` prints."""

    folder: Path
    summary: dict[str, Any]
    failed_share_exceeded: bool = False

    @property
    def best(self) -> Architecture:
        """The architecture that was trained (after `--screen-only`: the strategy's answer)."""
        return Architecture.parse(self.summary["best"]["architecture"])

    @property
    def pareto(self) -> list[dict[str, Any]]:
        """The networks that none of the others beats in value, parameters and MACs at once."""
        return list(self.summary["pareto"])

    def model(self) -> nn.Module:
        """The trained network, in evaluation mode, on the CPU."""
        return load(self.folder)

    def export(self, path: str | Path, format: str | None = None) -> Path:
        """Write the network; the format follows from the ending: .onnx, .pt2 or .safetensors."""
        from archscout.export.folder import export_as

        path = Path(path)
        return export_as(self.folder, format or path.suffix.lstrip("."), path)

    def lines(self) -> list[str]:
        """Three lines for a person: how good, where, what next."""
        from archscout.report.outcome import three_lines

        return three_lines(self.folder, self.summary)


def search(
    data: Any,
    *,
    budget: str = "10m",
    limits: Mapping[str, float] | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Result:
    """Find, train and export a small network; blocks until done.

    data: a folder, a file, the name of a data set, a pair (images, labels) of arrays, or a map-style Dataset of (image, label).
    limits: upper bounds on `params`, `macs`, `latency_ms`. options: the fields of `Request` (space, strategy, seed, verify, ...).
    """
    begun, named = monotonic(), isinstance(data, str | Path)
    request = Request(data=str(data) if named else IN_MEMORY, budget=budget, limits=dict(limits or {}), **options)
    request.check()
    return run(request, out=out, progress=progress, opened=None if named else _open_memory(request, data), begun=begun)


def run(
    request: Request,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    opened: OpenedData | None = None,
    begun: float | None = None,
) -> Result:
    """A search from its request. Raises UserError before anything is spent where the request cannot be met.

    begun: the value of `time.monotonic` from which the budget counts, which is for everything: loading and the data too.
    """
    begun = monotonic() if begun is None else begun
    request.check()
    from archscout.store.contents import DATABASE
    from archscout.store.lock import FolderLock
    from archscout.store.runs import RunStore

    request.placement.check()
    request = request.anchored() if opened is None else replace(request.anchored(), data=request.data)
    folder = _new_folder(request, out, overwrite)
    opened = opened or open_request(request, progress)
    if overwrite and (folder / DATABASE).exists():  # only now that the data are known to be good, and not under a writer
        FolderLock(folder).close()
        shutil.rmtree(folder)
    there, spent = folder.exists(), False
    try:
        with RunStore.create(folder, request=request.as_dict(), seed=request.seed, begun=begun) as store:
            store.meta["data"] = {"fingerprint": opened.fingerprint}
            try:
                return _go_on(Job(request, opened, store), progress)
            finally:
                spent = bool(store.observations())
    except UserError:
        if not there and not spent:  # so that the corrected command finds its folder free
            shutil.rmtree(folder, ignore_errors=True)
        raise


def resume_run(
    folder: str | Path, *, verify: bool = True, progress: bool = True, data: Any = None, executor: str | None = None,
    address: str | None = None,
) -> Result:  # fmt: skip
    """Go on with an interrupted search. A run that is done is reported again from what it found.

    data: what `search` was given, where that was arrays or a Dataset; the run knows where folders, files and named sets lie.
    executor, address: where the rest is judged, if not where the run began; by as many workers.
    """
    from archscout.store.runs import RunStore

    with RunStore.open(Path(folder)) as store:
        request = _moved(Request.from_dict(store.request), executor, address)
        request.placement.check(join=not store.stage_finished("screen" if request.screen_only else "compare"))
        if data is None and request.data == IN_MEMORY:
            raise RunError(f"the data of '{folder}' were handed over in Python; hand them in again: resume('{folder}', data=...)")
        opened = open_request(request, progress) if request.data != IN_MEMORY else _open_memory(request, data)
        recorded = store.meta["data"]["fingerprint"] if "data" in store.meta else opened.fingerprint
        if recorded != opened.fingerprint:
            raise RunError(f"the data of '{folder}' changed since the run began; put them back as they were, or start a new search")
        return _go_on(Job(request, opened, store, verify_replay=verify), progress)


def resume(folder: str | Path, **options: Any) -> Result:
    """As `resume_run`."""
    return resume_run(folder, **options)


def _moved(request: Request, executor: str | None, address: str | None) -> Request:
    """The request with candidates judged elsewhere; what is of a cluster only goes where there is none any more."""
    if executor == "local":
        request = replace(request, executor=executor, address="auto", cpus_per_candidate=1.0, gpus_per_candidate=0.0)
    return replace(request, executor=executor or request.executor, address=address or request.address)


def _go_on(job: Job, progress: bool) -> Result:
    from archscout.engine.run import search as search_job
    from archscout.report.outcome import write_outcome

    keep_memory()
    with Display(progress, job) as display:
        job.notify = display
        job.store.heed(lambda warning: job.say("store", warning))
        if job.opened.skipped:
            (path, reason), count = job.opened.skipped[0], len(job.opened.skipped)
            more = f" and {count - 1} more" if count > 1 else ""
            job.say("data", f"left out {path} ({reason}){more}; the report lists what could not be read.")
        try:
            finding = search_job(job)
            summary = write_outcome(job, finding)
        except Interrupted as stop:
            stop.hint = f"Go on with: archscout resume {job.folder}"
            raise
    return Result(job.folder, summary, finding.failed_share > job.request.allowed_failures)


def open_request(request: Request, progress: bool = False) -> OpenedData:
    """The data that a request names."""
    from archscout.data._opened import open_data

    return open_data(_data_request(request), _now_and_then() if progress else None)


def _open_memory(request: Request, data: Any) -> OpenedData:
    """Data that were handed over in Python: a pair (images, labels) of arrays, or a map-style Dataset."""
    from archscout.data._opened import open_arrays, open_dataset

    if isinstance(data, tuple):
        if len(data) != 2:
            raise UserError(f"data in memory are a pair (images, labels) or a Dataset, but a tuple of {len(data)} came")
        return open_arrays(data[0], data[1], _data_request(request))
    return open_dataset(data, replace(_data_request(request), source="dataset"))


def _data_request(request: Request) -> DataRequest:
    """What a request says of the data."""
    from archscout.data._episodes import EpisodeForm
    from archscout.data._opened import DataRequest

    return DataRequest(
        request.data,
        Path(request.data_dir) if request.data_dir else None,
        request.image_size,
        _channels(request),
        request.seed,
        Path(request.labels) if request.labels else None,
        request.augment,
        settings=tuple((k.removeprefix("data."), v) for k, v in request.settings.items() if k.startswith("data.")),
        task=request.task,
        vocabulary=request.vocabulary,
        episodes=EpisodeForm(request.ways, request.shots, request.queries),
    )


def _channels(request: Request) -> Any:
    return "auto" if request.channels == "auto" else int(request.channels)


def _new_folder(request: Request, out: str | Path | None, overwrite: bool) -> Path:
    from archscout.store.contents import DATABASE

    if out is not None:
        folder = Path(out)
        if (folder / DATABASE).exists():
            if not overwrite:
                raise RunError(f"'{folder}' holds a run already; go on with 'archscout resume {folder}', or give --overwrite")
        return folder
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(request.data).stem)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, count = Path("runs") / f"{stamp}-{name}", 1
    while folder.exists():
        count += 1
        folder = Path("runs") / f"{stamp}-{name}-{count}"
    return folder


def load(folder: str | Path, space: str | None = None) -> nn.Module:
    """The trained network of a run folder, in evaluation mode, on the CPU. space: the `.py` file of a space of one's own."""
    from archscout.export.folder import load_model

    load_own_space(space)
    network, _ = load_model(Path(folder))
    return network


def load_own_space(space: str | None) -> None:
    """Import the file of a user's own space, so that networks of it can be built: a folder that names a file never runs it."""
    from archscout import catalogue

    if space is not None:
        catalogue.plugin("spaces", space)


def create_model(
    architecture: str, num_classes: int = 1000, in_chans: int = 3, image_size: int = 32, space: str | None = None
) -> nn.Module:
    """A freshly initialised network: x (B, in_chans, image_size, image_size) -> logits (B, num_classes)."""
    task = Task("", IMAGE_CLASSIFICATION, (in_chans, image_size, image_size), num_classes, "")
    found_space, found = resolve(architecture, space)
    check_kind(task, found_space, f"the space '{found_space.name}'")
    return found_space.build(found, task)


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
                    **_size(owner, architecture, task),
                    "seconds": job.seconds,
                }
            )
    return rows


def _size(space: Space, architecture: Architecture, task: Task) -> dict[str, int]:
    from archscout.nn.measure import counts

    found = counts(space, architecture, task)
    return {"params": found["params"], "macs": found["macs"]}


def train_one(
    architecture: str,
    *,
    data: str,
    recipe: str = "default",
    epochs: float | None = None,
    space: str | None = None,
    data_dir: str | Path | None = None,
    image_size: str = "auto",
    augment: str | None = None,
    task: str = "auto",
    vocabulary: str = "auto",
    ways: int = 5,
    shots: int = 1,
    queries: int = 0,
    device: str = "auto",
    seed: int = 0,
    out: str | Path | None = None,
    formats: str = "pt2,onnx",
    settings: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Train one architecture, export it into a folder and test it; an interrupted training goes on in the same folder.

    recipe: a name of `nn.recipes`; epochs, augment and settings (`recipe.NAME`, `space.NAME`) go before what it says.
    """
    from archscout.engine.machine import cores, device_of, threads_within
    from archscout.export.folder import save_model
    from archscout.nn.episode_recipe import adaptation_of
    from archscout.nn.marks import marks_of
    from archscout.nn.network import without_auxiliary
    from archscout.nn.recipe import Recipe, new_network
    from archscout.nn.recipes import published
    from archscout.nn.train import fit, lanes_of
    from archscout.report.metric import METRICS
    from archscout.store.files import checked_folder

    known = published(recipe)
    epochs = known.epochs if epochs is None else epochs
    request = Request(
        data=data, data_dir=str(data_dir) if data_dir else None, image_size=image_size, augment=augment or known.augment or "auto",
        device=device, seed=seed, settings=dict(settings or {}), task=task, vocabulary=vocabulary, formats=formats,
        ways=ways, shots=shots, queries=queries,
    )  # fmt: skip
    request.check()
    owner, found = _sized_by(known, architecture, space, request.settings)
    device = device_of(device)
    named = "" if recipe == "default" else f"-{recipe}"
    opened = open_request(request, progress=True)
    check_kind(opened.task, owner, f"the space '{owner.name}'")
    kind = opened.task.kind
    wanted, notes = _recipe_for(recipe, owner, found, opened.task, device, request.settings)
    for note in notes:
        _tell(note)
    folder = checked_folder(Path(out) if out is not None else Path("runs") / f"train-{found.space}-{found.digest}-{seed}{named}")
    auxiliary = isinstance(wanted, Recipe) and wanted.auxiliary > 0
    network = new_network(owner, found, opened.task, seed=seed, auxiliary=auxiliary).to(device)
    keep_memory()
    lanes = lanes_of(wanted, len(opened.task.splits["train"]), cores()) if device == "cpu" else 1
    with torch_threads(threads_within(lanes)):
        result = fit(
            network, opened.task, wanted, seed=seed, epochs=epochs,
            checkpoint=folder / "checkpoints" / f"{found.digest}.safetensors", lanes=lanes,
            on_epoch=lambda r: _tell(f"epoch {r.epoch:.4g} of {epochs:g}: loss {r.train_loss:.4f}, {r.seconds:.0f} s"),
        )  # fmt: skip
        network = without_auxiliary(network)
        marks = marks_of(network, opened.test, wanted) if opened.test is not None else None
    metric = METRICS[kind.metric]
    files = save_model(
        folder, network, owner, found, opened.task, opened.classes, opened.preprocessing,
        formats=request.format_names(), note=_tell, vocabulary=opened.vocabulary, adaptation=adaptation_of(wanted),
    )  # fmt: skip
    return {
        "architecture": str(found),
        "genotype": genotype_of(owner, found),
        **_size(owner, found, opened.task),
        "recipe": {"name": recipe, **asdict(wanted)},
        "notes": notes,
        "metric": metric.name,
        "valid_value": metric.number(result.valid_value),
        "test_value": metric.number(float(marks.mean())) if marks is not None else None,
        "test_interval": metric.numbers(metric.interval(marks)) if marks is not None else None,
        f"test_{kind.item}s": len(marks) if marks is not None else 0,
        "epochs": result.epochs_done,
        "seconds": result.seconds,
        "folder": str(folder),
        "artifacts": {name: str(path) if path else None for name, path in files.items()},
    }


def _sized_by(
    recipe: PublishedRecipe, architecture: str, space: str | None, settings: Mapping[str, str]
) -> tuple[Space, Architecture]:
    """A space and its architecture, of the size that a recipe trains where it is of that space."""
    from archscout.engine.resolve import with_settings

    size = {f"space.{name}": str(value) for name, value in recipe.size.items()}
    if recipe.space and recipe.space in (space, architecture.partition(":")[0]):  # its size may decide what the architecture means
        return resolve(architecture, space, {**size, **settings})
    owner, found = resolve(architecture, space, settings)
    return with_settings(owner, found, {**(size if owner.name == recipe.space else {}), **settings})


def _recipe_for(
    name: str, owner: Space, found: Architecture, task: Task, device: str, settings: Mapping[str, str]
) -> tuple[AnyRecipe, list[str]]:
    """The recipe of a name with the settings asked for, and what it leaves out. Raises UserError where it is for other tasks."""
    from archscout.engine.customs import customs_of
    from archscout.engine.request import settings_of
    from archscout.nn.recipe import Recipe
    from archscout.nn.recipes import published
    from archscout.nn.train import default_recipe

    known, made = published(name), customs_of(task.kind).recipe
    plain = default_recipe(task.kind) if name == "default" else known.recipe
    if not isinstance(plain, made):
        raise UserError(f"the recipe '{name}' does not train networks for {task.kind.name}; leave it out, or choose another one")
    asked = settings_of("recipe", settings, made)
    half: dict[str, Any] = {"precision": "bf16"} if device != "cpu" and known.space else {}
    wanted: AnyRecipe = replace(plain, **{**half, **asked})
    return _feasible(wanted, asked, owner, found, task) if isinstance(wanted, Recipe) else (wanted, [])


def _feasible(
    recipe: Recipe, asked: Mapping[str, Any], space: Space, architecture: Architecture, task: Task
) -> tuple[Recipe, list[str]]:
    """The recipe without what this network cannot have; and what is to be said of it.

    asked: the fields that the user set; of these, what is impossible raises UserError.
    """
    from archscout.nn.recipe import impossible

    without = impossible(space, architecture, task, recipe)
    for name in without:
        if name in asked:
            raise UserError(f"--set recipe.{name}={asked[name]} cannot be: {without[name]}")
    notes = [f"Trained without the recipe's {name}: {why}." for name, why in without.items()]
    nothing: dict[str, Any] = dict.fromkeys(without, 0.0)
    return replace(recipe, **nothing), notes


def task_distances(
    data: Sequence[str],
    *,
    seeds: int = 3,
    network: str = "small",
    data_dir: str | Path | None = None,
    image_size: str = "auto",
    out: str | Path | None = None,
    settings: Mapping[str, str] | None = None,
    slack: float = 0.03,
    plan: Mapping[str, Any] | None = None,
    **distance: Any,
) -> tuple[TaskMatrix, dict[str, Any]]:
    """How far tasks are from one another, and the facts of the comparison.

    data: names, paths, or classes of either (mnist:0). network: "small", or an architecture, of which settings (`space.NAME`) may
    say more. out: where networks and distances are kept. plan: of `NetworkPlan`, but for the shape, which fits all data.
    distance: the fields of `TaskDistance`.
    """
    from archscout.comparison.tasks import TaskQuestion, compare_tasks
    from archscout.data._form import checked_size
    from archscout.nn.task_distance import TaskDistance
    from archscout.nn.task_networks import LEAST_OUTPUTS, NetworkPlan, common_shape, images_of

    if twice := [name for name in data if list(data).count(name) > 1]:
        raise UserError(f"the data '{twice[0]}' are named twice; name each task once")
    side = checked_size(image_size) or 0
    measured = _distance_of(TaskDistance, distance)
    build, kind = _task_network(network, settings or {})
    opened = {name: _open_images(name, data_dir) for name in data}
    outputs = max([LEAST_OUTPUTS, *(one.task.classes for one in opened.values())])
    chosen = NetworkPlan(common_shape([one.task.shape for one in opened.values()], side), **{"outputs": outputs, **(plan or {})})
    tasks = {name: images_of(one.task, chosen) for name, one in opened.items()}
    question = TaskQuestion(tasks, chosen, measured, seeds, kind, build, slack)
    matrix = compare_tasks(question, Path(out) if out else Path("runs") / "tasks")
    facts = {"network": kind, **asdict(measured), "plan": chosen.record(), "classes": [one.task.classes for one in opened.values()]}
    return matrix, facts


def add_task(
    data: str,
    *,
    architectures: Sequence[str] = (),
    name: str = "",
    seeds: int = 3,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    settings: Mapping[str, str] | None = None,
    plan: Mapping[str, Any] | None = None,
) -> BaselineTask:
    """Keep a task in the dictionary of baseline tasks, with architectures that are known to be good for it, the best first.

    The networks that stand for it are trained now. Raises UserError where they do not learn, and for a name that is taken.
    """
    from archscout.comparison.tasks import KeptNetworks, TaskQuestion
    from archscout.core.baseline_tasks import baseline_place
    from archscout.nn.baseline_tasks import baseline_of
    from archscout.nn.task_distance import TaskDistance
    from archscout.nn.task_networks import BASELINE_SHAPE, NetworkPlan, images_of

    place = baseline_place(name or "".join(c if c.isalnum() else "-" for c in Path(data).name).strip("-"))
    if place.exists() and not overwrite:
        raise UserError(f"there is a baseline task '{place.stem}' already; choose another --name, or give --overwrite")
    texts = [str(resolve(text, None, settings)[1]) for text in architectures]
    chosen = NetworkPlan(BASELINE_SHAPE, **(plan or {}))
    images = images_of(_open_images(data, data_dir).task, chosen)
    networks = KeptNetworks(TaskQuestion({place.stem: images}, chosen, TaskDistance(), seeds), Path("runs") / "tasks")
    networks.train()
    found = [(networks.at(seed, images), float(networks.accuracies[seed, 0])) for seed in range(seeds)]
    best = max(accuracy for _, accuracy in found)
    if not images.learned(best):
        raise UserError(
            f"the network of '{data}' did not learn: its accuracy is {best:.1%}, that of chance {images.chance:.1%}; "
            "give more images, or train longer with --epochs"
        )
    task = baseline_of(place.stem, data, images, chosen, found, texts)
    task.save(place)
    return task


def _open_images(data: str, data_dir: str | Path | None) -> OpenedData:
    opened = open_request(Request(data=data, data_dir=str(data_dir) if data_dir else None, augment="none"), progress=True)
    if opened.task.kind is not IMAGE_CLASSIFICATION:
        raise UserError(f"task distances are between sets of images, but '{data}' is a text; name other data")
    return opened


def _distance_of(made: Any, settings: Mapping[str, Any]) -> Any:
    try:
        return made(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"the settings of the distance do not fit: {error}") from error


def _task_network(network: str, settings: Mapping[str, str]) -> tuple[Build, str]:
    """How networks of this kind are built, and a text that names the kind."""
    from archscout.catalogue import plain_record
    from archscout.nn.task_networks import small_network

    if network == "small":
        return small_network, network
    space, architecture = resolve(network, None, settings)

    def build(shape: tuple[int, int, int], outputs: int) -> nn.Module:
        return space.build(architecture, Task("", IMAGE_CLASSIFICATION, shape, outputs, ""))

    own = ", ".join(f"{name}={value}" for name, value in plain_record(space)["settings"].items())
    return build, f"{architecture} ({own})" if own else str(architecture)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _now_and_then() -> Callable[[str, int, int], None]:
    """Tells how far something is: nothing of what is done within ten seconds, and a line every ten after."""
    last = monotonic()

    def tell(what: str, done: int, count: int) -> None:
        nonlocal last
        if monotonic() - last > 10:
            last = monotonic()
            _tell(f"{what}: {done:,} of {count:,}" if count else f"{what}: {done:,}")

    return tell


def predict(
    folder: str | Path, data: str | Path, top: int = 1, space: str | None = None, support: str | Path | None = None
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """What the trained network of a run says of new images: rows with file and labels, and the files that were skipped.

    Of a language model and texts: rows with file, tokens, unknown ones, and perplexity. support: for a few-shot network, a folder
    with a sub-folder of a few images for each class.
    """
    from archscout.export.predictions import predict_arrays, predict_episode

    load_own_space(space)
    folder, path = Path(folder), Path(data)
    few = (folder / "adaptation.json").is_file()
    if few != (support is not None):
        raise UserError(
            "a few-shot network adapts to some images of each class first; give them with --support FOLDER, a sub-folder for each"
            if few else "--support is for few-shot networks, and this one has its classes; leave it out"
        )  # fmt: skip
    if (folder / "vocabulary.json").is_file():
        return _predict_texts(folder, path), []
    preprocessing = _preprocessing(folder)
    images, names, skipped = _read_images(path, preprocessing)
    if support is None:
        return predict_arrays(folder, images, names, top), skipped
    shown, labels, unread = _read_support(Path(support), preprocessing)
    return predict_episode(folder, shown, labels, images, names, top), [*unread, *skipped]


def adapt(model: str, support: str | Path, data: str | Path, *, rounds: int = 3, top: int = 1, seed: int = 0) -> dict[str, Any]:
    """Fit architecture and weights of a meta-trained supernet to a few images of new classes, and label others.

    model: of `archscout meta train at-nas`. support: a folder with a sub-folder of images for each class, as many in each.
    Gives architecture, genotype, score (of held-out images of the support), seconds, rows (as `predict` gives them), skipped.
    """
    from archscout.export.predictions import answered, classes_of, episode_of, labelled
    from archscout.learners._meta_network import opened
    from archscout.nn.at_nas import adapt as adapt_network

    found = opened(model)
    preprocessing = found.facts["preprocessing"]
    shown, labels, unread = _read_support(Path(support), preprocessing)
    classes = classes_of(labels, found.task.classes)
    if len({labels.count(name) for name in classes}) > 1:
        raise UserError(f"the support '{support}' must have as many images of each class; leave some out or add some")
    images, names, skipped = _read_images(Path(data), preprocessing)
    episode, begun = episode_of(shown, labels, images, preprocessing), monotonic()
    fitted = adapt_network(
        found.network, found.space, found.population, episode.support, episode.support_labels, found.inner, seed=seed, rounds=rounds
    )
    seconds = monotonic() - begun
    logits = answered(found.network.path(fitted.architecture), fitted.weights, episode, found.inner.statistics)
    return {
        "architecture": str(fitted.architecture), "genotype": genotype_of(found.space, fitted.architecture), "score": fitted.score,
        "seconds": seconds, "rows": labelled(logits, classes, names, top), "skipped": [*unread, *skipped],
    }  # fmt: skip


def _read_support(folder: Path, preprocessing: Mapping[str, Any]) -> tuple[Any, list[str], list[tuple[str, str]]]:
    """The images in the sub-folders of a folder, the names of these, and what was skipped."""
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}'; give one with a sub-folder of a few images for each class")
    images, names, skipped = _read_images(folder, preprocessing)
    parts = [Path(name).relative_to(folder).parts for name in names]
    if loose := [name for name, part in zip(names, parts, strict=True) if len(part) < 2]:
        raise UserError(f"'{loose[0]}' lies in no sub-folder of '{folder}'; give each class its own")
    return images, [part[0] for part in parts], skipped


def _read_images(path: Path, preprocessing: Mapping[str, Any]) -> tuple[Any, list[str], list[tuple[str, str]]]:
    """The images of a file or folder as a network takes them, their names, and what was skipped."""
    from archscout.data._opened import prepare_files

    if not path.exists():
        raise UserError(f"there is no image or folder '{path}'; give the path to an image or to a folder of images")
    hidden = {p for p in path.rglob("*") if any(part.startswith(".") for part in p.relative_to(path).parts)}
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and p not in hidden)
    images, skipped = prepare_files(files, preprocessing)
    left_out = {path for path, _ in skipped}
    if not len(images):
        why = f"{skipped[0][0]}: {skipped[0][1]}" if skipped else "it is empty"
        raise UserError(f"no image could be read from '{path}'; {why}")
    return images, [str(file) for file in files if str(file) not in left_out], skipped


def _predict_texts(folder: Path, path: Path) -> list[dict[str, Any]]:
    from archscout.data._text import is_text, read_text
    from archscout.export.texts import measured_texts

    if not path.exists():
        raise UserError(f"there is no text or folder '{path}'; give the path to a text or to a folder of texts")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and is_text(p))
    if not files:
        raise UserError(f"the folder '{path}' holds no texts; give .txt files, perhaps packed as .xz or .gz")
    return measured_texts(folder, {str(file): read_text(file) for file in files})


def sample(
    folder: str | Path, length: int = 100, *, start: str = "", temperature: float = 0.8, seed: int = 0, space: str | None = None
) -> str:
    """The text of so many tokens that the language model of a run writes after `start`."""
    from archscout.export.texts import written_text

    load_own_space(space)
    _preprocessing(Path(folder))
    return written_text(Path(folder), length, start, temperature, seed)


def _preprocessing(folder: Path) -> dict[str, Any]:
    import json

    path = folder / "preprocessing.json"
    if not path.is_file():
        raise RunError(f"'{folder}' holds no trained network yet; finish the run with 'archscout resume {folder}'")
    facts: dict[str, Any] = json.loads(path.read_text("utf8"))
    return facts
