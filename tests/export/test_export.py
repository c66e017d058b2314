"""Weights, programs, ONNX and the whole folder, on a small network from a GraphBuilder and on every space's kind of module."""

import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from archscout import catalogue
from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.errors import RunError, StorageError, UserError
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.seeds import seeded
from archscout.export import folder as folders
from archscout.export import graph as graphs
from archscout.export import onnx as onnx_export
from archscout.export.folder import export_as, load_model, save_model, seconds_to_save
from archscout.export.onnx import MissingExtra, save_onnx
from archscout.export.program import save_program
from archscout.export.ready import ParityError, example, largest_difference, ready
from archscout.export.weights import load_weights, read_weights, save_weights
from archscout.nn.network import Network

SHAPE = (3, 10, 10)
TASK = Task("tiny", IMAGE_CLASSIFICATION, SHAPE, 4, "f00d")
LABELS = ["a", "b", "c", "d"]
PREPROCESSING = {"size": 10, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}


@dataclass(frozen=True)
class Plain:
    """A space whose networks are no graphs of ours."""

    widths: tuple[int, ...] = (4, 6)

    @property
    def name(self) -> str:
        return "plain"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return (Decision("width", tuple(map(str, self.widths))),)

    def architecture(self, choices: Any) -> Architecture:
        return checked(self.name, self.decisions, tuple(choices))

    def build(self, architecture: Architecture, task: Task) -> nn.Module:
        width = self.widths[architecture.choices[0]]
        return nn.Sequential(
            nn.Conv2d(task.shape[0], width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 8 * 8, task.classes)
        )


@dataclass(frozen=True)
class Graphed(Plain):
    """A space of graphs with everything in them."""

    @property
    def name(self) -> str:
        return "graphed"

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        builder = GraphBuilder(task.shape)
        width = self.widths[architecture.choices[0]]
        with builder.scope("stem"):
            x = builder.relu(builder.batch_norm(builder.conv(builder.input, width, 3)))
        with builder.scope("block"):
            gate = builder.activation(builder.conv(builder.global_pool(x, keep=True), width, bias=True), "sigmoid")
            y = builder.add(x, builder.multiply(x, gate), builder.zero(x))
            y = builder.concat(builder.avg_pool(y, 3), builder.max_pool(builder.narrow(y, 3), 3), builder.shift(y))
            y = builder.crop(builder.avg_pool(y, 2, padding=1))
            y = builder.activation(builder.conv(y, width, 3, stride=2), "silu")
        with builder.scope("head"):
            return builder.finish(builder.mark("logits", builder.linear(builder.global_pool(y), task.classes)))

    def build(self, architecture: Architecture, task: Task) -> nn.Module:
        return Network(self.operations(architecture, task))


def _trained(space: Plain, option: int = 0) -> tuple[Architecture, nn.Module]:
    """A network whose batch statistics are not those of a fresh one, in training mode and channels-last."""
    architecture = space.architecture([option])
    with seeded(1):
        network = space.build(architecture, TASK)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    network(example(SHAPE, 8) * 2 + 1)
    return architecture, network


@pytest.fixture
def network() -> nn.Module:
    return _trained(Graphed())[1]


