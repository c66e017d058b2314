"""A study of an architecture, or of a run, from what a user asked for: data, sizes, members."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from archscout.analysis.cells import Variant
from archscout.core.errors import RunError, UserError
from archscout.core.kinds import check_kind
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.engine.machine import device_of
from archscout.engine.request import IN_MEMORY, Request, settings_of
from archscout.engine.threads import keep_memory
from archscout.explaining.settings import Study
from archscout.explaining.study import RECIPE, Member, Question, conduct, prepared, small
from archscout.explaining.subject import Subject
from archscout.nn.recipe import Recipe
from archscout.store.files import checked_folder

ITSELF, OF_THE_RUN = "as it is", "as the run trained it"
_DEEP = {"epochs": 10, "pairs": 3, "train_images": 4096, "valid_images": 2048, "batches": 20}


def study_of(chosen: Mapping[str, Any], settings: Mapping[str, str], deep: bool) -> Study:
    """How thoroughly: what is usual, then `--set study.NAME`, then the options that were given."""
    named = settings_of("study", settings, Study)
    return Study(**{**(_DEEP if deep else {}), **named, **{name: value for name, value in chosen.items() if value is not None}})


def examined(
    subject: Subject, variants: Sequence[Variant], request: Request, open_task: Callable[[Request], Task], *, deep: bool,
    chosen: Mapping[str, Any], minutes: float | None, out: Path | None,
) -> tuple[dict[str, Any], bool, Path]:  # fmt: skip
    """The numbers of the study, whether it is complete, and its folder.

    request: data (none: those of the run, else the bundled ones), image size, seed, device, settings. open_task: the task that a
    request names. A network of the architecture is trained, or that of the run is looked at; `deep` trains one of it and of every
    variant besides. Raises UserError where there is no network to train.
    """
    space, architecture = subject.space, subject.architecture
    if space is None or architecture is None:
        raise UserError(
            f"'{subject.name}' is of a space whose networks archscout does not build; leave out --landscape and --deep, or give "
            "cells of darts or nao-cell"
        )
    study = study_of(chosen, request.settings, deep)
    recipe: Recipe = replace(RECIPE, **settings_of("recipe", request.settings, Recipe))
    members: list[Member] = []
    if subject.run is not None:
        network, weights, shape, own = _of_run(subject.run)
        if not request.data and own is None:
            raise UserError(f"'{subject.run}' does not say what its data were; name them with --data")
        # Named data are split by the seed of the run: else what it trained on would be among the validation images.
        named = replace(request, image_size=str(shape[-1]), seed=request.seed if own is None else own.seed)
        asked = own if not request.data and own is not None else named
        task = open_task(replace(asked, data_dir=request.data_dir or asked.data_dir))
        if list(task.shape) != shape:
            raise UserError(
                f"the run's network reads images {shape}, but the data are {list(task.shape)}; give the run's with --data"
            )
        members.append(Member(OF_THE_RUN, architecture, network=network, weights=weights))
    else:
        task = open_task(replace(request, data=request.data or "bundled"))
    check_kind(task, space, f"the space '{space.name}'")
    task = prepared(task, study)
    if not any(name.startswith("space.") for name in request.settings):
        space = small(space, architecture, task)
    if deep or subject.run is None:
        members.append(Member(ITSELF, architecture))
    seen = (ITSELF, "widest", "narrowest")
    members += [Member(one.name, one.architecture, one.name in seen) for one in variants if one.architecture is not None]
    folder = checked_folder(out or Path("runs") / f"explain-{architecture.space}-{architecture.digest}-{request.seed}")
    keep_memory()
    question = Question(space, task, members, study, recipe, request.seed, device_of(request.device))
    return *conduct(question, folder, minutes), folder


def _of_run(folder: Path) -> tuple[nn.Module, str, list[int], Request | None]:
    """The trained network, a digest of its weights, the shape of its images, and what was asked for, where the folder says so.

    Raises UserError for a run on anything but images, or on arrays that were handed over in Python.
    """
    from archscout.export.folder import load_model
    from archscout.export.weights import digest
    from archscout.store.contents import DATABASE
    from archscout.store.runs import RunStore

    network, info = load_model(folder)
    try:
        kind, shape = str(info["task"]["kind"]), [int(size) for size in info["task"]["shape"]]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"'{folder / 'architecture.json'}' is damaged ({error!r}); export the run again") from error
    if kind != IMAGE_CLASSIFICATION.name:
        raise UserError(f"'{folder}' is a run of {kind}, but surfaces are those of image classification")
    weights = digest(network.state_dict())
    if not (folder / DATABASE).exists():
        return network, weights, shape, None
    with RunStore.read(folder) as store:
        request = Request.from_dict(store.request)
    return network, weights, shape, request if request.data != IN_MEMORY else None
