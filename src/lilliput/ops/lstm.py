"""Long short-term memory over a sequence (Hochreiter and Schmidhuber, 1997), without peepholes.

    i, f, o = logistic(x W + h R + b)    g = tanh(x W + h R + b)
    c = f c + i g, limited               h = o tanh(c)

One operator and one kernel a sequence, for unrolled it would be ten steps a frame.  The
states come in and go out: they are the module's business.  Integers as TFLite Micro's
kernel: gates in Q0.15, the cell state int16 with a scale that is a power of two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, whole
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16
from lilliput.ops import fixed_point, floatmath
from lilliput.ops.accumulate import FoldBias, fold_bias
from lilliput.ops.common import ACTIVATIONS, c_type, check, check_activations
from lilliput.ops.numeric import (
    Ints,
    quantize_multiplier,
    requant,
    requant_s64,
    saturate,
    wrap32,
)
from lilliput.ops.registry import register

MAX_DEPTH = 1 << 16
"""Of a product in int32: so many products of int8 and int8 stay within it."""


@dataclass(frozen=True)
class LSTM(Attrs):
    """cell_clip: limit of the cell state's magnitude in real units; 0 for none."""

    cell_clip: float = 0.0


def _clip(node: Node) -> float:
    assert isinstance(node.attrs, LSTM)
    return node.attrs.cell_clip


def _infer(_: LSTM, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 6, "wrong number of operands", "x, w, r, bias, h, c", len(types))
    x, w, r, _bias, h, c = types
    check_activations(x)
    check(len(x.shape) == 3 and len(h.shape) == 2, "ranks of x and h", "(N,T,I), (N,H)", x.shape)
    (batch, frames, depth), units = x.shape, h.shape[1]
    shapes = ((4 * units, depth), (4 * units, units), (4 * units,), (batch, units), (batch, units))
    for what, type, shape in zip(("w", "r", "bias", "h", "c"), types[1:], shapes, strict=True):
        check(type.shape == shape, f"shape of {what}", shape, type.shape)
    check(max(depth, units) <= MAX_DEPTH, "depth", f"<= {MAX_DEPTH}", max(depth, units))
    check(h.dtype is x.dtype, "type of the hidden state", x.dtype.value, h.dtype.value)
    if x.dtype.is_float:
        check({t.dtype for t in types} == {DType.F32}, "element types", "f32", types)
        return f32(batch, frames, units), f32(batch, units)
    wide = DType.S64 if x.dtype is DType.S16 else DType.S32
    kinds = (DType.S8, DType.S8, wide, x.dtype, DType.S16)
    found = tuple(t.dtype for t in types[1:])
    check(found == kinds, "element types", kinds, found)
    for what, type in (("x", x), ("h", h), ("c", c)):
        check(type.quant is not None, f"quantisation of {what}", "a scale", None)
    for what, type in (("w", w), ("r", r)):
        quant = type.quant
        ok = quant is not None and not any(quant.zero_point)
        check(ok, f"quantisation of {what}", "symmetric", quant)
    log2 = math.log2(c.scale)
    power = c.zero_point == 0 and log2 == round(log2) and -27 <= log2 <= -9
    check(power, "scale of the cell state", "a power of two, 2^-27 to 2^-9", c.scale)
    return x.with_shape(batch, frames, units).with_dtype(x.dtype, h.quant), c


# Integers ---------------------------------------------------------------------------------


def _gates(node: Node) -> Array:
    """int32 (8, 2): multiplier and shift of each gate's product with x, then with h."""
    x, w, r, _, h, _ = (v.type for v in node.inputs)
    units = h.shape[1]
    pairs: list[tuple[int, int]] = []
    for operand, weights in ((x, w), (h, r)):
        assert weights.quant is not None
        scales = weights.quant.scale * (1 if len(weights.quant.scale) > 1 else 4 * units)
        for gate in range(4):
            product = np.float32(operand.scale) * np.float32(scales[gate * units])
            pairs.append(quantize_multiplier(float(product) * 4096.0))
    return np.array(pairs, np.int32)


def _products(node: Node) -> dict[str, int]:
    """Parameters of the products of gates, of tanh of the cell state, and of its limit."""
    h, c = node.inputs[4].type, node.inputs[5].type
    power = round(math.log2(c.scale)) + 12
    fresh = quantize_multiplier(2.0**-30 / c.scale)
    shown = quantize_multiplier(2.0**-30 / h.scale)
    clip = _clip(node)
    limit = min(int(np.float32(clip) / np.float32(c.scale)), 32767) if clip > 0 else 32768
    return {
        "clip": limit,
        "tanh_mult": 3 << max(power, 0),
        "tanh_shift": max(-power, 0),
        "input_mult": fresh[0],
        "input_shift": fresh[1],
        "hidden_mult": shown[0],
        "hidden_shift": shown[1],
        "zero_point": h.zero_point,
        "low": h.dtype.bounds[0],
        "high": h.dtype.bounds[1],
    }


