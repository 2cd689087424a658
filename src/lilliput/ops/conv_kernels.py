"""The kernels of convolutions and matrix products, and how their operands are laid out.

LINEAR            a matrix times every pixel
POINTWISE         the same as a 1x1 convolution
LINEAR_TILES      both of int8, two pixels by two channels at a time
DEPTHWISE         one channel in a group, channels last
DEPTHWISE_PLANES  the same over channel planes
CONV2D            everything
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import EITHER, PLAIN, Kernel, Layout, Operand, Packing, Work
from lilliput.ir.types import Array, DType, TensorType
from lilliput.ops.accumulate import (
    Conv2d,
    FoldBias,
    acc_type,
    fold_bias,
    layer,
    macs,
)
from lilliput.ops.common import c_type
from lilliput.ops.conv_meetings import is_product, steps_of
from lilliput.ops.finish import finish


def _depthwise_pack(w: Array) -> Array:
    return np.ascontiguousarray(w.reshape(w.shape[0], -1).T)


def _depthwise_unpack(packed: Array, type: TensorType) -> Array:
    return np.ascontiguousarray(packed.T).reshape(type.shape)


BY_TAP = Packing("by_tap", _depthwise_pack, _depthwise_unpack)
"""Depthwise weights (C*M,KH,KW,1) as (KH*KW, C*M): one row of channels for each tap."""


def _halves(rows: Array) -> Array:
    """int4 numbers (rows, n), two in a byte, the even one in the low half: (rows, ceil(n/2))."""
    even = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).astype(np.uint8) & 15
    return np.ascontiguousarray(even[:, ::2] | even[:, 1::2] << 4)


def _wholes(packed: Array, columns: int) -> Array:
    """`_halves` undone: int8 (rows, columns)."""
    both = np.stack((packed & 15, packed >> 4), axis=-1).astype(np.int8)
    return ((both.reshape(packed.shape[0], -1) ^ 8) - 8).astype(np.int8)[:, :columns]


def _nibbles_unpack(packed: Array, type: TensorType) -> Array:
    return _wholes(packed, type.size // type.shape[0]).reshape(type.shape)


def _nibbles_by_tap_unpack(packed: Array, type: TensorType) -> Array:
    return _depthwise_unpack(_wholes(packed, type.shape[0]), type)


NIBBLES = Packing("nibbles", lambda w: _halves(w.reshape(w.shape[0], -1)), _nibbles_unpack)
"""int4 weights (O, ...), two in a byte; every output channel begins a byte."""

NIBBLES_BY_TAP = Packing(
    "nibbles_by_tap", lambda w: _halves(_depthwise_pack(w)), _nibbles_by_tap_unpack
)
"""int4 depthwise weights as `BY_TAP`, two in a byte; every tap begins a byte."""


_DOTS = {
    ("int8_t", "int8_t", DType.S32): "ll_dot_s8",
    ("int8_t", "ll_s8z", DType.S32): "ll_dot_s8_s8z",
    ("int8_t", "ll_s4", DType.S32): "ll_dot_s8_s4",
    ("int16_t", "int8_t", DType.S64): "ll_dot_s16",
    ("int16_t", "int8_t", DType.S32): "ll_dot_s16_s32",
    ("float", "float", DType.F32): "ll_dot_f32",
}
ADD_C = {DType.F32: "ll_add_f32", DType.S32: "ll_wrap_add", DType.S64: "ll_wrap_add_s64"}
"""How accumulators of a type are added in C."""


def _stored(w: TensorType) -> str:
    """The C type of weights as they are stored."""
    if w.dtype is DType.S4:
        return "ll_s4"
    return "ll_s8z" if w.zero_point else c_type(w.dtype)


def types(node: Node) -> Mapping[str, str]:
    """The type macros of a kernel of activations and weights."""
    x, w, acc = c_type(node.inputs[0].type.dtype), _stored(node.inputs[1].type), acc_type(node)
    elements = {"LL_X": x, "LL_W": w, "LL_ACC": c_type(acc)}
    return {**elements, "LL_DOT": _DOTS[x, w, acc], "LL_ADD": ADD_C[acc]}


def weight_params(w: TensorType, row: int) -> Mapping[str, int]:
    """w_next: weights from one row of `row` to the next as they are stored; w_zero."""
    return {"w_next": row + row % 2 if w.dtype is DType.S4 else row, "w_zero": w.zero_point}


def weights(node: Node, packing: Packing = PLAIN, nibbles: Packing = NIBBLES) -> Operand:
    """The weights as a kernel's operand."""
    w = node.inputs[1]
    return Operand(w, 1, nibbles if w.type.dtype is DType.S4 else packing)


