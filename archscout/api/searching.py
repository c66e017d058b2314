"""Searches: begun, gone on with, and what came out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from archscout.api.networks import load
from archscout.api.opening import open_memory, open_request
from archscout.core.architecture import Architecture
from archscout.core.errors import Interrupted, RunError, UserError
from archscout.engine.display import Display
from archscout.engine.job import Job
from archscout.engine.request import IN_MEMORY, Request
from archscout.engine.threads import keep_memory

if TYPE_CHECKING:
    from torch import nn

    from archscout.data._opened import OpenedData


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
    return run(request, out=out, progress=progress, opened=None if named else open_memory(request, data), begun=begun)


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
        opened = open_request(request, progress) if request.data != IN_MEMORY else open_memory(request, data)
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
