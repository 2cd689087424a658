"""Normalisations of the last axis: log_softmax and l2_normalize.

log_softmax of int8 keeps the exponentials in Q12.19, takes one logarithm a row in Q5.26 and
subtracts; of float32 it is softmax's kernel with another last step.  l2_normalize divides
by the root of the sum of squares, int8 by a multiplier from five Newton steps.  Both have
the quantisation of the result that TFLite prescribes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Finish, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Whole, pointwise
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8
from lilliput.ops import floatmath, shape_rules
from lilliput.ops.common import c_type, check, slides
from lilliput.ops.elementwise import check_quantised
from lilliput.ops.fixed_exp import inverse_sqrt, log_q26
from lilliput.ops.numeric import Ints, quantize_multiplier, requant, shr_round, wrap32
from lilliput.ops.registry import register
from lilliput.ops.shape_rules import LEAST_NORM
from lilliput.ops.softmax import MAX_CHANNELS_S8, exp_reach, exp_table, softmax_work

DTYPES = (DType.F32, DType.S8)
LOG_QUANT = Quant.per_tensor(1 / 16, 127)
UNIT_QUANT = Quant.per_tensor(1 / 128, 0)
MAX_SQUARES = (2**31 - 1) // 255**2
"""Channels whose squares fit a 32-bit sum."""


def _checked(types: Sequence[TensorType], channels: int, quant: Quant) -> TensorType:
    """The result's type of one operand of int8 or float32, of rank 1 at least."""
    check(len(types) == 1, "wrong number of operands", "x", len(types))
    x = types[0]
    check(x.dtype in DTYPES, "operand of this type", "f32, s8", x.dtype.value)
    check(len(x.shape) >= 1, "rank", ">= 1", x.shape)
    if x.dtype.is_float:
        return x
    check_quantised(x)
    check(x.shape[-1] <= channels, "channels", f"<= {channels}", x.shape[-1])
    return TensorType(x.shape, x.dtype, quant)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    return ((*pointwise(len(node.output.type.shape) - 1), Whole()),)


def _gives(node: Node, quant: Quant) -> str | None:
    y = node.output.type
    if y.dtype.is_float or y.quant == quant:
        return None
    return f"output quantisation is not {quant}"


def _types(node: Node) -> Mapping[str, str]:
    x = node.inputs[0].type.dtype
    acc = "float" if x.is_float else "int32_t"
    return {"LL_X": c_type(x), "LL_Y": c_type(x), "LL_ACC": acc}


def _one(_: Builder, node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[0], 0),)


# log_softmax ------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogScaling:
    """(mult, shift) from steps of x to Q5.26 and back, and the steps that exp reaches."""

    to: tuple[int, int]
    back: tuple[int, int]
    reach: int


def _log_infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    y = _checked(types, MAX_CHANNELS_S8, LOG_QUANT)
    if y.dtype is DType.S8:
        check(types[0].scale * (1 << 26) > 1.0, "scale", "> 2^-26", types[0].scale)
    return (y,)


def _log_scaling(node: Node) -> LogScaling:
    mult, shift, reach = exp_reach(node.inputs[0].type.scale, 1.0)
    return LogScaling((mult, shift), quantize_multiplier(2.0 ** (31 - shift) / mult), reach)


def _log_s8(node: Node, x: Array) -> Ints:
    p = _log_scaling(node)
    values = x.astype(np.int64)
    below = values.max(-1, keepdims=True) - values
    exps = exp_table(node.inputs[0].type.scale, 1.0)[below]
    log = log_q26(shr_round(exps, 12).sum(-1, keepdims=True))
    # what is farther would leave Q5.26
    farthest = np.maximum(-p.reach - 1, requant(log - (1 << 31), *p.back))
    difference = wrap32(requant(-below, *p.to) - log)
    result = np.clip(shr_round(difference, 22) + 127, -128, 127)
    return np.where(-below > farthest, result, -128)