def folded_bias(b: Builder, node: Node, times: int = 1) -> Value:
    """The bias as kernels want it: always there, in the accumulator's type, folded, times over."""
    x, acc = node.inputs[0].type, acc_type(node)
    if acc.is_float:
        return node.inputs[2] if len(node.inputs) > 2 else zeros(b, node, acc)
    w, *bias = node.inputs[1:3]
    wide, name = acc is DType.S64, f"{node.output.name}/bias"
    attrs = FoldBias(x.zero_point, wide, w.type.zero_point, times=times)
    if bias and w.name in b.params and bias[0].name not in b.params:
        # of a bias that is trained: the sums of the constant weights are made at compile time
        sums = b.add(fold_bias, (w,), replace(attrs, times=1), name=f"{name}/sums")
        return b.add(fold_bias, (sums, *bias), FoldBias(-1, wide, times=times), name=name)
    return b.add(fold_bias, (w, *bias), attrs, name=name)


def zeros(b: Builder, node: Node, dtype: DType) -> Value:
    """The bias of a node that has none."""
    return b.param(f"{node.output.name}/zeros", np.zeros(node.output.type.shape[-1], dtype.numpy))


def zero_points(b: Builder, node: Node, count: int) -> Operand:
    x = node.inputs[0].type
    data = np.full(count, x.zero_point, x.dtype.numpy)
    return Operand(b.param(f"{node.output.name}/outside", data))


def _resume(node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[3], 3),) if len(node.inputs) > 3 else ()


def _linear_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    bias = Operand(folded_bias(b, node))
    return (Operand(node.inputs[0], 0), weights(node), bias, *_resume(node))


def _conv2d_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    _, _, kw, group_in = node.inputs[1].type.shape
    first = _linear_operands(b, node)
    return (*first[:3], zero_points(b, node, kw * group_in), *first[3:])


def _depthwise_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    x = node.inputs[0]
    return (
        Operand(x, 0),
        weights(node, BY_TAP, NIBBLES_BY_TAP),
        Operand(folded_bias(b, node)),
        zero_points(b, node, x.type.shape[3]),
    )


def _depthwise_planes_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    x = node.inputs[0]
    outside = zero_points(b, node, x.type.shape[2])
    return (Operand(x, 0), weights(node), Operand(folded_bias(b, node)), outside)


