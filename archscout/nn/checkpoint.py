"""Checkpoints that are whole or not there: one safetensors file, its own checksum inside, the previous one kept.

A save writes a temporary file, forces it to the disk, reads it back and checks it, and only then moves the present file to
`NAME.previous.safetensors` and the new one into its place. A load takes the newer of the two that proves undamaged.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from archscout.core.errors import DamagedError, RunError, storage_error
from archscout.core.operations import AUXILIARY

Contents = tuple[dict[str, Tensor], dict[str, Any]]
Value = TypeVar("Value")
_log = logging.getLogger(__name__)


class DamagedCheckpoint(Exception):
    """A checkpoint that cannot be read or whose checksum is wrong."""


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write `tensors` and the JSON-able `facts` to `path`; what was there before becomes the previous checkpoint.

    Raises StorageError where the disk is full or not writable; the checkpoints from before are untouched then.
    """
    whole = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    text = json.dumps(facts, sort_keys=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(whole, temporary, metadata={"facts": text, "digest": _digest(whole, text)})
        _sync(temporary)
        _read(temporary)
        if path.exists() and _intact(path):  # a damaged one must not push out a good previous one
            os.replace(path, previous(path))
        os.replace(temporary, path)
        _sync(path.parent)
    except (OSError, SafetensorError, DamagedCheckpoint) as error:
        raise storage_error(path, _number(error), str(error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def load(path: Path) -> tuple[Contents | None, list[str]]:
    """The newest undamaged checkpoint of `path`, or None where there is none; and what is to be said of damaged ones."""
    remarks: list[str] = []
    for candidate in (path, previous(path)):
        if not candidate.exists():
            continue
        try:
            return _read(candidate), remarks
        except DamagedCheckpoint as error:
            then = "the previous one is tried" if candidate == path else "there is none to go on from"
            remarks.append(f"the checkpoint '{candidate}' is damaged ({error}); {then}")
    return None, remarks


def last(path: Path) -> Contents | None:
    """As `load`, for what goes on from it: what is to be said of damaged ones is logged as a warning."""
    found, remarks = load(path)
    for remark in remarks:
        _log.warning(remark)
    return found


def weights(path: Path) -> dict[str, Tensor]:
    """The trained weights of a checkpoint that `nn.train.fit` wrote, as a state dictionary (the average where one was kept).

    Those of an auxiliary head are left out: it serves the training alone. The previous checkpoint does not stand in: its weights
    are those of an earlier step. Raises RunError where there is none, DamagedError where it is damaged.
    """
    if not path.exists():
        raise RunError(f"there is no checkpoint to read at '{path}'")
    try:
        tensors, _ = _read(path)
    except DamagedCheckpoint as error:
        said = f"the trained weights in '{path}' are damaged ({error}); restore a copy, or start anew in another folder"
        raise DamagedError(said) from error
    for prefix in ("average.", "network."):
        state = under(prefix, tensors)
        if state:
            return {name: tensor for name, tensor in state.items() if name.partition(".")[0] != AUXILIARY}
    raise RunError(f"the file '{path}' holds no network")


def previous(path: Path) -> Path:
    """Where the checkpoint before the present one lies."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _read(path: Path) -> Contents:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DamagedCheckpoint(str(error)) from error
    text = metadata.get("facts", "")
    if metadata.get("digest") != _digest(tensors, text):
        raise DamagedCheckpoint("its checksum is wrong")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpoint("what it says of itself is no JSON") from error
    if not isinstance(facts, dict):
        raise DamagedCheckpoint("what it says of itself is no record")
    return tensors, facts


def _number(error: Exception) -> int:
    """The system's error number; safetensors keeps it in the text."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return getattr(error, "errno", None) or (int(found[1]) if found else 0)


def _intact(path: Path) -> bool:
    try:
        _read(path)
    except DamagedCheckpoint:
        return False
    return True


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Interrupts:
    """Holds back SIGINT and SIGTERM while it is entered, so that a training is cut between two steps and never within one.

    Handlers are changed in the main thread only; elsewhere, and without `active`, this does nothing.
    """

    def __init__(self, active: bool) -> None:
        self.pending: int | None = None
        self._active = active and threading.current_thread() is threading.main_thread()
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if self._active:
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not None:  # None: set by foreign code, and could not be put back
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()
        if kind is None:
            self.deliver()

    def deliver(self) -> None:
        """Let the signal that came meanwhile do what it would have done."""
        number, self.pending = self.pending, None
        if number is not None:
            self._restore()
            signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pending is not None:  # asked twice: now
            self.deliver()
        self.pending = number

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def under(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """What stands under names with this prefix, by the rest of the name."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
