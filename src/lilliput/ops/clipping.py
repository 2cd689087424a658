"""What passes where an activation saturated: nothing.  Gradients and their masks.

inside      by the activation itself, where it is at hand
clip_bits   one bit for each of its elements, to be kept instead of it
keep_bits   by those bits
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Kernel, NoAttrs, Op, Operand, Sample, Scalar, Work
from lilliput.ir.region import OperandRule, Whole, pointwise
from lilliput.ir.types import Array, DType, TensorType, f32, s8, s16
from lilliput.ops.common import c_type, check
from lilliput.ops.elementwise import broadcast_regions
from lilliput.ops.registry import register


@dataclass(frozen=True)
class Between(Attrs):
    """low, high: stored integers; what lies strictly between passes."""

    low: int
    high: int


def _between(node: Node) -> Between:
    assert isinstance(node.attrs, Between)
    return node.attrs


def _inside_infer(a: Between, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "dy, y", len(types))
    dy, y = types
    check(dy.dtype is DType.F32, "gradient", "f32", dy.dtype.value)
    check(y.dtype in (DType.S8, DType.S16), "values", "s8 or s16", y.dtype.value)
    check(dy.shape == y.shape, "shapes", dy.shape, y.shape)
    check(a.low < a.high, "bounds", "low < high", (a.low, a.high))
    return (f32(*dy.shape),)


def _inside_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    dy, y = operands
    a = _between(node)
    return (np.where((y > a.low) & (y < a.high), dy, np.float32(0)),)


def _inside_c(node: Node, args: Sequence[str]) -> str:
    a = _between(node)
    return f"ll_inside({args[0]}, {args[1]}, {a.low}, {a.high})"


inside = register(
    Op(
        name="inside",
        doc="dx = low < y < high ? dy : 0: the gradient of what did not saturate; dy f32, y s8 or "
        "s16 of one shape",
        attrs=Between,
        infer=_inside_infer,
        ref=_inside_ref,
        regions=broadcast_regions,
        scalar=Scalar(_inside_c),
        samples=(
            Sample((f32(1, 3, 5, 4), s8(1, 3, 5, 4, scale=0.1, zero_point=-3)), Between(-128, 127)),
            Sample((f32(2, 300), s8(2, 300)), Between(-3, 40)),
            Sample((f32(2, 9), s16(2, 9)), Between(-9000, 9000)),
        ),
        dtypes=(DType.F32,),
        oracle="docs/numerics.md",
    )
)


# clip_bits, keep_bits ---------------------------------------------------------------------


def _bytes(channels: int) -> int:
    return -(-channels // 8)


def _clip_infer(a: Between, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 1, "wrong number of operands", "y", len(types))
    (y,) = types
    check(y.dtype in (DType.S8, DType.S16), "values", "s8 or s16", y.dtype.value)
    check(len(y.shape) > 0, "rank", "1 or more", y.shape)
    check(a.low < a.high, "bounds", "low < high", (a.low, a.high))
    return (TensorType((*y.shape[:-1], _bytes(y.shape[-1])), DType.U8),)


def _clip_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a, (y,) = _between(node), operands
    return (np.packbits((y > a.low) & (y < a.high), axis=-1, bitorder="little"),)


def _rows(node: Node) -> OperandRule:
    """All channels of the pixels that are asked for."""
    return (*pointwise(len(node.output.type.shape) - 1), Whole())


def _operands(_: Builder, node: Node) -> tuple[Operand, ...]:
    return tuple(Operand(v, i) for i, v in enumerate(node.inputs))


def _clip_params(node: Node) -> Mapping[str, int]:
    a = _between(node)
    return {"low": a.low, "high": a.high, "channels": node.inputs[0].type.shape[-1]}


def _clip_work(node: Node) -> Work:
    """Inner: numbers that are compared one by one, of bytes that are not whole, or of 16 bits;
    set-ups: pixels."""
    x = node.inputs[0].type
    pixels = x.size // x.shape[-1]
    alone = x.shape[-1] % 8 if x.dtype is DType.S8 else x.shape[-1]
    return Work(pixels * alone, node.output.type.size, pixels)


clip_bits = register(
    Op(
        name="clip_bits",
        doc="bit c % 8 of y[..., c // 8] = low < x[..., c] < high, 0 behind the last channel; "
        "x s8 or s16 (..., C) -> y u8 (..., ceil(C / 8))",
        attrs=Between,
        infer=_clip_infer,
        ref=_clip_ref,
        grads=(None,),
        regions=lambda node: (_rows(node),),
        kernels=(
            Kernel(
                name="clip_bits",
                source="clip_bits.c",
                accepts=lambda _: None,
                types=lambda node: {"LL_X": c_type(node.inputs[0].type.dtype), "LL_ACC": "int32_t"},
                params=_clip_params,
                specialise=("low", "high"),
                operands=_operands,
                work=_clip_work,
            ),
        ),
        samples=(
            Sample((s8(1, 3, 5, 20),), Between(-128, 127)),
            Sample((s8(2, 300),), Between(-3, 40)),
            Sample((s16(1, 2, 3, 8),), Between(-9000, 9000)),
            Sample((s8(7),), Between(-100, 127)),
        ),
        dtypes=(DType.S8, DType.S16),
        oracle="docs/numerics.md",
    )
)


def _keep_infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "dy, bits", len(types))
    dy, bits = types
    check(dy.dtype is DType.F32, "gradient", "f32", dy.dtype.value)
    shape = (*dy.shape[:-1], _bytes(dy.shape[-1]))
    check(bits.dtype is DType.U8 and bits.shape == shape, "bits", f"u8{list(shape)}", str(bits))
    return (f32(*dy.shape),)


def _keep_ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    dy, packed = operands
    bits = np.unpackbits(packed, axis=-1, bitorder="little", count=dy.shape[-1])
    return (np.where(bits != 0, dy, np.float32(0)),)


def _keep_c(_: Node, args: Sequence[str]) -> str:
    return f"({args[1]} >> (at->c & 7) & 1 ? {args[0]} : 0.0f)"


keep_bits = register(
    Op(
        name="keep_bits",
        doc="dx = dy where the bit is set that `clip_bits` made, else 0; dy f32 (..., C), bits u8 "
        "(..., ceil(C / 8))",
        infer=_keep_infer,
        ref=_keep_ref,
        grads=(None, None),
        regions=lambda node: (pointwise(len(node.output.type.shape)), _rows(node)),
        scalar=Scalar(_keep_c, packed=(1,)),
        samples=(
            Sample((f32(1, 3, 5, 20), TensorType((1, 3, 5, 3), DType.U8))),
            Sample((f32(2, 300), TensorType((2, 38), DType.U8))),
            Sample((f32(7), TensorType((1,), DType.U8))),
        ),
        dtypes=(DType.F32,),
        oracle="docs/numerics.md",
    )
)
