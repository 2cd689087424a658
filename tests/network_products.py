"""How convolutions and products of matrices are applied in a random network.

Their weights and biases are constants that fit the types of the format: see `network_steps`
for all other operators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from tests.grower import Grower, Pair, Step

from lilliput.ir import Attrs, DType, Op, Quant, TensorType, Value
from lilliput.ops.conv import Conv2d, same_pad
from lilliput.ops.matmul import MatMul
from lilliput.ops.registry import get
from lilliput.ops.transpose_conv import TransposeConv, transposed_pad


def same_or_valid(
    g: Grower, shape: Sequence[int], window: Pair, stride: Pair, dilation: Pair
) -> tuple[int, int, int, int]:
    """Pads (top, bottom, left, right) that the format has a word for."""
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    fits = spans[0] <= shape[1] and spans[1] <= shape[2]
    if fits and g.chance(2):
        return 0, 0, 0, 0
    rows, columns = (same_pad(shape[k + 1], window[k], stride[k], dilation[k]) for k in (0, 1))
    return *rows, *columns


def _weights(
    g: Grower, x: TensorType, shape: tuple[int, ...], *, per_channel: bool, zero: int = 0
) -> Value:
    """Floats, or int8 with one scale, or one for each output channel and zero point 0."""
    if x.dtype.is_float:
        return g.param(g.rng.uniform(-1, 1, shape).astype(np.float32))
    count = shape[0] if per_channel else 1
    scales = tuple(float(np.float32(s)) for s in 10 ** g.rng.uniform(-3, 0, count))
    quant = Quant(scales, (zero,) * count, 0 if per_channel else None)
    return g.param(g.rng.integers(-127, 128, shape).astype(np.int8), quant)


def _bias(g: Grower, x: TensorType, w: Value) -> tuple[Value, ...]:
    if g.chance(2):
        return ()
    count = w.type.shape[0]
    if x.dtype.is_float:
        return (g.param(g.rng.uniform(-1, 1, count).astype(np.float32)),)
    assert w.type.quant is not None
    dtype = np.int64 if x.dtype is DType.S16 else np.int32
    scales = tuple(float(np.float32(x.scale * s)) for s in w.type.quant.scale)
    quant = Quant(scales, (0,) * len(scales), w.type.quant.axis)
    return (g.param(g.rng.integers(-9000, 9000, count).astype(dtype), quant),)


def _product(
    g: Grower,
    op: Op,
    x: Value,
    shape: tuple[int, ...],
    attrs: Attrs,
    *,
    per_channel: bool = False,
    zero: int = 0,
) -> Value | None:
    w = _weights(g, x.type, shape, per_channel=per_channel, zero=zero)
    near = None
    if w.type.quant is not None:
        near = x.type.scale * w.type.quant.scale[0] * 30 * math.sqrt(math.prod(shape[1:]))
    return g.node(op, (x, w, *_bias(g, x.type, w)), attrs, free=True, near=near)


def _conv2d(g: Grower) -> Value | None:
    x = g.operand(get("conv2d").dtypes, (4, 4))
    if x is None:
        return None
    channels = x.type.shape[3]
    groups = channels if g.chance(2) else 1
    out = groups * g.integer(1, 2) if groups > 1 else g.integer(1, 5)
    window, stride = (g.integer(1, 3), g.integer(1, 3)), (g.integer(1, 2), g.integer(1, 2))
    dilation = (g.integer(1, 2), g.integer(1, 2)) if max(stride) == 1 else (1, 1)
    pad = same_or_valid(g, x.type.shape, window, stride, dilation)
    attrs = Conv2d(stride, dilation, pad, groups)
    shape = (out, *window, channels // groups)
    return _product(g, get("conv2d"), x, shape, attrs, per_channel=g.chance(2))


def _transpose_conv(g: Grower) -> Value | None:
    x = g.operand(get("transpose_conv").dtypes, (4, 4))
    if x is None:
        return None
    window, stride = (g.integer(1, 3), g.integer(1, 3)), (g.integer(1, 2), g.integer(1, 2))
    small = x.type.shape[1:3]
    if g.chance(2):
        rows, columns = (
            (n - 1) * s + max(k, s) for n, s, k in zip(small, stride, window, strict=True)
        )
        attrs = TransposeConv(stride, (0, 0), (rows, columns))
    else:
        rows, columns = (n * s for n, s in zip(small, stride, strict=True))
        pads = [
            transposed_pad(d, k, s) for d, k, s in zip((rows, columns), window, stride, strict=True)
        ]
        attrs = TransposeConv(stride, (pads[0], pads[1]), (rows, columns))
    shape = (g.integer(1, 4), *window, x.type.shape[3])
    return _product(g, get("transpose_conv"), x, shape, attrs, per_channel=g.chance(2))


def _linear(g: Grower) -> Value | None:
    op = get("linear")
    x = g.operand(op.dtypes, (2, 4))
    if x is None:
        return None
    zero = g.integer(-9, 9) if x.type.dtype is DType.S8 and g.chance(3) else 0
    shape = (g.integer(1, 7), x.type.shape[-1])
    channels = zero == 0 and g.chance(3)
    return _product(g, op, x, shape, op.attrs(), per_channel=channels, zero=zero)


def _matmul(g: Grower) -> Value | None:
    x = g.operand(get("matmul").dtypes, (2, 4))
    if x is None:
        return None
    adj_a, adj_b = g.chance(2), g.chance(2)
    *lead, rows, columns = x.type.shape
    depth, n = rows if adj_a else columns, g.integer(1, 5)
    lead = [1] * len(lead) if g.chance(2) else lead
    shape = (*lead, *((n, depth) if adj_b else (depth, n)))
    w = g.pick(lambda t: t.shape == shape and t.dtype is x.type.dtype)
    if w is None:
        type = TensorType(shape, x.type.dtype, g.quant(x.type.dtype))
        w = g.input(type) if len(g.inputs) < 4 and g.chance(2) else g.constant(type)
    return g.node(get("matmul"), (x, w), MatMul(adj_a, adj_b), free=True)


PRODUCTS: dict[str, Step] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "matmul": _matmul,
    "transpose_conv": _transpose_conv,
}
