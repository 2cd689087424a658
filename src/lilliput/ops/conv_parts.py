"""1x1 convolutions of int8 whose weights are two operands: those of the first input channels, which
training changes, and the others.

GEMM_PARTS          four pixels by two channels at a time, columns of int16 in scratch
LINEAR_TILES_PARTS  two by two, from bytes where they lie, in portable C and without scratch

The others are constants, packed as `gemm` has them.  Of the zero point of x their share is folded
into the bias; what the trained ones meet is x less its zero point, so that no sum over weights that
change is wanted.  Nor is a trained bias joined with that constant beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import PLAIN, Cost, Op, Operand, Packing, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Whole
from lilliput.ir.types import Array, DType, Quant, TensorType, s8, s32
from lilliput.ops.accumulate import (
    FoldBias,
    Parts,
    centred,
    check_multipliers,
    fold_bias,
    macs,
    requantize,
)
from lilliput.ops.common import check, narrows
from lilliput.ops.conv import dot
from lilliput.ops.conv_kernels import LINEAR_TILES, tiles_work
from lilliput.ops.gemm import FEW, GEMM, TWOS
from lilliput.ops.numeric import Rounding
from lilliput.ops.registry import register


def _infer(_: Parts, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) in (3, 4), "wrong number of operands", "x, w, v[, bias]", len(types))
    x, *weights = types[:3]
    check(x.dtype is DType.S8, "activations of this type", "s8", x.dtype.value)
    check(len(x.shape) == 4, "activations of this rank", "(N,H,W,I)", x.shape)
    out = weights[0].shape[:1]
    for w in weights:
        sound = len(w.shape) == 4 and w.shape[:1] == out and w.shape[1:3] == (1, 1)
        check(sound, "weights of this shape", "(O,1,1,channels)", w.shape)
        plain = w.dtype is DType.S8 and not any(w.quant.zero_point if w.quant else ())
        check(plain, "weights of this type", "s8 without a zero point", str(w))
    first, rest = weights
    check(first.quant == rest.quant, "scales of the weights", first.quant, rest.quant)
    channels = first.shape[3] + rest.shape[3]
    check(x.shape[3] == channels, "input channels", channels, x.shape[3])
    check(min(first.shape[3], rest.shape[3]) > 0, "channels of a part", ">= 1", 0)
    for bias in types[3:]:
        sound = bias.dtype is DType.S32 and bias.shape == out
        check(sound, "bias of this type", f"s32{list(out)}", str(bias))
    return (TensorType((*x.shape[:3], *out), DType.S8, x.quant),)


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    w = np.concatenate(operands[1:3], axis=3)[:, 0, 0]
    acc = np.zeros(node.output.type.shape, np.int64)
    for bias in operands[3:]:
        acc = acc + bias
    return (requantize(node, dot(acc, centred(operands[0], node.inputs[0].type), w)),)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    x: OperandRule = (Pointwise(0), Pointwise(1), Pointwise(2), Whole())
    w: OperandRule = (Pointwise(3), Whole(), Whole(), Whole())
    return (x, w, w, (Pointwise(3),))[: len(node.inputs)]


# Kernels ----------------------------------------------------------------------------------


def _firsts(node: Node) -> int:
    return node.inputs[1].type.shape[3]


def _others(node: Node) -> int:
    return node.inputs[2].type.shape[3]


def _groups(channels: int) -> int:
    return -(-channels // 4)


def _operands(packing: Packing) -> Callable[[Builder, Node], tuple[Operand, ...]]:
    def operands(b: Builder, node: Node) -> tuple[Operand, ...]:
        x, first, rest, *bias = node.inputs
        attrs = FoldBias(x.type.zero_point)
        sums = b.add(fold_bias, (rest,), attrs, name=f"{node.output.name}/sums")
        return (
            Operand(x, 0),
            Operand(rest, 2, packing),
            Operand(sums),
            Operand(first, 1),
            *(Operand(v) for v in bias),
        )

    return operands


def _params(node: Node) -> dict[str, int]:
    x, adds = node.inputs[0].type, int(len(node.inputs) > 3)
    return {"first": _firsts(node), "zero": x.zero_point, "adds": adds}


def _gemm_params(node: Node) -> dict[str, int]:
    own = {"in_c": node.inputs[0].type.shape[3], "groups": _groups(_others(node))}
    return {**_params(node), **own, "chunk": _chunk(node)}


def _gemm_types(_: Node) -> dict[str, str]:
    return {"LL_ACC": "int32_t"}


def _chunk(node: Node) -> int:
    channels = node.output.type.shape[3]
    return min(FEW, channels + channels % 2)


def _several(node: Node) -> str | None:
    rows, pixels, _ = node.output.type.frame
    return "several pixels at a time of only one" if rows * pixels < 2 else None


def _gemm_scratch(node: Node) -> int:
    """Columns of int16 and sums of a chunk, of four pixels, and what these begin with."""
    return 32 * (_groups(_firsts(node)) + _groups(_others(node))) + 20 * _chunk(node)


def _gemm_work(node: Node) -> Work:
    """Inner: quarters of groups times twos of channels, for every four pixels; a group of what is
    trained takes five of them.  Set-ups: groups of columns; as much as eight for each chunk, as
    ten where what is trained ends within a group, as four where the others do."""
    rows, pixels, channels = node.output.type.frame
    tiles, twos = -(-rows * pixels // 4), -(-channels // 2)
    groups, others = _groups(_firsts(node)), _groups(_others(node))
    setups = groups + others + 8 * -(-channels // _chunk(node))
    setups += 10 * (_firsts(node) % 4 > 0) + 4 * (_others(node) % 4 > 0)
    inner = tiles * twos * (5 * groups + 4 * others)
    return Work(inner, node.output.type.size, tiles * setups)


GEMM_PARTS = replace(
    GEMM,
    name="gemm_parts",
    source="gemm_parts.c",
    accepts=_several,
    types=_gemm_types,
    params=_gemm_params,
    specialise=("first", "groups", "chunk", "in_c", "zero", "adds"),
    operands=_operands(TWOS),
    scratch=_gemm_scratch,
    packed=(2,),
    work=_gemm_work,
)


def _any(_: Node) -> str | None:
    return None


def _tiles_types(_: Node) -> dict[str, str]:
    return {"LL_ACC": "int32_t", "LL_PARTS": "1"}


def _tiles_params(node: Node) -> dict[str, int]:
    return {**_params(node), "in_c": _others(node)}


def _tiles_work(node: Node) -> Work:
    """Set-ups: tiles of two pixels and two channels, and as many for each part whose last group is
    not whole."""
    work = tiles_work(node)
    broken = sum(channels % 4 > 0 for channels in (_firsts(node), _others(node)))
    return work._replace(setups=work.setups * (1 + broken))


LINEAR_TILES_PARTS = replace(
    LINEAR_TILES,
    name="linear_tiles_parts",
    accepts=_any,
    types=_tiles_types,
    params=_tiles_params,
    specialise=("first", "in_c", "zero", "adds"),
    operands=_operands(PLAIN),
    work=_tiles_work,
)


# Operator ---------------------------------------------------------------------------------


def _w(out: int, channels: int, *, one: bool = False) -> TensorType:
    """Weights of a sample, with one scale or one for each output channel."""
    if one:
        return s8(out, 1, 1, channels, scale=0.01)
    scales = tuple(float(np.float32(0.002 * (k + 1))) for k in range(out))
    return TensorType((out, 1, 1, channels), DType.S8, Quant(scales, (0,) * out, 0))


def _sample(
    x: tuple[int, int, int],
    parts: tuple[int, int],
    out: int,
    zeros: tuple[int, int],
    rounding: Rounding = Rounding.DOUBLE,
    *,
    bias: bool = True,
    one: bool = False,
) -> Sample:
    """x (images, rows, columns); channels of both parts; zero points of x and y."""
    n, h, w = x
    types = (
        s8(n, h, w, sum(parts), scale=0.1, zero_point=zeros[0]),
        *(_w(out, channels, one=one) for channels in parts),
        *([s32(out)] if bias else ()),
    )
    y = s8(n, h, w, out, scale=0.8, zero_point=zeros[1])
    return Sample(types, Parts(rounding), (y,), params=(2,))


conv2d_parts = register(
    Op(
        name="conv2d_parts",
        doc="y[n,p,q,o] = sum x[n,p,q,c] * (w, v)[o,c] + bias[o]; x (N,H,W,I+J), w (O,1,1,I), "
        "v (O,1,1,J) with the scales of w, bias (O) -> y (N,H,W,O)",
        attrs=Parts,
        infer=_infer,
        ref=_ref,
        constants=check_multipliers,
        regions=_regions,
        narrow=narrows,
        cost=lambda node: Cost(macs=macs(node)),
        kernels=(GEMM_PARTS, LINEAR_TILES_PARTS),
        samples=(
            _sample((1, 4, 5), (8, 12), 6, (-3, 4)),
            _sample((2, 3, 3), (5, 7), 7, (-128, -128)),
            _sample((1, 2, 7), (1, 1), 1, (127, 5), bias=False),
            _sample((1, 3, 4), (4, 24), 37, (0, -128), one=True),
            _sample((1, 5, 2), (16, 3), 18, (11, -7), Rounding.EVEN),
            _sample((1, 1, 1), (3, 6), 5, (-20, 3)),
            _sample((3, 1, 2), (2, 9), 4, (20, 126), bias=False),
        ),
        dtypes=(DType.S8,),
        oracle="docs/numerics.md",
    )
)
