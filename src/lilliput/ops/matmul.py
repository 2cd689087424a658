"""Products of two activations, matrix by matrix: what attention is made of.

a (..., M, K) and b (..., K, N), either with its last two axes swapped (`adj_a`, `adj_b`),
give y (..., M, N).  The axes in front are equal, or all 1 in one operand, which then serves
every matrix; other forms are broadcast first.  A product with constant weights is `linear`,
which folds a zero point away; here both operands are read as they come.
int8 and int16 as TFLite Micro's BATCH_MATMUL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import EITHER, Cost, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import AxisRule, OperandRule, Pointwise, Whole
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16
from lilliput.ops import product_rules
from lilliput.ops.accumulate import MatMul, acc_type, centred, check_multipliers, requantize
from lilliput.ops.common import c_type, check, slides
from lilliput.ops.conv_kernels import ADD_C
from lilliput.ops.finish import finish
from lilliput.ops.registry import register


def _matrices(a: MatMul, types: Sequence[TensorType]) -> tuple[int, int, int, int]:
    """(M, depth of a, depth of b, N)."""
    (m, k), (other, n) = ((t.shape[-2], t.shape[-1]) for t in types)
    return (*((k, m) if a.adj_a else (m, k)), *((n, other) if a.adj_b else (other, n)))


def _infer(a: MatMul, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "a, b", len(types))
    x, w = types
    rank = len(x.shape)
    check(
        rank >= 2 and len(w.shape) == rank,
        "operands of this rank",
        "the same of both, at least 2",
        f"{x.shape} and {w.shape}",
    )
    check(x.dtype in (DType.F32, DType.S8, DType.S16), "operand of this type", "f32, s8 or s16", x)
    check(w.dtype is x.dtype, "operands differ in type", x.dtype.value, w.dtype.value)
    lead = x.shape[:-2] if math.prod(w.shape[:-2]) == 1 else w.shape[:-2]
    check(
        x.shape[:-2] == lead or math.prod(x.shape[:-2]) == 1,
        "axes in front of the matrices",
        "equal, or all 1 in one operand",
        f"{x.shape} and {w.shape}",
    )
    rows, depth, other, columns = _matrices(a, types)
    check(depth == other, "depth of the product", depth, other)
    return (TensorType((*lead, rows, columns), x.dtype, x.quant),)


def _attrs(node: Node) -> MatMul:
    assert isinstance(node.attrs, MatMul)
    return node.attrs


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a = _attrs(node)
    x, w = (centred(d, v.type) for d, v in zip(operands, node.inputs, strict=True))
    x, w = np.swapaxes(x, -1, -2) if a.adj_a else x, np.swapaxes(w, -1, -2) if a.adj_b else w
    if acc_type(node).is_float:
        acc = np.zeros(node.output.type.shape, np.float32)
        for k in range(x.shape[-1]):
            acc = acc + x[..., k, None] * w[..., k, None, :]
        return (acc,)
    # exact in doubles: |sum| stays under 2^53
    acc = x.astype(np.float64) @ w.astype(np.float64)
    return (requantize(node, acc.astype(np.int64)),)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    a, shape = _attrs(node), node.output.type.shape
    rank = len(shape)

    def lead(type: TensorType) -> tuple[AxisRule, ...]:
        pairs = zip(type.shape[:-2], shape[:-2], strict=True)
        return tuple(Pointwise(i) if d == e else Whole() for i, (d, e) in enumerate(pairs))

    x, w = (v.type for v in node.inputs)
    rows = Pointwise(rank - 2)
    first = (Whole(), rows) if a.adj_a else (rows, Whole())
    # one slice of the first axis for each output channel would say that b is a parameter
    second = (Whole(), Whole() if a.adj_b else Pointwise(rank - 1))
    return (*lead(x), *first), (*lead(w), *second)


def _macs(node: Node) -> int:
    _, depth, _, _ = _matrices(_attrs(node), [v.type for v in node.inputs])
    return node.output.type.size * depth


def _types(node: Node) -> Mapping[str, str]:
    acc = acc_type(node)
    return {
        "LL_X": c_type(node.inputs[0].type.dtype),
        "LL_ACC": c_type(acc),
        "LL_ADD": ADD_C[acc],
    }


def _params(node: Node) -> Mapping[str, int]:
    a, (x, w) = _attrs(node), (v.type for v in node.inputs)
    one_x, one_w = (math.prod(t.shape[:-2]) == 1 for t in (x, w))
    return {
        "depth": _matrices(a, (x, w))[1],
        "adj_a": int(a.adj_a),
        "adj_b": int(a.adj_b),
        "one_a": int(one_x),
        "one_b": int(one_w),
        "a_zero": x.zero_point,
        "b_zero": w.zero_point,
    }


def _work(node: Node) -> Work:
    """Set-ups: dot products."""
    size = node.output.type.size
    return Work(_macs(node), size, size)


KERNEL = Kernel(
    name="matmul",
    source="matmul.c",
    accepts=lambda node: None,
    types=_types,
    params=_params,
    specialise=("depth", "adj_a", "adj_b", "one_a", "one_b", "a_zero", "b_zero"),
    operands=lambda b, node: tuple(Operand(v, i) for i, v in enumerate(node.inputs)),
    finish=finish,
    writes=EITHER,
    work=_work,
)

matmul = register(
    Op(
        name="matmul",
        doc="y[..., i, j] = sum over k of a[..., i, k] * b[..., k, j]; adj_a, adj_b swap the "
        "last two axes; axes in front equal, or all 1 in one operand",
        attrs=MatMul,
        infer=_infer,
        ref=_ref,
        constants=check_multipliers,
        grads=product_rules.MATMUL,
        regions=_regions,
        slide=slides,
        cost=lambda node: Cost(macs=_macs(node)),
        kernels=(KERNEL,),
        samples=(
            Sample(
                (s8(2, 3, 5, scale=0.1, zero_point=-7), s8(2, 5, 4, scale=0.03, zero_point=127)),
                MatMul(),
                (s8(2, 3, 4, scale=0.4, zero_point=11),),
            ),
            Sample(
                (s8(2, 3, 7, 4, scale=0.1, zero_point=-128), s8(1, 1, 5, 7, scale=0.5)),
                MatMul(adj_a=True, adj_b=True),
                (s8(2, 3, 4, 5, scale=9.0, zero_point=-9),),
            ),
            Sample(
                (s8(6, 3, scale=0.1, zero_point=1), s8(5, 6, scale=0.1, zero_point=2)),
                MatMul(adj_a=True, adj_b=True),
                (s8(3, 5, scale=0.2, zero_point=3),),
            ),
            Sample(
                (s16(1, 4, 9, scale=0.001), s16(3, 9, 2, scale=0.002)),
                MatMul(),
                (s16(3, 4, 2, scale=0.02),),
            ),
            Sample((f32(2, 2, 3, 6), f32(2, 2, 5, 6)), MatMul(adj_b=True)),
            Sample((f32(1, 4), f32(4, 7)), MatMul()),
            Sample((f32(2, 1, 2, 4, 3), f32(2, 1, 2, 4, 2)), MatMul(adj_a=True), params=(1,)),
        ),
        dtypes=(DType.S8, DType.S16, DType.F32),
        oracle="TFLM BATCH_MATMUL",
    )
)

__all__ = ["MatMul", "matmul"]
