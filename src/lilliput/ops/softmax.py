"""softmax over the last axis.

int8: the 256 possible differences to the maximum index a table of exp in Q0.31; sums in
Q12.19, one reciprocal a row.  int16: two interpolated tables, as TFLite has it.  float:
exp of the difference, summed in order, then one division an element.  The quantisation of
integer results is fixed by TFLite: int8 1/256, -128; int16 1/32768, 0 (from int8: 1/65536,
-32768).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Whole, pointwise
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16
from lilliput.ops import floatmath, shape_rules
from lilliput.ops.common import ACTIVATIONS, c_type, check, check_activations, slides
from lilliput.ops.fixed_exp import exp_negative, lookup_513, reciprocal_q31, table_513
from lilliput.ops.floatmath import F32
from lilliput.ops.numeric import Ints, mulh_round, quantize_multiplier, requant, shr_round
from lilliput.ops.registry import register

MAX_CHANNELS_S8 = 4095
MAX_CHANNELS_S16 = 65535


@dataclass(frozen=True)
class Softmax(Attrs):
    """beta scales the input; `wide` gives int16 from int8."""

    beta: float = 1.0
    wide: bool = False


def _attrs(node: Node) -> Softmax:
    assert isinstance(node.attrs, Softmax)
    return node.attrs


def output_quant(x: DType, wide: bool) -> Quant | None:
    """The quantisation that the result of a softmax of `x` has."""
    if x.is_float:
        return None
    if x is DType.S16:
        return Quant.per_tensor(2.0**-15)
    return Quant.per_tensor(2.0**-16, -32768) if wide else Quant.per_tensor(2.0**-8, -128)


def _infer(a: Softmax, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 1, "wrong number of operands", "x", len(types))
    x = types[0]
    check_activations(x)
    check(len(x.shape) >= 1, "rank", ">= 1", x.shape)
    check(a.beta > 0 and math.isfinite(a.beta), "beta", "> 0", a.beta)
    check(not a.wide or x.dtype is DType.S8, "wide results", "from s8", x.dtype.value)
    limit = {DType.S8: MAX_CHANNELS_S8, DType.S16: MAX_CHANNELS_S16}.get(x.dtype)
    check(limit is None or x.shape[-1] <= limit, "channels", f"<= {limit}", x.shape[-1])
    if x.dtype is DType.S8:
        real = a.beta * x.scale * (1 << 26)
        check(real > 1.0, "beta * scale", "> 2^-26", a.beta * x.scale)
    dtype = DType.S16 if a.wide else x.dtype
    return (TensorType(x.shape, dtype, output_quant(x.dtype, a.wide)),)


# Meaning ----------------------------------------------------------------------------------


def exp_reach(scale: float, beta: float) -> tuple[int, int, int]:
    """(mult, shift) from steps of the input to Q5.26, and how many steps exp is taken of."""
    real = min(float(np.float32(beta)) * scale * (1 << 26), 2.0**31 - 1.0)
    mult, shift = quantize_multiplier(real)
    return mult, shift, math.floor(31.0 * (1 << 26) / (1 << shift))


def exp_table(scale: float, beta: float) -> Ints:
    """exp(-k * scale * beta) in Q0.31 for k = 0..255; 0 where TFLite leaves the term out."""
    mult, shift, reach = exp_reach(scale, beta)
    k = np.arange(256, dtype=np.int64)
    scaled = requant(-np.minimum(k, reach), mult, shift)
    return np.where(k <= reach, exp_negative(scaled, 5), 0)


def _ref_s8(node: Node, x: Array) -> Array:
    low = -32768 if _attrs(node).wide else -128
    bits = 16 if _attrs(node).wide else 8
    table = exp_table(node.inputs[0].type.scale, _attrs(node).beta)
    values = x.astype(np.int64)
    exps = table[values.max(-1, keepdims=True) - values]
    sums = shr_round(exps, 12).sum(-1, keepdims=True)
    over = np.frexp(sums.astype(np.float64))[1].astype(np.int64) - 20
    scale = reciprocal_q31((sums << (12 - over)) - (np.int64(1) << 31))
    result = shr_round(mulh_round(scale, exps), over + 31 - bits) + low
    return np.clip(result, low, -low - 1)


def _exp(x: F32) -> F32:
    return np.exp(x.astype(np.float64)).astype(np.float32)


def _one_over(x: F32) -> F32:
    return np.float32(1) / (np.float32(1) + x)


EXP_TABLE = table_513(_exp, -10.0, 0.0)
"""exp on [-10, 0] in Q0.15"""
RECIPROCAL_TABLE = table_513(_one_over, 0.0, 1.0)
"""1 / (1 + x) on [0, 1] in Q0.15"""


def _scaling_s16(node: Node) -> tuple[int, int]:
    """(mult, shift) that take a difference of inputs to 65535 steps for 10.0."""
    scale = node.inputs[0].type.scale * float(np.float32(_attrs(node).beta))
    return quantize_multiplier(scale / (10.0 / 65535.0))


def _ref_s16(node: Node, x: Array) -> Array:
    mult, shift = _scaling_s16(node)
    values = x.astype(np.int64)
    diff = requant(values - values.max(-1, keepdims=True), mult, shift)
    exps = lookup_513(np.clip(diff + 32767, -32768, 32767), EXP_TABLE)
    sums = exps.sum(-1, keepdims=True)
    left = 31 - np.frexp(sums.astype(np.float64))[1].astype(np.int64)
    shifted = ((sums << left) + (1 << 13)) >> 14
    scale = lookup_513(np.clip(shifted - (3 << 15), -32768, 32767), RECIPROCAL_TABLE)
    right = 30 - left
    return np.clip((exps * scale + (np.int64(1) << (right - 1))) >> right, 0, 32767)


def _ref_f32(node: Node, x: Array) -> Array:
    beta = np.float32(_attrs(node).beta)
    exps = floatmath.exp((x - x.max(-1, keepdims=True)) * beta)
    sums = np.add.accumulate(exps, axis=-1, dtype=np.float32)[..., -1:]
    return exps / sums


_REFS: dict[DType, Callable[[Node, Array], Array]] = {
    DType.S8: _ref_s8,
    DType.S16: _ref_s16,
    DType.F32: _ref_f32,
}


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    y = node.output.type
    return (_REFS[node.inputs[0].type.dtype](node, operands[0]).astype(y.dtype.numpy),)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    rank = len(node.output.type.shape)
    return ((*pointwise(rank - 1), Whole()),)


# Kernels ----------------------------------------------------------------------------------


def _accepts(dtype: DType) -> Callable[[Node], str | None]:
    def accepts(node: Node) -> str | None:
        x, y = node.inputs[0].type.dtype, node.output.type
        if x is not dtype:
            return f"not {dtype.value}"
        wanted, found = output_quant(x, _attrs(node).wide), y.quant
        if wanted is None or found is None:
            return None if wanted is found else f"output quantisation is not {wanted}"
        near = math.isclose(found.scale[0], wanted.scale[0], rel_tol=1e-3)
        same = near and found.zero_point == wanted.zero_point
        return None if same else f"output quantisation is not {wanted}"

    return accepts


def _types(node: Node) -> Mapping[str, str]:
    x, y = node.inputs[0].type.dtype, node.output.type.dtype
    acc = "float" if x.is_float else "int32_t"
    return {"LL_X": c_type(x), "LL_Y": c_type(y), "LL_ACC": acc}


def _params_s8(node: Node) -> Mapping[str, int]:
    wide = _attrs(node).wide
    return {"channels": node.output.type.shape[-1], "bits": 16 if wide else 8}


def _params_s16(node: Node) -> Mapping[str, int]:
    mult, shift = _scaling_s16(node)
    return {"channels": node.output.type.shape[-1], "mult": mult, "shift": shift}


def _params_f32(node: Node) -> Mapping[str, int | float]:
    beta = float(np.float32(_attrs(node).beta))
    return {"channels": node.output.type.shape[-1], "beta": beta, "logarithm": 0}


def _operands_s8(b: Builder, node: Node) -> tuple[Operand, ...]:
    table = exp_table(node.inputs[0].type.scale, _attrs(node).beta).astype(np.int32)
    constant = b.param(f"{node.output.name}/exp", table)
    return (Operand(node.inputs[0], 0), Operand(constant))


def _operands_s16(b: Builder, node: Node) -> tuple[Operand, ...]:
    tables = (("exp", EXP_TABLE), ("reciprocal", RECIPROCAL_TABLE))
    constants = (b.param(f"{node.output.name}/{name}", data) for name, data in tables)
    return (Operand(node.inputs[0], 0), *(Operand(value) for value in constants))


def _operands_f32(_: Builder, node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[0], 0),)


def softmax_work(node: Node) -> Work:
    """Inner: exponentials; one set-up a row."""
    out = node.output.type
    return Work(out.size, out.size, math.prod(out.shape[:-1]))


softmax = register(
    Op(
        name="softmax",
        doc="y[..., c] = exp(beta * x[..., c]) / sum over k of exp(beta * x[..., k]); "
        "x (..., C) -> y (..., C)",
        attrs=Softmax,
        infer=_infer,
        ref=_ref,
        grads=(shape_rules.softmax,),
        regions=_regions,
        slide=slides,
        cost=lambda node: Cost(ops=5 * node.output.type.size),
        kernels=(
            Kernel(
                name="softmax",
                source="softmax.c",
                accepts=_accepts(DType.S8),
                types=_types,
                params=_params_s8,
                specialise=("bits", "channels"),
                operands=_operands_s8,
                overlap="row",
                work=softmax_work,
            ),
            Kernel(
                name="softmax_s16",
                source="softmax_s16.c",
                accepts=_accepts(DType.S16),
                types=_types,
                params=_params_s16,
                specialise=("channels", "mult", "shift"),
                operands=_operands_s16,
                overlap="row",
                work=softmax_work,
            ),
            Kernel(
                name="softmax_f32",
                source="softmax_f32.c",
                accepts=_accepts(DType.F32),
                types=_types,
                params=_params_f32,
                specialise=("channels", "beta", "logarithm"),
                operands=_operands_f32,
                overlap="row",
                work=softmax_work,
            ),
        ),
        samples=(
            Sample((s8(1, 10, scale=0.1, zero_point=4),), Softmax()),
            Sample((s8(2, 3, 5, 7, scale=0.7, zero_point=-128),), Softmax(beta=0.5)),
            Sample((s8(3, 1, scale=20.0, zero_point=127),), Softmax()),
            Sample((s8(2, 300, scale=1e-4, zero_point=0),), Softmax()),
            Sample((s8(1, 2, 12, scale=0.05, zero_point=-3),), Softmax(wide=True)),
            Sample((s16(1, 10, scale=0.0005),), Softmax()),
            Sample((s16(2, 3, 33, scale=1e-5),), Softmax(beta=2.0)),
            Sample((s16(2, 4, scale=0.01),), Softmax()),
            Sample((f32(2, 11),), Softmax(), low=-8.0, high=8.0),
            Sample((f32(1, 3, 2, 5),), Softmax(beta=3.0), low=-100.0, high=100.0),
        ),
        dtypes=ACTIVATIONS,
        oracle="TFLM SOFTMAX",
    )
)
