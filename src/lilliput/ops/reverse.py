"""Axes turned round: reverse, and reverse_sequence, which turns as much as it is told.

One kernel for both: an axis is rows or pixels of the operand, and the elements of a pixel go
together.  A length beyond the axis means all of it, one below 1 nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Kernel, NoAttrs, Op, Operand, Sample
from lilliput.ir.region import OperandRule, Pointwise, Whole, whole
from lilliput.ir.types import Array, DType, TensorType, bools, f32, s8, s16, s32, s64
from lilliput.ops import shape_rules
from lilliput.ops.bounds import increasing
from lilliput.ops.common import check, narrows
from lilliput.ops.index import check_count, index_check, indexed_types
from lilliput.ops.move import DTYPES, element_types, moved, moved_work, one, oracles
from lilliput.ops.registry import register


@dataclass(frozen=True)
class ReverseSequence(Attrs):
    """rows: the first axis turns round, the third one says how far; else the other way."""

    rows: bool = False


def _reverse_infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = one(types)
    check(len(x.shape) == 3, "operand is not of rank 3", "(R,N,C)", x.shape)
    return (x,)


def _reverse_params(node: Node) -> Mapping[str, int]:
    return {"some": 0, "rows": 0, "extent": node.inputs[0].type.shape[1], "inner": 1}


reverse = register(
    Op(
        name="reverse",
        doc="y[r,n,c] = x[r,N-1-n,c]; x, y (R,N,C)",
        infer=_reverse_infer,
        ref=lambda _, operands: (operands[0][:, ::-1],),
        grads=(shape_rules.turned,),
        regions=lambda _: ((Pointwise(0), Whole(), Pointwise(2)),),
        bounds=increasing,
        narrow=narrows,
        cost=moved,
        kernels=(
            Kernel(
                name="reverse",
                source="reverse.c",
                accepts=lambda _: None,
                types=lambda node: {**element_types(node), "LL_I": "int32_t"},
                params=_reverse_params,
                specialise=("some", "rows", "inner"),
                operands=lambda _, node: (Operand(node.inputs[0], 0),),
                work=moved_work,
            ),
        ),
        samples=(
            Sample((s8(3, 5, 2, scale=0.1, zero_point=4),)),
            Sample((s8(1, 33, 1),)),
            Sample((s16(2, 4, 3),)),
            Sample((f32(2, 1, 5),), low=-1.0, high=1.0),
            Sample((s32(4, 6, 1),)),
            Sample((s64(2, 3, 2),)),
            Sample((bools(2, 3, 2),)),
        ),
        dtypes=DTYPES,
        oracle="TFLM REVERSE_V2",
    )
)


def _by_rows(node: Node) -> bool:
    assert isinstance(node.attrs, ReverseSequence)
    return node.attrs.rows


def _sequence_infer(a: ReverseSequence, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_count(types, "x lengths")
    x, lengths = types
    check(len(x.shape) == 4, "operand is not of rank 4", "(P,M,Q,C)", x.shape)
    index_check(lengths, 1, "(Q)" if a.rows else "(P)")
    wanted = x.shape[2 if a.rows else 0]
    check(lengths.shape == (wanted,), "number of lengths", wanted, lengths.shape)
    return (x,)


def _sequence_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, lengths = operands
    turned = np.moveaxis(x, (2, 0), (0, 1)) if _by_rows(node) else np.moveaxis(x, 2, 1)
    out = turned.copy()
    for block, source, length in zip(out, turned, lengths, strict=True):
        n = min(max(int(length), 0), len(block))
        block[:n] = source[:n][::-1]
    return (np.moveaxis(out, (0, 1), (2, 0)) if _by_rows(node) else np.moveaxis(out, 1, 2),)


def _sequence_regions(node: Node) -> tuple[OperandRule, ...]:
    rules: OperandRule = (Pointwise(0), Pointwise(1), Whole(), Pointwise(3))
    if _by_rows(node):
        rules = (Whole(), Pointwise(1), Pointwise(2), Pointwise(3))
    return rules, whole(1)


def _sequence_params(node: Node) -> Mapping[str, int]:
    x, rows = node.inputs[0].type.shape, _by_rows(node)
    return {"some": 1, "rows": int(rows), "extent": x[0 if rows else 2], "inner": x[1]}


SEQUENCES = (DType.S16, DType.F32, DType.S32, DType.S64)

reverse_sequence = register(
    Op(
        name="reverse_sequence",
        doc="y = x with the first lengths[p] elements along Q in reverse, or with `rows` the "
        "first lengths[q] along P; x, y (P,M,Q,C)",
        attrs=ReverseSequence,
        infer=_sequence_infer,
        ref=_sequence_ref,
        grads=(shape_rules.turned_some, None),
        regions=_sequence_regions,
        cost=moved,
        kernels=(
            Kernel(
                name="reverse",
                source="reverse.c",
                accepts=lambda _: None,
                types=lambda node: indexed_types(node, 0, 1),
                params=_sequence_params,
                specialise=("some", "rows", "inner"),
                operands=lambda _, node: (Operand(node.inputs[0], 0), Operand(node.inputs[1])),
                work=moved_work,
            ),
        ),
        samples=(
            Sample((s8(3, 1, 5, 2), s32(3)), ReverseSequence(), low=-1, high=7),
            Sample((s8(5, 2, 3, 4), s64(3)), ReverseSequence(rows=True), low=0, high=5),
            Sample((f32(2, 3, 4, 2), s32(2)), ReverseSequence(), low=0, high=4),
            Sample((f32(6, 1, 2, 3), s32(2)), ReverseSequence(rows=True), low=0, high=6),
            Sample((s16(2, 2, 4, 1), s32(2)), ReverseSequence(), low=0, high=4),
            Sample((s32(2, 1, 3, 2), s64(2)), ReverseSequence(), low=0, high=3),
        ),
        dtypes=DTYPES,
        oracle=oracles("REVERSE_SEQUENCE", (), SEQUENCES),
    )
)
