"""Snapshots of a strategy: a flat mapping of names to arrays, tensors, numbers and text, as one safetensors file.

Arrays and tensors are tensors of the file; everything else is JSON in its header. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError


def pack(state: Mapping[str, Any]) -> bytes:
    """The bytes of a snapshot. Raises TypeError for a value of another kind."""
    arrays: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    tensors: list[str] = []
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            arrays[name] = np.require(value, requirements="C")
        elif hasattr(value, "detach"):
            arrays[name] = value.detach().cpu().contiguous()
            tensors.append(name)
        elif isinstance(value, np.generic):
            plain[name] = value.item()
        else:
            plain[name] = value
    try:
        header = {"plain": json.dumps(plain), "tensors": json.dumps(tensors)}
    except TypeError as error:
        raise TypeError(f"a snapshot holds arrays, tensors, numbers and text by name, but {error}") from error
    if tensors:
        import torch
        from safetensors.torch import save

        mixed = {name: value if name in tensors else torch.from_numpy(value) for name, value in arrays.items()}
        packed: bytes = save(mixed, metadata=header)
        return packed
    from safetensors.numpy import save as save_arrays

    packed = save_arrays(arrays, metadata=header)
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """The snapshot in these bytes. Raises ValueError where they are none."""
    try:
        return _unpacked(data)
    except (SafetensorError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"these bytes are no snapshot ({type(error).__name__})") from error


def _unpacked(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise ValueError("the header of the snapshot is cut off")
    header = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    state: dict[str, Any] = json.loads(header["plain"])
    tensors = json.loads(header["tensors"])
    if tensors:
        from safetensors.torch import load

        return state | {name: value if name in tensors else value.numpy() for name, value in load(data).items()}
    from safetensors.numpy import load as load_arrays

    return state | load_arrays(data)