def _s16(a: Ints) -> Ints:
    return np.clip(a, -32768, 32767)


def _ref_int(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, w, r, bias, h, c = (a.astype(np.int64) for a in operands)
    zero, h_type = node.inputs[0].type.zero_point, node.inputs[4].type
    units, p = h.shape[1], _products(node)
    scale = np.repeat(_gates(node).reshape(2, 4, 2), units, axis=1).astype(np.int64)
    wide = node.inputs[0].type.dtype is DType.S16

    def scaled(acc: Ints, which: int) -> Ints:
        mult, shift = scale[which, :, 0], scale[which, :, 1]
        return _s16(requant_s64(acc, mult, shift) if wide else requant(wrap32(acc), mult, shift))

    shown: list[Ints] = []
    for t in range(x.shape[1]):
        sums = scaled((x[:, t] - zero) @ w.T + bias, 0)
        sums = _s16(sums + scaled((h - h_type.zero_point) @ r.T, 1))
        i, f, g, o = (sums[:, k * units : (k + 1) * units] for k in range(4))
        i, f, o = (fixed_point.logistic_s16(v, 3, 0) for v in (i, f, o))
        g = fixed_point.tanh_s16(g, 3, 0)
        kept = _s16(requant(f * c, 1 << 30, -14))
        fresh = _s16(requant(i * g, p["input_mult"], p["input_shift"]))
        c = np.clip(_s16(kept + fresh), -p["clip"], p["clip"])
        out = fixed_point.tanh_s16(c, p["tanh_mult"], p["tanh_shift"])
        h = requant(o * out, p["hidden_mult"], p["hidden_shift"]) + p["zero_point"]
        h = saturate(h, h_type).astype(np.int64)
        shown.append(h)
    y = np.stack(shown, axis=1)
    return y.astype(h_type.dtype.numpy), c.astype(np.int16)


def _int_types(node: Node) -> Mapping[str, str]:
    x = node.inputs[0].type.dtype
    wide = x is DType.S16
    return {
        "LL_X": c_type(x),
        "LL_ACC": "int64_t" if wide else "int32_t",
        "LL_ADD": "ll_wrap_add_s64" if wide else "ll_wrap_add",
        "LL_REQUANT": "ll_requant_s64" if wide else "ll_requant",
    }


def _int_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    x, w, r, bias, h, c = node.inputs
    wide, name = x.type.dtype is DType.S16, node.output.name
    folded = b.add(fold_bias, (w, bias), FoldBias(x.type.zero_point, wide), name=f"{name}/bias")
    recurrent = b.add(
        fold_bias, (r,), FoldBias(h.type.zero_point, wide), name=f"{name}/recurrent_bias"
    )
    gates = b.param(f"{name}/gates", _gates(node))
    table = b.param(f"{name}/sigmoid", fixed_point.SIGMOID_TABLE)
    values = (x, w, r, folded, recurrent, h, c, gates, table)
    return tuple(Operand(v) for v in values)


# Floats -----------------------------------------------------------------------------------


def float_frames(node: Node, operands: Sequence[Array]) -> Iterator[tuple[Array, Array]]:
    """(h, c) behind every frame, each (N,H); states of one sample serve all."""
    x, w, r, bias, h, c = operands
    units, clip = h.shape[1], np.float32(_clip(node) or np.inf)
    for t in range(x.shape[1]):
        sums = dot_rows(x[:, t], w, np.broadcast_to(bias, (x.shape[0], 4 * units)))
        sums = sums + dot_rows(h, r, np.zeros_like(sums))
        i, f, g, o = (sums[:, k * units : (k + 1) * units] for k in range(4))
        i, f, o = (floatmath.logistic(v) for v in (i, f, o))
        c = f * c + i * floatmath.tanh(g)
        c = np.maximum(np.minimum(c, clip), -clip)
        h = o * floatmath.tanh(c)
        yield h, c


def _ref_float(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    shown, cells = zip(*float_frames(node, operands), strict=True)
    return np.stack(shown, axis=1), cells[-1]


def dot_rows(a: Array, w: Array, start: Array) -> Array:
    """start + a w^T, summed in the order of the last axis."""
    acc = start.astype(np.float32)
    for k in range(a.shape[1]):
        acc = acc + a[:, k : k + 1] * w[:, k]
    return acc


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    floats = node.inputs[0].type.dtype.is_float
    return (_ref_float if floats else _ref_int)(node, operands)


def _float_params(node: Node) -> Mapping[str, int | float]:
    clip = float(np.float32(_clip(node))) or float(np.finfo(np.float32).max)
    return {**_extents(node), "clip": clip}


# The operator -----------------------------------------------------------------------------


def _extents(node: Node) -> dict[str, int]:
    _, frames, depth = node.inputs[0].type.shape
    return {"frames": frames, "in_c": depth, "units": node.inputs[4].type.shape[1]}


def _macs(node: Node) -> int:
    _, frames, _ = node.inputs[0].type.shape
    return frames * node.inputs[0].type.shape[0] * sum(v.type.size for v in node.inputs[1:3])


def _work(node: Node) -> Work:
    """Inner: products; one set-up a gate."""
    return Work(_macs(node), node.output.type.size, 4 * node.output.type.size)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    return tuple(whole(len(v.type.shape)) for v in node.inputs)


def _sample(
    x: TensorType, units: int, scale: float, h: Quant | None, power: int, clip: float = 0.0
) -> Sample:
    """A layer of integers; the gates' scales differ."""
    batch, frames, depth = x.shape
    wide = DType.S64 if x.dtype is DType.S16 else DType.S32
    scales = tuple(float(np.float32(scale * k)) for k in (1, 0.7, 1.9, 1.3) for _ in range(units))
    quant = Quant(scales, (0,) * (4 * units), 0)
    cell = TensorType((batch, units), DType.S16, Quant.per_tensor(2.0**power))
    return Sample(
        (
            x,
            TensorType((4 * units, depth), DType.S8, quant),
            TensorType((4 * units, units), DType.S8, quant),
            TensorType((4 * units,), wide),
            TensorType((batch, units), x.dtype, h),
            cell,
        ),
        LSTM(clip),
        (TensorType((batch, frames, units), x.dtype, h), cell),
        params=(1, 2, 3),
    )


def _kernel(name: str, floats: bool) -> Kernel:
    def accepts(node: Node) -> str | None:
        mine = node.inputs[0].type.dtype.is_float is floats
        return None if mine else "computes floats" if floats else "computes integers"

    return Kernel(
        name=name,
        source=f"{name}.c",
        accepts=accepts,
        types=(lambda _: {"LL_X": "float", "LL_ACC": "float"}) if floats else _int_types,
        params=_float_params if floats else lambda node: {**_extents(node), **_products(node)},
        specialise=("frames", "in_c", "units"),
        operands=(lambda _, node: tuple(Operand(v) for v in node.inputs))
        if floats
        else _int_operands,
        work=_work,
        scratch=lambda node: 4 * node.inputs[4].type.shape[1] * (4 if floats else 2),
    )


lstm = register(
    Op(
        name="lstm",
        doc="y, c' = the hidden states of a sequence and the last cell state; gates i, f, g, o; "
        "x (N,T,I), w (4H,I), r (4H,H), bias (4H), h (N,H), c (N,H) -> y (N,T,H), c' (N,H)",
        attrs=LSTM,
        infer=_infer,
        ref=_ref,
        regions=_regions,
        cost=lambda node: Cost(macs=_macs(node), ops=16 * node.output.type.size),
        kernels=(_kernel("lstm", floats=False), _kernel("lstm_f32", floats=True)),
        samples=(
            _sample(s8(1, 5, 6, scale=0.02, zero_point=-3), 4, 0.01, Quant.per_tensor(2**-7), -12),
            _sample(
                s8(2, 3, 5, scale=0.01, zero_point=100),
                3,
                0.02,
                Quant.per_tensor(0.008, -7),
                -11,
                clip=5.0,
            ),
            _sample(s8(1, 4, 3, scale=0.05), 7, 0.004, Quant.per_tensor(0.01), -13),
            _sample(s16(1, 3, 4, scale=0.0002), 5, 0.01, Quant.per_tensor(2**-15), -11, clip=2.0),
            Sample(
                (f32(2, 4, 3), f32(20, 3), f32(20, 5), f32(20), f32(2, 5), f32(2, 5)),
                LSTM(1.5),
                params=(1, 2, 3),
                low=-2.0,
                high=2.0,
            ),
            Sample(
                (f32(1, 2, 2), f32(4, 2), f32(4, 1), f32(4), f32(1, 1), f32(1, 1)),
                LSTM(),
                params=(1, 2, 3),
            ),
        ),
        dtypes=ACTIVATIONS,
        oracle="TFLM UNIDIRECTIONAL_SEQUENCE_LSTM",
    )
)
