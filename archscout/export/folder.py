"""The model part of a run folder: everything that another program needs to use the network.

architecture.json    what the network is: text form, space and its settings, published form, counts, and the whole graph
labels.json          class names in the order of the logits
preprocessing.json   how an image file or a text becomes the network's input
adaptation.json      of a few-shot network, how it adapts to the images of a new task
vocabulary.json      of a language model; language_model.py beside it computes perplexities and samples without archscout
model.safetensors    weights          model.pt2    torch.export program          model.onnx    ONNX

A language model carries its hidden state from token to token, so it is exported as weights and language_model.py alone, and a
few-shot network, whose weights are where an adaptation begins, as weights alone. All three models of images take normalised
float32 images (B, C, H, W); decoding, resizing and normalising are stated in preprocessing.json, and not part of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.errors import RunError, StorageError, UserError
from archscout.core.joint import member_space
from archscout.core.problem import FEW_SHOT, LANGUAGE_MODELLING, TASK_KINDS, Task, TaskKind
from archscout.core.protocols import PublishedSpace, Space
from archscout.core.seeds import seeded
from archscout.core.vocabulary import Vocabulary
from archscout.export import graph as graphs
from archscout.export import language_model
from archscout.export.onnx import save_onnx
from archscout.export.program import save_program
from archscout.export.ready import ready
from archscout.export.weights import DIGEST, load_weights, save_weights
from archscout.nn.measure import counts
from archscout.nn.network import Network
from archscout.nn.recurrent import Described, Recurrent
from archscout.store.files import write_atomic, write_json

VERSION = 1
FORMATS = ("safetensors", "pt2", "onnx")
PROGRAM = "language_model.py"
TOKENS = "tokens (B, L) int64, the numbers of vocabulary.json; the hidden state goes on from window to window"
_NO_GRAPH = "its hidden state is carried from token to token, which these formats of one pass do not hold"
_ADAPTS = "the network adapts its weights to every new task, which these formats of one pass do not hold"
INPUT = "normalised float32 images (B, C, H, W), channels first; see preprocessing.json"


def save_model(
    folder: Path, network: nn.Module, space: Space, architecture: Architecture, task: Task, labels: Sequence[str],
    preprocessing: Mapping[str, Any], formats: Iterable[str] = FORMATS, note: Callable[[str], None] | None = None,
    vocabulary: Vocabulary | None = None, adaptation: Mapping[str, Any] | None = None,
) -> dict[str, Path | None]:  # fmt: skip
    """Write the model files, each whole or not at all; gives their paths by name, None for what was not written.

    labels: class names in the order of the logits. formats: of safetensors, pt2, onnx. note: told, in one sentence, why pt2 or
    ONNX could not be written. vocabulary: of a language model. adaptation: of a few-shot network (`nn.episode_recipe`). Raises
    StorageError where the files that matter most (JSON, safetensors) cannot be written.
    """
    wanted = set(formats)
    if strange := sorted(wanted - set(FORMATS)):
        raise UserError(f"networks are exported as {', '.join(FORMATS)}, but '{strange[0]}' came")
    if len(labels) != task.classes:
        raise ValueError(f"{task.classes} labels were wanted, but {len(labels)} came")
    folder.mkdir(parents=True, exist_ok=True)
    copy = ready(network)
    written: dict[str, Path | None] = dict.fromkeys(("architecture", "labels", "preprocessing", *FORMATS))
    records: dict[str, Any] = {
        "architecture": describe(copy, space, architecture, task),
        "labels": list(labels),
        "preprocessing": dict(preprocessing),
    }
    if vocabulary is not None:
        records["vocabulary"] = vocabulary.record()
        if isinstance(copy, Described):
            write_atomic(folder / PROGRAM, Path(language_model.__file__).read_text("utf8"))
            written["program"] = folder / PROGRAM
        elif note is not None:
            note(f"{PROGRAM} was not written: it cannot compute a network without a method `description` (nn.recurrent.Described).")
    if adaptation is not None:
        records["adaptation"] = dict(adaptation)
    without = _NO_GRAPH if vocabulary is not None else _ADAPTS if adaptation is not None else ""
    if without and wanted - {"safetensors"}:
        if note is not None:
            note(f"{' and '.join(sorted(wanted - {'safetensors'}))} were not written: {without}.")
        wanted &= {"safetensors"}
    for name, record in records.items():
        write_json(folder / f"{name}.json", record)
        written[name] = folder / f"{name}.json"
    for name in FORMATS:
        if name in wanted:
            written[name] = _write(name, copy, architecture, task, folder / f"model.{name}", note)
    return written


def _write(
    name: str, network: nn.Module, architecture: Architecture, task: Task, path: Path, note: Callable[[str], None] | None
) -> Path | None:
    if name == "safetensors":
        save_weights(network, path, {"format": "pt", "architecture": str(architecture), "input": _input(task)})
        return path
    try:
        (save_program if name == "pt2" else save_onnx)(network, task.shape, path)
        return path
    except Exception as error:  # the exporters raise anything; the weights are safe beside it
        path.unlink(missing_ok=True)  # what an earlier export left would be of other weights
        if note is not None:
            said = str(error) if isinstance(error, (UserError, StorageError)) else f"{type(error).__name__}: {error}"
            note(f"{path.name} was not written: {' '.join(said.split())[:400]}")
        return None


def seconds_to_save(network: nn.Module, formats: Iterable[str]) -> float:
    """About what `save_model` takes on one core, with what it imports; measured for 18 to 815 layers."""
    if isinstance(network, Recurrent):
        return 0.5
    graph = isinstance(network, Network)
    layers = len(network.graph.operations) if isinstance(network, Network) else len(list(network.modules()))
    costs = {"pt2": 2.0 + 0.022 * layers, "onnx": 0.3 + 0.002 * layers if graph else 2.5 + 0.045 * layers}
    return sum(costs.get(name, 0.0) for name in formats)


def describe(network: nn.Module, space: Space, architecture: Architecture, task: Task) -> dict[str, Any]:
    """What architecture.json holds. The graph is there where the network is made of one (`nn.network.Network`)."""
    member = member_space(space, architecture)
    found = counts(member, architecture, task)
    return {
        "version": VERSION,
        "architecture": str(architecture),
        "genotype": member.genotype(architecture) if isinstance(member, PublishedSpace) else None,
        "space": {"name": plugin_name(member), **catalogue.record(member)},
        "task": {
            "name": task.name,
            "kind": task.kind.name,
            "shape": list(task.shape),
            "classes": task.classes,
            "fingerprint": task.fingerprint,
        },
        "input": _input(task),
        "output": f"logits ({'B' if task.kind != LANGUAGE_MODELLING else 'B, L'}, K), one per class in the order of labels.json",
        "params": found["params"],
        "macs": found["macs"],
        "graph": graphs.to_record(network.graph) if isinstance(network, Network) else None,
        "network": network.description() if isinstance(network, Described) else None,
    }


def _input(task: Task) -> str:
    return TOKENS if task.kind == LANGUAGE_MODELLING else INPUT


def plugin_name(space: Space) -> str | None:
    """What the catalogue calls this kind of space: a plug-in's name or the path of a user's file; None for others."""
    module = type(space).__module__
    if module.startswith("archscout_file_"):
        return str(getattr(sys.modules.get(module), "__file__", None) or "") or None
    if module.startswith("archscout.spaces."):
        return module.removeprefix("archscout.spaces.").replace("_", "-")
    for name in catalogue.names("spaces"):
        if "from the package" in catalogue.summary("spaces", name) and catalogue.plugin("spaces", name) is type(space):
            return name
    return None


def load_model(folder: Path, space: Space | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a run folder, in evaluation mode, and what the folder says of it.

    The second value is architecture.json plus "labels", "preprocessing" and "metadata" (of the weights). A network that is
    no graph is rebuilt by `space`, or by the space of the catalogue with the recorded settings; a user's plug-in file is never
    run only because a folder names it. Raises RunError, UserError.
    """
    info: dict[str, Any] = _read_json(folder / "architecture.json", dict)
    if info.get("version") != VERSION:
        raise RunError(
            f"'{folder / 'architecture.json'}' should be of version {VERSION}, but version {info.get('version')} came; "
            "use the archscout that wrote it"
        )
    info["labels"] = _read_json(folder / "labels.json", list)
    info["preprocessing"] = _read_json(folder / "preprocessing.json", dict)
    info["vocabulary"] = _read_json(folder / "vocabulary.json", dict) if _is(info, LANGUAGE_MODELLING) else None
    info["adaptation"] = _read_json(folder / "adaptation.json", dict) if _is(info, FEW_SHOT) else None
    network = _rebuild(info, folder, space)
    info["metadata"] = load_weights(network, folder / "model.safetensors")
    return network.eval(), info


