"""The words that gradient rules are written in.

A rule (`Op.grads`) adds nodes to a builder and returns the gradient of one operand: float32, of the
operand's shape, in real units.  These functions add one node each, or none where there is nothing
to do.  Operators are looked up when a rule runs, so that a rule may use any of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import Grad
from lilliput.ir.types import Array, DType, TensorType
from lilliput.ops.registry import get


def call(b: Builder, op: str, *inputs: Value, **attrs: object) -> Value:
    """One node of operator `op`; `attrs` are the fields of its attributes."""
    found = get(op)
    return b.add(found, inputs, found.attrs(**attrs) if attrs else None, name=f"d.{op}")


def real(b: Builder, v: Value) -> Value:
    """The real numbers that a value stands for: itself if float, else scale * (q - zero_point).

    Integers without a scale are numbers themselves.
    """
    if v.type.dtype.is_float:
        return v
    v = unpacked(b, v)
    if v.type.quant is None:
        return call(b, "cast", v, dtype=DType.F32)
    if v.type.quant.is_per_tensor:
        return call(b, "dequantize", v)
    return mul(b, call(b, "cast", v, dtype=DType.F32), constant(b, column(v.type)))


def unpacked(b: Builder, v: Value) -> Value:
    """v itself, or a constant of four bits as one of eight."""
    if v.type.dtype is not DType.S4 or v.name not in b.params:
        return v
    data = b.params[v.name].data
    assert data is not None
    return b.param(f"{v.name}/s8", data.astype(np.int8), v.type.quant)


def column(type: TensorType) -> Array:
    """The scales of a type, float32, of a shape that broadcasts to it."""
    quant = type.quant
    assert quant is not None
    shape = [1] * len(type.shape)
    if not quant.is_per_tensor:
        shape[quant.axis or 0] = len(quant.scale)
    return np.array(quant.scale, np.float32).reshape(shape)


def constant(b: Builder, data: Array | float, shape: Sequence[int] = ()) -> Value:
    """A float32 constant; a number has `shape`: without axes it broadcasts to anything."""
    array = np.asarray(data, np.float32)
    return b.param("d.constant", np.full(shape, array) if array.ndim == 0 else array)


def add(b: Builder, x: Value, y: Value) -> Value:
    return call(b, "add", x, y)


def sub(b: Builder, x: Value, y: Value) -> Value:
    return call(b, "sub", x, y)


def mul(b: Builder, x: Value, y: Value) -> Value:
    return call(b, "mul", x, y)


def div(b: Builder, x: Value, y: Value) -> Value:
    return call(b, "div", x, y)


def neg(b: Builder, x: Value) -> Value:
    return call(b, "neg", x)


def scaled(b: Builder, x: Value, factor: float) -> Value:
    """x * factor; x itself for 1."""
    return x if factor == 1 else mul(b, x, constant(b, factor))


def shifted(b: Builder, x: Value, by: float) -> Value:
    """x + by."""
    return add(b, x, constant(b, by))


def reshape(b: Builder, x: Value, shape: Sequence[int]) -> Value:
    return x if x.type.shape == tuple(shape) else call(b, "reshape", x, shape=tuple(shape))


def transpose(b: Builder, x: Value, perm: Sequence[int]) -> Value:
    return (
        x if tuple(perm) == tuple(range(len(perm))) else call(b, "transpose", x, perm=tuple(perm))
    )


def broadcast_to(b: Builder, x: Value, shape: Sequence[int]) -> Value:
    return x if x.type.shape == tuple(shape) else call(b, "broadcast", x, shape=tuple(shape))


def sum_to(b: Builder, dy: Value, shape: Sequence[int]) -> Value:
    """dy summed over the axes along which an operand of `shape` was repeated."""
    lead = len(dy.type.shape) - len(shape)
    if lead and dy.type.shape[lead:] == tuple(shape):
        return call(b, "sum", dy, axes=tuple(range(lead)), keepdims=False)
    axes = tuple(
        i
        for i, extent in enumerate(dy.type.shape)
        if extent != 1 and (i < lead or shape[i - lead] == 1)
    )
    summed = call(b, "sum", dy, axes=axes, keepdims=True) if axes else dy
    return reshape(b, summed, shape)


def zero_unless(b: Builder, condition: Value, dy: Value) -> Value:
    """dy where `condition` (bool, broadcasting) holds, else 0."""
    return call(b, "select", condition, dy, constant(b, 0.0))


def operand(node: Node, i: int) -> tuple[int, ...]:
    return node.inputs[i].type.shape


# Rules that several operators share -------------------------------------------------------


def passes(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
    """The operand's real value is the result's: the gradient under the operand's shape."""
    return reshape(b, dys[0], operand(node, 0))


def unbroadcast(i: int, factor: float = 1.0) -> Grad:
    """Of operand i, which broadcasts and enters the result times `factor`."""

    def rule(b: Builder, node: Node, dys: Sequence[Value]) -> Value:
        return sum_to(b, scaled(b, dys[0], factor), operand(node, i))

    return rule
