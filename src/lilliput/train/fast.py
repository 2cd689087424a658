"""The simulation of training with its heavy operators in torch.

Integer products are exact: they are summed as floats of which every partial sum is a whole number
below 2^24, or 2^53, and scaled by the arithmetic of `ops.numeric`, in doubles.  Gradients and
float layers are float32 sums in another order than the device's.  With n products in a sum, they
differ by at most

    2 n u * sum of |products|,    u = 2^-24

as either order is within n u of the true sum (Higham 2002, section 4.2).  So integer activations
agree bit for bit as long as the states do; those agree until a rounding is decided otherwise.

    Simulator(training, prepare=fast.prepare)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lilliput.ir import Array, DType, Node
from lilliput.ops.accumulate import Conv2d, acc_type, is_raw, layer, multipliers, requantize
from lilliput.ops.conv_back import ConvBack, rounded_sums, taking_part
from lilliput.ops.conv_grads import ConvGrad
from lilliput.ops.conv_meetings import is_product
from lilliput.ops.numeric import Rounding
from lilliput.ops.reduce import Reduction
from lilliput.optional import need
from lilliput.train.stages import Run, reference

torch = need("torch", "torch", "fast simulation")
functional = torch.nn.functional

Tensor = Any
Finish = Callable[[Array], Array]


def prepare(node: Node) -> Run:
    """How `node` is executed: by torch where it is heavy, else by its definition."""
    made = _FAST.get(node.op.name)
    return (made(node) if made is not None else None) or reference(node)


# Products of integers -----------------------------------------------------------------------


def _conv2d(node: Node) -> Run | None:
    """x (N,H,W,I), w (O,KH,KW,I/g), s8 without zero points of w, or f32; None for other types."""
    a = layer(node)
    x, w = node.inputs[:2]
    if acc_type(node) is DType.F32 and x.type.dtype is w.type.dtype is DType.F32:
        return _floats(_Convolution(a, w.type.shape))
    plain = w.type.quant is not None and not any(w.type.quant.zero_point)
    if acc_type(node) is not DType.S32 or x.type.dtype is not DType.S8 or not plain:
        return None
    number = np.float32 if math.prod(w.type.shape[1:]) * 255 * 128 < 2**24 else np.float64
    zero, finish = x.type.zero_point, _requantised(node)
    product = _Convolution(a, w.type.shape)

    def run(operands: Sequence[Array]) -> tuple[Array]:
        x = operands[0].astype(number)
        if zero:
            x -= number(zero)
        acc = product(x, operands[1].astype(number)).astype(np.float64)
        for extra in operands[2:]:
            acc += extra
        return (finish(acc),)

    return run


def _parts(node: Node) -> Run | None:
    """The same of weights (O,1,1,I) in two operands: one product of both."""
    x, w, _, *bias = node.inputs
    type = replace(w.type, shape=(*w.type.shape[:3], x.type.shape[3]))
    joined = node.with_inputs((x, replace(w, type=type), *bias))
    run = _conv2d(replace(joined, attrs=Conv2d(rounding=layer(node).rounding)))
    if run is None:
        return None

    def both(operands: Sequence[Array]) -> Sequence[Array]:
        x, w, v, *bias = operands
        return run((x, np.concatenate((w, v), axis=3), *bias))

    return both


def _floats(product: _Convolution) -> Run:
    def run(operands: Sequence[Array]) -> tuple[Array]:
        y = product(operands[0], operands[1])
        for extra in operands[2:]:
            y = y + extra
        return (y,)

    return run


class _Convolution:
    """Floats x (N,H,W,I) with w (O,KH,KW,I/g) -> (N,OH,OW,O)."""

    def __init__(self, attrs: Any, w: tuple[int, ...]):
        self.attrs, self.plain = attrs, is_product(attrs, w)

    def __call__(self, x: Array, w: Array) -> Array:
        if self.plain:
            return x @ w.reshape(len(w), -1).T
        a = self.attrs
        y = functional.conv2d(
            _padded(_planes(x), a.pad), _planes(w), None, a.stride, 0, a.dilation, a.groups
        )
        return _pixels(y)


def _requantised(node: Node) -> Finish:
    """float64 of whole numbers -> `accumulate.requantize` of them; multipliers are found once."""
    attrs, y = layer(node), node.output.type
    if is_raw(node) or attrs.rounding is not Rounding.DOUBLE:
        return lambda acc: requantize(node, acc.astype(np.int64))
    mult, shift = (np.array(v, np.int64) for v in multipliers(node))
    scale = _Doubles(mult, shift)
    low, high = y.dtype.bounds

    def run(acc: Array) -> Array:
        peak = max(-acc.min(), acc.max())
        if peak >= 2**31:
            acc = acc - 2.0**32 * np.floor(acc * 2.0**-32 + 0.5)  # sums wrap around
        if scale.left and peak >= scale.limit:
            return requantize(node, acc.astype(np.int64))
        scaled = scale(acc)
        scaled += y.zero_point
        return np.clip(scaled, low, high, out=scaled).astype(y.dtype.numpy)

    return run


class _Doubles:
    """`numeric.requant`, rounding twice, of whole float64, several times as fast.

    left : whether sums are shifted left before; limit : what then wraps around, not for this

    round(a m / 2^31), m = 2^16 p + q, is floor((a p + floor((a q + 2^30) / 2^16)) / 2^15), and
    every number in there is a whole one below 2^53.
    """

    def __init__(self, mult: Array, shift: Array):
        left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
        self.left, self.limit = bool(left.any()), 2.0 ** (31 - int(left.max()))
        self.p = ((mult >> 16) << left).astype(np.float64)
        self.q = ((mult & 0xFFFF) << left).astype(np.float64)
        self.half = ((1 << right) >> 1).astype(np.float64)
        self.away = (right > 0).astype(np.float64)
        self.part = 2.0 ** -right.astype(np.float64)

    def __call__(self, a: Array) -> Array:
        low = a * self.q
        low += 2.0**30
        low *= 2.0**-16
        np.floor(low, out=low)
        low += a * self.p
        low *= 2.0**-15
        high = np.floor(low, out=low)
        negative = (high < 0) * self.away
        high += self.half
        high -= negative
        high *= self.part
        return np.floor(high, out=high)


# Gradients ----------------------------------------------------------------------------------


def _grad_x(node: Node) -> Run:
    """dy (N,OH,OW,O), w (O,KH,KW,I/g) -> dx (N,*size,I)."""
    a, w = node.attrs, node.inputs[1].type
    assert isinstance(a, ConvBack)
    if a.fixed:
        return lambda operands: (rounded_sums(operands[0], taking_part(node, operands[1])),)
    if is_product(a, w.shape):
        return lambda operands: (
            operands[0] @ operands[1].astype(np.float32).reshape(len(operands[1]), -1),
        )

    def run(operands: Sequence[Array]) -> tuple[Array]:
        dy, w = _planes(operands[0]), _planes(operands[1].astype(np.float32))
        full = functional.conv_transpose2d(dy, w, None, a.stride, 0, 0, a.groups, a.dilation)
        top, left = a.pad[0], a.pad[2]
        behind = [max(0, a.size[i] + a.pad[2 * i] - full.shape[2 + i]) for i in (0, 1)]
        full = functional.pad(full, (0, behind[1], 0, behind[0]))
        return (_pixels(full[:, :, top : top + a.size[0], left : left + a.size[1]]),)

    return run


def _grad_w(node: Node) -> Run:
    """x (N,H,W,I), dy (N,OH,OW,O) -> dw (O,KH,KW,I/g)."""
    a, type = node.attrs, node.inputs[0].type
    assert isinstance(a, ConvGrad)
    zero = 0 if type.quant is None else type.zero_point
    o, kh, kw, i = node.output.type.shape
    plain = a.kernel == a.stride == (1, 1) and not any(a.pad) and a.groups == 1

    def run(operands: Sequence[Array]) -> tuple[Array]:
        x, dy = operands[0].astype(np.float32) - np.float32(zero), operands[1]
        if plain:
            return (dy.reshape(-1, o).T @ x.reshape(-1, i),)
        dw = torch.nn.grad.conv2d_weight(
            _padded(_planes(x), a.pad),
            (o, i, kh, kw),
            _planes(dy),
            a.stride,
            0,
            a.dilation,
            a.groups,
        )
        return (_pixels(dw),)

    return run


def _sum(node: Node) -> Run | None:
    """Floats over some axes."""
    if node.output.type.dtype is not DType.F32:
        return None
    a = node.attrs
    assert isinstance(a, Reduction)
    axes, keep = a.axes, a.keepdims
    return lambda operands: (np.sum(operands[0], axes, keepdims=keep),)


def _linear(node: Node) -> Run | None:
    """Floats x (...,I), w (O,I), maybe a bias (O)."""
    if node.output.type.dtype is not DType.F32 or len(node.inputs) > 3:
        return None

    def run(operands: Sequence[Array]) -> tuple[Array]:
        product = operands[0] @ operands[1].T
        return (product + operands[2] if len(operands) > 2 else product,)

    return run


def _plain(function: Any) -> Callable[[Node], Run | None]:
    """Element-wise floats."""

    def made(node: Node) -> Run | None:
        if node.output.type.dtype is not DType.F32:
            return None
        return lambda operands: (function(*operands),)

    return made


_FAST: Mapping[str, Callable[[Node], Run | None]] = {
    "linear": _linear,
    "sum": _sum,
    "add": _plain(np.add),
    "sub": _plain(np.subtract),
    "mul": _plain(np.multiply),
    "conv2d": _conv2d,
    "conv2d_parts": _parts,
    "conv2d_grad_x": _grad_x,
    "conv2d_grad_w": _grad_w,
}


# Layouts ------------------------------------------------------------------------------------


def _planes(x: Array) -> Tensor:
    """(N,H,W,C) as torch has it, (N,C,H,W), of the same memory."""
    return torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2)


def _pixels(x: Tensor) -> Array:
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())


def _padded(x: Tensor, pad: tuple[int, int, int, int]) -> Tensor:
    top, bottom, left, right = pad
    return functional.pad(x, (left, right, top, bottom)) if any(pad) else x
