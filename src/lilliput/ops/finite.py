"""finite_or: what keeps a float tensor that is trained free of infinities and NaN.

A training step whose loss is a number may still have a gradient that overflows.  Behind the update
of a weight this operator fuses into it, and reads the weight that it is about to overwrite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Op, Sample, Scalar
from lilliput.ir.types import Array, DType, TensorType, f32
from lilliput.ops.common import check
from lilliput.ops.elementwise import broadcast_regions, broadcast_shape
from lilliput.ops.registry import register


def _infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "x, y", len(types))
    for t in types:
        check(t.dtype is DType.F32, "operand of this type", "f32", t.dtype.value)
    return (TensorType(broadcast_shape([t.shape for t in types]), DType.F32),)


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, y = (np.broadcast_to(a, node.output.type.shape) for a in operands)
    return (np.where(np.isfinite(x), x, y),)


finite_or = register(
    Op(
        name="finite_or",
        doc="x where it is a finite number, else y; x and y broadcast",
        infer=_infer,
        ref=_ref,
        regions=broadcast_regions,
        scalar=Scalar(lambda _, args: "ll_finite_or({}, {})".format(*args)),
        samples=(
            Sample((f32(1, 4, 3, 5), f32(1, 4, 3, 5))),
            Sample((f32(3, 3, 2), f32(3, 1, 2))),
            Sample((f32(2, 7), f32(1)), params=(1,), low=-1e30, high=1e30),
        ),
        dtypes=(DType.F32,),
        oracle="docs/numerics.md",
    )
)
