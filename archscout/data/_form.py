"""Which size and how many channels the prepared images of a data set have.

The policy of "auto". Size: a set whose images all have one size, 8 to 64 pixels on the short side and at most twice as long as
wide, keeps it; any other becomes square, its side the median short side rounded down to a multiple of 8, at least 8 and at most
64, so that a search fits into minutes of CPU time. Channels: 1 if no image (of an even sample of 512) has colours, else 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archscout.core.errors import DataError
from archscout.data._contents import Contents
from archscout.data._decode import LEAST_SIDE, each, is_grey, upright_size

LEAST, MOST, MOST_AUTO = 8, 256, 64
SAMPLE = 512


@dataclass(frozen=True)
class Form:
    """What every prepared image of a set is like. notes: how that was chosen, in sentences."""

    height: int
    width: int
    channels: int
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.height, self.width, self.channels

    def record(self) -> dict[str, Any]:
        """The JSON form of the facts."""
        return {"height": self.height, "width": self.width, "channels": self.channels}


def checked_size(image_size: str) -> int | None:
    """None for "auto", else the side in pixels, 8 to 256. Raises DataError."""
    image_size = str(image_size)  # a number is understood, too
    if image_size == "auto":
        return None
    if not image_size.isdecimal() or not LEAST <= int(image_size) <= MOST:
        raise DataError(f"the image size is 'auto' or a number of pixels from {LEAST} to {MOST}, but '{image_size}' came")
    return int(image_size)


def choose_form(contents: Contents, image_size: str, channels: str | int) -> Form:
    """Size and channels for a set, by request or by the policy above. Raises DataError for images that are too small."""
    side = checked_size(image_size)
    if channels not in ("auto", 1, 3):
        raise DataError(f"the number of channels is 'auto', 1 or 3, but '{channels}' came")
    count = len(contents.labels)
    sample = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)).tolist()
    sizes, grey = _looked_at(contents, sample, channels == "auto")
    height, width, size_note = _size(sizes, side)
    if channels == "auto":
        made = 1 if grey else 3
        of = f"all {count:,}" if len(sample) == count else f"an even sample of {len(sample)}"
        what = f"{'none' if grey else 'some'} of {of} images {'has' if grey else 'have'} colours"
        note = f"Images have {made} channel{'s' * (made > 1)}, because {what}."
    else:
        made = int(channels)
        note = f"Images have {made} channel{'s' * (made > 1)}, as asked for."
    return Form(height, width, made, (size_note, note))


def _looked_at(contents: Contents, sample: Sequence[int], colours: bool) -> tuple[list[tuple[int, int]], bool]:
    """Sizes of the readable images of a sample, and whether all of them are grey."""
    if contents.array is not None:
        height, width, channels = contents.array.shape[1:]
        grey = channels <= 2 or not colours or all(is_grey(contents.picture(index)) for index in sample)
        return [(height, width)], grey

    def look(index: int) -> tuple[tuple[int, int], bool]:
        with contents.picture(index) as picture:
            size = upright_size(picture)
            return size, not colours or is_grey(picture)

    looks = [result for result in each(look, sample) if not isinstance(result, Exception)]
    sizes = [size for size, _ in looks if min(size) >= LEAST_SIDE] or [size for size, _ in looks]
    return sizes, all(grey for _, grey in looks)


def _size(sizes: Sequence[tuple[int, int]], side: int | None) -> tuple[int, int, str]:
    if sizes and max(min(size) for size in sizes) < LEAST_SIDE:
        height, width = sizes[0]
        raise DataError(f"the images are {width} x {height} pixels, but {LEAST_SIDE} is the least on each side; give larger images")
    how = "scaled with antialiasing until the shorter side fits, then cut out around the centre"
    if side is not None:
        return side, side, f"Images are {side} x {side} pixels, as asked for; others are {how}."
    if not sizes:  # nothing is readable: preparing the images will say why
        return LEAST, LEAST, ""
    height, width = sizes[0]
    short, long = sorted((height, width))
    if all(size == sizes[0] for size in sizes) and LEAST <= short <= MOST_AUTO and long <= 2 * short:
        return height, width, f"Images keep their {width} x {height} pixels, because all have this size."
    median = float(np.median([min(size) for size in sizes]))
    side = min(MOST_AUTO, max(LEAST, int(median) // 8 * 8))
    return (
        side,
        side,
        (
            f"Images are {side} x {side} pixels, because the median of their shorter sides is {median:g} "
            f"and {MOST_AUTO} is the most by default; they are {how}."
        ),
    )
