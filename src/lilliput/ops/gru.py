"""Gated recurrent unit over a sequence (Cho et al., 2014), in the form whose reset gate comes
behind the recurrent product, as PyTorch and ONNX (linear_before_reset) have it.

    r, z = logistic(x W + b + (h R + c))    n = tanh(x W + b + r (h R + c))
    h = (1 - z) n + z h

One operator and one kernel a sequence.  The hidden state comes in and its last value is the last
row of the result: states are the module's business.  Floats only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Cost, Kernel, NoAttrs, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, whole
from lilliput.ir.types import Array, DType, TensorType, f32
from lilliput.ops import floatmath
from lilliput.ops.common import check
from lilliput.ops.lstm import dot_rows
from lilliput.ops.registry import register


def _infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    names = ("x", "w", "r", "bias", "rbias", "h")
    check(len(types) == 6, "wrong number of operands", ", ".join(names), len(types))
    x, h = types[0], types[5]
    check(len(x.shape) == 3 and len(h.shape) == 2, "ranks of x and h", "(N,T,I), (N,H)", x.shape)
    (batch, frames, depth), units = x.shape, h.shape[1]
    shapes = ((3 * units, depth), (3 * units, units), (3 * units,), (3 * units,), (batch, units))
    for what, type, shape in zip(names[1:], types[1:], shapes, strict=True):
        check(type.shape == shape, f"shape of {what}", shape, type.shape)
    check({t.dtype for t in types} == {DType.F32}, "element types", "f32", types)
    return (f32(batch, frames, units),)


def _ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, w, r, bias, rbias, h = operands
    units, one = h.shape[1], np.float32(1)
    shown: list[Array] = []
    for t in range(x.shape[1]):
        rows = (x.shape[0], 3 * units)
        a = dot_rows(x[:, t], w, np.broadcast_to(bias, rows))
        b = dot_rows(h, r, np.broadcast_to(rbias, rows))
        both = floatmath.logistic(a[:, : 2 * units] + b[:, : 2 * units])
        reset, kept = both[:, :units], both[:, units:]
        new = floatmath.tanh(a[:, 2 * units :] + reset * b[:, 2 * units :])
        h = (one - kept) * new + kept * h
        shown.append(h)
    return (np.stack(shown, axis=1),)


def _params(node: Node) -> Mapping[str, int]:
    _, frames, depth = node.inputs[0].type.shape
    return {"frames": frames, "in_c": depth, "units": node.inputs[5].type.shape[1]}


def _macs(node: Node) -> int:
    batch, frames, _ = node.inputs[0].type.shape
    return batch * frames * sum(v.type.size for v in node.inputs[1:3])


def _work(node: Node) -> Work:
    """Inner: products; one set-up a gate."""
    return Work(_macs(node), node.output.type.size, 3 * node.output.type.size)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    return tuple(whole(len(v.type.shape)) for v in node.inputs)


def _sample(batch: int, frames: int, depth: int, units: int) -> Sample:
    types = (
        f32(batch, frames, depth),
        f32(3 * units, depth),
        f32(3 * units, units),
        f32(3 * units),
        f32(3 * units),
        f32(batch, units),
    )
    return Sample(types, params=(1, 2, 3, 4), low=-2.0, high=2.0)


gru = register(
    Op(
        name="gru",
        doc="y = the hidden states of a sequence; gates r, z, n, the reset behind the product; "
        "x (N,T,I), w (3H,I), r (3H,H), bias (3H), rbias (3H), h (N,H) -> y (N,T,H)",
        infer=_infer,
        ref=_ref,
        regions=_regions,
        cost=lambda node: Cost(macs=_macs(node), ops=14 * node.output.type.size),
        kernels=(
            Kernel(
                name="gru_f32",
                source="gru_f32.c",
                accepts=lambda _: None,
                types=lambda _: {"LL_X": "float", "LL_ACC": "float"},
                params=_params,
                specialise=("frames", "in_c", "units"),
                operands=lambda _, node: tuple(Operand(v) for v in node.inputs),
                work=_work,
                scratch=lambda node: 4 * 4 * node.inputs[5].type.shape[1],
            ),
        ),
        samples=(_sample(2, 4, 3, 5), _sample(1, 2, 2, 1), _sample(1, 3, 6, 4)),
        dtypes=(DType.F32,),
        oracle="docs/numerics.md",
    )
)
