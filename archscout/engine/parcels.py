"""Judges and problems on their way to other machines, which may share no disk with this one.

On one machine data and weights travel as paths. In a parcel they travel as cargo: large arrays, the file that a setting called
`path` names, and the user's plug-in files, each named by the digest of its bytes. A machine keeps the cargo that it received in its
cache, where all its workers, and later runs, find it; arrays are mapped from there, so that they lie in memory once. Splits take
their own rows with them, so that no test image ever leaves.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from copyreg import __newobj__  # type: ignore[attr-defined]  # what pickle itself makes objects with
from dataclasses import dataclass, is_dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import UserError
from archscout.core.places import cache_folder
from archscout.engine.executors import Packed, packed
from archscout.nn.batches import ImageSplit
from archscout.nn.tokens import TokenSplit
from archscout.store.files import write_atomic

_LARGE = 1 << 14
"""Bytes from which on an array is cargo."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A judge or a problem for another machine.

    modules: the user's plug-in files: the name of each module and its place in the cargo. cargo: by place, whatever stands for the
    bytes.
    """

    digest: str
    data: bytes
    modules: Mapping[str, str]
    cargo: Mapping[str, Any]


def wrapped(thing: Any, stow: Callable[[bytes], Any]) -> Parcel:
    """The parcel of a judge or a problem. stow: takes bytes of cargo and gives what is to stand for them.

    Raises UserError for what cannot travel.
    """
    cargo: dict[str, Any] = {}

    def take(name: str, data: bytes) -> str:
        place = f"{_digest(data)}/{name}"
        if place not in cargo:
            cargo[place] = stow(data)
        return place

    def pickled(thing: Any) -> bytes:
        file = io.BytesIO()
        _Packer(file, take).dump(thing)
        return file.getvalue()

    plain = packed(thing, pickled)
    modules = {name: take(Path(path).name, Path(path).read_bytes()) for name, path in plain.files.items()}
    return Parcel(plain.digest, plain.data, modules, cargo)


def unwrapped(parcel: Parcel, fetch: Callable[[Any], bytes]) -> Packed:
    """What the worker processes of this machine are sent, once its cargo lies here. fetch: the bytes for which something stands.

    Raises UserError where the cargo cannot be kept.
    """
    for place, standing in parcel.cargo.items():
        file = _file(place)
        if not file.exists() or _digest(file.read_bytes()) != file.parent.name:
            _keep(file, fetch(standing))
    return Packed(parcel.digest, parcel.data, {name: str(_file(place)) for name, place in parcel.modules.items()})


def kept_folder() -> Path:
    """Where judges leave on this machine what is brought back to the run."""
    return cache_folder() / "kept"


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, take: Callable[[str, bytes], str]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._take = take

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, ImageSplit | TokenSplit):
            return thing.alone().__reduce__()
        if isinstance(thing, np.ndarray) and thing.nbytes >= _LARGE and not thing.dtype.hasobject:
            file = io.BytesIO()
            np.save(file, thing, allow_pickle=False)
            return _array, (self._take("array.npy", file.getvalue()),)
        settings = getattr(thing, "__dict__", {}) if is_dataclass(thing) and not isinstance(thing, type) else {}
        if changed := self._elsewhere(settings):
            return __newobj__, (type(thing),), {**settings, **changed}
        return NotImplemented

    def _elsewhere(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that are other paths on another machine."""
        changed: dict[str, Any] = {}
        path, keep = settings.get("path"), settings.get("keep")
        if isinstance(path, str) and path and Path(path).is_file():
            changed["path"] = _Call(_path, self._take(Path(path).name, Path(path).read_bytes()))
        if isinstance(keep, str) and keep:
            changed["keep"] = _Call(_kept)
        return changed


class _Call:
    """Stands in a pickle for what a function gives where it is read."""

    def __init__(self, function: Callable[..., Any], *words: Any) -> None:
        self._reduced = function, words

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._reduced


def _array(place: str) -> NDArray[Any]:
    found: NDArray[Any] = np.load(_file(place), mmap_mode="c", allow_pickle=False).view(np.ndarray)
    return found


def _path(place: str) -> str:
    return str(_file(place))


def _kept() -> str:
    kept_folder().mkdir(parents=True, exist_ok=True)
    return str(kept_folder())


def _file(place: str) -> Path:
    return cache_folder() / "carried" / place


def _keep(file: Path, data: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"'{file.parent}' cannot be made ({error.strerror}); set ARCHSCOUT_CACHE on that machine") from error
    write_atomic(file, data)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
