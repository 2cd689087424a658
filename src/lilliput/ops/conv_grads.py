"""Gradients of convolutions towards their weights; towards what they read: `conv_back`.

Integer operands are numbers less their zero point, without their scale: scales are applied by
nodes around.  Float sums have the order that is written here, so that a training step has the
same bits in Python and on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Kernel, Op, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Reduce, Whole, Window, whole
from lilliput.ir.types import Array, DType, TensorType, f32, s8
from lilliput.ops.common import c_type, check
from lilliput.ops.conv_meetings import (
    SAME,
    TILE,
    Meeting,
    centred,
    extent,
    given,
    meetings,
    pairs,
    plain,
    steps_of,
)
from lilliput.ops.registry import register


@dataclass(frozen=True)
class ConvGrad(Attrs):
    """kernel (rows, columns), stride, dilation, pad (top, bottom, left, right) and groups of the
    convolution; carried: the sums are carried over rows of dy that come one after another, instead
    of being made a row of dw at a time from all of x and dy."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    carried: bool = False


def _attrs(node: Node) -> ConvGrad:
    assert isinstance(node.attrs, ConvGrad)
    return node.attrs


def _grad_w_infer(a: ConvGrad, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "x, dy", len(types))
    x, dy = types
    check(x.dtype in (DType.F32, DType.S8), "x", "f32 or s8", x.dtype.value)
    check(dy.dtype is DType.F32, "dy", "f32", dy.dtype.value)
    check(len(x.shape) == len(dy.shape) == 4, "ranks", "(N,H,W,I), (N,OH,OW,O)", (x, dy))
    check(x.shape[0] == dy.shape[0], "batches", x.shape[0], dy.shape[0])
    for what, channels in (("input", x.shape[3]), ("output", dy.shape[3])):
        check(channels % a.groups == 0, f"{what} channels", f"multiple of {a.groups}", channels)
    for i in (0, 1):
        expected = extent(x.shape[1 + i], i, a.kernel[i], a)
        check(dy.shape[1 + i] == expected, "extent of dy", expected, dy.shape[1 + i])
    return (f32(dy.shape[3], *a.kernel, x.shape[3] // a.groups),)


def _grad_w_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    """Each element from zero over the pixels of dy, row major, whose tap lies inside the map."""
    a = _attrs(node)
    x, dy = centred(operands[0], node.inputs[0].type), operands[1]
    dw = np.zeros(node.output.type.shape, np.float32)
    o, i = dw.shape[0] // a.groups, dw.shape[3]
    for (row, column), (rows, columns), (from_rows, from_columns) in _grad_w_meetings(node):
        pixels = x[:, rows, columns].reshape(-1, a.groups, 1, i)
        gradients = dy[:, from_rows, from_columns].reshape(-1, a.groups, o, 1)
        acc = np.zeros((a.groups, o, i), np.float32)
        for pixel, gradient in zip(pixels, gradients, strict=True):
            acc = acc + gradient * pixel
        dw[:, row, column] = acc.reshape(-1, i)
    return (dw,)


def _grad_w_meetings(node: Node) -> Iterator[Meeting]:
    a, (x, dy) = _attrs(node), (v.type.shape for v in node.inputs)
    return meetings(a, a.kernel, x[1:3], dy[1:3])


def _grad_w_regions(node: Node) -> tuple[OperandRule, ...]:
    a = _attrs(node)
    if not a.carried:
        return whole(4), whole(4)
    rows = Window(4, a.kernel[0], a.stride[0], a.dilation[0], a.pad[0])
    x: OperandRule = (Pointwise(5), Reduce(rows), Whole(), Whole())
    dy: OperandRule = (Pointwise(5), Reduce(Pointwise(4)), Whole(), Whole())
    return x, dy


def _grad_w_params(node: Node) -> Mapping[str, int]:
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
        **steps_of(a),
        "group_in": x[3] // a.groups,
        "group_out": dy[3] // a.groups,
        "zero_point": node.inputs[0].type.zero_point,
    }


def _grad_w_macs(node: Node) -> int:
    dy, dw = node.inputs[1].type.shape, node.output.type.shape
    return dy[0] * pairs(_grad_w_meetings(node)) * dw[0] * dw[3]


def _grad_w_work(node: Node) -> Work:
    """Set-ups: runs over the input channels, one for each tap, pixel and output channel."""
    macs = _grad_w_macs(node)
    return Work(macs, node.output.type.size, macs // node.output.type.shape[3])


def _tiled(node: Node) -> str | None:
    a = _attrs(node)
    if a.carried:
        return "sums are carried"
    if a.groups > 1:
        return "more than one group"
    channels = (node.inputs[0].type.shape[3], node.inputs[1].type.shape[3])
    return None if min(channels) >= TILE else f"fewer than {TILE} channels"


def _scattered(node: Node) -> int:
    """Kernel row by kernel row of all output channels."""
    rows, pixels, _ = node.output.type.frame
    return rows * pixels if _attrs(node).kernel != (1, 1) else TILE - 1


GRAD_W_CARRIED = Kernel(
    name="conv2d_grad_w",
    source="conv2d_grad_w.c",
    accepts=lambda node: None if _attrs(node).carried else "sums are not carried",
    types=lambda node: {"LL_X": c_type(node.inputs[0].type.dtype), "LL_ACC": "float"},
    params=_grad_w_params,
    specialise=("zero_point",),
    operands=given,
    finish=plain,
    carry=lambda node: node.output.type.nbytes,
    work=_grad_w_work,
)


def _stored_types(_: Node) -> Mapping[str, str]:
    return {"LL_X": "float", "LL_STORED": "1", "LL_ACC": "float"}


def _stored_params(node: Node) -> Mapping[str, int]:
    """Of numbers that are converted beforehand, and have no zero point then."""
    params = _grad_w_params(node)
    return {**params, "zero_point": 0, "stored_zero": params["zero_point"]}


def _line(node: Node) -> int:
    """The pixels of a row of x that a tap meets."""
    return 4 * node.inputs[1].type.shape[2] * node.inputs[0].type.shape[3]


def _floats(node: Node) -> int:
    """All of x."""
    return 4 * node.inputs[0].type.size


def _converting(kernel: Kernel, name: str, scratch: Callable[[Node], int]) -> Kernel:
    """The same of integers in one group, which are converted beforehand, to `scratch`."""

    def accepts(node: Node) -> str | None:
        several = "more than one group" if _attrs(node).groups > 1 else None
        floats = "floats already" if node.inputs[0].type.dtype is DType.F32 else None
        return kernel.accepts(node) or several or floats

    types, params = _stored_types, _stored_params
    made = replace(kernel, name=name, accepts=accepts, types=types, params=params)
    return replace(made, scratch=scratch)


GRAD_W_LINE = _converting(GRAD_W_CARRIED, "conv2d_grad_w_line", _line)

GRAD_W_ROWS = Kernel(
    name="conv2d_grad_w_rows",
    source="conv2d_grad_w_rows.c",
    accepts=lambda node: "sums are carried" if _attrs(node).carried else None,
    types=lambda node: {"LL_X": c_type(node.inputs[0].type.dtype), "LL_ACC": "float"},
    params=_grad_w_params,
    specialise=("kh", "kw", "zero_point", "stride_h", "stride_w"),
    operands=given,
    finish=plain,
    work=_grad_w_work,
)

GRAD_W_TILES = Kernel(
    name="conv2d_grad_w_tiles",
    source="conv2d_grad_w_tiles.c",
    accepts=_tiled,
    types=lambda node: {"LL_X": c_type(node.inputs[0].type.dtype), "LL_ACC": "float"},
    params=_grad_w_params,
    specialise=("zero_point",),
    operands=given,
    finish=plain,
    ahead=_scattered,
    work=_grad_w_work,
)

GRAD_W_FLOATS = _converting(GRAD_W_TILES, "conv2d_grad_w_floats", _floats)

_X8 = s8(1, 5, 6, 3, scale=0.1, zero_point=-9)

conv2d_grad_w = register(
    Op(
        name="conv2d_grad_w",
        doc="dw[o,i,j,c] = sum over n,p,q of dy[n,p,q,o] * x[n, p*s+i*d-pad, q*s+j*d-pad, c]; "
        "x (N,H,W,I) f32, or s8 less its zero point, dy (N,OH,OW,O) -> dw (O,KH,KW,I/groups)",
        attrs=ConvGrad,
        infer=_grad_w_infer,
        ref=_grad_w_ref,
        regions=_grad_w_regions,
        cost=lambda node: Cost(macs=_grad_w_macs(node)),
        kernels=(GRAD_W_FLOATS, GRAD_W_TILES, GRAD_W_ROWS, GRAD_W_LINE, GRAD_W_CARRIED),
        samples=(
            Sample((f32(1, 5, 6, 3), f32(1, 5, 6, 4)), ConvGrad((3, 3), pad=(1, 1, 1, 1))),
            Sample((f32(2, 7, 5, 2), f32(2, 3, 2, 3)), ConvGrad((3, 2), (2, 2))),
            Sample((f32(1, 6, 6, 1), f32(1, 3, 3, 2)), ConvGrad((2, 2), dilation=(3, 3))),
            Sample((_X8, f32(1, 5, 6, 4)), ConvGrad((3, 3), pad=(1, 1, 1, 1))),
            Sample((_X8, f32(1, 5, 6, 9)), ConvGrad((1, 1))),
            Sample((f32(2, 3, 3, 8), f32(2, 3, 3, 5)), ConvGrad((1, 1))),
            Sample((_X8, f32(1, 3, 3, 3)), ConvGrad((3, 3), (2, 2), pad=(1, 1, 1, 0), groups=3)),
            Sample((f32(1, 4, 4, 6), f32(1, 4, 4, 4)), ConvGrad((1, 1), groups=2)),
            Sample(
                (f32(1, 5, 6, 3), f32(1, 5, 6, 4)),
                ConvGrad((3, 3), pad=(1, 1, 1, 1), carried=True),
            ),
            Sample((f32(2, 7, 5, 2), f32(2, 3, 2, 3)), ConvGrad((3, 2), (2, 2), carried=True)),
            Sample((_X8, f32(1, 5, 6, 9)), ConvGrad((1, 1), carried=True)),
            Sample((_X8, f32(1, 5, 6, 3)), ConvGrad((3, 3), pad=SAME, groups=3, carried=True)),
        ),
        dtypes=(DType.F32, DType.S8),
        oracle="docs/numerics.md",
    )
)
