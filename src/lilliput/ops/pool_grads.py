"""Gradient of `max_pool2d`: a window's gradient goes to the first of its largest taps.

The windows are looked at again, so that nothing has to be kept of the way forward but what was
read and what came out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Cost, Finish, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Spread, Window
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16
from lilliput.ops.common import ACTIVATIONS, c_type, check, check_activations
from lilliput.ops.conv import windows
from lilliput.ops.pool import Pool, pooled_type, taps
from lilliput.ops.registry import register


def _attrs(node: Node) -> Pool:
    assert isinstance(node.attrs, Pool)
    return node.attrs


def _infer(a: Pool, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 3, "wrong number of operands", "x, y, dy", len(types))
    x, y, dy = types
    check_activations(x)
    (expected,) = pooled_type(a, (x,))
    check(y.dtype is x.dtype and y.shape == expected.shape, "y", expected, y)
    check(dy.dtype is DType.F32 and dy.shape == y.shape, "dy", f32(*y.shape), dy)
    return (f32(*x.shape),)


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    """Each element from zero over the taps that it is of windows, row major."""
    a, (x, y, dy) = _attrs(node), operands
    top, bottom, left, right = a.pad
    dx = np.zeros(
        (x.shape[0], x.shape[1] + top + bottom, x.shape[2] + left + right, x.shape[3]), np.float32
    )
    views = windows(dx, a.kernel, a.stride, (1, 1), y.shape[1:3])
    rest = np.ones(y.shape, bool)
    for seen, inside, (_, into) in zip(
        taps(a, x, 0, y.shape),
        taps(a, np.ones(x.shape, bool), False, y.shape),
        views,
        strict=True,
    ):
        first = rest & inside & (seen == y)
        into += np.where(first, dy, np.float32(0))
        rest &= ~first
    return (dx[:, top : top + x.shape[1], left : left + x.shape[2]],)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    """A row of x is compared with the rows in front of it that share a window with it."""
    a = _attrs(node)
    (kh, kw), (top, _, left, _) = a.kernel, a.pad
    # the taps of a window that come first may lie right of an element, in rows above
    x: OperandRule = (
        Pointwise(0),
        Window(1, kh, pad=kh - 1),
        Window(2, 2 * kw - 1, pad=kw - 1),
        Pointwise(3),
    )
    y: OperandRule = (
        Pointwise(0),
        Spread(1, kh, a.stride[0], top),
        Spread(2, kw, a.stride[1], left),
        Pointwise(3),
    )
    return x, y, y


def _params(node: Node) -> Mapping[str, int]:
    a, x, y = _attrs(node), node.inputs[0].type.shape, node.inputs[1].type.shape
    return {
        "in_h": y[1],
        "in_w": y[2],
        "out_h": x[1],
        "out_w": x[2],
        "kh": a.kernel[0],
        "kw": a.kernel[1],
        "stride_h": a.stride[0],
        "stride_w": a.stride[1],
        "pad_top": a.pad[0],
        "pad_left": a.pad[2],
    }


def _operands(_: Builder, node: Node) -> tuple[Operand, ...]:
    return tuple(Operand(v, i) for i, v in enumerate(node.inputs))


def _finish(_b: Builder, _node: Node) -> Finish:
    return Finish(lambda acc, load: acc)


def _taps(node: Node) -> int:
    """Taps of all windows."""
    kh, kw = _attrs(node).kernel
    return node.inputs[1].type.size * kh * kw


KERNEL = Kernel(
    name="max_pool2d_grad",
    source="max_pool2d_grad.c",
    accepts=lambda node: None,
    types=lambda node: {"LL_X": c_type(node.inputs[0].type.dtype), "LL_ACC": "float"},
    params=_params,
    specialise=("kh", "kw", "stride_h", "stride_w", "pad_top", "pad_left"),
    operands=_operands,
    finish=_finish,
    work=lambda node: Work(_taps(node), node.output.type.size, node.inputs[1].type.size),
)
"""Set-ups: windows."""

max_pool2d_grad = register(
    Op(
        name="max_pool2d_grad",
        doc="dx = sum of dy over the windows of which an element is the first tap that equals y; "
        "x (N,H,W,C), y (N,OH,OW,C), dy f32 (N,OH,OW,C) -> dx f32 (N,H,W,C)",
        attrs=Pool,
        infer=_infer,
        ref=_ref,
        grads=(None, None, None),
        regions=_regions,
        cost=lambda node: Cost(ops=_taps(node)),
        kernels=(KERNEL,),
        samples=(
            Sample(
                (s8(1, 8, 6, 3), s8(1, 4, 3, 3), f32(1, 4, 3, 3)),
                Pool((2, 2), (2, 2)),
                low=-2,
                high=2,
            ),
            Sample(
                (f32(2, 5, 6, 2), f32(2, 3, 3, 2), f32(2, 3, 3, 2)),
                Pool((3, 3), (2, 2), (1, 1, 1, 0)),
            ),
            Sample(
                (s16(1, 5, 5, 4), s16(1, 4, 3, 4), f32(1, 4, 3, 4)), Pool((2, 3)), low=-1, high=1
            ),
            Sample(
                (s8(1, 7, 9, 1), s8(1, 2, 2, 1), f32(1, 2, 2, 1)),
                Pool((2, 3), (4, 5)),
                low=0,
                high=1,
            ),
        ),
        dtypes=ACTIVATIONS,
        oracle="docs/numerics.md",
    )
)
