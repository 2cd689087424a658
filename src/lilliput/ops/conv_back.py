"""Gradients of convolutions towards what they read; towards their weights: `conv_grads`.

Integer weights are numbers without their scale: scales are applied by nodes around.  Float sums
have the order that is written here, so that a training step has the same bits in Python and on
the device.  Sums of rounded gradients are exact, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Cost, Op, Sample
from lilliput.ir.region import OperandRule, Pointwise, Spread, Whole, whole
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s16
from lilliput.ops.common import check
from lilliput.ops.conv_back_kernels import (
    GRAD_X,
    GRAD_X_COPIED,
    GRAD_X_DEPTHWISE,
    GRAD_X_FIXED,
    GRAD_X_FIXED_TWOS,
    GRAD_X_FIXED_TWOS_WIDE,
    GRAD_X_FIXED_WIDE,
    GRAD_X_PLANE,
    GRAD_X_TILES,
    GRAD_X_TWOS,
    ConvBack,
    back,
    grad_x_macs,
    meetings_back,
    only_depthwise,
)
from lilliput.ops.conv_meetings import (
    SAME,
    centred,
    extent,
    is_product,
)
from lilliput.ops.registry import register
from lilliput.ops.rounded import rounded, unpacked, width

DEEPEST = 1 << 14
"""Output channels of which sums of rounded numbers leave steps enough."""


def _grad_x_infer(a: ConvBack, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "dy, w", len(types))
    dy, w = types
    taken = (DType.F32, DType.S16) if a.fixed else (DType.F32,)
    check(dy.dtype in taken, "dy", " or ".join(t.value for t in taken), dy.dtype.value)
    check(w.dtype in (DType.F32, DType.S8), "weights", "f32 or s8", w.dtype.value)
    check(w.zero_point == 0, "zero point of the weights", 0, w.zero_point)
    check(len(dy.shape) == len(w.shape) == 4, "ranks", "(N,OH,OW,O), (O,KH,KW,I/g)", (dy, w))
    outputs, inputs = a.part(w.shape)
    for what, part, of in (("output", outputs, w.shape[0]), ("input", inputs, w.shape[3])):
        check(0 <= part.start < part.stop <= of, f"{what} channels", f"some of {of}", part)
    of = outputs.stop - outputs.start
    expected = width(of) if dy.dtype is DType.S16 else of
    check(dy.shape[3] == expected, "channels of dy", expected, dy.shape[3])
    check(w.shape[0] % a.groups == 0, "output channels", f"multiple of {a.groups}", w.shape[0])
    for i in (0, 1):
        expected = extent(a.size[i], i, w.shape[1 + i], a)
        check(dy.shape[1 + i] == expected, "extent of dy", expected, dy.shape[1 + i])
    check(not a.fixed or roundable(a, w), "weights of sums of rounded numbers", "s8, 1x1", str(w))
    some = a.outputs[1] or a.inputs[1]
    check(a.fixed or not some, "sums of some channels", "of rounded numbers", "of floats")
    return (f32(dy.shape[0], *a.size, (inputs.stop - inputs.start) * a.groups),)


def roundable(a: ConvBack, w: TensorType) -> bool:
    """Whether dy of a convolution with these weights can be rounded."""
    return w.dtype is DType.S8 and w.shape[0] <= DEEPEST and is_product(a, w.shape)


def _grad_x_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    """Each element from zero over the taps that reach it, row major, then over o of its group."""
    if back(node).fixed:
        return (rounded_sums(operands[0], taking_part(node, operands[1])),)
    dy, w = operands[0], centred(operands[1], node.inputs[1].type)
    groups = back(node).groups
    o, i = w.shape[0] // groups, w.shape[3]
    dx = np.zeros((*node.output.type.shape[:3], groups, i), np.float32)
    dy = dy.reshape(*dy.shape[:3], groups, o, 1)
    w = w.reshape(groups, o, *w.shape[1:])
    for (k, j), (rows, columns), (from_rows, from_columns) in meetings_back(node):
        acc = dx[:, rows, columns]
        seen = dy[:, from_rows, from_columns]
        for n in range(o):
            acc = acc + seen[:, :, :, :, n] * w[:, n, k, j]
        dx[:, rows, columns] = acc
    return (dx.reshape(node.output.type.shape),)


def taking_part(node: Node, w: Array) -> Array:
    """The weights of those channels that take part."""
    outputs, inputs = back(node).part(w.shape)
    return w[outputs, ..., inputs]


def rounded_sums(dy: Array, w: Array) -> Array:
    """dy f32 (..., O), or rounded before, s16 (..., `width(O)`), w s8 (O, 1, 1, I) -> f32 (..., I):
    exact sums of a pixel's numbers by weights, and one product with its step."""
    numbers, step = unpacked(dy, len(w)) if dy.dtype == np.int16 else rounded(dy)
    sums = numbers.astype(np.float64) @ w[:, 0, 0].astype(np.float64)  # exact
    with np.errstate(all="ignore"):
        return sums.astype(np.float32) * step


def _grad_x_regions(node: Node) -> tuple[OperandRule, ...]:
    a, w = back(node), node.inputs[1].type.shape
    rows, columns = (
        Spread(1 + i, (w[1 + i] - 1) * a.dilation[i] + 1, a.stride[i], a.pad[2 * i]) for i in (0, 1)
    )
    depthwise = not a.fixed and only_depthwise(node) is None
    last = Pointwise(3) if depthwise else Whole()
    dy: OperandRule = (Pointwise(0), rows, columns, last)
    return dy, whole(4)


