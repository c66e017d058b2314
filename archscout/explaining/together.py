"""A study of an architecture, or of a run, from what a user asked for: data, sizes, members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from archscout.analysis.cells import Variant
from archscout.core.errors import RunError, UserError
from archscout.core.kinds import check_kind
from archscout.core.problem import Task
from archscout.engine.machine import device_of
from archscout.engine.request import Request, settings_of
from archscout.engine.threads import keep_memory
from archscout.explaining.settings import Study
from archscout.explaining.study import RECIPE, Member, Question, conduct, prepared, small
from archscout.explaining.subject import Subject
from archscout.nn.recipe import Recipe
from archscout.store.files import checked_folder

ITSELF, OF_THE_RUN = "as it is", "as the run trained it"
_DEEP = {"epochs": 10, "pairs": 3, "train_images": 4096, "valid_images": 2048, "batches": 20}


def opened_task(data: str, image_size: str, data_dir: Path | None, settings: Mapping[str, str], seed: int = 0) -> Task:
    """The task of the data, with images of a size."""
    from archscout.data._opened import DataRequest, open_data

    return open_data(
        DataRequest(
            data, data_dir, image_size, seed=seed,
            settings=tuple((name.removeprefix("data."), value) for name, value in settings.items() if name.startswith("data.")),
        )
    ).task  # fmt: skip


def study_of(chosen: Mapping[str, Any], settings: Mapping[str, str], deep: bool) -> Study:
    """How thoroughly: what is usual, then `--set study.NAME`, then the options that were given."""
    named = settings_of("study", settings, Study)
    return Study(**{**(_DEEP if deep else {}), **named, **{name: value for name, value in chosen.items() if value is not None}})


def examined(
    subject: Subject, variants: Sequence[Variant], *, deep: bool, chosen: Mapping[str, Any], data: str | None, image_size: str,
    data_dir: Path | None, seed: int, device: str, minutes: float | None, out: Path | None, settings: Mapping[str, str],
) -> tuple[dict[str, Any], bool, Path]:  # fmt: skip
    """The numbers of the study, whether it is complete, and its folder.

    A network of the architecture is trained, or that of the run is looked at; `deep` trains one of it and of every variant besides.
    Raises UserError where there is no network to train.
    """
    space, architecture = subject.space, subject.architecture
    if space is None or architecture is None:
        raise UserError(
            f"'{subject.name}' is of a space whose networks archscout does not build; leave out --landscape and --deep, or give "
            "cells of darts or nao-cell"
        )
    study = study_of(chosen, settings, deep)
    recipe: Recipe = replace(RECIPE, **settings_of("recipe", settings, Recipe))
    members: list[Member] = []
    if subject.run is not None:
        network, shape, run_data, run_dir, run_seed = _of_run(subject.run)
        if data is None and run_data is None:
            raise UserError(f"'{subject.run}' does not say what its data were; name them with --data")
        size = str(shape[-1])
        task = opened_task(data or str(run_data), size, data_dir or run_dir, settings, run_seed)
        if list(task.shape) != shape:
            raise UserError(
                f"the run's network reads images {shape}, but the data are {list(task.shape)}; give the run's data with --data"
            )
        members.append(Member(OF_THE_RUN, architecture, network=network))
    else:
        task = opened_task(data or "bundled", image_size, data_dir, settings)
    check_kind(task, space, f"the space '{space.name}'")
    task = prepared(task, study)
    if not any(name.startswith("space.") for name in settings):
        space = small(space, architecture, task)
    if deep or subject.run is None:
        members.append(Member(ITSELF, architecture))
    seen = (ITSELF, "widest", "narrowest")
    members += [Member(one.name, one.architecture, one.name in seen) for one in variants if one.architecture is not None]
    folder = checked_folder(out or Path("runs") / f"explain-{architecture.space}-{architecture.digest}-{seed}")
    keep_memory()
    question = Question(space, task, members, study, recipe, seed, device_of(device))
    return *conduct(question, folder, minutes), folder


def _of_run(folder: Path) -> tuple[Any, list[int], str | None, Path | None, int]:
    """The trained network, the shape of its images, and what its data were."""
    from archscout.export.folder import load_model
    from archscout.store.contents import DATABASE
    from archscout.store.runs import RunStore

    network, info = load_model(folder)
    shape = [int(size) for size in info["task"]["shape"]]
    if not (folder / DATABASE).exists():
        return network, shape, None, None, 0
    try:
        with RunStore.read(folder) as store:
            known = {field.name for field in fields(Request)}
            request = Request(**{name: value for name, value in store.request.items() if name in known})
    except (TypeError, KeyError) as error:
        raise RunError(f"'{folder}' does not say what was asked for ({error}); name its data with --data") from error
    return network, shape, request.data, Path(request.data_dir) if request.data_dir else None, request.seed
