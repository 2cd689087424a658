"""prelu: a leaky relu whose slope is a tensor that broadcasts, one for each channel as a rule.

Two operands and no kernel: it fuses as the element-wise operators do.  Integers have one
multiplier for each sign; the negative ones are multiplied by the stored slope first.  The
slope of int16 activations is int8, which is how LiteRT's kernel reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Op, Sample, Scalar
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16
from lilliput.ops import element_rules
from lilliput.ops.common import check
from lilliput.ops.elementwise import broadcast_regions, broadcast_shape, check_quantised
from lilliput.ops.numeric import quantize_multiplier
from lilliput.ops.registry import register
from lilliput.ops.unary_rules import Slopes

SLOPES = {DType.F32: DType.F32, DType.S8: DType.S8, DType.S16: DType.S8}
"""The type of the slope, by that of x."""


def _infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "x, alpha", len(types))
    x, alpha = types
    names = ", ".join(d.value for d in SLOPES)
    check(x.dtype in SLOPES, "operand of this type", names, x.dtype.value)
    wanted = SLOPES[x.dtype]
    check(alpha.dtype is wanted, "slope of this type", wanted.value, alpha.dtype.value)
    for t in types if x.dtype.is_integer else ():
        check_quantised(t)
        check(t.dtype is not DType.S16 or t.zero_point == 0, "zero point of int16", 0, t.zero_point)
    return (TensorType(broadcast_shape((x.shape, alpha.shape)), x.dtype, x.quant),)


def _slopes(node: Node) -> Slopes:
    """Multipliers in double for int8 (TFLite Micro), in float32 for int16 (LiteRT)."""
    x, alpha, y = (v.type for v in (*node.inputs, node.output))
    if x.dtype is DType.S8:
        above, below = x.scale / y.scale, x.scale * alpha.scale / y.scale
    else:
        x_scale, y_scale = np.float32(x.scale), np.float32(y.scale)
        with np.errstate(over="ignore", under="ignore"):
            above = float(x_scale / y_scale)
            below = float(x_scale * np.float32(alpha.scale) / y_scale)
    return Slopes(quantize_multiplier(above), quantize_multiplier(below))


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, alpha = operands
    y = node.output.type
    if y.dtype.is_float:
        with np.errstate(over="ignore", invalid="ignore"):
            return (np.where(x < 0, x * alpha, x),)
    value, slope = (
        a.astype(np.int64) - v.type.zero_point for a, v in zip(operands, node.inputs, strict=True)
    )
    value = np.broadcast_to(value, y.shape)
    return (_slopes(node).ref(value, value * slope, y).astype(y.dtype.numpy),)


def _c(node: Node, args: Sequence[str]) -> str:
    y = node.output.type
    if y.dtype.is_float:
        return "ll_leaky_relu_f32({}, {})".format(*args)
    value, slope = (
        f"({a} - ({v.type.zero_point}))" for a, v in zip(args, node.inputs, strict=True)
    )
    return _slopes(node).c(value, f"{value} * {slope}", y)


prelu = register(
    Op(
        name="prelu",
        doc="y = x where x >= 0, else alpha * x; x and alpha broadcast to y",
        infer=_infer,
        ref=_ref,
        grads=element_rules.PRELU,
        regions=broadcast_regions,
        scalar=Scalar(_c),
        samples=(
            Sample(
                (s8(1, 5, 3, 7, scale=0.05, zero_point=-7), s8(1, 1, 7, scale=0.01, zero_point=3)),
                outputs=(s8(1, 5, 3, 7, scale=0.03, zero_point=9),),
                params=(1,),
            ),
            Sample(
                (s8(2, 9, scale=2.5, zero_point=127), s8(9, scale=0.3, zero_point=-128)),
                outputs=(s8(2, 9, scale=1.1, zero_point=-128),),
            ),
            Sample((s8(4, 3, scale=0.001, zero_point=-128), s8(1, scale=0.004))),
            Sample(
                (s16(2, 3, 5, scale=3e-4), s8(5, scale=0.007)),
                outputs=(s16(2, 3, 5, scale=5e-4),),
                params=(1,),
            ),
            Sample(
                (s16(1, 4, 6, scale=0.01), s8(4, 1, scale=0.03)),
                outputs=(s16(1, 4, 6, scale=0.02),),
            ),
            Sample((f32(1, 4, 3, 5), f32(1, 1, 5)), params=(1,), low=-3.0, high=3.0),
            Sample((f32(2, 7), f32(2, 7)), low=-1e4, high=1e4),
        ),
        dtypes=tuple(SLOPES),
        oracle={
            DType.F32: "TFLM PRELU",
            DType.S8: "TFLM PRELU",
            DType.S16: "LiteRT PRELU",
        },
    )
)
