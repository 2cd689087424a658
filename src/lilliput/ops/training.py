"""The loss of classifiers.

Its float sums have the order that is written here, so that a training step has the same bits in
Python and on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Cost, Kernel, NoAttrs, Op, Operand, Sample, Work
from lilliput.ir.region import Whole, pointwise
from lilliput.ir.types import Array, DType, TensorType, f32
from lilliput.ops import floatmath, shape_rules
from lilliput.ops.common import check
from lilliput.ops.registry import register

# cross-entropy ----------------------------------------------------------------------------


def _loss_infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "logits, target", len(types))
    logits, target = types
    check(logits.dtype is target.dtype is DType.F32, "element types", "f32", logits.dtype.value)
    check(logits.shape == target.shape, "shapes", logits.shape, target.shape)
    return (f32(*logits.shape[:-1], 1),)


def _loss_ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    """log(sum exp(x - max)) summed in order, times the target's mass, less target . (x - max)."""
    logits, target = operands
    shifted = logits - logits.max(-1, keepdims=True)
    total = np.zeros(logits.shape[:-1], np.float32)
    mass, hit = total, total
    for c in range(logits.shape[-1]):
        total = total + floatmath.exp(shifted[..., c])
        mass = mass + target[..., c]
        hit = hit + target[..., c] * shifted[..., c]
    return ((floatmath.log(total) * mass - hit)[..., None],)


def _loss_work(node: Node) -> Work:
    """Inner: exponentials; one set-up a row."""
    rows = node.output.type.size
    return Work(node.inputs[0].type.size, rows, rows)


softmax_cross_entropy = register(
    Op(
        name="softmax_cross_entropy",
        doc="loss = -sum target * log(softmax(logits)); logits, target (..., C) -> loss (..., 1)",
        infer=_loss_infer,
        ref=_loss_ref,
        grads=(shape_rules.cross_entropy, None),
        regions=lambda node: ((*pointwise(len(node.inputs[0].type.shape) - 1), Whole()),) * 2,
        cost=lambda node: Cost(ops=4 * node.inputs[0].type.size),
        kernels=(
            Kernel(
                name="cross_entropy",
                source="cross_entropy.c",
                accepts=lambda node: None,
                types=lambda node: {"LL_X": "float", "LL_ACC": "float"},
                params=lambda node: {"channels": node.inputs[0].type.shape[-1]},
                operands=lambda _, node: tuple(Operand(v, i) for i, v in enumerate(node.inputs)),
                work=_loss_work,
            ),
        ),
        samples=(
            Sample((f32(1, 10), f32(1, 10)), low=0.0, high=1.0),
            Sample((f32(4, 3), f32(4, 3)), low=-30.0, high=30.0),
            Sample((f32(2, 2, 5), f32(2, 2, 5))),
        ),
        dtypes=(DType.F32,),
        oracle="docs/numerics.md",
    )
)
