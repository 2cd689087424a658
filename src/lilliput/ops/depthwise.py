"""Depthwise convolutions of int8 on cores with dual products.

DEPTHWISE_WINDOWS  one channel plane after another.  What a window needs is made regular first (a
                   copy with its padding, weights in pairs), so that the inner loop is one function
                   for each width of window and stride
DEPTHWISE_TAPS     channels last, four of them at a time, read where they lie: for rows that
                   come one by one, and where RAM is short

The kernels that take every shape are in `conv_kernels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import EITHER, Kernel, Layout, Operand, Packing, Work
from lilliput.ir.types import Array, TensorType
from lilliput.ops.accumulate import Conv2d, layer
from lilliput.ops.conv_kernels import (
    WINDOW,
    depth,
    depthwise_accepts,
    folded_bias,
    plain_int8,
    window_params,
    zero_points,
)
from lilliput.ops.finish import doubles, finish_doubled
from lilliput.ops.scalar_kernels import DEPTHWISE_FOURS, PIXELS

ORDER = (0, 2, 1, 3, 4, 6, 5)
"""Where the taps of a window's row lie, in int16 numbers; one more makes them whole pairs."""
STEP = {3: 2, 5: 4, 7: 4}
"""Width of a window -> pixels that the inner loop makes at a time."""
READ = {(3, 1): 4, (3, 2): 6, (5, 1): 8, (5, 2): 12, (7, 1): 12, (7, 2): 16}
"""(width of a window, stride) -> bytes of a row that one step reads."""
LOOP = {
    (3, 1): (7, 4),
    (3, 2): (9, 4),
    (5, 1): (25, 15),
    (5, 2): (30, 15),
    (7, 1): (35, 15),
    (7, 2): (39, 15),
}
"""(width of a window, stride) -> instructions of a step for each row of the window, and besides."""
SUMS = 512
"""Sums that a band keeps, if more than one row fits."""


def _pack(w: Array) -> Array:
    channels, kh, kw = w.shape[:3]
    pairs = np.zeros((channels, kh, kw + 1), np.int16)
    pairs[:, :, list(ORDER[:kw])] = 2 * w.reshape(channels, kh, kw).astype(np.int16)
    return pairs.reshape(channels, -1)


