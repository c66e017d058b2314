"""What machine this is: for the manifest of a run, for `doctor`, and for the plan."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from archscout.core.errors import UserError
from archscout.core.places import cache_folder


class Check(NamedTuple):
    """One line of `archscout doctor`."""

    name: str
    ok: bool
    found: str
    advice: str = ""
    required: bool = True


def cores() -> int:
    """The processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def threads_within(lanes: int) -> int:
    """Threads for the operations in each of so many lanes: the cores are shared out; OMP_NUM_THREADS, where it is set, bounds them.

    Threads of one operation wait for one another many times a step, which costs more than it gives where others use the cores.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    most = int(first) if first.isdecimal() else cores()
    return max(1, min(cores() // lanes, most))


def device_of(asked: str) -> str:
    """The device that `--device` means: `auto` is the GPU where torch can use one. Raises UserError for a GPU that is not there."""
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = asked.partition(":")
    if kind == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if there <= int(number or 0):
            have = f"there {'is' if there == 1 else 'are'} {there}" if there else "there is none"
            raise UserError(f"--device {asked} needs a GPU that torch can use, but {have}; use --device cpu")
    return asked


def free_memory(device: str) -> int:
    """Bytes that are free on a device."""
    if device.startswith("cuda"):
        import torch

        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    import psutil

    available: int = psutil.virtual_memory().available
    return available


def versions() -> dict[str, str]:
    """The versions on which a run's numbers depend."""
    found = {"python": platform.python_version()}
    for package in ("archscout", "torch", "numpy", "scipy", "pillow", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def describe() -> dict[str, Any]:
    """The machine, in words and numbers."""
    import psutil

    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def check_up(address: str | None = None) -> list[Check]:
    """Everything `archscout doctor` looks at. address: of a Ray cluster that is looked at too."""
    facts = describe()
    checks = [
        Check("python", True, platform.python_version()),
        Check("machine", True, f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB"),
        _try("torch", _torch, "install it with: pip install torch"),
        _try("convolution", _convolution, "torch cannot compute here"),
        _try("cache folder", _writable_cache, "set ARCHSCOUT_CACHE to a folder you can write"),
    ]
    for module, extra in (("onnx", "export"), ("onnxruntime", "export"), ("onnxscript", "export"), ("ray", "ray")):
        there = find_spec(module) is not None
        found = version(module) if there else "not installed"
        checks.append(Check(module, there, found, f"optional: pip install 'archscout[{extra}]'", required=False))
    if address is not None:
        checks.append(_try("cluster", lambda: _cluster(address), "docs/scale-out.md tells how to start one"))
    return checks


def _try(name: str, look: Callable[[], str], advice: str) -> Check:
    try:
        return Check(name, True, look())
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {error}", advice)


def _torch() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{torch.__version__} on {device}"


def _convolution() -> str:
    from time import perf_counter

    import torch

    image, kernel = torch.zeros(32, 32, 32, 32), torch.zeros(32, 32, 3, 3)
    torch.nn.functional.conv2d(image, kernel, padding=1)
    start = perf_counter()
    torch.nn.functional.conv2d(image, kernel, padding=1)
    seconds = perf_counter() - start
    return f"{32 * 32**2 * 32 * 32 * 9 / seconds / 1e9:.0f} GMAC/s with {torch.get_num_threads()} threads"


def _cluster(address: str) -> str:
    from archscout.engine.placement import cluster_at

    there = cluster_at(address)
    cpus, gpus = (sum(one[what] for one in there) for what in ("cpus", "gpus"))
    listed = ", ".join(f"{one['name']} ({one['cpus']:g} CPUs, {one['gpus']:g} GPUs, {one['memory_gib']} GiB)" for one in there)
    return f"{len(there)} machines with {cpus:g} CPUs and {gpus:g} GPUs: {listed}"


def _writable_cache() -> str:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{os.getpid()}"
    probe.write_text("")
    probe.unlink()
    return str(folder)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