def export_as(folder: Path, format: str, out: Path | None = None) -> Path:
    """Write the network of a run folder in one format, to `out` or into the folder. Raises RunError, UserError, StorageError."""
    if format not in FORMATS:
        raise UserError(f"networks are exported as {', '.join(FORMATS)}, but '{format}' came")
    network, info = load_model(folder)
    if _is(info, LANGUAGE_MODELLING) and format != "safetensors":
        raise UserError(f"a language model is not exported as {format}: {_NO_GRAPH}; use {PROGRAM} beside model.safetensors")
    if _is(info, FEW_SHOT) and format != "safetensors":
        raise UserError(f"a few-shot network is not exported as {format}: {_ADAPTS}; use archscout predict with --support")
    path = out or folder / f"model.{format}"
    if not path.parent.is_dir():
        raise UserError(f"there is no folder '{path.parent}' to export into; make it first")
    match format:
        case "safetensors":
            save_weights(network, path, {name: text for name, text in info["metadata"].items() if name != DIGEST})
        case "pt2":
            save_program(network, info["task"]["shape"], path)
        case _:
            save_onnx(network, info["task"]["shape"], path)
    return path


def _is(info: Mapping[str, Any], kind: TaskKind) -> bool:
    return isinstance(info.get("task"), dict) and info["task"].get("kind") == kind.name


