"""Smooth twins of operators, in torch, on real numbers: what gradients flow through.

The forward values of a network come from the operators' own meaning (`Op.ref`); a twin only has
to be the same function without the rounding.  An operator that is missing here still computes;
no gradient passes it, which `qat` refuses where one is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from lilliput.ir.graph import Node
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.elementwise import Clamp
from lilliput.ops.frame import Pad
from lilliput.ops.pick import StridedSlice
from lilliput.ops.pool import Pool
from lilliput.ops.reduce import Reduction
from lilliput.ops.shape import Slice
from lilliput.ops.softmax import Softmax
from lilliput.optional import need

torch = need("torch", "torch", "training on the host")
F = torch.nn.functional
Tensor = Any
"""Of torch, which need not be installed where types are checked."""

Twin = Callable[[Any, Node, Sequence[Tensor]], Tensor]
"""(attributes, node, real operands) -> real result."""


def _conv2d(a: Conv2d, _: Node, x: Sequence[Tensor]) -> Tensor:
    top, bottom, left, right = a.pad
    image = F.pad(x[0].permute(0, 3, 1, 2), (left, right, top, bottom))
    y = F.conv2d(
        image,
        x[1].permute(0, 3, 1, 2),
        x[2] if len(x) > 2 else None,
        a.stride,
        0,
        a.dilation,
        a.groups,
    )
    return y.permute(0, 2, 3, 1)


def _linear(_: Any, __: Node, x: Sequence[Tensor]) -> Tensor:
    return F.linear(x[0], x[1], x[2] if len(x) > 2 else None)


def _clamp(a: Clamp, node: Node, x: Sequence[Tensor]) -> Tensor:
    type = node.output.type
    scale, zero = (type.scale, type.zero_point) if type.quant else (1.0, 0)
    return x[0].clamp((a.low - zero) * scale, (a.high - zero) * scale)


def _pool(a: Pool, x: Tensor, fill: float) -> Tensor:
    top, bottom, left, right = a.pad
    return F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom), value=fill)


def _avg(a: Pool, _: Node, x: Sequence[Tensor]) -> Tensor:
    total = F.avg_pool2d(_pool(a, x[0], 0.0), a.kernel, a.stride)
    inside = F.avg_pool2d(_pool(a, torch.ones_like(x[0]), 0.0), a.kernel, a.stride)
    return (total / inside).permute(0, 2, 3, 1)


def _max(a: Pool, _: Node, x: Sequence[Tensor]) -> Tensor:
    padded = _pool(a, x[0], float("-inf"))
    return F.max_pool2d(padded, a.kernel, a.stride).permute(0, 2, 3, 1)


def _reduced(how: Callable[..., Tensor]) -> Twin:
    def twin(a: Reduction, _: Node, x: Sequence[Tensor]) -> Tensor:
        return how(x[0], dim=a.axes, keepdim=a.keepdims)

    return twin


def _slice(a: Slice | StridedSlice, _: Node, x: Sequence[Tensor]) -> Tensor:
    steps = a.stride if isinstance(a, StridedSlice) else (1,) * len(a.begin)
    places = zip(a.begin, a.size, steps, x[0].shape, strict=True)
    y = x[0]
    for axis, (begin, size, step, _extent) in enumerate(places):
        index = torch.arange(begin, begin + size * step, step)[:size]
        y = y.index_select(axis, index)
    return y


def _pad(a: Pad, node: Node, x: Sequence[Tensor]) -> Tensor:
    type = node.output.type
    value = (a.value - type.zero_point) * type.scale if type.quant else a.value
    sides = [n for pair in reversed([*zip(a.before, a.after, strict=True)]) for n in pair]
    return F.pad(x[0], sides, value=float(value))


def _softmax(a: Softmax, _: Node, x: Sequence[Tensor]) -> Tensor:
    return torch.softmax(a.beta * x[0], -1)


def _same(_: Any, __: Node, x: Sequence[Tensor]) -> Tensor:
    return x[0]


def _one(function: Callable[[Tensor], Tensor]) -> Twin:
    return lambda _a, _n, x: function(x[0])


TWINS: Final[dict[str, Twin]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "add": lambda _a, _n, x: x[0] + x[1],
    "sub": lambda _a, _n, x: x[0] - x[1],
    "mul": lambda _a, _n, x: x[0] * x[1],
    "div": lambda _a, _n, x: x[0] / x[1],
    "maximum": lambda _a, _n, x: torch.maximum(x[0], x[1]),
    "minimum": lambda _a, _n, x: torch.minimum(x[0], x[1]),
    "squared_difference": lambda _a, _n, x: (x[0] - x[1]) ** 2,
    "clamp": _clamp,
    "avg_pool2d": _avg,
    "max_pool2d": _max,
    "mean": _reduced(torch.mean),
    "sum": _reduced(torch.sum),
    "reshape": lambda a, _n, x: x[0].reshape(a.shape),
    "broadcast": lambda a, _n, x: x[0].expand(a.shape),
    "transpose": lambda a, _n, x: x[0].permute(a.perm),
    "concat": lambda a, _n, x: torch.cat([*x], a.axis),
    "slice": _slice,
    "strided_slice": _slice,
    "pad": _pad,
    "softmax": _softmax,
    "log_softmax": _one(lambda x: torch.log_softmax(x, -1)),
    "quantize": _same,
    "dequantize": _same,
    "requantize": _same,
    "rescale": _same,
    "copy": _same,
    "relu": _one(torch.relu),
    "relu6": _one(F.relu6),
    "relu_n1_to_1": _one(lambda x: x.clamp(-1, 1)),
    "relu_0_to_1": _one(lambda x: x.clamp(0, 1)),
    "leaky_relu": lambda a, _n, x: F.leaky_relu(x[0], a.alpha),
    "logistic": _one(torch.sigmoid),
    "tanh": _one(torch.tanh),
    "hard_swish": _one(F.hardswish),
    "gelu": lambda a, _n, x: F.gelu(x[0], approximate="tanh" if a.approximate else "none"),
    "elu": _one(F.elu),
    "exp": _one(torch.exp),
    "log": _one(torch.log),
    "sqrt": _one(torch.sqrt),
    "rsqrt": _one(torch.rsqrt),
    "square": _one(torch.square),
    "abs": _one(torch.abs),
    "neg": _one(torch.neg),
}
