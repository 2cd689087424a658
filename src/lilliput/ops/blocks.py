"""Operators that trade a block of pixels for channels: space_to_depth, depth_to_space.

Both are one kernel: a chunk of neighbouring channels of the result is a chunk of the
operand, `fold` pixels wide where pixels become channels, every `spread`-th pixel where
channels become pixels.  They keep rows in order, so that they stream, which a transpose
between two reshapes would not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Scale, Whole, Window
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16, s32, s64
from lilliput.ops import shape_rules
from lilliput.ops.bounds import increasing
from lilliput.ops.common import check, slides
from lilliput.ops.move import DTYPES, element_types, moved, one, oracles
from lilliput.ops.pick import per_tensor
from lilliput.ops.registry import register


@dataclass(frozen=True)
class Blocks(Attrs):
    """size: rows, and pixels, of a block."""

    size: int


def _size(node: Node) -> int:
    assert isinstance(node.attrs, Blocks)
    return node.attrs.size


def _map(a: Blocks, types: Sequence[TensorType]) -> TensorType:
    x = per_tensor(one(types))
    check(len(x.shape) == 4, "operand is not of rank 4", "(N,H,W,C)", x.shape)
    check(a.size >= 1, "block", ">= 1", a.size)
    return x


def _work(node: Node) -> Work:
    """Set-ups: chunks that are copied, one a pixel of the side that has more of them."""
    x, y = node.inputs[0].type, node.output.type
    return Work(0, y.size, max(math.prod(t.shape[:-1]) for t in (x, y)))


def _kernel(params: Callable[[Node], Mapping[str, int]]) -> Kernel:
    return Kernel(
        name="blocks",
        source="blocks.c",
        accepts=lambda _: None,
        types=element_types,
        params=params,
        specialise=("fold", "spread"),
        operands=lambda _, node: (Operand(node.inputs[0], 0),),
        work=_work,
    )


# space_to_depth ---------------------------------------------------------------------------


def _to_depth_infer(a: Blocks, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = _map(a, types)
    n, h, w, c = x.shape
    check(h % a.size == w % a.size == 0, "height and width", f"multiples of {a.size}", (h, w))
    return (x.with_shape(n, h // a.size, w // a.size, c * a.size**2),)


def _to_depth_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    n, h, w, c = node.inputs[0].type.shape
    b = _size(node)
    blocks = operands[0].reshape(n, h // b, b, w // b, b, c)
    return (blocks.transpose(0, 1, 3, 2, 4, 5).reshape(node.output.type.shape),)


def _to_depth_regions(node: Node) -> tuple[OperandRule, ...]:
    b = _size(node)
    return ((Pointwise(0), Window(1, b, b), Window(2, b, b), Whole()),)


space_to_depth = register(
    Op(
        name="space_to_depth",
        doc="y[n,p,q,(i*size+j)*C+c] = x[n, p*size+i, q*size+j, c]; x (N,H,W,C)",
        attrs=Blocks,
        infer=_to_depth_infer,
        ref=_to_depth_ref,
        grads=(shape_rules.to_depth,),
        regions=_to_depth_regions,
        bounds=increasing,
        slide=slides,
        cost=moved,
        kernels=(
            _kernel(
                lambda node: {
                    "fold": _size(node),
                    "spread": 1,
                    "depth": node.inputs[0].type.shape[3],
                }
            ),
        ),
        samples=(
            Sample((s8(1, 4, 6, 3, scale=0.1, zero_point=4),), Blocks(2)),
            Sample((s8(2, 6, 3, 1),), Blocks(3)),
            Sample((s16(1, 2, 4, 5),), Blocks(2)),
            Sample((f32(2, 4, 2, 2),), Blocks(2), low=-1.0, high=1.0),
            Sample((s32(1, 2, 3, 4),), Blocks(1)),
            Sample((s64(1, 2, 2, 4),), Blocks(2)),
        ),
        dtypes=DTYPES,
        oracle=oracles("SPACE_TO_DEPTH", (DType.F32, DType.S8), (DType.S32, DType.S64)),
    )
)


# depth_to_space ---------------------------------------------------------------------------


def _to_space_infer(a: Blocks, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = _map(a, types)
    n, h, w, c = x.shape
    check(c % a.size**2 == 0, "channels", f"a multiple of {a.size**2}", c)
    return (x.with_shape(n, h * a.size, w * a.size, c // a.size**2),)


def _to_space_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    n, h, w, c = node.inputs[0].type.shape
    b = _size(node)
    blocks = operands[0].reshape(n, h, w, b, b, c // b**2)
    return (blocks.transpose(0, 1, 3, 2, 4, 5).reshape(node.output.type.shape),)


def _to_space_regions(node: Node) -> tuple[OperandRule, ...]:
    b = _size(node)
    return ((Pointwise(0), Scale(1, 1, b), Scale(2, 1, b), Whole()),)


depth_to_space = register(
    Op(
        name="depth_to_space",
        doc="y[n,p*size+i,q*size+j,c] = x[n, p, q, (i*size+j)*C/size^2+c]; x (N,H,W,C)",
        attrs=Blocks,
        infer=_to_space_infer,
        ref=_to_space_ref,
        grads=(shape_rules.to_space,),
        regions=_to_space_regions,
        bounds=increasing,
        cost=moved,
        kernels=(
            _kernel(
                lambda node: {
                    "fold": 1,
                    "spread": _size(node),
                    "depth": node.output.type.shape[3],
                }
            ),
        ),
        samples=(
            Sample((s8(1, 2, 3, 12, scale=0.1, zero_point=4),), Blocks(2)),
            Sample((s8(2, 2, 1, 9),), Blocks(3)),
            Sample((s16(1, 1, 2, 20),), Blocks(2)),
            Sample((f32(2, 2, 1, 8),), Blocks(2), low=-1.0, high=1.0),
            Sample((s32(1, 2, 3, 4),), Blocks(1)),
            Sample((s64(1, 2, 2, 4),), Blocks(2)),
        ),
        dtypes=DTYPES,
        oracle=oracles("DEPTH_TO_SPACE", (DType.F32, DType.S8), (DType.S32, DType.S64)),
    )
)
