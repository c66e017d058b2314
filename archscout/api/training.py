"""Single networks: built, and trained by a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archscout.api.judging import size_of
from archscout.api.opening import open_request, tell
from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.kinds import check_kind, kinds_of
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.protocols import Space
from archscout.engine.request import Request
from archscout.engine.resolve import genotype_of, resolve
from archscout.engine.threads import keep_memory
from archscout.nn.threads import torch_threads

if TYPE_CHECKING:
    from torch import nn

    from archscout.nn.course import AnyRecipe
    from archscout.nn.recipe import Recipe
    from archscout.nn.recipes import PublishedRecipe


def create_model(
    architecture: str, num_classes: int = 1000, in_chans: int = 3, image_size: int = 32, space: str | None = None
) -> nn.Module:
    """A freshly initialised network: x (B, in_chans, image_size, image_size) -> logits (B, num_classes)."""
    task = Task("", IMAGE_CLASSIFICATION, (in_chans, image_size, image_size), num_classes, "")
    found_space, found = resolve(architecture, space)
    check_kind(task, found_space, f"the space '{found_space.name}'")
    return found_space.build(found, task)


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
    from archscout.engine.machine import device_of
    from archscout.engine.plan import computing
    from archscout.export.folder import save_model
    from archscout.nn.episode_recipe import adaptation_of
    from archscout.nn.marks import marks_of
    from archscout.nn.network import without_auxiliary
    from archscout.nn.recipe import Recipe, new_network
    from archscout.nn.recipes import published
    from archscout.nn.train import fit
    from archscout.report.metric import METRICS
    from archscout.store.files import checked_folder

    known = published(recipe)
    epochs = known.epochs if epochs is None else epochs
    request = Request(
        data=data, data_dir=str(data_dir) if data_dir else None, image_size=image_size, augment=augment or "auto",
        device=device, seed=seed, settings=dict(settings or {}), task=task, vocabulary=vocabulary, formats=formats,
        ways=ways, shots=shots, queries=queries,
    )  # fmt: skip
    request.check()
    owner, found = _sized_by(known, architecture, space, request.settings)
    if not augment and known.augment and IMAGE_CLASSIFICATION in kinds_of(owner):
        request = replace(request, augment=known.augment)
    device = device_of(device)
    named = "" if recipe == "default" else f"-{recipe}"
    opened = open_request(request, progress=True)
    check_kind(opened.task, owner, f"the space '{owner.name}'")
    kind = opened.task.kind
    wanted, notes = _recipe_for(recipe, owner, found, opened.task, device, request.settings)
    for note in notes:
        tell(note)
    folder = checked_folder(Path(out) if out is not None else Path("runs") / f"train-{found.space}-{found.digest}-{seed}{named}")
    auxiliary = isinstance(wanted, Recipe) and wanted.auxiliary > 0
    network = new_network(owner, found, opened.task, seed=seed, auxiliary=auxiliary).to(device)
    keep_memory()
    lanes, threads = computing(wanted, opened.task, device)
    with torch_threads(threads):
        result = fit(
            network, opened.task, wanted, seed=seed, epochs=epochs,
            checkpoint=folder / "checkpoints" / f"{found.digest}.safetensors", lanes=lanes,
            on_epoch=lambda r: tell(f"epoch {r.epoch:.4g} of {epochs:g}: loss {r.train_loss:.4f}, {r.seconds:.0f} s"),
        )  # fmt: skip
        network = without_auxiliary(network)
        marks = marks_of(network, opened.test, wanted) if opened.test is not None else None
    metric = METRICS[kind.metric]
    files = save_model(
        folder, network, owner, found, opened.task, opened.classes, opened.preprocessing,
        formats=request.format_names(), note=tell, vocabulary=opened.vocabulary, adaptation=adaptation_of(wanted),
    )  # fmt: skip
    return {
        "architecture": str(found),
        "genotype": genotype_of(owner, found),
        **size_of(owner, found, opened.task),
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
