"""Products of matrices: linear, matmul, bmm, addmm, and attention made of them."""

from __future__ import annotations

import math

import numpy as np

from lilliput.frontends.torch.call import Build, Call
from lilliput.ir import DType, Value
from lilliput.ops.compare import select
from lilliput.ops.conv import linear
from lilliput.ops.elementwise import add, mul
from lilliput.ops.matmul import MatMul, matmul
from lilliput.ops.shape import Broadcast, Transpose, broadcast, transpose
from lilliput.ops.softmax import softmax

MASKED = np.float32(-1e9)
"""Score of what attention does not see: its exponential is 0 beside any other."""


def _linear(call: Call) -> Value:
    x, w, bias = call.value("input"), call.value("weight"), call.optional("bias")
    w = call.shaped(w, (1, *w.type.shape), "weights") if len(w.type.shape) == 1 else w
    y = call.emit(linear, (x, w) if bias is None else (x, w, bias))
    return call.shaped(y, call.out.shape, "vector")


def _addmm(call: Call) -> Value:
    """beta * bias + alpha * a b."""
    a, b, bias = call.value("mat1"), call.value("mat2"), call.value("self")
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    if alpha == beta == 1.0 and call.place.data(b) is not None and len(bias.type.shape) == 1:
        w = call.between(transpose, (b,), Transpose((1, 0)), "weights")
        bias = call.shaped(bias, (w.type.shape[0],), "bias") if bias.type.size > 1 else bias
        if bias.type.shape == (w.type.shape[0],):
            return call.emit(linear, (a, w, bias))
    y = call.between(matmul, (a, b), MatMul())
    y = y if alpha == 1.0 else call.between(mul, (y, call.real(alpha, "alpha")), suffix="scaled")
    if beta != 1.0:
        bias = call.between(mul, (bias, call.real(beta, "beta")), suffix="bias")
    return call.emit(add, (y, bias))


def _matmul(first: str, second: str) -> Build:
    def build(call: Call) -> Value:
        a, b, y = call.value(first), call.value(second), call.out.shape
        if len(a.type.shape) == 1:
            a = call.shaped(a, (1, a.type.size), "row")
        if len(b.type.shape) == 1:
            b = call.shaped(b, (b.type.size, 1), "column")
        return call.shaped(product(call, a, b, "product"), y)

    return build


def product(call: Call, a: Value, b: Value, suffix: str, *, swapped: bool = False) -> Value:
    """a (.., M, K) times b (.., K, N), or (.., N, K) where `swapped`; axes in front broadcast."""
    rank = max(len(a.type.shape), len(b.type.shape))
    if len(b.type.shape) == 2 and call.place.data(b) is not None:
        w = b if swapped else call.between(transpose, (b,), Transpose((1, 0)), f"{suffix}/weights")
        return call.between(linear, (a, w), None, suffix)
    lead = np.broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])
    both = [_matrices(call, v, rank, lead, f"{suffix}/{name}") for v, name in ((a, "a"), (b, "b"))]
    return call.between(matmul, both, MatMul(adj_b=swapped), suffix)


def _matrices(call: Call, x: Value, rank: int, lead: tuple[int, ...], suffix: str) -> Value:
    """x with `rank` axes, repeated along those in front unless it is one matrix for all."""
    own = (*(1,) * (rank - len(x.type.shape)), *x.type.shape)
    x = call.shaped(x, own, f"{suffix}/rank")
    if own[:-2] == lead or math.prod(own[:-2]) == 1:
        return x
    return call.between(broadcast, (x,), Broadcast((*lead, *own[-2:])), suffix)


def _attention(call: Call) -> Value:
    """softmax(scale * q k^T + mask) v."""
    q, k, v = (call.value(n) for n in ("query", "key", "value"))
    if call.number("dropout_p"):
        raise call.refuse("dropout in attention", found=call.number("dropout_p"), expected=0)
    if call.flag("enable_gqa") and q.type.shape[-3] != k.type.shape[-3]:
        k, v = _repeated(call, k, q.type.shape, "k"), _repeated(call, v, q.type.shape, "v")
    scale = call.number("scale", 1 / math.sqrt(q.type.shape[-1]))
    q = call.between(mul, (q, call.real(scale, "scale")), suffix="scaled")
    scores = product(call, q, k, "scores", swapped=True)
    mask = call.optional("attn_mask")
    if call.flag("is_causal"):
        rows, columns = scores.type.shape[-2:]
        mask = call.constant(np.tri(rows, columns).astype(bool), "causal")
    if mask is not None and mask.type.dtype is DType.BOOL:
        scores = call.between(select, (mask, scores, call.real(float(MASKED), "masked")))
    elif mask is not None:
        data = call.place.data(mask)
        if data is not None:  # -infinity, as masks have it, has no exponential of its own
            mask = call.constant(np.maximum(data, MASKED).astype(np.float32), "mask")
        scores = call.between(add, (scores, mask), suffix="masked")
    weights = call.between(softmax, (scores,))
    return product(call, weights, v, "attended")


def _repeated(call: Call, x: Value, query: tuple[int, ...], suffix: str) -> Value:
    """Heads of keys or values, each for as many heads of queries as share it."""
    *lead, heads, length, width = x.type.shape
    each = query[-3] // heads
    cells = call.shaped(x, (*lead, heads, 1, length, width), f"{suffix}/heads")
    wide = Broadcast((*lead, heads, each, length, width))
    full = call.between(broadcast, (cells,), wide, f"{suffix}/wide")
    return call.shaped(full, (*lead, heads * each, length, width), suffix)


READ: dict[str, Build] = {
    "addmm.default": _addmm,
    "bmm.default": _matmul("self", "mat2"),
    "linear.default": _linear,
    "matmul.default": _matmul("self", "other"),
    "mm.default": _matmul("self", "mat2"),
    "scaled_dot_product_attention.default": _attention,
}
