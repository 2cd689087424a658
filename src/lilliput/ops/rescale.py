"""rescale: int8 of one scale as int8 of another, by real numbers: what older concatenations do.

One byte in, one byte out, so it is a table of 256 bytes made at compile time.  `requantize`
is the other rule, of the node QUANTIZE, with a fixed-point multiplier; the two differ by one
where a product lies near the middle between two integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Op, Sample, Scalar
from lilliput.ir.region import pointwise
from lilliput.ir.types import Array, DType, TensorType, s8
from lilliput.ops.common import check
from lilliput.ops.gradient import passes
from lilliput.ops.move import one
from lilliput.ops.numeric import saturate
from lilliput.ops.registry import register


@dataclass(frozen=True)
class Rescale(Attrs):
    """origin: the integer of the file that is stored as 0, 128 where the file has uint8."""

    origin: int = 0


def _infer(a: Rescale, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = one(types)
    scaled = x.quant is not None and x.quant.is_per_tensor
    check(x.dtype is DType.S8 and scaled, "operand", "int8 with one scale", f"{x}, {x.quant}")
    check(a.origin in (0, 128), "origin", "0 or 128", a.origin)
    return (x,)


def _table(node: Node) -> Array:
    """The result of each stored integer from -128, in float32: (256), int8."""
    x, y, a = node.inputs[0].type, node.output.type, node.attrs
    assert isinstance(a, Rescale)
    ratio = np.float32(x.scale) * (np.float32(1) / np.float32(y.scale))
    with np.errstate(over="ignore"):
        bias = np.float32(-(x.zero_point + a.origin)) * ratio
        real = np.arange(-128, 128).astype(np.float32) + np.float32(a.origin)
        scaled = np.clip(real * ratio + bias, -1e6, 1e6).astype(np.float64)
    rounded = np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int64)
    return saturate(rounded + y.zero_point, y)


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    return (_table(node)[operands[0].astype(np.int64) + 128],)


def _tables(node: Node) -> Mapping[str, Array]:
    return {"table": _table(node)}


rescale = register(
    Op(
        name="rescale",
        doc="y = round(x * s - x.zero_point * s) + y.zero_point in float32, s = x.scale / y.scale",
        attrs=Rescale,
        infer=_infer,
        ref=_ref,
        grads=(passes,),
        regions=lambda node: (pointwise(len(node.output.type.shape)),),
        scalar=Scalar(lambda node, args: f"{{table}}[{args[0]} + 128]", _tables),
        samples=(
            Sample((s8(1, 4, 5, 3, scale=0.1, zero_point=7),), Rescale(), (s8(1, 4, 5, 3),)),
            Sample(
                (s8(300, scale=0.25, zero_point=-128),),
                Rescale(128),
                (s8(300, scale=0.5, zero_point=100),),
            ),
            Sample((s8(33, scale=3.0),), Rescale(128), (s8(33, scale=1e-6, zero_point=-128),)),
        ),
        dtypes=(DType.S8,),
        oracle="docs/numerics.md",
    )
)
