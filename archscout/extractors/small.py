"""Features of images by a small network that comes with archscout, trained on the tasks of meta-training (`nn.image_features`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from archscout.core.errors import RunError
from archscout.core.seeds import seeded
from archscout.nn import checkpoint
from archscout.nn.checkpoint import under
from archscout.nn.image_features import SIDE, ImageFeatures, thumbnails

SHIPPED = Path(__file__).parent / "small.safetensors"
_AT_ONCE = 512


@dataclass(frozen=True)
class Small:
    """168 features an image, seen at 16 x 16 pixels. weights: a file that `benchmarks/image_features.py` made; ours where empty."""

    weights: str = ""

    @property
    def width(self) -> int:
        """Features of an image."""
        return ImageFeatures.width

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that name the weights."""
        return blake2b(self._path.read_bytes(), digest_size=16).hexdigest()

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, C) of one data set -> (N, 168)."""
        net = _network(self._path)
        x = thumbnails(images, SIDE)
        with torch.no_grad():
            found = [net(x[start : start + _AT_ONCE]) for start in range(0, len(x), _AT_ONCE)]
        return torch.cat(found).numpy()

    @property
    def _path(self) -> Path:
        return Path(self.weights).expanduser() if self.weights else SHIPPED


@lru_cache(maxsize=2)
def _network(path: Path) -> ImageFeatures:
    found, remarks = checkpoint.load(path)
    if found is None:
        raise RunError(f"there are no features to read at '{path}'" + "".join(f"; {remark}" for remark in remarks))
    with seeded(0):  # the weights are replaced; the global random state is not to notice
        net = ImageFeatures()
    net.load_state_dict(under("learned.", found[0]))
    return net.eval()
