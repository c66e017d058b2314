"""Weights as safetensors: no pickle on either way, and a digest that catches a flipped bit."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor, nn

from archscout.core.errors import RunError
from archscout.store.files import write_atomic

DIGEST = "archscout_digest"


def save_weights(network: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write all parameters and persistent buffers, atomically.

    Every tensor is stored on its own, in contiguous format (whatever its memory format was); tensors that share memory are
    stored once per name. Raises StorageError.
    """
    from safetensors.torch import save

    tensors = {
        name: tensor.detach().cpu().contiguous().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    write_atomic(path, save(tensors, {**(metadata or {}), DIGEST: digest(tensors)}))


def load_weights(network: nn.Module, path: Path) -> dict[str, str]:
    """Fill `network` with the weights at `path`; gives the file's metadata.

    Nothing is changed where the file is damaged or does not fit: RunError.
    """
    tensors, metadata = read_weights(path)
    expected = network.state_dict()
    missing, strange = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or strange:
        first = f"'{missing[0]}' is missing" if missing else f"'{strange[0]}' has no place"
        raise RunError(
            f"the weights in '{path}' are of another network: {first} "
            f"({len(missing)} missing, {len(strange)} without a place); use the architecture.json beside them"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise RunError(
                f"the weights in '{path}' are of another network: '{name}' should be "
                f"{tuple(expected[name].shape)}, but {tuple(tensor.shape)} came"
            )
    network.load_state_dict(tensors)
    return metadata


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file. Raises RunError where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise RunError(f"there is no weights file '{path}'; the run may have stopped before it was written (archscout resume)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = dict(file.metadata() or {})
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, UnicodeDecodeError) as error:
        raise RunError(f"the weights file '{path}' is damaged ({error}); export it again or restore a copy") from error
    if DIGEST in metadata and metadata[DIGEST] != digest(tensors):
        raise RunError(f"the weights file '{path}' is damaged (its checksum differs); export it again or restore a copy")
    return tensors, metadata


def digest(tensors: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits over names, types, shapes and bytes."""
    state = blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        state.update(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
