"""Matrix products: MatMul, Gemm, and the forms of Einsum that are one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends import integers
from lilliput.frontends.integers import Stored, summable
from lilliput.frontends.onnx.call import Call
from lilliput.frontends.onnx.operators.windows import bias_of
from lilliput.frontends.onnx.tensors import Tensor
from lilliput.ir import Array, Quant, Value
from lilliput.ops.conv import linear
from lilliput.ops.elementwise import add, mul
from lilliput.ops.matmul import MatMul, matmul
from lilliput.ops.shape import Reshape, Transpose, reshape, transpose

Build = Callable[[Call], Tensor | list[Tensor]]


def rows_of(stored: Stored, transposed: bool) -> tuple[Array, Quant]:
    """Weights (O,I) of weights (I,O), or of (O,I) that are `transposed` already."""
    quant, axis = stored.quant, stored.quant.axis
    if axis is not None:
        quant = Quant(quant.scale, quant.zero_point, axis if transposed else 1 - axis)
    return (stored.data if transposed else stored.data.T), quant


def _weights(call: Call, k: int, transposed: bool) -> Value | None:
    """Operand `k`, a constant matrix, as weights (O,I) of int8; None where it is none."""
    stored = call.tensor(k).stored
    if stored is None or stored.data.ndim != 2:
        return None
    data, quant = rows_of(stored, transposed)
    if quant.axis not in (None, 0):
        return None
    name = f"{call.scope.rename(call.tensor(k).name)}/rows"
    return call.builder.param(name, np.ascontiguousarray(data), quant)


def _gemm(call: Call) -> Tensor:
    """alpha * a b + beta * c, with a or b transposed."""
    alpha, beta = call.attr("alpha", 1.0), call.attr("beta", 1.0)
    flip_a, flip_b = bool(call.attr("transA", 0)), bool(call.attr("transB", 0))
    x = call.tensor(0).integers
    if x is not None and (alpha, beta, flip_a) == (1.0, 1.0, False) and _has_row(call, 2):
        w = _weights(call, 1, flip_b)
        if summable(x, w, call.target):
            return _integers(call, x, w, 2)
    p, a = call.place, call.value(0)
    if flip_a:
        a = p.between(transpose, (a,), Transpose((1, 0)), "a")
    data, c = call.data(1), call.data(2) if call.has(2) else None
    if data is None:
        y = p.between(matmul, (a, call.value(1)), MatMul(adj_b=flip_b))
        if alpha != 1.0:
            y = p.between(mul, (y, p.constant(np.array([alpha], np.float32), "alpha")))
        return call.result(_plus(call, y, beta))
    w = (data if flip_b else data.T) * np.float32(alpha)
    weights = p.constant(np.ascontiguousarray(w), "w")
    if c is not None and c.size in (1, w.shape[0]) and c.shape[-1:] in ((w.shape[0],), (1,), ()):
        bias = np.broadcast_to(c.reshape(-1) * np.float32(beta), (w.shape[0],))
        bias_value = p.constant(np.ascontiguousarray(bias), "bias")
        return call.result(call.emit(linear, (a, weights, bias_value)))
    return call.result(_plus(call, p.between(linear, (a, weights)), beta))


def _has_row(call: Call, k: int) -> bool:
    """Whether operand `k` is left out, or a constant row."""
    return not call.has(k) or (call.data(k) is not None and len(call.shape(k)) == 1)


def _plus(call: Call, y: Value, beta: float) -> Value:
    if not call.has(2):
        return y
    p, c = call.place, call.value(2)
    if beta != 1.0:
        c = p.between(mul, (c, p.constant(np.array([beta], np.float32), "beta")), suffix="c")
    return call.emit(add, (y, c))


def _integers(call: Call, x: Value, w: Value | None, bias_at: int) -> Tensor:
    """A product in int8 that is rounded as ONNX Runtime does."""
    assert w is not None
    assert call.target is not None
    y = integers.product(call.place, x, w, bias_of(call, bias_at, x, w), call.target)
    return Tensor(call.output, integers=y)


def _matmul(call: Call) -> Tensor:
    x = call.tensor(0).integers
    if x is not None and len(x.type.shape) >= 2:
        w = _weights(call, 1, transposed=False)
        if summable(x, w, call.target):
            return _integers(call, x, w, len(call.inputs))
    return call.result(product(call, call.value(0), call.value(1), call.data(1)))


def product(call: Call, a: Value, b: Value, constant: Array | None) -> Value:
    """NumPy's matmul; a constant matrix on the right is weights."""
    p, (left, right) = call.place, (len(a.type.shape), len(b.type.shape))
    if min(left, right) < 1:
        raise FormatError("operands of a product", where=call.where, found="numbers")
    if constant is not None and right == 2 and left >= 1:
        weights = p.constant(np.ascontiguousarray(constant.T), "w")
        return call.emit(linear, (a, weights))
    rank = max(left, right, 2)

    def wide(v: Value, column: bool, name: str) -> Value:
        shape = v.type.shape
        if len(shape) == 1:
            shape = (*shape, 1) if column else (1, *shape)
        shape = (1,) * (rank - len(shape)) + shape
        return v if shape == v.type.shape else p.between(reshape, (v,), Reshape(shape), name)

    x, y = wide(a, False, "a"), wide(b, True, "b")
    made = p.between(matmul, (x, y), MatMul())
    shape = list(made.type.shape)
    if right == 1:
        shape.pop(-1)
    if left == 1:
        shape.pop(-1 if right == 1 else -2)
    return (
        made
        if tuple(shape) == made.type.shape
        else call.emit(reshape, (made,), Reshape(tuple(shape)))
    )


