"""Everything that the report page shows, as plain values: `report.json` in the run folder, from which the page is made again.

Values are as trainings give them (`core.problem.TaskKind`): accuracies are fractions 0..1, of a perplexity there is minus its
logarithm. Durations are seconds, sizes bytes, latencies milliseconds for one image or window. A tuple that is empty, or a part that
is None, leaves its section out or says that there is nothing. Roles are "searched", "baseline", "random".
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from archscout.core.errors import RunError

VERSION = 1


@dataclass(frozen=True)
class Answer:
    """The network that was trained in full and exported.

    test_correct of test_count images of the test split were right (None and 0 without a test split or a full training); of a text
    test_count windows were read. files: what ("report", "safetensors", "pt2", "onnx", ...) -> file name in the run folder.
    """

    name: str
    role: str
    architecture: str
    params: int
    macs: int
    metric: str = "accuracy"
    genotype: str | None = None
    test_value: float | None = None
    test_interval: tuple[float, float] | None = None
    test_correct: int = 0
    test_count: int = 0
    valid_value: float | None = None
    valid_count: int = 0
    latency_ms: float | None = None
    latency_p95_ms: float | None = None
    epochs: float = 0.0
    train_seconds: float = 0.0
    weights_bytes: int = 0
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """One network of the comparison; values are of the last rung that it reached, `epochs` says which."""

    name: str
    role: str
    architecture: str
    params: int
    macs: int
    latency_ms: float | None = None
    valid_value: float | None = None
    valid_interval: tuple[float, float] | None = None
    test_value: float | None = None
    test_interval: tuple[float, float] | None = None
    epochs: float = 0.0
    chosen: bool = False


@dataclass(frozen=True)
class Comparison:
    """Whether search helped: the best searched network less the best other one, on `split`, after equal training.

    search_won: None is undecided (the interval holds nought). level: of the interval. cost: "3 epochs each", in words.
    """

    search_won: bool | None
    difference: float | None
    interval: tuple[float, float] | None
    searched: str
    against: str
    split: str
    count: int
    cost: str
    verified: bool = False
    level: float = 0.95
    contestants: tuple[Contestant, ...] = ()


@dataclass(frozen=True)
class Block:
    """One box of the drawing. `inputs`: positions of earlier blocks. `kind` chooses the colour. `shape` is that of its output."""

    name: str
    kind: str
    label: str
    shape: tuple[int, ...]
    params: int = 0
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cell:
    """A part of the network in detail: its inputs, its operations and its output as nodes. times: how often it occurs, with other
    channels perhaps; shapes and parameters are those of the first, `name`."""

    name: str
    times: int
    nodes: tuple[Block, ...]


@dataclass(frozen=True)
class Trace:
    """How a stage went, candidate by candidate. judge: of the values.

    points: (number of the candidate, its value), an even share where there are many. best: (number, value) of each that was better
    than all before. levels: (name, role, value) of networks that took no search, by the same judge.
    """

    judge: str
    points: tuple[tuple[float, float], ...]
    best: tuple[tuple[float, float], ...]
    levels: tuple[tuple[str, str, float], ...] = ()
    count: int = 0


@dataclass(frozen=True)
class Calibration:
    """How a judge that trains nothing ranked the networks that this run trained alike.

    points: (name, role, score, value after training). kendall: tau-b of the two, None where it is not defined. interval: of it,
    None for few networks.
    """

    judge: str
    points: tuple[tuple[str, str, float, float], ...]
    kendall: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Trial:
    """One thing that was judged. `judge` and `fidelity` say by what; only equal ones may be compared.

    Exactly one of `value` and `failure` is there.
    """

    architecture: str
    stage: str
    judge: str
    value: float | None = None
    fidelity: float | None = None
    role: str = "searched"
    name: str = ""
    params: int | None = None
    macs: int | None = None
    latency_ms: float | None = None
    seconds: float = 0.0
    failure: str | None = None
    message: str = ""


@dataclass(frozen=True)
class Curve:
    """One training by epoch. `valid` entries are None where validation was not measured. stage: "finish", "verify" or "compare"."""

    name: str
    role: str
    stage: str
    epochs: tuple[float, ...]
    loss: tuple[float, ...]
    valid: tuple[float | None, ...]


@dataclass(frozen=True)
class Mistake:
    """A test image that was taken for something else. `png`: the image file in base64."""

    png: str
    truth: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class Errors:
    """confusion[i][j]: images of class i that were taken for class j, on the test split."""

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """A file that was not used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Data:
    """counts: split -> class -> images. shape: (C, H, W) as the network sees it."""

    name: str
    shape: tuple[int, ...]
    fingerprint: str
    counts: Mapping[str, Mapping[str, int]]
    source: str = ""
    licence: str = ""
    resizing: str = ""
    augmentation: str = ""
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SignalStage:
    """What the networks regressed at one stage, in words; and some of its maps, the image file in base64."""

    about: str
    png: str