def _rebuild(info: Mapping[str, Any], folder: Path, space: Space | None) -> nn.Module:
    try:
        if info["graph"] is not None and space is None:
            graph = graphs.from_record(info["graph"])
            with torch.device("meta"):
                network = Network(graph)
            _refuse_larger(graph.params, folder / "model.safetensors")
            return network.to_empty(device="cpu")
        entry = info["task"]
        task = Task(entry["name"], TASK_KINDS[entry["kind"]], tuple(entry["shape"]), int(entry["classes"]), entry["fingerprint"])
        architecture = Architecture.parse(info["architecture"])
        made = space if space is not None else _space(info["space"])
        with seeded(0):
            return made.build(made.architecture(architecture.choices), task)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as error:
        raise RunError(f"'{folder / 'architecture.json'}' does not describe a network: {type(error).__name__}: {error}") from error


def _refuse_larger(params: int, weights: Path) -> None:
    """A forged graph must not fill the memory before its weights are compared."""
    if weights.is_file() and params * 4 > weights.stat().st_size:
        raise RunError(f"'{weights}' is too short for the {params:,} parameters of architecture.json beside it")


def _space(record: Mapping[str, Any]) -> Space:
    name = record["name"]
    if name is None or (name.endswith(".py") and name not in catalogue.loaded_files().values()):
        raise UserError(
            f"this network's space is a user's own ({name or record['plugin']}); hand it in with --space FILE "
            "or load(folder, space=FILE)"
        )
    made: Space = catalogue.make("spaces", name, **{key: catalogue.frozen(value) for key, value in record["settings"].items()})
    return made


def _read_json(path: Path, kind: type) -> Any:
    try:
        record = json.loads(path.read_text("utf8"))
    except OSError as error:
        raise RunError(f"'{path}' cannot be read ({error.strerror}); is '{path.parent}' the folder of a finished run?") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"'{path}' is damaged: {error}") from error
    if not isinstance(record, kind):
        raise RunError(f"'{path}' is damaged: a JSON {kind.__name__} was wanted, but {type(record).__name__} came")
    return record