# Einsum -----------------------------------------------------------------------------------


def _einsum(call: Call) -> Tensor:
    """Two operands: transposed to (batch, rows, sums) and (batch, sums, columns) and multiplied."""
    equation = call.attr("equation", "").replace(" ", "")
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != 2 or "." in equation or len(call.inputs) != 2:
        raise call.refuse(
            "form of an einsum", expected="two operands, named axes, ->", found=equation
        )
    if any(len(set(t)) != len(t) for t in (*terms, out)):
        raise call.refuse("einsum over a diagonal", found=equation)
    return call.result(contracted(call, terms[0], terms[1], out))


def contracted(call: Call, a: str, b: str, out: str) -> Value:
    """The product of operands whose axes are named by letters, summed over those not in `out`."""
    batch = [c for c in out if c in a and c in b]
    rows, columns = ([c for c in out if c in t and c not in batch] for t in (a, b))
    sums = [c for c in a if c in b and c not in out]
    lonely = set(a + b) - {*batch, *rows, *columns, *sums}
    if lonely or not sums:
        raise call.refuse("einsum without a sum over both operands", found=f"{a},{b}->{out}")
    p, size = call.place, dict[str, int]()
    for k, term in enumerate((a, b)):
        if len(term) != len(call.shape(k)):
            raise FormatError("rank of an operand", where=call.where, expected=term)
        size.update(zip(term, call.shape(k), strict=True))

    def matrix(k: int, term: str, groups: tuple[list[str], ...], name: str) -> Value:
        order = [term.index(c) for g in groups for c in g]
        x = call.value(k)
        if order != sorted(order):
            x = p.between(transpose, (x,), Transpose(tuple(order)), f"{name}/order")
        shape = tuple(math.prod(size[c] for c in g) for g in groups)
        return p.between(reshape, (x,), Reshape(shape), name)

    x = matrix(0, a, (batch, rows, sums), "a")
    y = matrix(1, b, (batch, sums, columns), "b")
    made = p.between(matmul, (x, y), MatMul())
    order = [*batch, *rows, *columns]
    made = p.between(reshape, (made,), Reshape(tuple(size[c] for c in order)), "axes")
    return p.last(transpose, (made,), Transpose(tuple(order.index(c) for c in out)))


READ: Mapping[str, Build] = {"Einsum": _einsum, "Gemm": _gemm, "MatMul": _matmul}