@dataclass(frozen=True)
class Signals:
    """The signals of a screening by regression. about: of the batch and the noise."""

    stages: tuple[SignalStage, ...]
    about: str


@dataclass(frozen=True)
class StageTime:
    """What a stage took, and did."""

    name: str
    seconds: float
    evaluations: int = 0
    failed: int = 0
    what: str = ""


@dataclass(frozen=True)
class Repeat:
    """What it takes to do it again. commands: exactly as typed in a shell, each with what it does."""

    commands: tuple[tuple[str, str], ...]
    seed: int
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportFacts:
    """The whole page. created: a date in words. limits: bound by name (params, macs, latency_ms). stopped: why the run ended.

    notes: remarks of the run itself, such as a format that could not be exported; they stand under "what not to believe".
    sample: what a language model wrote.
    """

    run: str
    task: str
    created: str
    budget: str
    seconds: float
    stopped: str
    answer: Answer | None
    data: Data
    repeat: Repeat
    comparison: Comparison | None = None
    network: tuple[Block, ...] = ()
    cells: tuple[Cell, ...] = ()
    trace: Trace | None = None
    calibrations: tuple[Calibration, ...] = ()
    trials: tuple[Trial, ...] = ()
    curves: tuple[Curve, ...] = ()
    errors: Errors | None = None
    signals: Signals | None = None
    stages: tuple[StageTime, ...] = ()
    plan: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seeds: int = 1
    metric: str = "accuracy"
    sample: str = ""
    version: int = VERSION


def to_json(facts: ReportFacts) -> str:
    """The facts as JSON text. Raises ValueError for NaN and infinity."""
    return json.dumps(asdict(facts), indent=1, ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> ReportFacts:
    """The facts that `to_json` wrote; equal to the original. Raises RunError for anything else."""
    try:
        record = json.loads(text)
        if record["version"] != VERSION:
            raise RunError(
                f"report.json should be of version {VERSION}, but version {record['version']} came; use the archscout that wrote it"
            )
        facts = _decode(ReportFacts, record, "report")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"report.json is damaged ({type(error).__name__}: {error}); 'archscout resume' makes it again") from error
    assert isinstance(facts, ReportFacts)
    return facts


def _decode(kind: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type `kind`: data classes, tuples, mappings, optional and plain values."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        if value is None and type(None) in arguments:
            return None
        [kind] = [argument for argument in arguments if argument is not type(None)]
        return _decode(kind, value, where)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        known = {f.name for f in fields(kind)}
        if strange := set(_checked(value, dict, where)) - known:
            raise TypeError(f"{where} has no field '{min(strange)}'")
        return kind(**{name: _decode(hints[name], entry, f"{where}.{name}") for name, entry in value.items()})
    if origin is tuple:
        entries = _checked(value, list, where)
        kinds = [arguments[0]] * len(entries) if arguments[-1] is Ellipsis else list(arguments)
        return tuple(_decode(one, entry, f"{where}[{i}]") for i, (one, entry) in enumerate(zip(kinds, entries, strict=True)))
    if origin is not None and issubclass(origin, Mapping):
        return {str(name): _decode(arguments[1], entry, f"{where}.{name}") for name, entry in _checked(value, dict, where).items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _checked(value, kind, where)


def _checked(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{where} should be {kind.__name__}, but {type(value).__name__} came")
    return value
