"""From an image file, or an image of any mode and size, to a uint8 array of one fixed form.

The policy, the same for training data and for new files: the orientation stored by the camera is honoured; transparency is
laid on white; 16-bit values are scaled to 8 bits; an image of another size is scaled, with antialiasing, until it just covers
the wanted size, and the centre is cut out; an image that has the wanted size keeps its pixels exactly.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from os import PathLike, cpu_count, fspath
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from archscout.core.errors import DataError

SUFFIXES = frozenset(".png .jpg .jpeg .jfif .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .pnm .tga".split())
_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "GIF", "WEBP", "TIFF", "PPM", "TGA")
T = TypeVar("T")
R = TypeVar("R")
MOST_PIXELS = 80_000_000
LEAST_SIDE = 4


def decode(file: str | PathLike[str] | IO[bytes], preprocessing: Mapping[str, Any]) -> NDArray[np.uint8]:
    """One image file as (H, W, C) uint8, prepared as the training images were. Raises DataError if it cannot be read."""
    with quiet():
        try:
            return _decoded(file, preprocessing)
        except Exception as error:
            name = file if isinstance(file, str | PathLike) else "the file"
            raise DataError(f"'{name}' cannot be read as an image: {reason(error)}; give a PNG, JPEG or similar file") from error


def prepare_files(
    paths: Iterable[str | PathLike[str]], preprocessing: Mapping[str, Any]
) -> tuple[NDArray[np.uint8], list[tuple[str, str]]]:
    """New files as (N, H, W, C) uint8, and (path, reason) of those left out; the rows follow the order of the other paths."""
    names = [fspath(path) for path in paths]
    rows, skipped = [], []
    for name, result in zip(names, each(lambda name: _decoded(name, preprocessing), names), strict=True):
        if isinstance(result, Exception):
            skipped.append((name, reason(result)))
        else:
            rows.append(result)
    shape = (preprocessing["height"], preprocessing["width"], preprocessing["channels"])
    return np.stack(rows) if rows else np.empty((0, *shape), np.uint8), skipped


def open_picture(file: str | PathLike[str] | IO[bytes]) -> Image.Image:
    """The image in a file, its pixels not yet read. Raises for anything that is no image or is too large to decode safely."""
    Image.init()
    known = [name for name in _FORMATS if name in Image.OPEN]
    picture = Image.open(file, formats=known)
    if picture.width * picture.height > MOST_PIXELS:
        picture.close()
        raise ValueError(f"{picture.width} x {picture.height} pixels are more than the {MOST_PIXELS:,} that are decoded")
    return picture


def fitted(picture: Image.Image, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """An image of any mode and size as (height, width, channels) uint8. Raises for one smaller than 4 pixels."""
    if min(picture.size) < LEAST_SIDE:
        raise ValueError(f"{picture.width} x {picture.height} pixels are too few; {LEAST_SIDE} is the least on each side")
    if isinstance(picture, ImageFile.ImageFile):
        side = 2 * max(height, width)
        picture.draft(None, (side, side))  # lets the JPEG decoder leave out detail that scaling would discard anyway
    plain = _plain(_upright(picture), "L" if channels == 1 else "RGB")
    if plain.size != (width, height):
        plain = ImageOps.fit(plain, (width, height), Image.Resampling.BILINEAR)
    array = np.asarray(plain, np.uint8)
    return array if array.ndim == 3 else array[:, :, None]


def picture_of(array: NDArray[np.uint8]) -> Image.Image:
    """(H, W, C) uint8 with 1, 2, 3 or 4 channels (2 and 4: with transparency) as an image."""
    channels = array.shape[2]
    if channels not in (1, 2, 3, 4):
        raise ValueError(f"an image has 1 to 4 channels, but {channels} came")
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if channels == 1 else array))


def is_grey(picture: Image.Image) -> bool:
    """Whether an image has no colours, whatever its mode says."""
    if picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16"):
        return True
    if isinstance(picture, ImageFile.ImageFile):
        picture.draft(None, (64, 64))
    small = _plain(picture, "RGB")
    small.thumbnail((64, 64), Image.Resampling.BOX)
    pixels = np.asarray(small, np.int16)
    return int(np.ptp(pixels, axis=2).max()) <= 2


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """(height, width) after the stored orientation is applied."""
    turned = False
    with suppress(Exception):  # a damaged EXIF block says nothing about the pixels
        turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (picture.width, picture.height) if turned else (picture.height, picture.width)


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow's warnings about odd files off, except the one for decompression bombs, which is raised."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def each(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R | Exception]:
    """The result or the exception of `work` for each item, in order, from a few threads, holding few results at a time."""
    threads = min(8, cpu_count() or 1)

    def guarded(item: T) -> R | Exception:
        try:
            return work(item)
        except Exception as error:
            return error

    def some(part: Sequence[T]) -> list[R | Exception]:
        return [guarded(item) for item in part]

    with quiet(), ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), 256):
            block = items[start : start + 256]
            for results in pool.map(some, (block[begin : begin + 16] for begin in range(0, len(block), 16))):
                yield from results


def reason(error: Exception) -> str:
    """Why an image was left out, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image that can be read"
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return f"more than the {MOST_PIXELS:,} pixels that are decoded"
    text = str(error).strip().split("\n", 1)[0]
    return (getattr(error, "strerror", None) or text or type(error).__name__)[:200]


def _decoded(file: str | PathLike[str] | IO[bytes], preprocessing: Mapping[str, Any]) -> NDArray[np.uint8]:
    where = Path(file) if isinstance(file, str | PathLike) else file
    with open_picture(where) as picture:
        return fitted(picture, preprocessing["height"], preprocessing["width"], preprocessing["channels"])


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()  # a truncated file raises here, not inside the lenient part below
    try:
        ImageOps.exif_transpose(picture, in_place=True)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return picture
    return picture


def _plain(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bits(picture)
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return picture if picture.mode == mode else picture.convert(mode)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point greys as 8 bits; the range is the smallest usual one that fits the values."""
    values = np.asarray(picture, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("has values that are not finite")
    top = values.max(initial=0.0)
    if picture.mode.startswith("I;16"):
        scale = 65535.0
    elif picture.mode == "F" and top <= 1:
        scale = 1.0
    else:
        scale = 255.0 if top <= 255 else 65535.0 if top <= 65535 else float(2**31 - 1)
    return Image.fromarray(np.clip(np.rint(values * (255.0 / scale)), 0, 255).astype(np.uint8))
