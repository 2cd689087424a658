"""Gradients of convolutions: towards their weights, and towards what they read.

Integer operands are numbers less their zero point, without their scale: scales are applied by
nodes around.  Float sums have the order that is written here, so that a training step has the
same bits in Python and on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Finish, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Reduce, Spread, Whole, Window, whole
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8
from lilliput.ops.common import c_type, check
from lilliput.ops.gemm import TWOS
from lilliput.ops.registry import register

TILE = 4
"""Elements along each side of what is computed at once (csrc/update.h)."""


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


@dataclass(frozen=True)
class ConvBack(Attrs):
    """stride, dilation, pad and groups of the convolution; size (rows, columns) of what it read."""

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1


def _centred(data: Array, type: TensorType) -> Array:
    """Real numbers of float32: integers less their zero point."""
    if type.dtype.is_float:
        return data
    zero = type.quant.zero_point[0] if type.quant is not None else 0
    return (data.astype(np.int32) - zero).astype(np.float32)


def _zero_point(type: TensorType) -> int:
    return type.quant.zero_point[0] if type.quant is not None else 0


def _given(_: Builder, node: Node) -> tuple[Operand, ...]:
    return tuple(Operand(v, i) for i, v in enumerate(node.inputs))


def _plain(_: Builder, __: Node) -> Finish:
    return Finish(lambda acc, load: acc)


# gradient of the weights ------------------------------------------------------------------


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
        expected = _extent(x.shape[1 + i], i, a.kernel[i], a)
        check(dy.shape[1 + i] == expected, "extent of dy", expected, dy.shape[1 + i])
    return (f32(dy.shape[3], *a.kernel, x.shape[3] // a.groups),)


def _extent(size: int, i: int, kernel: int, a: ConvGrad | ConvBack) -> int:
    """Of the convolution's result along rows (i = 0) or columns."""
    span = (kernel - 1) * a.dilation[i] + 1
    return (size + a.pad[2 * i] + a.pad[2 * i + 1] - span) // a.stride[i] + 1


def _grad_w_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    """Each element from zero over the pixels of dy, row major, whose tap lies inside the map."""
    a = _attrs(node)
    x, dy = _centred(operands[0], node.inputs[0].type), operands[1]
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


Meeting = tuple[tuple[int, int], Sequence[slice], Sequence[slice]]
"""A tap; the rows and columns of what the convolution reads; those of its result."""


def _grad_w_meetings(node: Node) -> Iterator[Meeting]:
    a, (x, dy) = _attrs(node), (v.type.shape for v in node.inputs)
    return _meetings(a, a.kernel, x[1:3], dy[1:3])


def _meetings(
    a: ConvGrad | ConvBack, kernel: Sequence[int], size: Sequence[int], out: Sequence[int]
) -> Iterator[Meeting]:
    """Where each tap meets the map, row major; nothing of a tap that never does."""
    for k in range(kernel[0]):
        for j in range(kernel[1]):
            rows, from_rows = _meeting(a, 0, k, size[0], out[0])
            columns, from_columns = _meeting(a, 1, j, size[1], out[1])
            if from_rows.start < from_rows.stop and from_columns.start < from_columns.stop:
                yield (k, j), (rows, columns), (from_rows, from_columns)


