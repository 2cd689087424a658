"""Operators over time: what streams and recurrent cells are made of.

push : a window over time that forgets its oldest rows.  Written to a state, it turns a ring
instead of moving the window: the planner sees that from its region rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Op, Sample
from lilliput.ir.region import AxisRule, OperandRule, Pointwise, Shift
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16, s32
from lilliput.ops.common import check
from lilliput.ops.registry import register


@dataclass(frozen=True)
class Push(Attrs):
    """axis: time."""

    axis: int


def _attrs(node: Node) -> Push:
    assert isinstance(node.attrs, Push)
    return node.attrs


def _infer(a: Push, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "window, newest", len(types))
    window, newest = types
    check(0 <= a.axis < len(window.shape), "axis", f"0 to {len(window.shape) - 1}", a.axis)
    same = [i for i, d in enumerate(window.shape) if i != a.axis and newest.shape[i] != d]
    check(
        len(newest.shape) == len(window.shape) and not same,
        "shapes differ beside the axis of time",
        window.shape,
        newest.shape,
    )
    check(
        newest.shape[a.axis] < window.shape[a.axis],
        "newest rows",
        f"fewer than {window.shape[a.axis]}",
        newest.shape[a.axis],
    )
    check(
        (window.dtype, window.quant) == (newest.dtype, newest.quant),
        "element types or quantisations differ",
        f"{window} {window.quant}",
        f"{newest} {newest.quant}",
    )
    return (window,)


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    window, newest = operands
    axis = _attrs(node).axis
    kept = np.take(window, range(newest.shape[axis], window.shape[axis]), axis)
    return (np.concatenate((kept, newest), axis),)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    window, newest = (v.type.shape for v in node.inputs)
    axis = _attrs(node).axis
    count = newest[axis]

    def rule(by: int) -> OperandRule:
        axes: list[AxisRule] = [Pointwise(i) for i in range(len(window))]
        axes[axis] = Shift(axis, by)
        return tuple(axes)

    return rule(-count), rule(window[axis] - count)


push = register(
    Op(
        name="push",
        doc="y = window without its oldest rows, newest behind; "
        "window (.., T, ..), newest (.., k, ..) -> y (.., T, ..)",
        attrs=Push,
        infer=_infer,
        ref=_ref,
        regions=_regions,
        cost=lambda node: Cost(ops=node.inputs[1].type.size),
        samples=(
            Sample((s8(1, 5, 1, 3), s8(1, 1, 1, 3)), Push(1)),
            Sample((s8(4, 6), s8(3, 6)), Push(0)),
            Sample((f32(2, 7, 3), f32(2, 2, 3)), Push(1)),
            Sample((s16(1, 2, 9, 2), s16(1, 2, 4, 2)), Push(2)),
            Sample((s32(6, 2), s32(1, 2)), Push(0)),
        ),
        dtypes=(DType.F32, DType.S8, DType.S16, DType.S32),
        oracle="docs/numerics.md",
    )
)