def _log_f32(x: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        centred = x - x.max(-1, keepdims=True)
        exps = floatmath.exp(centred)
        sums = np.add.accumulate(exps, axis=-1, dtype=np.float32)[..., -1:]
        return centred - floatmath.log(sums)


def _log_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    (x,), y = operands, node.output.type
    return ((_log_f32(x) if y.dtype.is_float else _log_s8(node, x)).astype(y.dtype.numpy),)


def _log_params(node: Node) -> Mapping[str, int]:
    p = _log_scaling(node)
    return {
        "channels": node.output.type.shape[-1],
        "mult": p.to[0],
        "shift": p.to[1],
        "back_mult": p.back[0],
        "back_shift": p.back[1],
        "reach": p.reach,
    }


def _log_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    table = exp_table(node.inputs[0].type.scale, 1.0).astype(np.int32)
    return (Operand(node.inputs[0], 0), Operand(b.param(f"{node.output.name}/exp", table)))


log_softmax = register(
    Op(
        name="log_softmax",
        doc="y[..., c] = x[..., c] - log(sum over k of exp(x[..., k])); x (..., C) -> y (..., C)",
        infer=_log_infer,
        ref=_log_ref,
        grads=(shape_rules.log_softmax,),
        regions=_regions,
        slide=slides,
        cost=lambda node: Cost(ops=4 * node.output.type.size),
        kernels=(
            Kernel(
                name="log_softmax",
                source="log_softmax.c",
                accepts=lambda node: (
                    _gives(node, LOG_QUANT) if node.inputs[0].type.dtype is DType.S8 else "not s8"
                ),
                types=_types,
                params=_log_params,
                specialise=("channels", "mult", "shift", "back_mult", "back_shift", "reach"),
                operands=_log_operands,
                overlap="row",
                work=softmax_work,
            ),
            Kernel(
                name="softmax_f32",
                source="softmax_f32.c",
                accepts=lambda node: None if node.inputs[0].type.dtype.is_float else "not f32",
                types=_types,
                params=lambda node: {
                    "channels": node.output.type.shape[-1],
                    "beta": 1.0,
                    "logarithm": 1,
                },
                specialise=("channels", "beta", "logarithm"),
                operands=_one,
                overlap="row",
                work=softmax_work,
            ),
        ),
        samples=(
            Sample((s8(1, 10, scale=0.1, zero_point=4),)),
            Sample((s8(2, 3, 5, 7, scale=0.7, zero_point=-128),)),
            Sample((s8(3, 1, scale=20.0, zero_point=127),)),
            Sample((s8(2, 300, scale=1e-4, zero_point=0),)),
            Sample((s8(4, 33, scale=0.06, zero_point=-3),)),
            Sample((f32(2, 11),), low=-8.0, high=8.0),
            Sample((f32(1, 3, 2, 5),), low=-100.0, high=100.0),
        ),
        dtypes=DTYPES,
        oracle="TFLM LOG_SOFTMAX",
    )
)


# l2_normalize -----------------------------------------------------------------------------


def _l2_infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    return (_checked(types, MAX_SQUARES, UNIT_QUANT),)


def _l2_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    (x,) = operands
    if x.dtype == np.float32:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            sums = np.add.accumulate(x * x, axis=-1, dtype=np.float32)[..., -1:]
            return (x / np.maximum(floatmath.sqrt(sums), np.float32(LEAST_NORM)),)
    value = x.astype(np.int64) - node.inputs[0].type.zero_point
    mult, shift = inverse_sqrt((value * value).sum(-1, keepdims=True))
    return (np.clip(requant(value, mult, shift + 7), -128, 127).astype(np.int8),)


def _l2_types(node: Node) -> Mapping[str, str]:
    suffix = "f32" if node.inputs[0].type.dtype.is_float else "s32"
    given = {k: v for k, v in _types(node).items() if k != "LL_Y"}
    names = ("square", "norm", "normed")
    return given | {f"LL_{n.upper()}": f"ll_{n}_{suffix}" for n in names}


def _l2_work(node: Node) -> Work:
    """Inner: elements squared and divided; one norm a row."""
    out = node.output.type
    return Work(out.size, out.size, math.prod(out.shape[:-1]))


l2_normalize = register(
    Op(
        name="l2_normalize",
        doc="y[..., c] = x[..., c] / sqrt(sum over k of x[..., k]^2); x (..., C) -> y (..., C)",
        infer=_l2_infer,
        ref=_l2_ref,
        grads=(shape_rules.l2_normalize,),
        regions=_regions,
        slide=slides,
        cost=lambda node: Cost(macs=node.output.type.size, ops=node.output.type.size),
        kernels=(
            Kernel(
                name="l2_normalize",
                source="l2_normalize.c",
                accepts=lambda node: _gives(node, UNIT_QUANT),
                types=_l2_types,
                params=lambda node: {
                    "channels": node.output.type.shape[-1],
                    "zero_point": node.inputs[0].type.zero_point,
                },
                specialise=("channels", "zero_point"),
                operands=_one,
                finish=lambda b, node: Finish(lambda acc, load: acc),
                overlap="row",
                work=_l2_work,
            ),
        ),
        samples=(
            Sample((s8(1, 10, scale=0.1, zero_point=4),)),
            Sample((s8(2, 3, 5, 7, scale=0.7, zero_point=-128),)),
            Sample((s8(3, 1, scale=20.0, zero_point=127),)),
            Sample((s8(2, 300, scale=1e-4, zero_point=0),)),
            Sample((f32(2, 11),), low=-8.0, high=8.0),
            Sample((f32(1, 3, 2, 5),), low=-1e-5, high=1e-5),
            Sample((f32(4, 1),), low=-1e9, high=1e9),
        ),
        dtypes=DTYPES,
        oracle="TFLM L2_NORMALIZATION",
    )
)
