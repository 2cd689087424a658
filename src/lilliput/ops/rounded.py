"""Gradients as 16-bit numbers, in steps of its own for each pixel: `round_pixels`.

One idea: what passes back through int8 weights is rounded pixel by pixel, so that sums of products
are exact.  `conv2d_grad_x` rounds what it reads where one reads it; where many do, the slices of a
block, it is rounded once, and takes half the bytes of the floats.

A pixel of O rounded numbers is O numbers, one that is 0 if O is odd, and the bits of the float32
that a step is, as two numbers: one value, so that rows of it stream like any other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Cost, Kernel, NoAttrs, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Whole
from lilliput.ir.types import Array, DType, TensorType, f32
from lilliput.ops.common import check
from lilliput.ops.move import one
from lilliput.ops.registry import register

LEAST = np.float32(1e-30)
"""No steps are made of smaller numbers."""
TINY = np.finfo(np.float32).tiny


def steps(channels: int) -> int:
    """The largest number that a pixel of so many channels is rounded to: sums fit in 32 bits."""
    return min((1 << 15) - 1, ((1 << 31) - 1) // (128 * channels))


def width(channels: int) -> int:
    """Numbers of a rounded pixel of so many channels, its step included."""
    return channels + channels % 2 + 2


@np.errstate(all="ignore")
def rounded(dy: Array) -> tuple[Array, Array]:
    """dy f32 (..., O) -> numbers s16 (..., O) and steps f32 (..., 1): to the nearest (ties to even)
    of `steps(O)` steps on either side.  Where no step can be made of a pixel its numbers are 0; of
    one that is not finite the step is a NaN."""
    most = np.float32(steps(dy.shape[-1]))
    top = np.abs(dy).max(-1, keepdims=True)
    some = np.isfinite(top) & (top >= LEAST)
    numbers = np.rint(np.where(some, dy * (most / top), 0)).clip(-most, most)
    step = np.where(some, top / most, np.where(top < LEAST, np.float32(0), np.float32(np.nan)))
    return numbers.astype(np.int16), step.astype(np.float32)


def packed(numbers: Array, step: Array) -> Array:
    """Numbers s16 (..., O) and steps f32 (..., 1) as pixels s16 (..., `width(O)`)."""
    odd = np.zeros((*numbers.shape[:-1], numbers.shape[-1] % 2), np.int16)
    return np.concatenate([numbers, odd, step.view(np.int16)], axis=-1)


def unpacked(pixels: Array, channels: int) -> tuple[Array, Array]:
    """The numbers s16 (..., O) and steps f32 (..., 1) of pixels s16 (..., `width(O)`).  A step that
    is no normal number, as none is that is made here, is 0: not every core has them."""
    step = np.ascontiguousarray(pixels[..., -2:]).view(np.float32)
    return pixels[..., :channels], np.where(np.abs(step) < TINY, np.float32(0), step)


def _infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    dy = one(types)
    check(dy.dtype is DType.F32, "dy", "f32", dy.dtype.value)
    check(len(dy.shape) == 4, "rank of dy", "(N,H,W,O)", dy.shape)
    return (TensorType((*dy.shape[:3], width(dy.shape[3])), DType.S16),)


def _regions(_: Node) -> tuple[OperandRule, ...]:
    return ((Pointwise(0), Pointwise(1), Pointwise(2), Whole()),)


def _params(node: Node) -> Mapping[str, int]:
    channels = node.inputs[0].type.shape[3]
    return {"channels": channels, "most": steps(channels)}


def _operands(_: Builder, node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[0], 0),)


def _work(node: Node) -> Work:
    """Inner: numbers; set-ups: pixels."""
    dy = node.inputs[0].type
    return Work(dy.size, node.output.type.size, dy.size // dy.shape[3])


round_pixels = register(
    Op(
        name="round_pixels",
        doc="y[n,h,w,o] = dy[n,h,w,o] / s rounded to the nearest, s = max over o of |dy| / steps; "
        "then the bits of s as two numbers; dy f32 (N,H,W,O) -> y s16 (N,H,W,O + O % 2 + 2)",
        attrs=NoAttrs,
        infer=_infer,
        ref=lambda node, operands: (packed(*rounded(operands[0])),),
        grads=(None,),
        regions=_regions,
        cost=lambda node: Cost(ops=node.inputs[0].type.size),
        kernels=(
            Kernel(
                name="round_pixels",
                source="round_pixels.c",
                accepts=lambda _: None,
                types=lambda _: {},
                params=_params,
                specialise=("channels",),
                operands=_operands,
                overlap="row",
                tile=lambda _: 1,
                work=_work,
            ),
        ),
        samples=(
            Sample((f32(1, 3, 4, 5),)),
            Sample((f32(2, 2, 3, 8),), low=-1e-3, high=1e-3),
            Sample((f32(1, 2, 5, 1),)),
            Sample((f32(1, 2, 2, 37),), low=-1e30, high=1e30),
        ),
        dtypes=(DType.F32,),
        oracle="docs/numerics.md",
    )
)