def _meeting(a: ConvGrad | ConvBack, i: int, tap: int, size: int, out: int) -> tuple[slice, slice]:
    """(places in what is read, places in the result) of one axis that meet in a tap."""
    offset = tap * a.dilation[i] - a.pad[2 * i]
    low = max(0, -(offset // a.stride[i]))
    high = max(low, min(out, (size - 1 - offset) // a.stride[i] + 1))
    first = low * a.stride[i] + offset
    return slice(first, first + (high - low) * a.stride[i], a.stride[i]), slice(low, high)


def _pairs(meetings: Iterator[Meeting]) -> int:
    """Pairs of a pixel of an image's result and a tap inside the map."""
    spans = (result for _, _, result in meetings)
    return sum((r.stop - r.start) * (c.stop - c.start) for r, c in spans)


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
        "stride_h": a.stride[0],
        "stride_w": a.stride[1],
        "dilation_h": a.dilation[0],
        "dilation_w": a.dilation[1],
        "pad_top": a.pad[0],
        "pad_left": a.pad[2],
        "group_in": x[3] // a.groups,
        "group_out": dy[3] // a.groups,
        "zero_point": _zero_point(node.inputs[0].type),
    }


def _grad_w_macs(node: Node) -> int:
    dy, dw = node.inputs[1].type.shape, node.output.type.shape
    return dy[0] * _pairs(_grad_w_meetings(node)) * dw[0] * dw[3]


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
    operands=_given,
    finish=_plain,
    carry=lambda node: node.output.type.nbytes,
    work=_grad_w_work,
)

GRAD_W_ROWS = Kernel(
    name="conv2d_grad_w_rows",
    source="conv2d_grad_w_rows.c",
    accepts=lambda node: "sums are carried" if _attrs(node).carried else None,
    types=lambda node: {"LL_X": c_type(node.inputs[0].type.dtype), "LL_ACC": "float"},
    params=_grad_w_params,
    specialise=("kh", "kw", "zero_point", "stride_h", "stride_w"),
    operands=_given,
    finish=_plain,
    work=_grad_w_work,
)

GRAD_W_TILES = Kernel(
    name="conv2d_grad_w_tiles",
    source="conv2d_grad_w_tiles.c",
    accepts=_tiled,
    types=lambda node: {"LL_X": c_type(node.inputs[0].type.dtype), "LL_ACC": "float"},
    params=_grad_w_params,
    specialise=("zero_point",),
    operands=_given,
    finish=_plain,
    ahead=_scattered,
    work=_grad_w_work,
)

_SAME = (1, 1, 1, 1)
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
        kernels=(GRAD_W_TILES, GRAD_W_ROWS, GRAD_W_CARRIED),
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
            Sample((_X8, f32(1, 5, 6, 3)), ConvGrad((3, 3), pad=_SAME, groups=3, carried=True)),
        ),
        dtypes=(DType.F32, DType.S8),
        oracle="docs/numerics.md",
    )
)


# gradient of what was read ----------------------------------------------------------------


def _back(node: Node) -> ConvBack:
    assert isinstance(node.attrs, ConvBack)
    return node.attrs


def _grad_x_infer(a: ConvBack, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "dy, w", len(types))
    dy, w = types
    check(dy.dtype is DType.F32, "dy", "f32", dy.dtype.value)
    check(w.dtype in (DType.F32, DType.S8), "weights", "f32 or s8", w.dtype.value)
    check(_zero_point(w) == 0, "zero point of the weights", 0, _zero_point(w))
    check(len(dy.shape) == len(w.shape) == 4, "ranks", "(N,OH,OW,O), (O,KH,KW,I/g)", (dy, w))
    check(dy.shape[3] == w.shape[0], "output channels", w.shape[0], dy.shape[3])
    check(w.shape[0] % a.groups == 0, "output channels", f"multiple of {a.groups}", w.shape[0])
    for i in (0, 1):
        expected = _extent(a.size[i], i, w.shape[1 + i], a)
        check(dy.shape[1 + i] == expected, "extent of dy", expected, dy.shape[1 + i])
    return (f32(dy.shape[0], *a.size, w.shape[3] * a.groups),)


def _grad_x_meetings(node: Node) -> Iterator[Meeting]:
    a, dy, w = _back(node), node.inputs[0].type.shape, node.inputs[1].type.shape
    return _meetings(a, w[1:3], a.size, dy[1:3])


def _grad_x_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    """Each element from zero over the taps that reach it, row major, then over o of its group."""
    dy, w = operands[0], _centred(operands[1], node.inputs[1].type)
    groups = _back(node).groups
    o, i = w.shape[0] // groups, w.shape[3]
    dx = np.zeros((*node.output.type.shape[:3], groups, i), np.float32)
    dy = dy.reshape(*dy.shape[:3], groups, o, 1)
    w = w.reshape(groups, o, *w.shape[1:])
    for (k, j), (rows, columns), (from_rows, from_columns) in _grad_x_meetings(node):
        acc = dx[:, rows, columns]
        seen = dy[:, from_rows, from_columns]
        for n in range(o):
            acc = acc + seen[:, :, :, :, n] * w[:, n, k, j]
        dx[:, rows, columns] = acc
    return (dx.reshape(node.output.type.shape),)


def _grad_x_regions(node: Node) -> tuple[OperandRule, ...]:
    a, w = _back(node), node.inputs[1].type.shape
    rows, columns = (
        Spread(1 + i, (w[1 + i] - 1) * a.dilation[i] + 1, a.stride[i], a.pad[2 * i]) for i in (0, 1)
    )
    channels = Pointwise(3) if _depthwise(node) is None else Whole()
    dy: OperandRule = (Pointwise(0), rows, columns, channels)
    return dy, whole(4)


