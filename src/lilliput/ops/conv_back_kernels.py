"""Kernels of gradients of convolutions towards what they read; the operator: `conv_back`.

GRAD_X_FIXED      of rounded dy, through weights as they lie: dual products of four pixels
GRAD_X_FIXED_WIDE the same where there is room: weights are widened once for several fours of pixels
GRAD_X_TILES      of floats, 4 by 4
GRAD_X_PLANE      depthwise, a channel's dy copied first, so that dx may take its place
GRAD_X_COPIED     the same copy of the rows that a region needs
GRAD_X_DEPTHWISE  depthwise, from where dy lies
GRAD_X            everything that is not rounded

Those with TWOS in their name take weights as `gemm` has them, so that they are in flash once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Kernel, Operand, Work
from lilliput.ir.types import DType
from lilliput.ops.common import c_type
from lilliput.ops.conv_meetings import (
    TILE,
    Meeting,
    given,
    is_product,
    meeting_of,
    meetings,
    pairs,
    plain,
    steps_of,
)
from lilliput.ops.gemm import TWOS
from lilliput.ops.rounded import steps

FIXED_FOURS = 2
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


def back(node: Node) -> ConvBack:
    assert isinstance(node.attrs, ConvBack)
    return node.attrs


def meetings_back(node: Node) -> Iterator[Meeting]:
    a, dy, w = back(node), node.inputs[0].type.shape, node.inputs[1].type.shape
    return meetings(a, w[1:3], a.size, dy[1:3])


def channels(node: Node) -> int:
    """Output channels that take part."""
    outputs, _ = back(node).part(node.inputs[1].type.shape)
    return outputs.stop - outputs.start


def only_depthwise(node: Node) -> str | None:
    w = node.inputs[1].type.shape
    plain = w[3] == 1 and back(node).groups == w[0] and back(node).dilation == (1, 1)
    return None if plain else "only depthwise convolutions without dilation"


def _plane(node: Node) -> str | None:
    a, dy, w = back(node), node.inputs[0].type.shape, node.inputs[1].type
    if w.dtype is not DType.S8 or a.stride != (1, 1) or a.size != dy[1:3]:
        return "only int8 weights of stride 1, of maps that keep their size"
    if 2 * w.shape[1] <= dy[1]:
        return "a window of few of the rows goes through them one by one"
    return only_depthwise(node)


def _copied(node: Node) -> str | None:
    if node.inputs[1].type.dtype is not DType.S8:
        return "only int8 weights"
    return only_depthwise(node) or (None if _plane(node) else "dx may take the place of dy")


def _everywhere(node: Node) -> int:
    """Pixels of the last channel are stored last."""
    rows, pixels, _ = node.output.type.frame
    return rows * pixels - 1


def _plane_params(node: Node) -> Mapping[str, int]:
    """left, wide : zeros before a row of the copy, and all of its numbers, so that fours of pixels
    are whole wherever a region begins; narrow : numbers of a row that no four slides over, else 0
    """
    a, dy, w = back(node), node.inputs[0].type.shape, node.inputs[1].type.shape
    apart, pad, columns = a.stride[1], a.pad[2], a.size[1]
    left, wide = 0, max(dy[2], (columns - 1 + pad) // apart + 4)
    for e in range(min(apart, columns)):
        first, begin = divmod(e + pad, apart)
        left = max(left, -(-(w[2] - begin) // apart) - 1 - first)
    narrow = dy[2] if apart == 1 and max(dy[2], columns) <= 4 else 0
    return {**_grad_x_params(node), "left": left, "wide": left + wide, "narrow": narrow}


def _plane_bytes(node: Node) -> int:
    """Weights of a channel, and its rows with zeros around, as floats."""
    rows, w = node.inputs[0].type.shape[1], node.inputs[1].type.shape
    return 4 * (w[1] * w[2] + rows * _plane_params(node)["wide"])


def _fours_work(node: Node) -> Work:
    """Multiply-accumulates with the zeros beside a row; set-ups: a row of taps of four pixels, that
    are a stride apart."""
    dy, w, size = node.inputs[0].type.shape, node.inputs[1].type.shape, node.output.type.shape
    a, apart = back(node), back(node).stride[1]
    spans = (meeting_of(a, 0, k, size[1], dy[1])[1] for k in range(w[1]))
    rows = sum(s.stop - s.start for s in spans)
    fours = sum(-(-len(range(e, size[2], apart)) // 4) for e in range(min(apart, size[2])))
    setups = dy[0] * dy[3] * rows * fours
    return Work(4 * setups * -(-w[2] // apart), node.output.type.size, setups)


def _plane_work(node: Node) -> Work:
    """The same without zeros where a row is no longer than four pixels."""
    work, found = _fours_work(node), _plane_params(node)
    if not found["narrow"]:
        return work
    reach = (found["pad_left"] + i - t for i in range(4) for t in range(found["kw"]))
    met = sum(0 <= at < found["narrow"] for at in reach)
    return Work(work.setups * met, work.elements, work.setups)


def _exact(node: Node) -> str | None:
    return "dy is rounded" if back(node).fixed else None


def _product(node: Node) -> str | None:
    plain = is_product(back(node), node.inputs[1].type.shape)
    return _exact(node) or (None if plain else "only 1x1 convolutions of stride 1")


def _fixed(node: Node) -> str | None:
    return None if back(node).fixed else "dy is not rounded"


def _fixed_twos(node: Node) -> str | None:
    w = node.inputs[1].type.shape
    outputs, inputs = back(node).part(w)
    whole = w[3] % 4 == 0 and inputs.start % 4 == 0 and inputs.stop % 4 == 0
    refused = None if whole and outputs.start % 2 == 0 else "only channels by twos and fours"
    return _fixed(node) or refused


def _fixed_params(apart: int) -> Callable[[Node], Mapping[str, int]]:
    """apart : bytes between the weights of two input channels, of which two rows are as many"""

    def params(node: Node) -> Mapping[str, int]:
        w, in_c = node.inputs[1].type.shape, channels(node)
        outputs, inputs = back(node).part(w)
        first = outputs.start * w[3] + apart * inputs.start
        left = w[3] - inputs.start
        return {"in_c": in_c, "w_row": w[3], "left": left, "first": first, "most": steps(in_c)}

    return params


def _fixed_types(weights: str, fours: int = 1) -> Callable[[Node], Mapping[str, str]]:
    """weights : "rows" or "twos"; fours : of pixels that are made together"""
    apart = "1" if weights == "rows" else "2"
    sums = {"LL_BACK": f"ll_back_{weights}", "LL_WIDEN": f"ll_widen_{weights}"}
    types = {"LL_ACC": "float", "LL_NEXT_CHANNEL": apart, "LL_FOURS": str(fours), **sums}
    return lambda node: {
        **types,
        "LL_X": c_type(node.inputs[0].type.dtype),
        "LL_ROUNDED": str(int(_is_rounded(node))),
    }


def _is_rounded(node: Node) -> bool:
    """Whether dy was rounded before."""
    return node.inputs[0].type.dtype is DType.S16


def _fixed_bytes(node: Node) -> int:
    """Rounded numbers of four pixels, by twos."""
    return 16 * -(-channels(node) // 2)


def _several(accepts: Callable[[Node], str | None]) -> Callable[[Node], str | None]:
    def several(node: Node) -> str | None:
        rows, pixels, _ = node.output.type.frame
        return accepts(node) or ("four pixels are made at a time" if rows * pixels <= 4 else None)

    return several


def _wide_bytes(node: Node) -> int:
    """Rounded numbers of the fours of pixels, and the wide weights of four channels."""
    return 32 * -(-channels(node) // 4) * (FIXED_FOURS + 1)


def _fours_ahead(_: Node) -> int:
    return 4 * FIXED_FOURS - 1


def _wide_work(node: Node) -> Work:
    """As `_fixed_work`; what widens a weight takes as long as two products."""
    work, pixels = _fixed_work(node), _pixels(node)
    times = -(-pixels // (4 * FIXED_FOURS))
    widened = times * channels(node) * node.output.type.shape[3]
    return Work(work.inner + 2 * widened, work.elements, work.setups)


def _fixed_work(node: Node) -> Work:
    """Inner: of four pixels, some of which may be missing; set-ups: numbers that are rounded, or
    put beside those of other pixels."""
    numbers = _pixels(node) * channels(node)
    return Work(numbers * node.output.type.shape[3], node.output.type.size, numbers)


def _pixels(node: Node) -> int:
    """Those that are made, by fours."""
    rows, columns = node.output.type.shape[1:3]
    return -(-node.output.type.shape[0] * rows * columns // 4) * 4


def _twos(node: Node) -> str | None:
    w = node.inputs[1].type
    if w.dtype is not DType.S8 or w.shape[3] % 4:
        return "only int8 weights of input channels by fours"
    return _product(node)


def _packed(_: Builder, node: Node) -> tuple[Operand, ...]:
    return Operand(node.inputs[0], 0), Operand(node.inputs[1], 1, TWOS)


def grad_x_macs(node: Node) -> int:
    a, dy, dx = back(node), node.inputs[0].type.shape, node.output.type.shape
    return dy[0] * pairs(meetings_back(node)) * channels(node) * dx[3] // a.groups


def _grad_x_params(node: Node) -> Mapping[str, int]:
    a, dy, w = back(node), node.inputs[0].type.shape, node.inputs[1].type.shape
    return {
        "in_h": dy[1],
        "in_w": dy[2],
        "in_c": dy[3],
        "out_h": a.size[0],
        "kh": w[1],
        "kw": w[2],
        **steps_of(a),
        "group_in": w[0] // a.groups,
        "group_out": w[3],
    }


def _grad_x_work(node: Node) -> Work:
    """Set-ups: elements of dx, one a tap that reaches it."""
    macs = grad_x_macs(node)
    share = node.inputs[1].type.shape[0] // back(node).groups
    return Work(macs, node.output.type.size, macs // share)


def _strided(node: Node) -> int:
    """Pixels that are a stride apart are made together."""
    return min((TILE - 1) * back(node).stride[1], node.output.type.shape[2] - 1)


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
    _grad_x_kernel(
        "conv2d_grad_x_depthwise", only_depthwise, ("stride_h", "stride_w", "kw"), _strided
    ),
    work=_fours_work,
)
GRAD_X_PLANE = replace(
    _grad_x_kernel(
        "conv2d_grad_x_plane",
        _plane,
        (*_TAPS, "in_h", "in_w", "out_h", "pad_top", "pad_left", "left", "wide", "narrow"),
        _everywhere,
    ),
    params=_plane_params,
    scratch=_plane_bytes,
    in_place=True,
    work=_plane_work,
)
GRAD_X_COPIED = replace(GRAD_X_PLANE, name="conv2d_grad_x_copied", accepts=_copied, in_place=False)
GRAD_X_FIXED = replace(
    _grad_x_kernel("conv2d_grad_x_fixed", _fixed, ("in_c", "w_row"), lambda _: TILE - 1),
    types=_fixed_types("rows"),
    params=_fixed_params(1),
    gathers=True,
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
        ahead=_fours_ahead,
        align=4,
        scratch=_wide_bytes,
        feature="dsp",
        work=_wide_work,
    )


GRAD_X_FIXED_WIDE = _wide(GRAD_X_FIXED, "rows")
GRAD_X_FIXED_TWOS_WIDE = _wide(GRAD_X_FIXED_TWOS, "twos")
GRAD_X = _grad_x_kernel("conv2d_grad_x", _exact, (*_TAPS, "dilation_h", "dilation_w"))
