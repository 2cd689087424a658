"""Operators that only training needs: a loss, and the gradient of a convolution's weights.

Backward and update nodes are ordinary nodes; most of them are operators that inference has
as well (linear, sub, mul, broadcast, mean).  Float sums have the order that is written here,
so that a training step has the same bits in Python and on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Kernel, NoAttrs, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Reduce, Whole, Window, pointwise
from lilliput.ir.types import Array, DType, TensorType, f32
from lilliput.ops import floatmath
from lilliput.ops.common import check
from lilliput.ops.conv import windows
from lilliput.ops.registry import register


@dataclass(frozen=True)
class ConvGrad(Attrs):
    """kernel (rows, columns), stride, dilation and pad of the convolution."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)


def _attrs(node: Node) -> ConvGrad:
    assert isinstance(node.attrs, ConvGrad)
    return node.attrs


# gradient of conv2d with respect to its weights -------------------------------------------


def _conv_grad_infer(a: ConvGrad, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "x, dy", len(types))
    x, dy = types
    check(x.dtype is dy.dtype is DType.F32, "element types", "f32, f32", (x.dtype, dy.dtype))
    check(len(x.shape) == len(dy.shape) == 4, "ranks", "(N,H,W,I), (N,OH,OW,O)", (x, dy))
    check(x.shape[0] == dy.shape[0], "batches", x.shape[0], dy.shape[0])
    for i in (0, 1):
        span = (a.kernel[i] - 1) * a.dilation[i] + 1
        padded = x.shape[1 + i] + a.pad[2 * i] + a.pad[2 * i + 1]
        expected = (padded - span) // a.stride[i] + 1
        check(dy.shape[1 + i] == expected, "extent of dy", expected, dy.shape[1 + i])
    return (f32(dy.shape[3], *a.kernel, x.shape[3]),)


def _conv_grad_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    """Sums over images, rows, columns, one product after the other, from zero."""
    x, dy = operands
    a = _attrs(node)
    x = np.pad(x, ((0, 0), a.pad[:2], a.pad[2:], (0, 0)))
    dw = np.zeros(node.output.type.shape, np.float32)
    for (i, j), window in windows(x, a.kernel, a.stride, a.dilation, dy.shape[1:3]):
        flat = window.reshape(-1, x.shape[3])
        for pixel, gradient in zip(flat, dy.reshape(-1, dy.shape[3]), strict=True):
            dw[:, i, j] = dw[:, i, j] + gradient[:, None] * pixel
    return (dw,)


def _conv_grad_regions(node: Node) -> tuple[OperandRule, ...]:
    a = _attrs(node)
    rows = Window(4, a.kernel[0], a.stride[0], a.dilation[0], a.pad[0])
    x: OperandRule = (Pointwise(5), Reduce(rows), Whole(), Whole())
    dy: OperandRule = (Pointwise(5), Reduce(Pointwise(4)), Whole(), Pointwise(0))
    return x, dy


def _conv_grad_params(node: Node) -> Mapping[str, int]:
    a = _attrs(node)
    x, dy = (v.type.shape for v in node.inputs)
    return {
        "in_h": x[1],
        "in_w": x[2],
        "in_c": x[3],
        "out_h": dy[1],
        "out_w": dy[2],
        "out_c": dy[3],
        "rows": dy[0] * dy[1],
        "kh": a.kernel[0],
        "kw": a.kernel[1],
        "stride_h": a.stride[0],
        "stride_w": a.stride[1],
        "dilation_h": a.dilation[0],
        "dilation_w": a.dilation[1],
        "pad_top": a.pad[0],
        "pad_left": a.pad[2],
    }


def _conv_grad_operands(_: Builder, node: Node) -> tuple[Operand, ...]:
    return tuple(Operand(v, i) for i, v in enumerate(node.inputs))


def _conv_grad_macs(node: Node) -> int:
    dy = node.inputs[1].type.shape
    return node.output.type.size * dy[0] * dy[1] * dy[2]


def _conv_grad_work(node: Node) -> Work:
    """Set-ups: runs over the input channels, one for each tap, pixel and output channel."""
    macs = _conv_grad_macs(node)
    return Work(macs, node.output.type.size, macs // node.output.type.shape[3])


conv2d_grad_w = register(
    Op(
        name="conv2d_grad_w",
        doc="dw[o,i,j,c] = sum over n,p,q of dy[n,p,q,o] * x[n, p*s+i*d-pad, q*s+j*d-pad, c]; "
        "x (N,H,W,I), dy (N,OH,OW,O) -> dw (O,KH,KW,I)",
        attrs=ConvGrad,
        infer=_conv_grad_infer,
        ref=_conv_grad_ref,
        grads=(None, None),
        regions=_conv_grad_regions,
        cost=lambda node: Cost(macs=_conv_grad_macs(node)),
        kernels=(
            Kernel(
                name="conv2d_grad_w",
                source="conv2d_grad_w.c",
                accepts=lambda node: None,
                types=lambda node: {"LL_X": "float", "LL_ACC": "float"},
                params=_conv_grad_params,
                specialise=("kh", "kw"),
                operands=_conv_grad_operands,
                carry=lambda node: node.output.type.nbytes,
                work=_conv_grad_work,
            ),
        ),
        samples=(
            Sample((f32(1, 5, 6, 3), f32(1, 5, 6, 4)), ConvGrad((3, 3), pad=(1, 1, 1, 1))),
            Sample((f32(2, 7, 5, 2), f32(2, 3, 2, 3)), ConvGrad((3, 2), (2, 2))),
            Sample((f32(1, 6, 6, 1), f32(1, 3, 3, 2)), ConvGrad((2, 2), dilation=(3, 3))),
        ),
        dtypes=(DType.F32,),
        oracle="docs/numerics.md",
    )
)


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
        grads=(None, None),
        regions=lambda node: ((*pointwise(len(node.inputs[0].type.shape) - 1), Whole()),) * 2,
        cost=lambda node: Cost(ops=4 * node.inputs[0].type.size),
        kernels=(
            Kernel(
                name="cross_entropy",
                source="cross_entropy.c",
                accepts=lambda node: None,
                types=lambda node: {"LL_X": "float", "LL_ACC": "float"},
                params=lambda node: {"channels": node.inputs[0].type.shape[-1]},
                operands=_conv_grad_operands,
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