def test_weights_come_back_bit_by_bit_with_buffers_and_metadata(tmp_path: Path, network: nn.Module) -> None:
    save_weights(network, tmp_path / "w.safetensors", {"who": "me"})
    fresh = Graphed().build(Graphed().architecture([0]), TASK)
    assert load_weights(fresh, tmp_path / "w.safetensors")["who"] == "me"
    assert fresh.state_dict().keys() == network.state_dict().keys()
    assert any("running_var" in name for name in fresh.state_dict())
    assert all(torch.equal(fresh.state_dict()[name], tensor) for name, tensor in network.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_shared_weights_are_stored(tmp_path: Path) -> None:
    first = nn.Linear(3, 3)
    shared = nn.Sequential(first, first)
    save_weights(shared, tmp_path / "w.safetensors")
    other = nn.Linear(3, 3)
    load_weights(nn.Sequential(other, other), tmp_path / "w.safetensors")
    assert torch.equal(other.weight, first.weight)


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path, network: nn.Module) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(network, path)
    content = path.read_bytes()
    fresh = Graphed().build(Graphed().architecture([0]), TASK)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    header = int.from_bytes(content[:8], "little")
    for place in np.linspace(header + 8, len(content) - 1, 60).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(RunError, match="damaged"):
            load_weights(fresh, path)
    for length in (0, 7, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(RunError, match="damaged"):
            load_weights(fresh, path)
    path.write_bytes((2**60).to_bytes(8, "little") + content[8:])
    with pytest.raises(RunError, match="damaged"):
        load_weights(fresh, path)
    assert all(torch.equal(fresh.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> Any:
            return canary.touch, ()

    torch.save(Evil(), tmp_path / "w.safetensors")
    with pytest.raises(RunError):
        read_weights(tmp_path / "w.safetensors")
    assert not canary.exists()


def test_weights_of_another_network_are_refused(tmp_path: Path, network: nn.Module) -> None:
    save_weights(network, tmp_path / "w.safetensors")
    with pytest.raises(RunError, match="should be"):
        load_weights(_trained(Graphed(), 1)[1], tmp_path / "w.safetensors")
    with pytest.raises(RunError, match="missing"):
        load_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    with pytest.raises(RunError, match="no weights file"):
        load_weights(network, tmp_path / "nothing.safetensors")


def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path, network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"earlier")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archscout.store.files.os.fsync", full)
    with pytest.raises(StorageError, match=r"w.safetensors"):
        save_weights(network, path)
    assert path.read_bytes() == b"earlier" and len(list(tmp_path.iterdir())) == 1


def test_ready_changes_a_copy_only(network: nn.Module) -> None:
    copy = ready(network.double())
    assert network.training and next(network.parameters()).dtype == torch.float64
    assert not copy.training and all(tensor.dtype in (torch.float32, torch.int64) for tensor in copy.state_dict().values())
    assert all(tensor.is_contiguous() for tensor in copy.state_dict().values())


def test_parity_notices_a_difference(network: nn.Module) -> None:
    copy = ready(network)
    assert largest_difference(copy, copy, SHAPE) == 0
    with pytest.raises(ParityError, match="batch size 1"):
        largest_difference(copy, lambda images: copy(images) + 1e-2, SHAPE)


def test_program_runs_at_other_batch_sizes(tmp_path: Path, network: nn.Module) -> None:
    assert save_program(network, SHAPE, tmp_path / "m.pt2") <= 1e-4
    program = torch.export.load(tmp_path / "m.pt2").module()
    for batch in (1, 7):
        torch.testing.assert_close(program(example(SHAPE, batch)), ready(network)(example(SHAPE, batch)), rtol=1e-4, atol=1e-4)


def test_onnx_is_quiet_named_and_equal(
    tmp_path: Path, network: nn.Module, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        report = save_onnx(network, SHAPE, tmp_path / "m.onnx")
    printed = capfd.readouterr()
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (printed.out, printed.err, heard, loud) == ("", "", [], [])
    assert logging.root.manager.disable == 0
    assert report.difference <= 1e-4 and report.size == (tmp_path / "m.onnx").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    model = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model)
    assert [entry.name for entry in model.graph.input] == ["images"]
    assert [entry.name for entry in model.graph.output] == ["logits"]
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {"images": example(SHAPE, 3).numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), ready(network)(example(SHAPE, 3)), rtol=1e-4, atol=1e-4)


def test_every_form_of_an_operation_becomes_onnx(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    builder = GraphBuilder(SHAPE)
    x = builder.batch_norm(builder.conv(builder.input, 8, 3, dilation=2, bias=True), affine=False)
    builder.batch_norm(builder.conv(x, 5), affine=False)  # nobody reads it
    x = builder.add(builder.conv(x, 8, (3, 1), groups=4), x, builder.narrow(builder.concat(x, builder.shift(x)), 8, 4))
    x = builder.add(builder.max_pool(x, 3, stride=2), builder.avg_pool(x, 3, stride=2), builder.zero(x, stride=2))
    network = Network(builder.finish(builder.linear(builder.global_pool(x), 4, bias=False)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    network.train()(example(SHAPE, 8) * 2 + 1)
    save_onnx(network, SHAPE, tmp_path / "m.onnx")
    wanted = ready(network)(example(SHAPE, 3)).detach()
    assert wanted.std() > 0.1
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {"images": example(SHAPE, 3).numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), wanted, rtol=1e-4, atol=1e-5)


def test_a_module_that_is_no_graph_becomes_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    network = _trained(Plain())[1]
    assert not isinstance(network, Network)
    assert save_onnx(network, SHAPE, tmp_path / "m.onnx").difference <= 1e-4


def test_without_the_extra_onnx_says_how_to_get_it(tmp_path: Path, network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(MissingExtra, match=r"onnxscript.*pip install 'archscout\[export\]'") as caught:
        save_onnx(network, SHAPE, tmp_path / "m.onnx")
    assert caught.value.exit_code == 2


def test_graph_record_round_trip() -> None:
    graph = Graphed().operations(Graphed().architecture([1]), TASK)
    record = json.loads(json.dumps(graphs.to_record(graph)))
    again = graphs.from_record(record)
    assert again == graph and again.params == graph.params


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "exec"},
        {"inputs": [99]},
        {"name": "../up"},
        {"strange": 1},
        {"inputs": "abc"},
    ],
)
def test_a_forged_graph_is_refused(change: dict[str, Any]) -> None:
    record = graphs.to_record(Graphed().operations(Graphed().architecture([1]), TASK))
    record["operations"][2] |= change
    with pytest.raises(RunError):
        graphs.from_record(record)


def _saved(folder: Path, space: Any, formats: tuple[str, ...] = ("safetensors",)) -> nn.Module:
    architecture, network = _trained(space)
    save_model(folder, network, space, architecture, TASK, LABELS, PREPROCESSING, formats)
    return ready(network)


def test_a_graph_folder_loads_without_its_space(tmp_path: Path) -> None:
    before = _saved(tmp_path, Graphed())
    random_state = torch.random.get_rng_state()
    network, info = load_model(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert not network.training
    assert torch.equal(network(example(SHAPE, 5)), before(example(SHAPE, 5)))
    assert info["labels"] == LABELS and info["preprocessing"] == PREPROCESSING
    assert info["architecture"] == "graphed:0" and info["params"] == sum(p.numel() for p in before.parameters())
    assert "normalised" in info["input"] and info["task"]["shape"] == [3, 10, 10] and info["genotype"] is None


def test_saving_is_expected_to_take_longer_for_more_layers_and_formats(network: nn.Module) -> None:
    deep = catalogue.make("spaces", "nas201").build(Architecture("nas201", (3,) * 6), TASK)
    assert seconds_to_save(network, ["safetensors"]) == 0
    assert 0 < seconds_to_save(network, ["pt2"]) < seconds_to_save(deep, ["pt2"]) < seconds_to_save(deep, ["pt2", "onnx"])
    assert seconds_to_save(Plain().build(Architecture("plain", (0,)), TASK), ["onnx"]) > seconds_to_save(network, ["onnx"])


def test_a_run_is_exported_again(tmp_path: Path) -> None:
    (run := tmp_path / "run").mkdir()
    _saved(run, Graphed())
    assert export_as(run, "pt2") == run / "model.pt2" and (run / "model.pt2").stat().st_size > 0
    original = read_weights(run / "model.safetensors")
    copy = read_weights(export_as(run, "safetensors", tmp_path / "w.safetensors"))
    assert copy[1] == original[1] and all(torch.equal(copy[0][name], tensor) for name, tensor in original[0].items())
    with pytest.raises(UserError, match="no folder"):
        export_as(run, "onnx", tmp_path / "absent" / "m.onnx")


def test_a_module_folder_needs_its_space(tmp_path: Path) -> None:
    before = _saved(tmp_path, Plain())
    with pytest.raises(UserError, match="space="):
        load_model(tmp_path)
    network, info = load_model(tmp_path, space=Plain())
    assert torch.equal(network(example(SHAPE, 5)), before(example(SHAPE, 5))) and info["graph"] is None


def test_a_catalogue_space_rebuilds_a_module(tmp_path: Path) -> None:
    from archscout.catalogue import make

    space = make("spaces", "nas201", channels=4, cells=1)
    architecture = space.architecture([3, 3, 3, 1, 3, 2])
    network = space.build(architecture, TASK)
    written = save_model(tmp_path, network, space, architecture, TASK, LABELS, PREPROCESSING, ["safetensors"])
    assert written["safetensors"] == tmp_path / "model.safetensors" and written["onnx"] is None
    info = json.loads((tmp_path / "architecture.json").read_text())
    assert info["genotype"].startswith("|nor_conv_3x3~0|") and info["space"]["settings"]["channels"] == 4
    (tmp_path / "architecture.json").write_text(json.dumps(info | {"graph": None}))
    again, _ = load_model(tmp_path)
    assert torch.equal(again(example(SHAPE, 2)), ready(network)(example(SHAPE, 2)))


def test_a_users_file_is_not_run_because_a_folder_names_it(tmp_path: Path) -> None:
    _saved(tmp_path, Plain())
    canary = tmp_path / "canary"
    (tmp_path / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
    info = json.loads((tmp_path / "architecture.json").read_text())
    info["space"]["name"] = str(tmp_path / "evil.py")
    (tmp_path / "architecture.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="user's own"):
        load_model(tmp_path)
    assert not canary.exists()


def test_all_formats_and_a_failing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("cannot\n  follow this")

    monkeypatch.setattr(folders, "save_onnx", fail)
    (tmp_path / "model.onnx").write_bytes(b"of an earlier network")
    space = Graphed()
    architecture, network = _trained(space)
    notes: list[str] = []
    written = save_model(tmp_path, network, space, architecture, TASK, LABELS, PREPROCESSING, note=notes.append)
    assert notes == ["model.onnx was not written: RuntimeError: cannot follow this"]
    assert written["onnx"] is None and not (tmp_path / "model.onnx").exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        "architecture.json", "labels.json", "preprocessing.json", "model.safetensors", "model.pt2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("architecture.json", None, "cannot be read"),
        ("architecture.json", "{", "damaged"),
        ("architecture.json", '{"version": 9}', "version 9"),
        ("architecture.json", '{"version": 1}', "does not describe"),
        ("labels.json", "{}", "list was wanted"),
        ("model.safetensors", None, "no weights file"),
    ],
)
def test_a_broken_folder_is_refused_by_name(tmp_path: Path, name: str, content: str | None, match: str) -> None:
    _saved(tmp_path, Graphed())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(RunError, match=match):
        load_model(tmp_path)


def test_a_graph_larger_than_its_weights_takes_no_memory(tmp_path: Path) -> None:
    _saved(tmp_path, Graphed())
    info = json.loads((tmp_path / "architecture.json").read_text())
    info["graph"]["operations"][1]["shape"] = [2**40, 10, 10]
    (tmp_path / "architecture.json").write_text(json.dumps(info))
    with pytest.raises(RunError):
        load_model(tmp_path)


def test_unknown_formats_and_wrong_labels_are_refused(tmp_path: Path) -> None:
    architecture, network = _trained(Graphed())
    with pytest.raises(UserError, match="'tflite'"):
        save_model(tmp_path, network, Graphed(), architecture, TASK, LABELS, PREPROCESSING, ["tflite"])
    with pytest.raises(ValueError, match="4 labels"):
        save_model(tmp_path, network, Graphed(), architecture, TASK, ["a"], PREPROCESSING)
