"""Gradients of convolutions towards what they read; towards their weights: `conv_grads`.

Integer weights are numbers without their scale: scales are applied by nodes around.  Float sums
have the order that is written here, so that a training step has the same bits in Python and on
the device.  Sums of rounded gradients are exact, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Spread, Whole, whole
from lilliput.ir.types import Array, DType, Quant, TensorType, f32
from lilliput.ops.common import c_type, check
from lilliput.ops.conv_meetings import (
    SAME,
    TILE,
    Meeting,
    centred,
    extent,
    given,
    is_product,
    meeting_of,
    meetings,
    pairs,
    plain,
)
from lilliput.ops.gemm import TWOS
from lilliput.ops.registry import register

LEAST = np.float32(1e-30)
"""No steps are made of smaller numbers."""
DEEPEST = 1 << 14
"""Output channels of which sums of rounded numbers leave steps enough."""
FIXED_FOURS = 4
"""Fours of pixels for which weights are widened once."""


@dataclass(frozen=True)
class ConvBack(Attrs):
    """stride, dilation, pad and groups of the convolution; size (rows, columns) of what it read;
    fixed: dy is rounded to 16-bit numbers, in steps of its own for each pixel, and sums are exact
    (1x1 convolutions of int8 weights).  Of those alone some channels may be asked for, as (first,
    count), a count of 0 standing for all:
    outputs: those output channels that dy has; inputs: those input channels that dx has."""

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    fixed: bool = False
    outputs: tuple[int, int] = (0, 0)
    inputs: tuple[int, int] = (0, 0)

    def part(self, w: Sequence[int]) -> tuple[slice, slice]:
        """The output and the input channels of weights (O, KH, KW, I/groups) that take part."""
        return _some(self.outputs, w[0]), _some(self.inputs, w[3])


def _some(channels: tuple[int, int], of: int) -> slice:
    first, count = channels
    return slice(first, first + (count or of))


def _back(node: Node) -> ConvBack:
    assert isinstance(node.attrs, ConvBack)
    return node.attrs


def _grad_x_infer(a: ConvBack, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "dy, w", len(types))
    dy, w = types
    check(dy.dtype is DType.F32, "dy", "f32", dy.dtype.value)
    check(w.dtype in (DType.F32, DType.S8), "weights", "f32 or s8", w.dtype.value)
    check(w.zero_point == 0, "zero point of the weights", 0, w.zero_point)
    check(len(dy.shape) == len(w.shape) == 4, "ranks", "(N,OH,OW,O), (O,KH,KW,I/g)", (dy, w))
    outputs, inputs = a.part(w.shape)
    for what, part, of in (("output", outputs, w.shape[0]), ("input", inputs, w.shape[3])):
        check(0 <= part.start < part.stop <= of, f"{what} channels", f"some of {of}", part)
    check(
        dy.shape[3] == outputs.stop - outputs.start,
        "output channels",
        outputs.stop - outputs.start,
        dy.shape[3],
    )
    check(w.shape[0] % a.groups == 0, "output channels", f"multiple of {a.groups}", w.shape[0])
    for i in (0, 1):
        expected = extent(a.size[i], i, w.shape[1 + i], a)
        check(dy.shape[1 + i] == expected, "extent of dy", expected, dy.shape[1 + i])
    check(not a.fixed or roundable(a, w), "weights of sums of rounded numbers", "s8, 1x1", str(w))
    some = a.outputs[1] or a.inputs[1]
    check(a.fixed or not some, "sums of some channels", "of rounded numbers", "of floats")
    return (f32(dy.shape[0], *a.size, (inputs.stop - inputs.start) * a.groups),)


def roundable(a: ConvBack, w: TensorType) -> bool:
    """Whether dy of a convolution with these weights can be rounded."""
    return w.dtype is DType.S8 and w.shape[0] <= DEEPEST and is_product(a, w.shape)


def _grad_x_meetings(node: Node) -> Iterator[Meeting]:
    a, dy, w = _back(node), node.inputs[0].type.shape, node.inputs[1].type.shape
    return meetings(a, w[1:3], a.size, dy[1:3])


def _grad_x_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    """Each element from zero over the taps that reach it, row major, then over o of its group."""
    if _back(node).fixed:
        return (rounded_sums(operands[0], taking_part(node, operands[1])),)
    dy, w = operands[0], centred(operands[1], node.inputs[1].type)
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


def taking_part(node: Node, w: Array) -> Array:
    """The weights of those channels that take part."""
    outputs, inputs = _back(node).part(w.shape)
    return w[outputs, ..., inputs]


def steps(channels: int) -> int:
    """The largest number that dy of so many channels is rounded to: sums fit in 32 bits."""
    return min((1 << 15) - 1, ((1 << 31) - 1) // (128 * channels))


@np.errstate(all="ignore")
def rounded_sums(dy: Array, w: Array) -> Array:
    """dy f32 (..., O), w s8 (O, 1, 1, I) -> f32 (..., I): of the numbers of a pixel rounded to the
    nearest (ties to even) of `steps(O)` steps on either side, exact sums, and one product."""
    most = np.float32(steps(dy.shape[-1]))
    top = np.abs(dy).max(-1, keepdims=True)
    some = np.isfinite(top) & (top >= LEAST)
    numbers = np.rint(np.where(some, dy * (most / top), 0)).clip(-most, most)
    sums = numbers.astype(np.float64) @ w[:, 0, 0].astype(np.float64)  # exact
    step = np.where(some, top / most, np.where(top < LEAST, np.float32(0), np.float32(np.nan)))
    return sums.astype(np.float32) * step.astype(np.float32)


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


def _fours_work(node: Node) -> Work:
    """Multiply-accumulates with the zeros beside a row; set-ups: a row of taps of four pixels, that
    are a stride apart."""
    dy, w, size = node.inputs[0].type.shape, node.inputs[1].type.shape, node.output.type.shape
    a, apart = _back(node), _back(node).stride[1]
    spans = (meeting_of(a, 0, k, size[1], dy[1])[1] for k in range(w[1]))
    rows = sum(s.stop - s.start for s in spans)
    fours = sum(-(-len(range(e, size[2], apart)) // 4) for e in range(min(apart, size[2])))
    setups = dy[0] * dy[3] * rows * fours
    return Work(4 * setups * -(-w[2] // apart), node.output.type.size, setups)


def _exact(node: Node) -> str | None:
    return "dy is rounded" if _back(node).fixed else None


def _product(node: Node) -> str | None:
    plain = is_product(_back(node), node.inputs[1].type.shape)
    return _exact(node) or (None if plain else "only 1x1 convolutions of stride 1")


def _fixed(node: Node) -> str | None:
    return None if _back(node).fixed else "dy is not rounded"


def _fixed_twos(node: Node) -> str | None:
    w = node.inputs[1].type.shape
    outputs, inputs = _back(node).part(w)
    whole = w[3] % 4 == 0 and inputs.start % 4 == 0 and inputs.stop % 4 == 0
    refused = None if whole and outputs.start % 2 == 0 else "only channels by twos and fours"
    return _fixed(node) or refused


def _fixed_params(apart: int) -> Callable[[Node], Mapping[str, int]]:
    """apart : bytes between the weights of two input channels, of which two rows are as many"""

    def params(node: Node) -> Mapping[str, int]:
        w, in_c = node.inputs[1].type.shape, node.inputs[0].type.shape[3]
        outputs, inputs = _back(node).part(w)
        first = outputs.start * w[3] + apart * inputs.start
        left = w[3] - inputs.start
        return {"in_c": in_c, "w_row": w[3], "left": left, "first": first, "most": steps(in_c)}

    return params


def _fixed_types(weights: str, fours: int = 1) -> Callable[[Node], Mapping[str, str]]:
    """weights : "rows" or "twos"; fours : of pixels that are made together"""
    apart = "1" if weights == "rows" else "2"
    sums = {"LL_BACK": f"ll_back_{weights}", "LL_WIDEN": f"ll_widen_{weights}"}
    types = {"LL_ACC": "float", "LL_NEXT_CHANNEL": apart, "LL_FOURS": str(fours), **sums}
    return lambda _: types


def _fixed_bytes(node: Node) -> int:
    """Rounded numbers of four pixels, by twos."""
    return 16 * -(-node.inputs[0].type.shape[3] // 2)


def _several(accepts: Callable[[Node], str | None]) -> Callable[[Node], str | None]:
    def several(node: Node) -> str | None:
        rows, pixels, _ = node.output.type.frame
        return accepts(node) or ("four pixels are made at a time" if rows * pixels <= 4 else None)

    return several


def _wide_bytes(node: Node) -> int:
    """Rounded numbers of the fours of pixels, and the wide weights of four channels."""
    return 32 * -(-node.inputs[0].type.shape[3] // 4) * (FIXED_FOURS + 1)


def _wide_work(node: Node) -> Work:
    """As `_fixed_work`; what widens a weight takes as long as two products."""
    work, channels = _fixed_work(node), node.inputs[0].type.shape[3]
    times = -(-work.setups // (channels * 4 * FIXED_FOURS))
    widened = times * channels * node.output.type.shape[3]
    return Work(work.inner + 2 * widened, work.elements, work.setups)


def _fixed_work(node: Node) -> Work:
    """Inner: of four pixels, some of which may be missing; set-ups: numbers that are rounded."""
    channels, i = node.inputs[0].type.shape[3], node.output.type.shape[3]
    pixels = -(-node.inputs[0].type.size // channels // 4) * 4
    return Work(pixels * channels * i, node.output.type.size, pixels * channels)


def _twos(node: Node) -> str | None:
    w = node.inputs[1].type
    if w.dtype is not DType.S8 or w.shape[3] % 4:
        return "only int8 weights of input channels by fours"
    return _product(node)


def _packed(_: Builder, node: Node) -> tuple[Operand, ...]:
    return Operand(node.inputs[0], 0), Operand(node.inputs[1], 1, TWOS)


def _grad_x_macs(node: Node) -> int:
    a, dy, dx = _back(node), node.inputs[0].type.shape, node.output.type.shape
    return dy[0] * pairs(_grad_x_meetings(node)) * dy[3] * dx[3] // a.groups


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
        operands=given,
        finish=plain,
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
GRAD_X_DEPTHWISE = replace(
    _grad_x_kernel("conv2d_grad_x_depthwise", _depthwise, ("stride_h", "stride_w", "kw"), _strided),
    work=_fours_work,
)
GRAD_X_PLANE = replace(
    _grad_x_kernel("conv2d_grad_x_plane", _plane, ("kw",), _everywhere),
    scratch=_plane_bytes,
    in_place=True,
    work=_fours_work,
)
GRAD_X_FIXED = replace(
    _grad_x_kernel("conv2d_grad_x_fixed", _fixed, ("in_c", "w_row"), lambda _: TILE - 1),
    types=_fixed_types("rows"),
    params=_fixed_params(1),
    scratch=_fixed_bytes,
    work=_fixed_work,
)
GRAD_X_FIXED_TWOS = replace(
    GRAD_X_FIXED,
    name="conv2d_grad_x_fixed_twos",
    accepts=_fixed_twos,
    types=_fixed_types("twos"),
    params=_fixed_params(2),
    operands=_packed,
    packed=(1,),
    again=(),
)


def _wide(kernel: Kernel, weights: str) -> Kernel:
    """`kernel` where there is room: of several fours of pixels weights are widened once."""
    return replace(
        kernel,
        name=f"{kernel.name}_wide",
        accepts=_several(kernel.accepts),
        types=_fixed_types(weights, FIXED_FOURS),
        ahead=lambda _: 4 * FIXED_FOURS - 1,
        align=4,
        scratch=_wide_bytes,
        feature="dsp",
        work=_wide_work,
    )


GRAD_X_FIXED_WIDE = _wide(GRAD_X_FIXED, "rows")
GRAD_X_FIXED_TWOS_WIDE = _wide(GRAD_X_FIXED_TWOS, "twos")
GRAD_X = _grad_x_kernel("conv2d_grad_x", _exact, (*_TAPS, "dilation_h", "dilation_w"))


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
        kernels=(
            GRAD_X_FIXED_TWOS_WIDE,
            GRAD_X_FIXED_WIDE,
            GRAD_X_FIXED_TWOS,
            GRAD_X_FIXED,
            GRAD_X_TWOS,
            GRAD_X_TILES,
            GRAD_X_PLANE,
            GRAD_X_DEPTHWISE,
            GRAD_X,
        ),
        samples=(
            Sample((f32(1, 4, 5, 9), _w8(9, 1, 1, 7)), ConvBack((4, 5)), params=(1,)),
            Sample((f32(1, 5, 6, 4), f32(4, 3, 3, 3)), ConvBack((5, 6), pad=SAME)),
            Sample((f32(2, 3, 2, 5), _w8(5, 3, 2, 2)), ConvBack((7, 5), (2, 2)), params=(1,)),
            Sample((f32(2, 3, 3, 4), f32(4, 1, 1, 8)), ConvBack((3, 3))),
            Sample((f32(1, 3, 6, 5), _w8(5, 1, 1, 8)), ConvBack((3, 6)), params=(1,)),
            Sample((f32(1, 2, 3, 6), _w8(6, 1, 1, 12)), ConvBack((2, 3)), params=(1,)),
            Sample((f32(1, 4, 5, 9), _w8(9, 1, 1, 8)), ConvBack((4, 5), fixed=True), params=(1,)),
            Sample((f32(2, 3, 6, 4), _w8(4, 1, 1, 7)), ConvBack((3, 6), fixed=True)),
            Sample(
                (f32(1, 3, 5, 9), _w8(9, 1, 1, 12)),
                ConvBack((3, 5), fixed=True, inputs=(4, 8)),
                params=(1,),
            ),
            Sample(
                (f32(1, 3, 4, 5), _w8(9, 1, 1, 8)),
                ConvBack((3, 4), fixed=True, outputs=(4, 5)),
                params=(1,),
            ),
            Sample(
                (f32(1, 2, 3, 3), _w8(7, 1, 1, 9)),
                ConvBack((2, 3), fixed=True, outputs=(3, 3), inputs=(2, 5)),
            ),
            Sample((f32(1, 5, 5, 6), _w8(6, 3, 3, 1)), ConvBack((5, 5), pad=SAME, groups=6)),
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
                ConvBack((3, 3), pad=SAME, groups=4),
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
