"""Signal tasks: which designed signals a network is asked to regress, and how they are mixed.

Li, Hao, Li, Xiong and Chen 2021 (arXiv 2108.01899). A task holds, for each stage of the network, which of five signals are added
up there and how strongly, and the noise on the input. It is a value: `str` prints it as JSON, `SignalTask.parse` reads that back,
`digest` names it. `nn.signals` draws the signals themselves.

A task of three stages is for images: signals of 8 x 8 in the three resolutions of a network. One of two stages is for sequences:
the first stage is what the network reads, the second what it shall write.

The shipped tasks (`signal_tasks.json`) are the authors' own, to four digits; shares of images are exact multiples of 1/64.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.core.places import data_folder, own_place

NoiseKind = Literal["uniform", "gaussian"]
SIDE = 8
"""Rows and columns of a signal, and steps of a sequence."""
CHANNELS = 64
"""Channels of a stage whose `width` is 1; the width of its sequences."""
BETAS = 10
"""Frequencies of a sine signal."""
HIGHEST = 0.5
"""The highest frequency, in cycles per pixel."""
_WIDEST = 10  # the waves along one axis are 640
_LONGEST = 100_000
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Sines:
    """Sine waves. betas: their ten frequencies, 0 to 0.5 cycles per pixel. per_sample: each image of the batch has its own draw."""

    level: float
    betas: tuple[float, ...]
    per_sample: bool = True


@dataclass(frozen=True, slots=True)
class Dots:
    """Scattered points of +1 and -1. share: of the cells, 0 to 1. per_sample: each image of the batch has its own draw."""

    level: float
    share: float
    per_sample: bool = True


@dataclass(frozen=True, slots=True)
class Resized:
    """The input itself, reduced to the size of the signals."""

    level: float


@dataclass(frozen=True, slots=True)
class Stage:
    """The signals of one stage, each or None. width: the number of target channels, in units of 64.

    sin1d, sin2d: waves along one axis, and across both. dots: points; blurred_dots: the same through a Gaussian of one pixel.
    """

    width: float = 1.0
    sin1d: Sines | None = None
    sin2d: Sines | None = None
    dots: Dots | None = None
    blurred_dots: Dots | None = None
    resized: Resized | None = None

    @property
    def channels(self) -> int:
        """The number of target channels."""
        return int(self.width * CHANNELS)


SIGNALS: dict[str, type[Sines] | type[Dots] | type[Resized]] = {
    "sin1d": Sines, "sin2d": Sines, "dots": Dots, "blurred_dots": Dots, "resized": Resized,
}  # fmt: skip
"""The five signals of a stage, and what describes each."""


@dataclass(frozen=True, slots=True)
class SignalTask:
    """A task. batch: images or sequences that are regressed. noise: its kind and level, added to the input anew at every step."""

    stages: tuple[Stage, ...]
    batch: int = 16
    noise: NoiseKind = "uniform"
    noise_level: float = 0.0

    @property
    def for_sequences(self) -> bool:
        """Whether it is for recurrent networks."""
        return len(self.stages) == 2

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the task."""
        return blake2b(str(self).encode(), digest_size=8).hexdigest()

    def __str__(self) -> str:
        return json.dumps(_slim(asdict(self)), separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> SignalTask:
        """The task that `str` wrote. Raises UserError where `text` is none."""
        if len(text) > _LONGEST:
            raise UserError(f"a signal task takes at most {_LONGEST:,} characters, but more came")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"a signal task is JSON, but {_shown(text)} is not: {error}") from error
        return _task(found)

    def lines(self) -> list[str]:
        """The task for a person, a line per stage."""
        names = ("input", "target") if self.for_sequences else ("stage 1", "stage 2", "stage 3")
        shown = [f"{name}: {_mixture(stage)}; {stage.channels} channels" for name, stage in zip(names, self.stages, strict=True)]
        noise = f"{self.noise} noise of {self.noise_level:g}" if self.noise_level else "no noise"
        return [*shown, f"batch of {self.batch}, {noise}"]


def signal_task(name: str, *, sequences: bool = False) -> SignalTask:
    """The task of a name (`signal_tasks`), of a JSON file, or of its own text.

    sequences: of the names that exist for images and for sequences (`combo` and `nlp-combo`), the one for sequences.
    Raises UnknownName with a suggestion, UserError for a damaged file.
    """
    if name.lstrip().startswith("{"):
        return SignalTask.parse(name)
    if name.endswith(".json"):
        return _read(Path(os.path.expanduser(name)))
    plain = name.lower()
    shipped = _shipped()
    if sequences and f"nlp-{plain}" in shipped:
        plain = f"nlp-{plain}"
    if plain in shipped:
        return _task(shipped[plain]["task"])
    saved = saved_tasks()
    if name in saved:
        return _read(saved[name])
    raise UnknownName(
        f"there are no signals {_shown(name)}; {suggestion(plain, [*shipped, *saved])}, or give a .json file of a signal task"
    )


def signal_tasks() -> dict[str, str]:
    """The names of all tasks with what each is: the shipped ones, then those that were found here."""
    return {name: entry["about"] for name, entry in _shipped().items()} | {name: str(path) for name, path in saved_tasks().items()}


def pinned(name: str) -> str:
    """A name that stands for the same task wherever archscout runs, or the text of the task: files change, and are gone elsewhere.

    Raises as `signal_task`.
    """
    task = signal_task(name)
    return name if is_shipped(name) else str(task)


def is_shipped(name: str) -> bool:
    """Whether a name stands for the same task wherever archscout runs."""
    return name.lower() in _shipped()


