"""What the spaces of cells with two inputs share: the layers of Liu, Simonyan and Yang 2019 (arXiv 1806.09055).

affine: whether the normalisations have a scale and shift of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from archscout.core.errors import UserError
from archscout.core.operations import AUXILIARY, GraphBuilder, Pair
from archscout.core.problem import Task

Terms = Callable[[int], list[tuple[int, Pair]]]
"""What an edge of a supernet makes of a state: its terms, each with its gate."""


def conv_norm(builder: GraphBuilder, x: int, channels: int, kernel: int = 1, stride: int = 1, *, affine: bool = True) -> int:
    """Convolution and normalisation."""
    return builder.batch_norm(builder.conv(x, channels, kernel, stride=stride), affine=affine)


def first_states(builder: GraphBuilder, before: int, x: int, channels: int, reduced: bool, *, affine: bool = True) -> list[int]:
    """The two first states of a cell, of equal shape, from the outputs of the cell before the last and of the last.

    reduced: whether the last cell halved the map, so that the one before it is yet to be halved.
    """
    with builder.scope("input0"):
        if reduced:
            first = factorised(builder, before, channels, affine=affine)
        else:
            first = conv_norm(builder, builder.relu(before), channels, affine=affine)
    with builder.scope("input1"):
        return [first, conv_norm(builder, builder.relu(x), channels, affine=affine)]


def mixed(builder: GraphBuilder, edges: Sequence[tuple[int, int, Terms]], partial: int) -> int:
    """A node of a supernet: the sum of all terms of all its edges, each behind its gate.

    edges: from which state, with what stride, and what makes the terms. With `partial` above 1 the terms of an edge see one of so
    many channels. The others go by them and come first in its result, so that the next edge's terms see them; a stride pools them.
    """
    if partial == 1:
        return builder.mix([term for source, _, terms in edges for term in terms(source)])
    results = []
    for source, stride, terms in edges:
        channels = builder.shape(source)[0]
        width = channels // partial
        if width < 2:
            raise UserError(
                f"operations are to see one of {partial} channels and two at the least, but an edge has {channels}; "
                "lower partial, or raise channels"
            )
        seen, past = builder.narrow(source, width), builder.narrow(source, channels - width, width)
        mixture = builder.mix(terms(seen))
        results.append(builder.concat(past if stride == 1 else builder.max_pool(past, 3, stride=stride), mixture))
    return builder.add(*results)


def separable_twice(builder: GraphBuilder, x: int, channels: int, kernel: int, stride: int, *, affine: bool = True) -> int:
    """Two separable convolutions, of which the first has the stride."""
    for name, step in (("first", stride), ("second", 1)):
        with builder.scope(name):
            x = separable(builder, x, channels, kernel, step, affine=affine)
    return x


def separable(
    builder: GraphBuilder, x: int, channels: int, kernel: int, stride: int, *, dilation: int = 1, affine: bool = True
) -> int:
    """ReLU, depthwise and pointwise convolution, normalisation."""
    x = builder.relu(x)
    x = builder.conv(x, channels, kernel, stride=stride, dilation=dilation, groups=channels, name="depthwise")
    return builder.batch_norm(builder.conv(x, channels, name="pointwise"), affine=affine)


def factorised(builder: GraphBuilder, x: int, channels: int, *, affine: bool = True) -> int:
    """Halve the extent by two 1 x 1 convolutions, one of them a pixel further down and right."""
    x = builder.relu(x)
    even = builder.conv(x, channels // 2, stride=2, name="even")
    odd = builder.conv(builder.shift(x), channels - channels // 2, stride=2, name="odd")
    return builder.batch_norm(builder.concat(even, odd), affine=affine)


def auxiliary_head(builder: GraphBuilder, tap: int, task: Task, space: str, *, imagenet: bool = False) -> None:
    """A second classifier on the cell of the second reduction, with its mark.

    imagenet: its form there, which lacks the second normalisation: a slip of the published code, kept by those who use it.
    Raises UserError where the images are too small for it: smaller than 32 x 32, or 224 x 224 for ImageNet's skeleton.
    """
    _, height, width = builder.shape(tap)
    least = 7 if imagenet else 8
    if min(height, width) < least:
        raise UserError(
            f"the auxiliary head of '{space}' needs {least} x {least} pixels after the second reduction, but images of "
            f"{task.shape[1]} x {task.shape[2]} leave {height} x {width}; only larger images (--image-size) can have one"
        )
    with builder.scope(AUXILIARY):
        x = builder.avg_pool(builder.relu(tap), 5, stride=2 if imagenet else 3, padding=0)
        x = builder.relu(conv_norm(builder, x, 128))
        x = builder.conv(x, 768, 2, padding=0, name="wide")
        x = builder.relu(x if imagenet else builder.batch_norm(x))
        builder.mark(AUXILIARY, builder.linear(builder.global_pool(x), task.classes))
