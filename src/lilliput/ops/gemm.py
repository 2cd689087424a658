"""Register-tiled kernels of int8 convolutions and matrix products.

GEMM          every weight is widened as it is used
GEMM_JOINED   two channels' weights are one 16-bit number (`isa/generic.h`): a widening saved in
              thirteen instructions, where the weights prove that sums fit in 24 bits
GEMM_WIDE     weights are stored as int16, and doubled for the sake of the epilogue: two saved,
              for twice the flash
GEMM_FRESH    weights that training changes, which nobody can pack: each call widens all of them

PAIRS, PAIRS_JOINED and PAIRS_WIDE are the same for where RAM is short: two pixels at a time,
whose bytes are read where they lie, widened anew for every two channels.

All read weights as `twos` lays them out: output channels in twos, numbers in groups of four.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import EITHER, Kernel, Operand, Packing, Work
from lilliput.ir.types import Array, TensorType
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.conv_kernels import (
    WINDOW,
    depth,
    folded_bias,
    in_one_group,
    window_params,
    zero_points,
)
from lilliput.ops.finish import doubles, finish, finish_doubled, largest_sum

CHUNK = 32
"""Channels whose sums are kept before the epilogue takes them."""
FEW = 16
"""The same where RAM is short."""


def _twos(w: Array) -> Array:
    """Weights (O, ...) as (O/2, groups, 4, 2): twos of channels, groups, numbers, P and Q."""
    rows = w.reshape(w.shape[0], -1)
    rows = np.pad(rows, ((0, rows.shape[0] % 2), (0, -rows.shape[1] % 4)))
    return rows.reshape(rows.shape[0] // 2, 2, -1, 4).transpose(0, 2, 3, 1)


def _pack(w: Array) -> Array:
    pairs = _twos(w)[:, :, [0, 2, 1, 3]]  # (k0, k2), (k1, k3)
    return np.ascontiguousarray(pairs).reshape(-1, 8)


def _unpack(packed: Array, type: TensorType) -> Array:
    channels = type.shape[0]
    twos = packed.reshape(-(-channels // 2), -1, 4, 2)[:, :, [0, 2, 1, 3]]
    rows = twos.transpose(0, 3, 1, 2).reshape(2 * twos.shape[0], -1)
    return np.ascontiguousarray(rows[:channels, : type.size // channels]).reshape(type.shape)


def _join(packed: Array) -> Array:
    """Bytes P, Q as the number 256 Q + P."""
    borrowed = packed[:, 1::2] - (packed[:, ::2] < 0)
    return np.stack((packed[:, ::2], borrowed), axis=-1).reshape(packed.shape).astype(np.int8)


def _part(joined: Array) -> Array:
    lent = joined[:, 1::2] + (joined[:, ::2] < 0)
    return np.stack((joined[:, ::2], lent), axis=-1).reshape(joined.shape).astype(np.int8)


TWOS = Packing("twos", _pack, _unpack)
"""int8 weights (O, ...) in groups of 8 bytes, as `isa/generic.h` says."""
JOINED = Packing("joined", lambda w: _join(_pack(w)), lambda p, t: _unpack(_part(p), t))
"""The same with P and Q joined; Q has to be more than -128 where P is negative."""


def _widen(packed: Array) -> Array:
    """Bytes P.k0 Q.k0 P.k2 Q.k2 as twice the numbers P.k0 P.k2 Q.k0 Q.k2."""
    numbers = packed.reshape(-1, 2, 2, 2).transpose(0, 1, 3, 2).reshape(packed.shape)
    return np.ascontiguousarray(numbers.astype(np.int16) * 2)


def _narrow(wide: Array) -> Array:
    numbers = wide.reshape(-1, 2, 2, 2).transpose(0, 1, 3, 2).reshape(wide.shape)
    return np.ascontiguousarray((numbers // 2).astype(np.int8))


WIDE = Packing("wide", lambda w: _widen(_pack(w)), lambda p, t: _unpack(_narrow(p), t))
"""The same in int16, doubled, the numbers of P before those of Q in each pair."""


def groups(node: Node) -> int:
    """Groups of four numbers that one output channel is a sum over."""
    return -(-depth(node) // 4)


def _few(node: Node) -> str | None:
    rows, pixels, _ = node.output.type.frame
    few = "wide weights are read once for few pixels" if rows * pixels < 4 else None
    return in_one_group(node) or few


def _joins(node: Node, data: Mapping[str, Array]) -> str | None:
    largest = largest_sum(node, lambda value: data.get(value.name))
    if largest is None:
        return "nothing is known of the weights"
    if largest.max() >= 1 << 23:
        return f"sums may reach {int(largest.max()):,}, more than 24 bits hold"
    pairs = _pack(data[node.inputs[1].name])
    if ((pairs[:, ::2] < 0) & (pairs[:, 1::2] == -128)).any():
        return "two weights cannot be joined: the second is -128"
    return None


def _params(node: Node) -> Mapping[str, int]:
    own = {"groups": groups(node), "chunk": _chunk(node), "patch": _patch(node)}
    return {**window_params(node), **own}


def _types(sums: str, weights: str = "int8_t") -> Callable[[Node], Mapping[str, str]]:
    found = {"LL_ACC": "int32_t", "LL_W": weights, "LL_SUMS": sums}
    return lambda node: found


def _even(n: int) -> int:
    return n + n % 2


def _operands(packing: Packing, times: int = 1) -> Callable[[Builder, Node], tuple[Operand, ...]]:
    """Weights as `packing` has them, and the bias `times` over."""

    def operands(b: Builder, node: Node) -> tuple[Operand, ...]:
        return (
            Operand(node.inputs[0], 0),
            Operand(node.inputs[1], 1, packing),
            Operand(folded_bias(b, node, times)),
            zero_points(b, node, depth(node) // window_params(node)["kh"]),
        )

    return operands


def _chunk(node: Node) -> int:
    return min(CHUNK, _even(node.output.type.shape[-1]))


def _patch(node: Node) -> int:
    """Bytes of the window of one pixel that is put together before it becomes a column: all of
    it where several taps of a row are read, else what is left of the last group."""
    w = node.inputs[1].type
    several = len(w.shape) == 4 and (w.shape[1] > 1 or w.shape[2] > 1)
    padded = isinstance(node.attrs, Conv2d) and any(node.attrs.pad)
    if several or padded:
        return groups(node) * 4
    return 4 if w.shape[-1] % 4 else 0


def _scratch(node: Node) -> int:
    """Columns of int16, and sums of a chunk or patches, of four pixels or of the only one."""
    rows, pixels, _ = node.output.type.frame
    together = 4 if rows * pixels > 1 else 1
    return together * (groups(node) * 8 + max(_chunk(node) * 4, _patch(node)))


def _work(node: Node) -> Work:
    """Inner: groups times twos, three for a tile of several pixels and one for a pixel alone.
    Set-ups: groups of a column, and two for every row of a window that is put together."""
    rows, pixels, channels = node.output.type.frame
    w = node.inputs[1].type.shape
    window = w[1] if len(w) == 4 and w[1:3] != (1, 1) else 0
    if not window:
        rows, pixels = 1, rows * pixels
    tiles, rest = divmod(pixels, 4)
    alone = rows * (rest == 1)
    tiles = rows * (tiles + (rest > 1))
    inner = (3 * tiles + alone) * (_even(channels) // 2) * groups(node)
    setups = (tiles + alone) * (groups(node) + 2 * window)
    return Work(inner, node.output.type.size, setups)


GEMM = Kernel(
    name="gemm",
    source="gemm.c",
    accepts=in_one_group,
    types=_types("ll_sums"),
    params=_params,
    specialise=("kh", "kw", "groups", "chunk", "patch", "in_c", *WINDOW),
    operands=_operands(TWOS),
    finish=finish,
    overlap="row",
    tile=lambda node: 1,
    strips=True,
    ahead=lambda node: 4,
    align=4,
    scratch=_scratch,
    packed=(1,),
    code=2000,
    feature="dsp",
    writes=EITHER,
    work=_work,
)

GEMM_JOINED = replace(
    GEMM,
    name="gemm_joined",
    types=_types("ll_sums_joined"),
    operands=_operands(JOINED),
    proof=_joins,
)

GEMM_WIDE = replace(
    GEMM,
    name="gemm_wide",
    accepts=_few,
    types=_types("ll_sums_wide", "int16_t"),
    operands=_operands(WIDE, 2),
    finish=finish_doubled,
    growth=2.0,
    proof=doubles,
)


def _fresh_params(node: Node) -> Mapping[str, int]:
    return {**_params(node), "out_c": node.output.type.shape[-1]}


def _fresh_types(node: Node) -> Mapping[str, str]:
    return {**GEMM_WIDE.types(node), "LL_FRESH": "1"}


def _fresh_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    x, _, *others = _operands(TWOS)(b, node)
    return (x, Operand(node.inputs[1], 1), *others)


def _fresh_scratch(node: Node) -> int:
    return _scratch(node) + _even(node.output.type.shape[-1]) * groups(node) * 8


def _fresh_work(node: Node) -> Work:
    """Set-ups: of the weights, too, a group of a two."""
    work = _work(node)
    twos = _even(node.output.type.shape[-1]) // 2
    return work._replace(setups=work.setups + twos * groups(node))


GEMM_FRESH = replace(
    GEMM,
    name="gemm_fresh",
    accepts=_few,
    types=_fresh_types,
    params=_fresh_params,
    operands=_fresh_operands,
    packed=(),
    packs=(1,),
    scratch=_fresh_scratch,
    work=_fresh_work,
)


def _several(node: Node) -> str | None:
    rows, pixels, _ = node.output.type.frame
    return in_one_group(node) or ("two pixels at a time of only one" if rows * pixels < 2 else None)


def _gathers(node: Node) -> bool:
    """Whether the taps of a window are no whole words, so that it has to be put together."""
    return node.inputs[1].type.shape[-1] % 4 > 0


def _pairs_chunk(node: Node) -> int:
    return min(FEW, _even(node.output.type.shape[-1]))


def _pairs_params(node: Node) -> Mapping[str, int]:
    own = {"groups": groups(node), "chunk": _pairs_chunk(node), "gather": int(_gathers(node))}
    return {**window_params(node), **own}


def _pairs_types(function: str, weights: str = "int8_t") -> Callable[[Node], Mapping[str, str]]:
    found = {"LL_ACC": "int32_t", "LL_W": weights, "LL_PAIRS_FUNCTION": function}
    return lambda node: found


def _two(_: Node) -> int:
    return 2


def _pairs_tile(node: Node) -> int:
    return 1 if _gathers(node) else 2


def _pairs_scratch(node: Node) -> int:
    """Sums of a chunk, and windows that are put together, of two pixels."""
    return 8 * _pairs_chunk(node) + (8 * groups(node) if _gathers(node) else 0)


def _pairs_work(node: Node) -> Work:
    """Inner: groups times twos of channels, for every two pixels; set-ups: runs, times twos of
    channels and one more to find them, for every two pixels."""
    rows, pixels, channels = node.output.type.frame
    tiles, twos = rows * -(-pixels // 2), _even(channels) // 2
    runs = window_params(node)["kh"]
    setups = tiles * (twos + 2 * runs if _gathers(node) else (twos + 1) * runs)
    return Work(tiles * twos * groups(node), node.output.type.size, setups)


PAIRS = replace(
    GEMM,
    name="pairs",
    source="pairs.c",
    accepts=_several,
    types=_pairs_types("ll_pairs"),
    params=_pairs_params,
    tile=_pairs_tile,
    specialise=("kh", "kw", "groups", "chunk", "gather", "in_c", *WINDOW),
    ahead=_two,
    scratch=_pairs_scratch,
    code=1300,
    work=_pairs_work,
)

PAIRS_JOINED = replace(
    PAIRS,
    name="pairs_joined",
    types=_pairs_types("ll_pairs_joined"),
    operands=_operands(JOINED),
    proof=_joins,
)

PAIRS_WIDE = replace(
    PAIRS,
    name="pairs_wide",
    types=_pairs_types("ll_pairs_wide", "int16_t"),
    operands=_operands(WIDE, 2),
    finish=finish_doubled,
    growth=2.0,
    proof=doubles,
)