def _unpack(packed: Array, type: TensorType) -> Array:
    channels, kh, kw, _ = type.shape
    taps = packed.reshape(channels, kh, kw + 1)[:, :, list(ORDER[:kw])]
    return np.ascontiguousarray(taps // 2).astype(np.int8).reshape(type.shape)


PAIRS = Packing("pairs", _pack, _unpack)
"""int8 depthwise weights (C*M,KH,KW,1) as int16 (C*M, KH*(KW+1)), doubled for the
sake of the epilogue, in the order of `ORDER`."""


def _accepts(node: Node) -> str | None:
    refused = depthwise_accepts(node) or plain_int8(node)
    if refused:
        return refused
    a, (kh, kw) = layer(node), node.inputs[1].type.shape[1:3]
    assert isinstance(a, Conv2d)
    square = kw in STEP and (kw != 3 or kh == 3)
    if not square or a.dilation != (1, 1) or a.stride not in ((1, 1), (2, 2)):
        return "no window of 3x3, or of rows of 5 or 7, with stride 1 or 2"
    return None


def _shape(node: Node) -> tuple[int, int, int]:
    """(output rows a band, pixels of a row of sums, bytes of a row of the copy)."""
    a, x, w, y = layer(node), node.inputs[0].type, node.inputs[1].type, node.output.type
    assert isinstance(a, Conv2d)
    kw, stride = w.shape[2], a.stride[1]
    step = STEP[kw]
    width = -(-y.shape[2] // step) * step
    needed = max((width - step) * stride + READ[kw, stride], a.pad[2] + x.shape[2])
    room = -(-(needed + -a.pad[2] % 4) // 4) * 4
    return max(1, min(y.shape[1], SUMS // width)), width, room


def _params(node: Node) -> Mapping[str, int]:
    every = window_params(node)
    names = ("in_h", "in_w", "out_h", "kh", "kw", "stride_h", "stride_w", "pad_top", "pad_left")
    band, width, room = _shape(node)
    x, w = node.inputs[0].type, node.inputs[1].type
    return {
        **{name: every[name] for name in names},
        "multiplier": node.output.type.shape[3] // x.shape[3],
        "band": band,
        "width": width,
        "room": room,
        "taps": w.shape[1] * (w.shape[2] + 1),
        "zero": x.zero_point,
    }


def _types(node: Node) -> Mapping[str, str]:
    kw, stride = node.inputs[1].type.shape[2], layer(node)
    assert isinstance(stride, Conv2d)
    return {"LL_ACC": "int32_t", "LL_WINDOWS_FUNCTION": f"ll_windows_{kw}_{stride.stride[1]}"}


def _operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    bias = Operand(folded_bias(b, node, 2))
    return (Operand(node.inputs[0], 0), Operand(node.inputs[1], 1, PAIRS), bias)


def _scratch(node: Node) -> int:
    band, width, room = _shape(node)
    a, kh = layer(node), node.inputs[1].type.shape[1]
    assert isinstance(a, Conv2d)
    return band * width * 4 + ((band - 1) * a.stride[0] + kh) * room


def _work(node: Node) -> Work:
    """Inner: instructions of the inner loop; set-ups: rows of every channel that are copied or
    stored, and the call for a channel, which takes as long as four of them."""
    y, (_, kh, kw, _), a = node.output.type, node.inputs[1].type.shape, layer(node)
    assert isinstance(a, Conv2d)
    _, width, _ = _shape(node)
    channels, copied = y.shape[0] * y.shape[3], node.inputs[0].type.shape[1]
    rows = channels * y.shape[1]
    row, step = LOOP[kw, a.stride[1]]
    return Work(
        rows * (width // STEP[kw]) * (row * kh + step), y.size, rows + channels * (copied + 4)
    )


DEPTHWISE_WINDOWS = Kernel(
    name="depthwise_windows",
    source="depthwise_windows.c",
    accepts=_accepts,
    types=_types,
    params=_params,
    specialise=(
        "multiplier",
        "band",
        "width",
        "room",
        "taps",
        "zero",
        "kh",
        "kw",
        *WINDOW[:2],
        *WINDOW[4:],
    ),
    operands=_operands,
    finish=finish_doubled,
    growth=2.5,
    proof=doubles,
    overlap="none",
    ahead=lambda node: _shape(node)[0] * node.output.type.frame[1],
    align=4,
    scratch=_scratch,
    packed=(1,),
    code=1300,
    feature="dsp",
    reads=(Layout.PLANES,),
    writes=EITHER,
    by_planes=True,
    work=_work,
)


def _members(channels: int) -> Array:
    """The channels of each four of them (fours, 4), in the order c0, c2, c1, c3; the last four are
    the last ones, of which some may be in the four before."""
    first = np.minimum(np.arange(0, channels, 4), channels - 4)
    return first[:, None] + [0, 2, 1, 3]


def _fours(w: Array) -> Array:
    members = _members(w.shape[0])
    taps = 2 * w.reshape(w.shape[0], -1).astype(np.int16)[members]
    return np.ascontiguousarray(taps.transpose(0, 2, 1)).reshape(members.size, -1)


def _apart(packed: Array, type: TensorType) -> Array:
    members = _members(type.shape[0])
    taps = packed.reshape(len(members), -1, 4).transpose(0, 2, 1)
    w = np.empty((type.shape[0], taps.shape[2]), np.int8)
    w[members] = taps // 2
    return w.reshape(type.shape)


BY_FOURS = Packing("by_fours", _fours, _apart)
"""int8 depthwise weights (C,KH,KW,1) as int16 (fours, KH, KW, 4), doubled for the sake of the
epilogue, of four channels in the order c0, c2, c1, c3; the last four are the last of all."""


def _taps_accepts(node: Node) -> str | None:
    refused = DEPTHWISE_FOURS.accepts(node)
    return refused or ("fewer than four channels" if node.output.type.shape[-1] < 4 else None)


def _taps_types(node: Node) -> Mapping[str, str]:
    own = {"LL_W": "int16_t", "LL_CHUNK": "4", "LL_ALIGNED": "4"}
    return {**DEPTHWISE_FOURS.types(node), **own}


def _taps_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    x, bias = node.inputs[0], Operand(folded_bias(b, node, 2))
    outside = zero_points(b, node, x.type.shape[-1])
    return (Operand(x, 0), Operand(node.inputs[1], 1, BY_FOURS), bias, outside)


def _taps_work(node: Node) -> Work:
    """Inner: taps of four channels; set-ups: taps of pixels, and calls for four channels of four
    pixels, which take as long as five."""
    rows, pixels, channels = node.output.type.frame
    fours = -(-channels // 4)
    calls = rows * -(-pixels // PIXELS) * fours
    taps = rows * pixels * depth(node)
    return Work(taps * fours, node.output.type.size, taps + 5 * calls)


def _taps_scratch(_: Node) -> int:
    """Sums of four channels of a tile."""
    return 4 * PIXELS * 4


DEPTHWISE_TAPS = replace(
    DEPTHWISE_FOURS,
    name="depthwise_taps",
    accepts=_taps_accepts,
    types=_taps_types,
    operands=_taps_operands,
    finish=finish_doubled,
    growth=2.0,
    proof=doubles,
    scratch=_taps_scratch,
    code=900,
    feature="dsp",
    work=_taps_work,
)
