"""Kernels of int8 for cores without SIMD: bytes are read where they lie, and loads are shared.

FOURS            one pixel times four output channels: a byte of the map is loaded once for four
DEPTHWISE_FOURS  one channel times four pixels: a weight is loaded once for four

`FOURS` takes weights as they are, rows of output channels, hence also those that training
changes or that come in slices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import EITHER, Kernel, Operand, Work
from lilliput.ops.accumulate import macs
from lilliput.ops.conv_kernels import (
    DEPTHWISE,
    WINDOW,
    depth,
    depthwise_accepts,
    folded_bias,
    in_one_group,
    plain_int8,
    window_params,
    zero_points,
)
from lilliput.ops.finish import finish

CHUNK = 32
"""Sums of `FOURS` that are kept before the epilogue takes them."""
PIXELS = 4
DEPTHWISE_CHUNK = 16
"""Channels whose sums `DEPTHWISE_FOURS` keeps."""


def _gathers(node: Node) -> bool:
    """Whether a window is copied to be one run: its runs are so short that this takes less than
    beginning each of them anew for every four channels."""
    kh = window_params(node)["kh"]
    fours = -(-node.output.type.shape[-1] // 4)
    return 5 * depth(node) < 17 * (kh - 1) * fours


def _params(node: Node) -> Mapping[str, int]:
    return {**window_params(node), "gather": int(_gathers(node)), "lanes": 0, "zero": 0}


def _chunk(node: Node) -> int:
    return min(CHUNK, node.output.type.shape[-1])


def _operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    return (
        Operand(node.inputs[0], 0),
        Operand(node.inputs[1], 1),
        Operand(folded_bias(b, node)),
        zero_points(b, node, depth(node) // window_params(node)["kh"]),
    )


def _work(node: Node) -> Work:
    """Inner: multiply-accumulates; set-ups: runs of bytes, four channels each."""
    out = node.output.type
    fours = out.size // out.shape[-1] * -(-out.shape[-1] // 4)
    return Work(macs(node), out.size, fours * (1 if _gathers(node) else window_params(node)["kh"]))


FOURS = Kernel(
    name="fours",
    source="fours.c",
    accepts=in_one_group,
    types=lambda node: {"LL_ACC": "int32_t", "LL_CHUNK": str(_chunk(node))},
    params=_params,
    specialise=("kh", "kw", "in_c", "gather", "lanes", "zero", *WINDOW),
    operands=_operands,
    finish=finish,
    overlap="row",
    strips=True,
    align=4,
    scratch=lambda node: _chunk(node) * 4 + depth(node),
    writes=EITHER,
    work=_work,
)


def _depthwise_accepts(node: Node) -> str | None:
    multiplied = node.output.type.shape[-1] != node.inputs[0].type.shape[-1]
    refused = depthwise_accepts(node) or plain_int8(node)
    return refused or ("more than one output channel a group" if multiplied else None)


def _depthwise_params(node: Node) -> Mapping[str, int]:
    return {k: v for k, v in window_params(node).items() if k != "in_c"}


def _depthwise_chunk(node: Node) -> int:
    return min(DEPTHWISE_CHUNK, node.output.type.shape[-1])


def _depthwise_scratch(node: Node) -> int:
    return _depthwise_chunk(node) * PIXELS * 4


def _depthwise_types(node: Node) -> Mapping[str, str]:
    channels = node.output.type.shape[-1]
    chunk = str(_depthwise_chunk(node))
    own = {"LL_CHUNK": chunk, "LL_CHANNELS": str(channels), "LL_ALIGNED": "1"}
    return {"LL_ACC": "int32_t", "LL_W": "int8_t", **own}


def _depthwise_work(node: Node) -> Work:
    """Inner: multiply-accumulates; set-ups: taps of the windows, one address each."""
    out = node.output.type
    return Work(macs(node), out.size, out.size // out.shape[-1] * depth(node))


def _ahead(_: Node) -> int:
    return PIXELS


DEPTHWISE_FOURS = replace(
    DEPTHWISE,
    name="depthwise_fours",
    tile=_ahead,
    source="depthwise_fours.c",
    accepts=_depthwise_accepts,
    types=_depthwise_types,
    params=_depthwise_params,
    specialise=("kh", "kw", *WINDOW),
    ahead=_ahead,
    align=4,
    scratch=_depthwise_scratch,
    work=_depthwise_work,
)