def _w8(*shape: int) -> TensorType:
    scales = tuple(float(np.float32(0.003 * (k + 1))) for k in range(shape[0]))
    return TensorType(shape, DType.S8, Quant(scales, (0,) * shape[0], 0))


conv2d_grad_x = register(
    Op(
        name="conv2d_grad_x",
        doc="dx[n,p*s+i*d-pad,q*s+j*d-pad,c] = sum over i,j,o of dy[n,p,q,o] * w[o,i,j,c]; "
        "dy (N,OH,OW,O), or what `round_pixels` makes of it, w (O,KH,KW,I/groups) f32, or s8 as "
        "integers -> dx (N,*size,I)",
        attrs=ConvBack,
        infer=_grad_x_infer,
        ref=_grad_x_ref,
        regions=_grad_x_regions,
        cost=lambda node: Cost(macs=grad_x_macs(node)),
        kernels=(
            GRAD_X_FIXED_TWOS_WIDE,
            GRAD_X_FIXED_WIDE,
            GRAD_X_FIXED_TWOS,
            GRAD_X_FIXED,
            GRAD_X_TWOS,
            GRAD_X_TILES,
            GRAD_X_PLANE,
            GRAD_X_COPIED,
            GRAD_X_DEPTHWISE,
            GRAD_X,
        ),
        samples=(
            Sample((f32(1, 4, 5, 9), _w8(9, 1, 1, 7)), ConvBack((4, 5)), params=(1,)),
            Sample((f32(1, 5, 6, 4), f32(4, 3, 3, 3)), ConvBack((5, 6), pad=SAME)),
            Sample((f32(2, 3, 2, 5), _w8(5, 3, 2, 2)), ConvBack((7, 5), (2, 2)), params=(1,)),
            Sample((f32(2, 3, 3, 4), f32(4, 1, 1, 8)), ConvBack((3, 3))),
            Sample((f32(1, 3, 6, 5), _w8(5, 1, 1, 8)), ConvBack((3, 6)), params=(1,)),
            Sample((f32(1, 2, 3, 6), _w8(6, 1, 1, 12)), ConvBack((2, 3)), params=(1,)),
            Sample((f32(1, 4, 5, 9), _w8(9, 1, 1, 8)), ConvBack((4, 5), fixed=True), params=(1,)),
            Sample((f32(2, 3, 6, 4), _w8(4, 1, 1, 7)), ConvBack((3, 6), fixed=True)),
            Sample(
                (f32(1, 3, 5, 9), _w8(9, 1, 1, 12)),
                ConvBack((3, 5), fixed=True, inputs=(4, 8)),
                params=(1,),
            ),
            Sample(
                (f32(1, 3, 4, 5), _w8(9, 1, 1, 8)),
                ConvBack((3, 4), fixed=True, outputs=(4, 5)),
                params=(1,),
            ),
            Sample(
                (f32(1, 2, 3, 3), _w8(7, 1, 1, 9)),
                ConvBack((2, 3), fixed=True, outputs=(3, 3), inputs=(2, 5)),
            ),
            Sample(
                (s16(1, 3, 4, 14), _w8(11, 1, 1, 8)),
                ConvBack((3, 4), fixed=True),
                params=(1,),
            ),
            Sample(
                (s16(2, 2, 5, 6), _w8(9, 1, 1, 12)),
                ConvBack((2, 5), fixed=True, outputs=(4, 4), inputs=(4, 8)),
                params=(1,),
            ),
            Sample((f32(1, 5, 5, 6), _w8(6, 3, 3, 1)), ConvBack((5, 5), pad=SAME, groups=6)),
            Sample(
                (f32(1, 3, 3, 5), f32(5, 5, 5, 1)),
                ConvBack((6, 6), (2, 2), pad=(2, 1, 2, 1), groups=5),
            ),
            Sample(
                (f32(1, 5, 11, 2), f32(2, 3, 5, 1)),
                ConvBack((5, 11), pad=(1, 1, 2, 2), groups=2),
            ),
            Sample(
                (f32(1, 3, 8, 3), _w8(3, 3, 3, 1)),
                ConvBack((6, 15), (2, 2), pad=(0, 1, 1, 1), groups=3),
                params=(1,),
            ),
            Sample(
                (f32(2, 4, 6, 3), _w8(3, 5, 7, 1)),
                ConvBack((4, 6), pad=(2, 2, 3, 3), groups=3),
                params=(1,),
            ),
            Sample(
                (f32(1, 3, 3, 4), _w8(4, 3, 3, 1)),
                ConvBack((3, 3), pad=SAME, groups=4),
                params=(1,),
            ),
            Sample((f32(1, 4, 3, 2), f32(2, 2, 2, 1)), ConvBack((5, 14), (1, 5), groups=2)),
            Sample((f32(1, 3, 3, 4), f32(4, 2, 2, 1)), ConvBack((6, 6), dilation=(3, 3), groups=4)),
            Sample((f32(1, 4, 4, 4), f32(4, 1, 1, 3)), ConvBack((4, 4), groups=2)),
            Sample((f32(1, 2, 2, 3), f32(3, 1, 1, 2)), ConvBack((4, 4), (2, 2))),
        ),
        dtypes=(DType.F32,),
        oracle="docs/numerics.md",
    )
)
