"""The inverted residual block of Sandler et al. 2018 (arXiv 1801.04381) and the layers around it."""

from __future__ import annotations

from archscout.core.operations import GraphBuilder


def conv_norm(builder: GraphBuilder, x: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> int:
    """Convolution and normalisation."""
    return builder.batch_norm(builder.conv(x, channels, kernel, stride=stride, groups=groups))


def conv_norm_relu(builder: GraphBuilder, x: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> int:
    """Convolution, normalisation, ReLU."""
    return builder.relu(conv_norm(builder, x, channels, kernel, stride, groups))


def bottleneck(builder: GraphBuilder, x: int, channels: int, kernel: int, expansion: int, stride: int = 1) -> int:
    """Widen the channels `expansion` times (not at all for 1), filter each, narrow them to `channels`; without a skip."""
    hidden = builder.shape(x)[0] * expansion
    if expansion > 1:
        with builder.scope("expand"):
            x = conv_norm_relu(builder, x, hidden, 1)
    with builder.scope("depthwise"):
        x = conv_norm_relu(builder, x, hidden, kernel, stride, groups=hidden)
    with builder.scope("project"):
        return conv_norm(builder, x, channels, 1)
