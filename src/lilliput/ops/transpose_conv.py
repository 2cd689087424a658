"""Transposed convolution: what upsampling decoders and segmentation heads end in.

y[n, p, q, o] = bias[o] + sum of x[n, i, j, c] * w[o, k, l, c] over all taps (k, l) and all
(i, j) with p + pad_top = i * stride_h + k and q + pad_left = j * stride_w + l.

One idea: it is gathered, an output at a time, so that results are requantised as they are
made and no map of accumulators is needed.  It is not the gradient of `conv2d`: that has
another layout of weights.  int8 and int16 as TFLite Micro's TRANSPOSE_CONV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import EITHER, Cost, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Spread, Whole
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16, s32
from lilliput.ops import product_rules
from lilliput.ops.accumulate import (
    FoldBias,
    TransposeConv,
    acc_type,
    centred,
    check_multipliers,
    fold_bias,
    requantize,
)
from lilliput.ops.common import check
from lilliput.ops.conv import check_operands, dot, start
from lilliput.ops.conv_kernels import finish, types, weight_params, weights, zeros
from lilliput.ops.registry import register
from lilliput.ops.sums import sum_bounds, sum_contraction, sum_narrow


def transposed_pad(size: int, kernel: int, stride: int) -> int:
    """TFLite's SAME padding before the first row or column of a result of `size`."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0) // 2


