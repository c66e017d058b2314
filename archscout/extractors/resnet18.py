"""Features of images by a ResNet-18 that was trained on ImageNet, for whoever has its weights; none come with archscout.

He, Zhang, Ren and Sun 2016 (arXiv 1512.03385). The weights are a .safetensors file with the names of torchvision's `resnet18`
(`conv1.weight`, `layer1.0.conv1.weight`, ...); those of the classifier are not read. Images are seen at 32 x 32 pixels, as MetaD2A
does (Lee, Hyung and Hwang 2021, arXiv 2107.00860), normalised over their data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.errors import UserError
from archscout.core.seeds import seeded
from archscout.nn.image_features import thumbnails

_SIDE, _AT_ONCE = 32, 256
_WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True)
class Resnet18:
    """512 features an image, the mean of the last map. weights: the .safetensors file."""

    weights: str = ""

    @property
    def width(self) -> int:
        """Features of an image."""
        return _WIDTHS[-1]

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that name the weights."""
        return blake2b(self._path.read_bytes(), digest_size=16).hexdigest()

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, C) of one data set -> (N, 512). Raises UserError where the weights are no ResNet-18's."""
        net = _network(self._path)
        x = thumbnails(images, _SIDE)
        with torch.no_grad():
            return torch.cat([net(part) for part in torch.split(x, _AT_ONCE)]).numpy()

    @property
    def _path(self) -> Path:
        path = Path(self.weights).expanduser()
        if not self.weights or not path.is_file():
            raise UserError(
                f"the extractor 'resnet18' needs its weights, but '{self.weights}' is no file; give --set extractor.weights=FILE, "
                "a .safetensors file with the names of torchvision's resnet18, or take the extractor 'small'"
            )
        return path


@lru_cache(maxsize=1)
def _network(path: Path) -> _ResNet18:
    with seeded(0):  # the weights are replaced; the global random state is not to notice
        net = _ResNet18()
    try:
        given = {name: tensor for name, tensor in load_file(path).items() if not name.startswith("fc.")}
        net.load_state_dict(given)
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' does not hold the weights of a ResNet-18 as torchvision names them ({reason})") from error
    return net.eval()


class _ResNet18(nn.Module):
    """Images (N, 3, H, W) -> (N, 512); the names of the parts are torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        before = 64
        for number, width in enumerate(_WIDTHS, 1):
            first = _BasicBlock(before, width, stride=1 if number == 1 else 2)
            setattr(self, f"layer{number}", nn.Sequential(first, _BasicBlock(width, width, stride=1)))
            before = width

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, stride=2, padding=1)
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return x.mean((2, 3))


class _BasicBlock(nn.Module):
    """Two convolutions around a skip, which is a convolution where the shape changes."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1 or before != width:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        found: Tensor = F.relu(inner + skip)
        return found
