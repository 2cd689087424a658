"""Kernels of int8 for Helium (Armv8.1-M): sixteen products an instruction, channels in lanes.

FOURS_LANES      `FOURS`, whose loops are vectors there
DEPTHWISE_LANES  a channel a lane

Both requantise vectors of sums themselves: what their epilogue gets is the element, already within
int8, so that nothing of `ops.finish` is left to do one element at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Finish, Kernel, Operand, Work
from lilliput.ir.types import Array, DType
from lilliput.ops.accumulate import is_raw, layer, multipliers
from lilliput.ops.conv_kernels import DEPTHWISE, depth, window_params
from lilliput.ops.numeric import Rounding
from lilliput.ops.scalar_kernels import DEPTHWISE_FOURS, FOURS

LANES = 16
CHUNK = 32
"""Channels whose sums `DEPTHWISE_LANES` keeps, a multiple of `LANES`."""


def _requantises(node: Node) -> str | None:
    """None where sums become int8 by TFLite's double rounding, or what else they become."""
    plain = not is_raw(node) and node.output.type.dtype is DType.S8
    double = plain and layer(node).rounding is Rounding.DOUBLE
    return None if double else "not requantised to int8 by double rounding"


def _scales(b: Builder, node: Node) -> tuple[Operand, ...]:
    """Multiplier and shift of every output channel, int32."""
    channels = node.output.type.shape[-1]
    return tuple(
        Operand(
            b.param(f"{node.output.name}/{name}", np.broadcast_to(n, channels).astype(np.int32))
        )
        for name, n in zip(("mult", "shift"), multipliers(node), strict=True)
    )


def _as_it_is(*_: object) -> Finish:
    return Finish(lambda acc, load: acc)


def _scratch(_: Node) -> int:
    return CHUNK * 4


def _own_epilogue(kernel: Kernel) -> Kernel:
    """`kernel` with two more operands, requantising by itself."""

    def accepts(node: Node) -> str | None:
        return kernel.accepts(node) or _requantises(node)

    def params(node: Node) -> Mapping[str, int | float]:
        return {**kernel.params(node), "lanes": 1, "zero": node.output.type.zero_point}

    def operands(b: Builder, node: Node) -> tuple[Operand, ...]:
        return (*kernel.operands(b, node), *_scales(b, node))

    return replace(
        kernel,
        accepts=accepts,
        params=params,
        specialise=(*dict.fromkeys((*kernel.specialise, "lanes", "zero")),),
        operands=operands,
        finish=_as_it_is,
        feature="mve",
    )


def _fours_work(node: Node) -> Work:
    """Inner: vectors of sixteen bytes, or what is left of a run, times four channels; set-ups:
    runs."""
    runs = FOURS.work(node).setups
    windows = window_params(node)
    run = depth(node) if FOURS.params(node)["gather"] else depth(node) // windows["kh"]
    return Work(runs * -(-run // LANES), node.output.type.size, runs)


FOURS_LANES = replace(_own_epilogue(FOURS), name="fours_lanes", work=_fours_work)


def _no_least_weight(node: Node, data: Mapping[str, Array]) -> str | None:
    w = data.get(node.inputs[1].name)
    if w is None:
        return "nothing is known of the weights"
    return "a weight is -128: two products may not fit in 16 bits" if (w == -128).any() else None


def _depthwise_work(node: Node) -> Work:
    """Inner: vectors of sixteen channels times taps; set-ups: taps of the windows."""
    out = node.output.type
    pixels = out.size // out.shape[-1]
    vectors = -(-out.shape[-1] // LANES)
    return Work(pixels * vectors * depth(node), out.size, pixels * depth(node))


def _depthwise_types(node: Node) -> Mapping[str, str]:
    return {**DEPTHWISE_FOURS.types(node), "LL_CHUNK": str(CHUNK)}


DEPTHWISE_LANES = replace(
    _own_epilogue(DEPTHWISE_FOURS),
    name="depthwise_lanes",
    tile=DEPTHWISE.tile,
    source="depthwise_lanes.c",
    types=_depthwise_types,
    scratch=_scratch,
    proof=_no_least_weight,
    work=_depthwise_work,
)