def _depthwise(node: Node) -> str | None:
    w = node.inputs[1].type.shape
    plain = w[3] == 1 and _back(node).groups == w[0] and _back(node).dilation == (1, 1)
    return None if plain else "only depthwise convolutions without dilation"


def _plane(node: Node) -> str | None:
    a, dy, w = _back(node), node.inputs[0].type.shape, node.inputs[1].type
    if w.dtype is not DType.S8 or a.stride != (1, 1) or a.size != dy[1:3]:
        return "only int8 weights of stride 1, of maps that keep their size"
    if 2 * w.shape[1] <= dy[1]:
        return "a window of few of the rows goes through them one by one"
    return _depthwise(node)


def _everywhere(node: Node) -> int:
    """Pixels of the last channel are stored last."""
    rows, pixels, _ = node.output.type.frame
    return rows * pixels - 1


def _plane_bytes(node: Node) -> int:
    """Weights of a channel, and its rows with zeros around so that fours are whole, as floats."""
    (_, rows, columns, _), w = node.inputs[0].type.shape, node.inputs[1].type.shape
    return 4 * (w[1] * w[2] + rows * (-(-columns // 4) * 4 + w[2] - 1))


def _plane_work(node: Node) -> Work:
    """Multiply-accumulates with the zeros beside a row; set-ups: a row of four pixels and taps."""
    dy, w = node.inputs[0].type.shape, node.inputs[1].type.shape
    meetings = _grad_x_meetings(node)
    rows = sum(r.stop - r.start for (_, tap), _, (r, _) in meetings if tap == w[2] // 2)
    fours = dy[0] * dy[3] * rows * -(-dy[2] // 4)
    return Work(4 * fours * w[2], node.output.type.size, fours)


def _product(node: Node) -> str | None:
    a, w = _back(node), node.inputs[1].type.shape
    plain = w[1:3] == a.stride == (1, 1) and not any(a.pad) and a.groups == 1
    return None if plain else "only 1x1 convolutions of stride 1"


def _twos(node: Node) -> str | None:
    w = node.inputs[1].type
    if w.dtype is not DType.S8 or w.shape[3] % 4:
        return "only int8 weights of input channels by fours"
    return _product(node)


def _packed(_: Builder, node: Node) -> tuple[Operand, ...]:
    return Operand(node.inputs[0], 0), Operand(node.inputs[1], 1, TWOS)


def _grad_x_macs(node: Node) -> int:
    dy, w = node.inputs[0].type.shape, node.inputs[1].type.shape
    return dy[0] * _pairs(_grad_x_meetings(node)) * dy[3] * w[3]


def _grad_x_params(node: Node) -> Mapping[str, int]:
    a, dy, w = _back(node), node.inputs[0].type.shape, node.inputs[1].type.shape
    return {
        "in_h": dy[1],
        "in_w": dy[2],
        "in_c": dy[3],
        "out_h": a.size[0],
        "kh": w[1],
        "kw": w[2],
        "stride_h": a.stride[0],
        "stride_w": a.stride[1],
        "dilation_h": a.dilation[0],
        "dilation_w": a.dilation[1],
        "pad_top": a.pad[0],
        "pad_left": a.pad[2],
        "group_in": w[0] // a.groups,
        "group_out": w[3],
    }


def _grad_x_work(node: Node) -> Work:
    """Set-ups: elements of dx, one a tap that reaches it."""
    macs = _grad_x_macs(node)
    share = node.inputs[1].type.shape[0] // _back(node).groups
    return Work(macs, node.output.type.size, macs // share)


def _strided(node: Node) -> int:
    """Pixels that are a stride apart are made together."""
    return min((TILE - 1) * _back(node).stride[1], node.output.type.shape[2] - 1)


def _grad_x_kernel(
    name: str,
    accepts: Callable[[Node], str | None],
    specialise: tuple[str, ...],
    ahead: Callable[[Node], int] = lambda _: 0,
) -> Kernel:
    return Kernel(
        name=name,
        source=f"{name}.c",
        accepts=accepts,
        types=lambda node: {"LL_W": c_type(node.inputs[1].type.dtype), "LL_ACC": "float"},
        params=_grad_x_params,
        specialise=specialise,
        operands=_given,
        finish=_plain,
        ahead=ahead,
        again=(1,),
        work=_grad_x_work,
    )


_TAPS = ("kh", "kw", "stride_h", "stride_w")
GRAD_X_TILES = _grad_x_kernel("conv2d_grad_x_tiles", _product, (), lambda _: TILE - 1)
GRAD_X_TWOS = replace(
    _grad_x_kernel("conv2d_grad_x_twos", _twos, (), lambda _: TILE - 1),
    operands=_packed,
    packed=(1,),
    again=(),
)
"""The same from weights as the forward pass has them, so that they are in flash once."""
GRAD_X_DEPTHWISE = _grad_x_kernel(
    "conv2d_grad_x_depthwise", _depthwise, ("stride_h", "stride_w"), _strided
)
GRAD_X_PLANE = replace(
    _grad_x_kernel("conv2d_grad_x_plane", _plane, ("kw",), _everywhere),
    scratch=_plane_bytes,
    in_place=True,
    work=_plane_work,
)
GRAD_X = _grad_x_kernel("conv2d_grad_x", lambda _: None, (*_TAPS, "dilation_h", "dilation_w"))


def _w8(*shape: int) -> TensorType:
    scales = tuple(float(np.float32(0.003 * (k + 1))) for k in range(shape[0]))
    return TensorType(shape, DType.S8, Quant(scales, (0,) * shape[0], 0))


conv2d_grad_x = register(
    Op(
        name="conv2d_grad_x",
        doc="dx[n,p*s+i*d-pad,q*s+j*d-pad,c] = sum over i,j,o of dy[n,p,q,o] * w[o,i,j,c]; "
        "dy (N,OH,OW,O), w (O,KH,KW,I/groups) f32, or s8 as integers -> dx (N,*size,I)",
        attrs=ConvBack,
        infer=_grad_x_infer,
        ref=_grad_x_ref,
        regions=_grad_x_regions,
        cost=lambda node: Cost(macs=_grad_x_macs(node)),
        kernels=(GRAD_X_TWOS, GRAD_X_TILES, GRAD_X_PLANE, GRAD_X_DEPTHWISE, GRAD_X),
        samples=(
            Sample((f32(1, 4, 5, 9), _w8(9, 1, 1, 7)), ConvBack((4, 5)), params=(1,)),
            Sample((f32(1, 5, 6, 4), f32(4, 3, 3, 3)), ConvBack((5, 6), pad=_SAME)),
            Sample((f32(2, 3, 2, 5), _w8(5, 3, 2, 2)), ConvBack((7, 5), (2, 2)), params=(1,)),
            Sample((f32(2, 3, 3, 4), f32(4, 1, 1, 8)), ConvBack((3, 3))),
            Sample((f32(1, 3, 6, 5), _w8(5, 1, 1, 8)), ConvBack((3, 6)), params=(1,)),
            Sample((f32(1, 2, 3, 6), _w8(6, 1, 1, 12)), ConvBack((2, 3)), params=(1,)),
            Sample((f32(1, 5, 5, 6), _w8(6, 3, 3, 1)), ConvBack((5, 5), pad=_SAME, groups=6)),
            Sample(
                (f32(1, 3, 3, 5), f32(5, 5, 5, 1)),
                ConvBack((6, 6), (2, 2), pad=(2, 1, 2, 1), groups=5),
            ),
            Sample(
                (f32(1, 5, 11, 2), f32(2, 3, 5, 1)),
                ConvBack((5, 11), pad=(1, 1, 2, 2), groups=2),
            ),
            Sample(
                (f32(1, 3, 8, 3), _w8(3, 3, 3, 1)),
                ConvBack((6, 15), (2, 2), pad=(0, 1, 1, 1), groups=3),
                params=(1,),
            ),
            Sample(
                (f32(2, 4, 6, 3), _w8(3, 5, 7, 1)),
                ConvBack((4, 6), pad=(2, 2, 3, 3), groups=3),
                params=(1,),
            ),
            Sample(
                (f32(1, 3, 3, 4), _w8(4, 3, 3, 1)),
                ConvBack((3, 3), pad=_SAME, groups=4),
                params=(1,),
            ),
            Sample((f32(1, 4, 3, 2), f32(2, 2, 2, 1)), ConvBack((5, 14), (1, 5), groups=2)),
            Sample((f32(1, 3, 3, 4), f32(4, 2, 2, 1)), ConvBack((6, 6), dilation=(3, 3), groups=4)),
            Sample((f32(1, 4, 4, 4), f32(4, 1, 1, 3)), ConvBack((4, 4), groups=2)),
            Sample((f32(1, 2, 2, 3), f32(3, 1, 1, 2)), ConvBack((4, 4), (2, 2))),
        ),
        dtypes=(DType.F32,),
        oracle="docs/numerics.md",
    )
)