def saved_tasks() -> dict[str, Path]:
    """The tasks that were found here, by name; those with the name of a shipped one are not among them."""
    folder = signals_folder()
    found = {path.stem: path for path in sorted(folder.glob("*.json"))} if folder.is_dir() else {}
    return {name: path for name, path in found.items() if not is_shipped(name)}


def place_of(name: str) -> Path:
    """Where a task of one's own with this name lies, or would lie; its folder is made.

    Raises UserError for a name that is no file name, or that of a shipped task, and for a folder that cannot be written.
    """
    if is_shipped(name) or is_shipped(f"nlp-{name}"):
        raise UserError(f"'{name}' is the name of signals that come with archscout; choose another")
    return own_place(signals_folder(), name, ".json", "signals", "ARCHSCOUT_SIGNALS")


def save_task(task: SignalTask, name: str) -> Path:
    """Keep a task under a name of one's own, in place of what was there. Raises as `place_of`."""
    path = place_of(name)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(f"{task}\n", "utf8")
    part.replace(path)
    return path


def signals_folder() -> Path:
    """Where found tasks are kept: $ARCHSCOUT_SIGNALS, or beside the user's other data."""
    chosen = os.environ.get("ARCHSCOUT_SIGNALS")
    return Path(chosen).expanduser() if chosen else data_folder() / "signals"


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("archscout.core").joinpath("signal_tasks.json").read_text("utf8"))
    return found


def _read(path: Path) -> SignalTask:
    try:
        with path.open(encoding="utf8") as file:
            text = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"the signal task {_shown(str(path))} cannot be read: {error}") from error
    try:
        return SignalTask.parse(text)
    except UserError as error:
        raise UserError(f"'{path}' holds no signal task: {error}") from error


def _slim(value: Any) -> Any:
    """Without what is None."""
    if isinstance(value, dict):
        return {name: _slim(part) for name, part in value.items() if part is not None}
    return [_slim(part) for part in value] if isinstance(value, list | tuple) else value


def _task(found: Any) -> SignalTask:
    given = _fields(found, SignalTask, "a signal task")
    stages = given.get("stages")
    if not isinstance(stages, list) or len(stages) not in (2, 3):
        raise UserError("a signal task has three stages (images) or two (what a recurrent network reads, and writes)")
    batch = int(_number(given.get("batch", 16), "batch", 2, 4096, whole=True))
    level = _number(given.get("noise_level", 0.0), "noise_level", 0, 100)
    task = SignalTask(tuple(_stage(stage) for stage in stages), batch, given.get("noise", "uniform"), level)
    if task.noise not in get_args(NoiseKind):
        raise UserError(f"the noise of a signal task is uniform or gaussian, but {_shown(task.noise)} came")
    if task.for_sequences:
        if task.stages[0].width != task.stages[1].width:
            raise UserError("the two stages of a task for sequences have the same width")
        if any(stage.resized for stage in task.stages):
            raise UserError("a task for sequences has no images to resize; leave 'resized' out")
    return task


def _stage(found: Any) -> Stage:
    given = _fields(found, Stage, "a stage")
    made: dict[str, Any] = {name: _signal(given[name], kind, name) for name, kind in SIGNALS.items() if given.get(name) is not None}
    return Stage(_number(given.get("width", 1.0), "width", 1 / CHANNELS, _WIDEST), **made)


def _signal(found: Any, kind: type[Sines] | type[Dots] | type[Resized], name: str) -> Sines | Dots | Resized:
    given = _fields(found, kind, f"'{name}'")
    for needed in ("level", *(("betas",) if kind is Sines else ("share",) if kind is Dots else ())):
        if needed not in given:
            raise UserError(f"the signal '{name}' needs '{needed}'")
    level, each = _number(given["level"], f"level of '{name}'", 0, 100), given.get("per_sample", True)
    if not isinstance(each, bool):
        raise UserError(f"per_sample of '{name}' is true or false, but {_shown(each)} came")
    if kind is Resized:
        return Resized(level)
    if kind is Dots:
        return Dots(level, _number(given["share"], f"share of '{name}'", 0, 1), each)
    betas = given["betas"]
    if not isinstance(betas, list) or len(betas) != BETAS:
        raise UserError(f"'{name}' has {BETAS} betas, but {_shown(betas)} came")
    return Sines(level, tuple(_number(beta, f"a beta of '{name}'", 0, HIGHEST) for beta in betas), each)


def _fields(found: Any, kind: type[Any], what: str) -> Mapping[str, Any]:
    known = [each.name for each in fields(kind)]
    if not isinstance(found, dict):
        raise UserError(f"{what} is an object with {', '.join(known)}, but {_shown(found)} came")
    for name in found:
        if name not in known:
            raise UserError(f"{what} has no {_shown(name)}; {suggestion(name, known)}")
    return found


def _number(value: Any, what: str, low: float, high: float, *, whole: bool = False) -> float:
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise UserError(f"{what} lies between {low:g} and {high:g}, but {_shown(value)} came")
    return float(value)


def _shown(value: Any) -> str:
    """The beginning of what came, on one line."""
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _mixture(stage: Stage) -> str:
    terms = []
    for name in SIGNALS:
        signal: Sines | Dots | Resized | None = getattr(stage, name)
        if signal is None:
            continue
        detail = ""
        if isinstance(signal, Sines):
            detail = f" of {min(signal.betas):.3f} to {max(signal.betas):.3f} cycles per pixel"
        elif isinstance(signal, Dots):
            detail = f" on {signal.share:.0%} of the cells"
        shared = "" if getattr(signal, "per_sample", True) else ", the same for all images"
        terms.append(f"{signal.level:g} x {name}{detail}{shared}")
    return " + ".join(terms) or "nothing"
