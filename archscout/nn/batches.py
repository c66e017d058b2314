"""Images as batches: (task, split, size, seed) -> x (B, C, H, W) float32, y (B,) int64.

Images stay uint8 in memory (or mapped from disk); a batch is gathered, augmented and normalised as a whole. The order of the
rows and every random draw follow from the seed alone. Torch is loaded when the first batch is taken, so that workers whose judge
takes none start seconds earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from archscout.core.problem import Task
from archscout.core.seeds import derive
from archscout.nn.tokens import TokenSplit

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """What is varied in training images.

    shift: pixels by which an image may move in each direction. flip: mirror left and right half of the time.
    cutout: side in pixels of a square set to the mean; 0 for none.
    """

    shift: int = 0
    flip: bool = False
    cutout: int = 0


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Some rows of a set of decoded images.

    images: (M, H, W, C) uint8, perhaps mapped from disk. labels: (M,) int64. rows: the (N,) rows that belong to this split.
    mean, std: per channel, of the training rows, on the scale 0..1.
    source: a function and its arguments that open this split again; with it the split travels to workers by reference.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = Augmentation()
    source: tuple[Callable[..., ImageSplit], tuple[Any, ...]] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.source is not None:
            return self.source
        fields = (self.images, self.labels, self.rows, self.mean, self.std, self.augmentation)
        return ImageSplit, fields

    def alone(self) -> ImageSplit:
        """The same with no other rows than its own, and without a source: for machines that cannot open it."""
        images, labels = np.ascontiguousarray(self.images[self.rows]), self.labels[self.rows]
        return ImageSplit(images, labels, np.arange(len(self.rows)), self.mean, self.std, self.augmentation)

    def take(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The images at these positions of the split, uint8 (B, C, H, W) in channels-last memory, and their labels."""
        import torch

        rows = self.rows[positions]
        images = torch.from_numpy(np.ascontiguousarray(self.images[rows]))
        return images.permute(0, 3, 1, 2), torch.from_numpy(self.labels[rows])

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> float32 with mean 0 and deviation 1 over the training rows."""
        import torch

        mean = torch.tensor(self.mean).view(1, -1, 1, 1) * 255
        scale = 1 / (torch.tensor(self.std).view(1, -1, 1, 1) * 255)
        return (images.float() - mean) * scale


def batches(
    task: Task, split: str, size: int, *, seed: int | None = None, augment: bool = False, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over a split of the task.

    seed: shuffles the rows and drives the augmentation; None keeps the order of the split. With a seed, a last batch smaller
    than `size` is left out (unless it is the only one), so that every step costs the same.
    start: the number of the first batch; those before it are skipped at no cost, and change nothing in those after.
    """
    data: ImageSplit = task.splits[split]
    yield from batches_of(data, size, seed=seed, augment=augment, start=start)


def batches_of(
    data: ImageSplit | TokenSplit, size: int, *, seed: int | None = None, augment: bool = False, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """As `batches`, for a split at hand."""
    import torch

    count = len(data)
    order = np.arange(count) if seed is None else np.random.default_rng(derive(seed, "order")).permutation(count)
    stop = count - count % size if seed is not None and count >= size else count
    for number, first in enumerate(range(0, stop, size)):
        if number < start:
            continue
        x, labels = data.take(order[first : first + size])
        if isinstance(data, TokenSplit):
            yield x, labels
            continue
        x = data.normalise(x)
        if augment:
            # A generator per batch: what one batch draws follows from its number alone, so a resumed epoch can begin anywhere.
            x = augmented(x, data.augmentation, torch.Generator().manual_seed(derive(seed or 0, "augment", number)))
        yield x, labels


Split = TypeVar("Split", ImageSplit, TokenSplit)


class Stream:
    """The batches of endless passes over a split, by the number of the step: x (B, C, H, W) float32, y (B,) int64.

    Of a text, windows x, y (B, L) int64.

    Each pass is shuffled (and augmented) anew. A batch follows from seed and step alone, so that whoever goes on from a step sees
    what an uninterrupted run sees; in order, a step costs no more than its batch.
    """

    def __init__(self, data: ImageSplit | TokenSplit, size: int, *, seed: int, augment: bool = False) -> None:
        self._data, self._size, self._seed, self._augment = data, min(size, len(data)), seed, augment
        self.per_pass = max(1, len(data) // self._size)
        self._next = -1
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step."""
        number, first = divmod(step, self.per_pass)
        if step != self._next or not first:
            seed = derive(self._seed, "epoch", number)
            self._batches = batches_of(self._data, self._size, seed=seed, augment=self._augment, start=first)
        self._next = step + 1
        return next(self._batches)


def halved(data: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Two disjoint parts of a split, neither empty: a random `share` (0..1) of its images, or the first of a text, and the rest."""
    cut = min(max(1, round(share * len(data))), len(data) - 1)
    if isinstance(data, TokenSplit):
        edge = cut * data.length
        return replace(data, ids=data.ids[: edge + 1], source=None), replace(data, ids=data.ids[edge:], source=None)
    order = np.random.default_rng(derive(seed, "halves")).permutation(len(data))
    first, second = (replace(data, rows=data.rows[np.sort(part)], source=None) for part in (order[:cut], order[cut:]))
    return first, second


def some(data: ImageSplit, images: int, seed: int) -> ImageSplit:
    """So many random images of a split; all where there are not more."""
    rows = np.random.default_rng(derive(seed, "some")).permutation(len(data))[:images]
    return replace(data, rows=data.rows[np.sort(rows)], source=None)


def one_batch(task: Task, split: str, size: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """The same random rows for every caller with this seed; fewer where the split is smaller."""
    data: ImageSplit = task.splits[split]
    rows = np.random.default_rng(derive(seed, "batch", split)).permutation(len(data))[:size]
    images, labels = data.take(rows)
    return data.normalise(images), labels


def augmented(x: Tensor, augmentation: Augmentation, noise: torch.Generator) -> Tensor:
    """Shift, flip and cut out each image of a normalised batch (B, C, H, W) on its own; channels-last memory.

    Where an image is shifted, the pixels of its border are repeated; what is cut out becomes zero (the mean).
    """
    import torch

    batch, _, height, width = x.shape
    images: NDArray[np.float32] = x.permute(0, 2, 3, 1).contiguous().numpy()
    if augmentation.shift or augmentation.flip:
        shift = augmentation.shift
        down, right = torch.randint(0, 2 * shift + 1, (2, batch), generator=noise).tolist()
        mirror = (torch.rand(batch, generator=noise) < (0.5 if augmentation.flip else 0.0)).tolist()
        padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
        images = np.empty_like(images)
        for i in range(batch):  # copying whole rows is several times faster than gathering pixels by index
            window = padded[i, down[i] : down[i] + height, right[i] : right[i] + width]
            images[i] = window[:, ::-1] if mirror[i] else window
    if augmentation.cutout:
        half = augmentation.cutout / 2
        middle_row = torch.rand((batch, 1), generator=noise).numpy() * height
        middle_column = torch.rand((batch, 1), generator=noise).numpy() * width
        inside_rows = np.abs(np.arange(height) + 0.5 - middle_row) <= half
        inside_columns = np.abs(np.arange(width) + 0.5 - middle_column) <= half
        images = images if augmentation.shift or augmentation.flip else images.copy()
        images[inside_rows[:, :, None] & inside_columns[:, None, :]] = 0.0
    return torch.from_numpy(images).permute(0, 3, 1, 2)