def conv2d_params(node: Node) -> Mapping[str, int]:
    a, x, w, y = layer(node), node.inputs[0].type, node.inputs[1].type, node.output.type
    assert isinstance(a, Conv2d)
    return {
        "in_h": x.shape[1],
        "in_w": x.shape[2],
        "in_c": x.shape[3],
        "out_h": y.shape[1],
        "kh": w.shape[1],
        "kw": w.shape[2],
        **steps_of(a),
        "group_in": w.shape[3],
        "group_out": w.shape[0] // a.groups,
        "resume": int(len(node.inputs) > 3),
        **weight_params(w, w.size // w.shape[0]),
    }


_OF_GROUPS = ("group_in", "group_out", "resume", "w_next", "w_zero")


def plain_int8(node: Node) -> str | None:
    """None where sums are of int8 times int8 and start from a bias, or what else they are."""
    x, w = node.inputs[0].type, node.inputs[1].type
    if (x.dtype, w.dtype) != (DType.S8, DType.S8) or w.zero_point:
        return "not int8 times int8 weights without a zero point"
    return "takes no initial accumulators" if len(node.inputs) > 3 else None


def in_one_group(node: Node) -> str | None:
    """None where every output channel is a sum over all input channels."""
    attrs = layer(node)
    grouped = isinstance(attrs, Conv2d) and attrs.groups > 1
    return plain_int8(node) or ("more than one group" if grouped else None)


def window_params(node: Node) -> Mapping[str, int]:
    """The window of a convolution; a matrix product has one of a pixel."""
    if isinstance(node.attrs, Conv2d):
        return {k: v for k, v in conv2d_params(node).items() if k not in _OF_GROUPS}
    rows, pixels, channels = node.inputs[0].type.frame
    ones = ("kh", "kw", "stride_h", "stride_w", "dilation_h", "dilation_w")
    shape = {"in_h": rows, "in_w": pixels, "in_c": channels, "out_h": rows}
    return {**shape, **dict.fromkeys(ones, 1), "pad_top": 0, "pad_left": 0}


def depth(node: Node) -> int:
    """Numbers that one output channel is a sum over."""
    w = node.inputs[1].type
    return w.size // w.shape[0]


def _depthwise_params(node: Node) -> Mapping[str, int]:
    every = dict(conv2d_params(node))
    every["multiplier"] = node.output.type.shape[3] // node.inputs[0].type.shape[3]
    every |= weight_params(node.inputs[1].type, node.output.type.shape[3])
    for name in ("in_c", "group_in", "group_out", "resume"):
        del every[name]
    return every


def _depthwise_planes_params(node: Node) -> Mapping[str, int]:
    w = node.inputs[1].type
    return {**_depthwise_params(node), **weight_params(w, w.size // w.shape[0])}


def depthwise_accepts(node: Node) -> str | None:
    a = layer(node)
    assert isinstance(a, Conv2d)
    if a.groups != node.inputs[0].type.shape[3]:
        return "not depthwise: more than one input channel a group"
    return "takes no initial accumulators" if len(node.inputs) > 3 else None


def _pointwise_accepts(node: Node) -> str | None:
    a = layer(node)
    assert isinstance(a, Conv2d)
    plain = is_product(a, node.inputs[1].type.shape)
    return None if plain else "not 1x1 with stride 1 in one group"


def _linear_work(node: Node) -> Work:
    """Set-ups: pixels."""
    out = node.output.type
    return Work(macs(node), out.size, out.size // out.shape[-1])


def _depthwise_work(node: Node) -> Work:
    """Set-ups: taps of the windows, one address each."""
    out = node.output.type
    return Work(macs(node), out.size, out.size // out.shape[3] * _taps(node))


def _conv2d_work(node: Node) -> Work:
    """Set-ups: dot products, one a window's row where its taps are neighbours, else one a tap."""
    a, out = node.attrs, node.output.type
    assert isinstance(a, Conv2d)
    kh, kw = node.inputs[1].type.shape[1:3]
    in_w = node.inputs[0].type.shape[2]
    inside = 0
    if a.groups == 1 and a.dilation[1] == 1:
        lefts = (x * a.stride[1] - a.pad[2] for x in range(out.shape[2]))
        inside = sum(left >= 0 and left + kw <= in_w for left in lefts)
    dots = inside * kh + (out.shape[2] - inside) * kh * kw
    return Work(macs(node), out.size, out.size // out.shape[2] * dots)


def _taps(node: Node) -> int:
    return math.prod(node.inputs[1].type.shape[1:3])


LINEAR = Kernel(
    name="linear",
    source="linear.c",
    accepts=lambda node: None,
    types=types,
    params=lambda node: {
        "in_c": node.inputs[1].type.shape[-1],
        "resume": int(len(node.inputs) > 3),
        **weight_params(node.inputs[1].type, node.inputs[1].type.shape[-1]),
    },
    specialise=("resume", "in_c", "w_next", "w_zero"),
    operands=_linear_operands,
    finish=finish,
    overlap="row",
    tile=lambda node: 1,
    strips=True,
    writes=EITHER,
    work=_linear_work,
)

POINTWISE = replace(LINEAR, accepts=_pointwise_accepts)


def _tiles_accepts(node: Node) -> str | None:
    if (refused := plain_int8(node)) is not None:
        return refused
    if node.output.type.frame[1] == 1:
        return "a pixel alone has no twin"
    return _pointwise_accepts(node) if isinstance(node.attrs, Conv2d) else None


def tiles_work(node: Node) -> Work:
    """Set-ups: tiles of two pixels and two channels."""
    rows, pixels, channels = node.output.type.frame
    return Work(macs(node), node.output.type.size, rows * -(-pixels // 2) * -(-channels // 2))


LINEAR_TILES = Kernel(
    name="linear_tiles",
    source="linear_tiles.c",
    accepts=_tiles_accepts,
    types=lambda _: {"LL_ACC": "int32_t"},
    params=lambda node: {"in_c": node.inputs[1].type.shape[-1]},
    specialise=("in_c",),
    operands=_linear_operands,
    finish=finish,
    overlap="row",
    tile=lambda node: 2,
    strips=True,
    ahead=lambda node: min(1, node.output.type.frame[1] - 1),
    writes=EITHER,
    work=tiles_work,
)

WINDOW = (
    "stride_h",
    "stride_w",
    "dilation_h",
    "dilation_w",
    "pad_top",
    "pad_left",
    "in_h",
    "in_w",
    "out_h",
)
"""What a window kernel gains from knowing, besides its channels."""

DEPTHWISE = Kernel(
    name="depthwise",
    source="depthwise.c",
    accepts=depthwise_accepts,
    types=types,
    params=_depthwise_params,
    specialise=("kh", "kw", "multiplier", "w_next", "w_zero", *WINDOW),
    operands=_depthwise_operands,
    finish=finish,
    overlap="row",
    tile=lambda node: 1,
    strips=True,
    packed=(1,),
    writes=EITHER,
    work=_depthwise_work,
)

DEPTHWISE_PLANES = Kernel(
    name="depthwise_planes",
    source="depthwise_planes.c",
    accepts=depthwise_accepts,
    types=types,
    params=_depthwise_planes_params,
    specialise=("kh", "kw", "multiplier", "w_next", "w_zero", *WINDOW),
    operands=_depthwise_planes_operands,
    finish=finish,
    overlap="row",
    ahead=lambda node: node.output.type.frame[0] * node.output.type.frame[1],
    reads=(Layout.PLANES,),
    writes=EITHER,
    by_planes=True,
    work=_depthwise_work,
)

CONV2D = Kernel(
    name="conv2d",
    source="conv2d.c",
    accepts=lambda node: None,
    types=types,
    params=conv2d_params,
    specialise=("kh", "kw", "resume", "group_in", "group_out", "in_c", "w_next", "w_zero", *WINDOW),
    operands=_conv2d_operands,
    finish=finish,
    overlap="row",
    tile=lambda node: 1,
    strips=True,
    writes=EITHER,
    work=_conv2d_work,
)
