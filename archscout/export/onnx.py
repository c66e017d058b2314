"""A network as ONNX, for everything that is not PyTorch. Needs the extra: pip install 'archscout[export]'.

Input "images": normalised float32 (batch, C, H, W), any batch >= 1; output "logits": (batch, K). Decoding, resizing and
normalising are in preprocessing.json. All weights lie in the one file.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from archscout.core.errors import UserError
from archscout.export.ready import example, largest_difference, ready
from archscout.nn.network import Network
from archscout.store.files import write_atomic

_NEEDED = ("onnx", "onnxscript", "onnxruntime")


class MissingExtra(UserError):
    """A part of archscout that is installed separately."""


@dataclass(frozen=True, slots=True)
class OnnxReport:
    """What was written: bytes, the operator set, seconds taken, and the largest difference of logits from torch's."""

    size: int
    opset: int
    seconds: float
    difference: float


def save_onnx(network: nn.Module, shape: Sequence[int], path: Path) -> OnnxReport:
    """Write the network for images of `shape` (C, H, W), atomically, once onnxruntime gives torch's logits at batch sizes 1 and 5.

    Raises MissingExtra without the packages, ParityError, StorageError, or what the exporter raises.
    """
    require()
    start = perf_counter()
    copy = ready(network)
    with _quiet(), torch.no_grad():
        model = _graph_model(copy) if isinstance(copy, Network) else _traced_model(copy, shape)
        content: bytes = model.SerializeToString()
        difference = largest_difference(copy, _runtime(content), shape)
    write_atomic(path, content)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return OnnxReport(len(content), opset, perf_counter() - start, difference)


def _graph_model(network: Network) -> Any:
    from archscout.export.nodes import model_of

    return model_of(network)


def _traced_model(network: nn.Module, shape: Sequence[int]) -> Any:
    """A module that is no graph of ours, by PyTorch's own exporter, which is slow for deep ones."""
    program = torch.onnx.export(
        network, (example(shape, 2),), dynamo=True, input_names=["images"], output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), external_data=False, verbose=False,
    )  # fmt: skip
    assert program is not None
    return program.model_proto


def require() -> None:
    """Raise MissingExtra unless the packages of the extra are there."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"ONNX export needs {', '.join(missing)}, not installed here; run: pip install 'archscout[export]'")


def _runtime(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        [logits] = session.run(["logits"], {"images": images.numpy()})
        return torch.from_numpy(logits)

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks on both streams and in several logs; whatever matters it also raises."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
