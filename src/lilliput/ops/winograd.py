"""Convolutions 3x3 by Winograd's F(2x2, 3x3) in integers: 16 products where there are 36.

With G scaled by two, U = (2G) g (2G)^T and V = B^T d B are integers, and A^T (sum of U V) A is
exactly four times the convolution.  |U| <= 9 * 128 and |V| <= 4 * 128 fit in int16; sums may
wrap around on the way, as long as four times every result of the convolution fits in int32.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import EITHER, Kernel, Operand, Packing, Work
from lilliput.ir.types import Array, TensorType
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.conv_kernels import folded_bias, in_one_group, window_params, zero_points
from lilliput.ops.finish import finish_doubled, largest_sum

DOUBLE_G = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])
TWICE_INVERSE = np.array([[1, 0, 0, 0], [0, 1, -1, 0], [0, 0, 0, 1]])
"""Times 2G it is twice the identity."""
SIGNS = np.array([1, 1, 1, -1])[:, None]
"""Products of the last column are subtracted, which their weights do for them."""
COLUMNS = (1, 2, 3, 0)
"""The order of the positions in a row of four."""
PAIRS = (0, 2, 1, 3)
"""The order of the channels of a group of four."""
CHUNK = 8
"""Channels whose sums are kept before the epilogue takes them."""
TILES, COLUMN_GROUP, SUMS, LAST = 512, 320, 128, 16
"""Bytes of scratch: of a group of channels, of an output channel, of four groups filled up."""


def _pack(w: Array) -> Array:
    """Weights (O, 3, 3, I) as (O/2, positions, pairs, P and Q, 2)."""
    out, _, _, channels = w.shape
    padded = np.pad(w, ((0, out % 2), (0, 0), (0, 0), (0, -channels % 4))).astype(np.int64)
    u = np.einsum("ai,oijc,bj->oabc", DOUBLE_G, padded, DOUBLE_G * SIGNS)[:, :, COLUMNS]
    u = u.reshape(u.shape[0] // 2, 2, 16, -1, 4)[..., PAIRS]
    u = u.reshape(*u.shape[:3], -1, 2).transpose(0, 2, 3, 1, 4)
    return np.ascontiguousarray(u).astype(np.int16)


def _unpack(packed: Array, type: TensorType) -> Array:
    out, _, _, channels = type.shape
    u = packed.transpose(0, 3, 1, 2, 4).reshape(2 * packed.shape[0], 4, 4, -1, 4)
    u = u[:, :, np.argsort(COLUMNS)][..., np.argsort(PAIRS)].astype(np.int64)
    u = u.reshape(*u.shape[:3], -1)
    g = np.einsum("ia,oabc,jb->oijc", TWICE_INVERSE, u, TWICE_INVERSE * SIGNS.T) // 4
    return np.ascontiguousarray(g[:out, ..., :channels]).astype(np.int8)


WINOGRAD_2X2 = Packing("winograd_2x2", _pack, _unpack)
"""int8 weights (O, 3, 3, I) transformed to int16: 32 bytes for 9."""


def _groups(node: Node) -> int:
    """Groups of four input channels."""
    return -(-node.inputs[0].type.shape[3] // 4)


def _accepts(node: Node) -> str | None:
    a, w = node.attrs, node.inputs[1].type
    assert isinstance(a, Conv2d)
    plain = (a.stride, a.dilation) == ((1, 1), (1, 1)) and w.shape[1:3] == (3, 3)
    return in_one_group(node) or (None if plain else "not 3x3 with stride and dilation 1")


def _proof(node: Node, data: Mapping[str, Array]) -> str | None:
    largest = largest_sum(node, lambda value: data.get(value.name))
    if largest is None:
        return "nothing is known of the weights"
    if largest.max() >= 1 << 29:
        return f"four times a sum of up to {int(largest.max()):,} does not fit in 32 bits"
    return None


def _params(node: Node) -> Mapping[str, int]:
    names = ("in_h", "in_w", "in_c", "out_h", "pad_top", "pad_left")
    every = window_params(node)
    return {**{name: every[name] for name in names}, "groups": _groups(node)}


def _operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    return (
        Operand(node.inputs[0], 0),
        Operand(node.inputs[1], 1, WINOGRAD_2X2),
        Operand(folded_bias(b, node, 2)),
        zero_points(b, node, node.inputs[0].type.shape[3]),
    )


def _scratch(node: Node) -> int:
    return _groups(node) * TILES + max(_groups(node) * COLUMN_GROUP, CHUNK * SUMS) + LAST


def _work(node: Node) -> Work:
    """Inner: pairs of channels of four tiles times two output channels, at every position;
    set-ups: groups of channels of four tiles that are transformed."""
    images, rows, pixels, channels = node.output.type.shape
    fours = images * -(-rows // 2) * -(-pixels // 8)
    inner = fours * -(-channels // 2) * 16 * 2 * _groups(node)
    return Work(inner, node.output.type.size, fours * _groups(node))


WINOGRAD = Kernel(
    name="winograd",
    source="winograd.c",
    accepts=_accepts,
    types=lambda node: {"LL_ACC": "int32_t", "LL_CHUNK": str(CHUNK)},
    params=_params,
    specialise=("in_h", "in_w", "in_c", "out_h", "pad_top", "pad_left", "groups"),
    operands=_operands,
    finish=finish_doubled,
    ahead=lambda node: 2 * node.output.type.frame[1],
    quantum=2,
    align=4,
    scratch=_scratch,
    packed=(1,),
    growth=32 / 9,
    code=1500,
    proof=_proof,
    feature="dsp",
    writes=EITHER,
    work=_work,
)