def _infer(a: TransposeConv, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(2 <= len(types) <= 3, "wrong number of operands", "x, w[, bias]", len(types))
    x, w = types[0], types[1]
    check(
        len(x.shape) == 4 and len(w.shape) == 4,
        "operands are not of rank 4",
        "(N,H,W,I) and (O,KH,KW,I)",
        f"{x.shape} and {w.shape}",
    )
    check_operands(types, w.shape[0])
    check(min(*a.stride, *a.size) >= 1, "stride and size", ">= 1", a)
    check(min(a.pad) >= 0, "padding", ">= 0", a.pad)
    check(x.shape[3] == w.shape[3], "input channels", w.shape[3], x.shape[3])
    return (TensorType((x.shape[0], *a.size, w.shape[0]), x.dtype, x.quant),)


def _attrs(node: Node) -> TransposeConv:
    assert isinstance(node.attrs, TransposeConv)
    return node.attrs


def _reach(tap: int, stride: int, pad: int, size: int, extent: int) -> tuple[slice, slice]:
    """(outputs, inputs) of one axis that meet in a tap."""
    low = max(0, -((tap - pad) // stride))
    high = min(extent, -((tap - pad - size) // stride))
    first = low * stride + tap - pad
    return slice(first, first + (high - low) * stride, stride), slice(low, max(low, high))


def _meetings(node: Node) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], Sequence[slice]]]:
    """(tap, outputs, inputs) of every tap that any output takes, row major."""
    a, x, w = _attrs(node), node.inputs[0].type.shape, node.inputs[1].type.shape
    for k in range(w[1]):
        for j in range(w[2]):
            rows, from_rows = _reach(k, a.stride[0], a.pad[0], a.size[0], x[1])
            columns, from_columns = _reach(j, a.stride[1], a.pad[1], a.size[1], x[2])
            if from_rows.start < from_rows.stop and from_columns.start < from_columns.stop:
                yield (k, j), (rows, columns), (from_rows, from_columns)


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, w = (centred(a, v.type) for a, v in zip(operands[:2], node.inputs[:2], strict=True))
    acc = start(node, operands, node.output.type.shape)
    for (k, j), (rows, columns), (from_rows, from_columns) in _meetings(node):
        before = acc[:, rows, columns]
        acc[:, rows, columns] = dot(before, x[:, from_rows, from_columns], w[:, k, j])
    return (requantize(node, acc),)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    a, (_, kh, kw, _) = _attrs(node), node.inputs[1].type.shape
    rows, columns = (
        Spread(axis + 1, size, stride, pad)
        for axis, (size, stride, pad) in enumerate(zip((kh, kw), a.stride, a.pad, strict=True))
    )
    x: OperandRule = (Pointwise(0), rows, columns, Whole())
    w: OperandRule = (Pointwise(3), Whole(), Whole(), Whole())
    return (x, w, (Pointwise(3),))[: len(node.inputs)]


def _pairs(node: Node) -> int:
    """Pairs of an output pixel and a tap that meet."""
    spans = (inputs for _, _, inputs in _meetings(node))
    meetings = sum((r.stop - r.start) * (c.stop - c.start) for r, c in spans)
    return node.output.type.shape[0] * meetings


def _macs(node: Node) -> int:
    return _pairs(node) * node.inputs[0].type.shape[3] * node.output.type.shape[3]


def _folds(node: Node) -> bool:
    return node.inputs[0].type.zero_point != 0


def _operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    x, w, acc = node.inputs[0], node.inputs[1], acc_type(node)
    bias = node.inputs[2] if len(node.inputs) > 2 else zeros(b, node, acc)
    given = Operand(x, 0), weights(node), Operand(bias)
    if not _folds(node):
        return given
    attrs = FoldBias(x.type.zero_point, acc is DType.S64, w.type.zero_point, axes=3)
    return (*given, Operand(b.add(fold_bias, (w,), attrs, name=f"{node.output.name}/taps")))


def _params(node: Node) -> Mapping[str, int]:
    a, x, w = _attrs(node), node.inputs[0].type, node.inputs[1].type
    return {
        "in_h": x.shape[1],
        "in_w": x.shape[2],
        "in_c": x.shape[3],
        "out_h": a.size[0],
        "kh": w.shape[1],
        "kw": w.shape[2],
        "stride_h": a.stride[0],
        "stride_w": a.stride[1],
        "pad_top": a.pad[0],
        "pad_left": a.pad[1],
        "tap_sums": int(_folds(node)),
        **weight_params(w, w.size // w.shape[0]),
    }


def _work(node: Node) -> Work:
    """Set-ups: dot products, one for each tap that meets an output."""
    out = node.output.type
    return Work(_macs(node), out.size, _pairs(node) * out.shape[3])


KERNEL = Kernel(
    name="transpose_conv",
    source="transpose_conv.c",
    accepts=lambda node: None,
    types=types,
    params=_params,
    specialise=("kh", "kw", "stride_h", "stride_w", "tap_sums", "in_c", "w_next", "w_zero"),
    operands=_operands,
    finish=finish,
    writes=EITHER,
    work=_work,
)


def _w(*shape: int) -> TensorType:
    """int8 weights for a sample, quantised per output channel."""
    scales = tuple(float(np.float32(0.003 * (k + 1))) for k in range(shape[0]))
    return TensorType(shape, DType.S8, Quant(scales, (0,) * shape[0], 0))


transpose_conv = register(
    Op(
        name="transpose_conv",
        doc="y[n,i*s+k-pad,j*s+l-pad,o] = sum x[n,i,j,c] * w[o,k,l,c] + bias[o]; "
        "x (N,H,W,I), w (O,KH,KW,I), bias (O) -> y (N,*size,O)",
        attrs=TransposeConv,
        infer=_infer,
        ref=_ref,
        constants=check_multipliers,
        grads=product_rules.TRANSPOSED,
        regions=_regions,
        bounds=sum_bounds,
        contraction=sum_contraction,
        narrow=sum_narrow,
        cost=lambda node: Cost(macs=_macs(node)),
        kernels=(KERNEL,),
        samples=(
            Sample(
                (s8(1, 4, 5, 3, scale=0.05, zero_point=-3), _w(5, 3, 3, 3), s32(5)),
                TransposeConv((2, 2), (0, 0), (8, 10)),
                (s8(1, 8, 10, 5, scale=0.5, zero_point=4),),
                params=(1, 2),
            ),
            Sample(
                (s8(2, 3, 4, 4, scale=0.1, zero_point=127), _w(2, 4, 2, 4)),
                TransposeConv((3, 1), (0, 0), (11, 5)),
                (s8(2, 11, 5, 2, scale=0.9, zero_point=-128),),
                params=(1,),
            ),
            Sample(
                (s8(1, 5, 4, 2, scale=0.1), s8(3, 5, 5, 2, scale=0.01), s32(3)),
                TransposeConv((1, 1), (2, 2), (5, 4)),
                (s8(1, 5, 4, 3, scale=0.3, zero_point=7),),
                params=(1, 2),
            ),
            Sample(
                (s8(1, 3, 3, 2, scale=0.1, zero_point=-7), _w(3, 2, 1, 2), s32(3)),
                TransposeConv((2, 3), (0, 0), (6, 8)),
                (s8(1, 6, 8, 3, scale=0.3, zero_point=7),),
            ),
            Sample(
                (
                    s16(1, 4, 3, 3, scale=0.001),
                    _w(2, 3, 3, 3),
                    TensorType((2,), DType.S64),
                ),
                TransposeConv((2, 2), (0, 0), (8, 6)),
                (s16(1, 8, 6, 2, scale=0.02),),
                params=(1, 2),
            ),
            Sample(
                (f32(1, 4, 3, 5), f32(2, 4, 4, 5), f32(2)),
                TransposeConv((2, 2), (1, 1), (8, 6)),
                params=(1, 2),
            ),
            Sample((f32(2, 3, 3, 2), f32(3, 3, 2, 2)), TransposeConv((2, 1), (0, 0), (7, 4))),
            Sample(
                (f32(7, 1, 1, 1), f32(4, 1, 1, 1)),
                TransposeConv((2, 2), (0, 0), (2, 2)),
                params=(1,),
            ),
        ),
        dtypes=(DType.S8, DType.S16, DType.F32),
        oracle="TFLM TRANSPOSE_CONV",
    )
)

__all__ = ["TransposeConv", "transpose_conv", "transposed_pad"]
