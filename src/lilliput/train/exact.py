"""Weighted sums of integers in torch: the device's results, many examples at once.

One idea: a sum of products of small integers is exact in floats of 24 bits, whatever its order,
while no partial sum can reach 2^24; torch's own convolution then gives the accumulators.  What may
reach further is summed in floats of 53 bits.  Kernels that transform their operands (Winograd)
would round on the way, so NNPACK, which chooses them unasked, is switched off here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lilliput.ir import Array, Node
from lilliput.ops.accumulate import Conv2d, Linear, is_raw, requantize, resumes
from lilliput.optional import need
from lilliput.train.surrogates import Tensor

torch = need("torch", "torch", "training on the host")
F = torch.nn.functional

EXACT = 1 << 24
"""Integers below are exact in float32."""


def is_sum(node: Node) -> bool:
    """Whether `sums` and `Product` know the node: weights of integers, and a scale behind them."""
    weighted = isinstance(node.attrs, Conv2d | Linear) and not is_raw(node) and not resumes(node)
    return weighted and node.inputs[0].type.dtype.is_integer and not _offset(node)


def _offset(node: Node) -> bool:
    quant = node.inputs[1].type.quant
    return quant is None or any(quant.zero_point)


def sums(node: Node, x: Tensor, w: Tensor) -> Tensor:
    """Sums of products without bias, float32 or float64, of operands less their zero points."""
    type = node.inputs[0].type
    reach = max(abs(end - type.zero_point) for end in type.dtype.bounds)
    most = reach * int(w.abs().flatten(1).sum(1).max())
    dtype = torch.float32 if most < EXACT else torch.float64
    with torch.backends.nnpack.flags(enabled=False):
        return _applied(node, x.to(dtype), w.to(dtype))


def _applied(node: Node, x: Tensor, w: Tensor) -> Tensor:
    a = node.attrs
    if not isinstance(a, Conv2d):
        return F.linear(x, w)
    y = F.conv2d(_padded(a, x), w.permute(0, 3, 1, 2), None, a.stride, 0, a.dilation, a.groups)
    return y.permute(0, 2, 3, 1)


def _padded(a: Conv2d, x: Tensor) -> Tensor:
    """(N,H,W,C) -> (N,C,H,W), its bytes channels last."""
    top, bottom, left, right = a.pad
    wide = F.pad(x, (0, 0, left, right, top, bottom)) if any(a.pad) else x
    return wide.permute(0, 3, 1, 2)


class Product(torch.autograd.Function):
    """The stored result of a weighted sum, and as a real number; backwards the gradient of the
    real sum, where that is not saturated.

    Called with the node, its stored operands (NumPy), and the real ones of which gradients are
    wanted: x, w, bias or None.
    """

    @staticmethod
    def forward(
        ctx: Any, node: Node, stored: list[Array], x: Tensor, w: Tensor, _bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x_type, y = node.inputs[0].type, node.output.type
        steps = torch.from_numpy(stored[0]).to(torch.float32) - x_type.zero_point
        acc = sums(node, steps, torch.from_numpy(stored[1]).to(torch.float32))
        total = acc.numpy().astype(np.int64)
        if len(stored) > 2:
            total += stored[2].astype(np.int64)
        made = requantize(node, total)
        ctx.save_for_backward(x, w, _inside(node, total))
        ctx.node = node
        real = (torch.from_numpy(made).to(torch.float32) - y.zero_point) * np.float32(y.scale)
        kept = torch.from_numpy(made)
        ctx.mark_non_differentiable(kept)
        return real, kept

    @staticmethod
    def backward(
        ctx: Any, *grads: Tensor
    ) -> tuple[None, None, Tensor | None, Tensor | None, Tensor | None]:
        x, w, inside = ctx.saved_tensors
        node, grad = ctx.node, grads[0] * inside
        asked = ctx.needs_input_grad[2:]
        bias = grad.flatten(0, -2).sum(0) if asked[2] else None
        a = node.attrs
        if not isinstance(a, Conv2d):
            gx = grad @ w if asked[0] else None
            gw = grad.flatten(0, -2).T @ x.flatten(0, -2) if asked[1] else None
            return None, None, gx, gw, bias
        gx, gw, _ = torch.ops.aten.convolution_backward(
            grad.permute(0, 3, 1, 2),
            _padded(a, x),
            w.permute(0, 3, 1, 2),
            None,
            a.stride,
            (0, 0),
            a.dilation,
            False,
            (0, 0),
            a.groups,
            (asked[0], asked[1], False),
        )
        if gx is not None:
            top, _, left, _ = a.pad
            gx = gx.permute(0, 2, 3, 1)[:, top : top + x.shape[1], left : left + x.shape[2]]
        return None, None, gx, None if gw is None else gw.permute(0, 2, 3, 1), bias


def _inside(node: Node, total: Array) -> Tensor:
    """Where the real sum lies no more than half a step beyond what the result can say."""
    x, w, y = node.inputs[0].type, node.inputs[1].type, node.output.type
    assert w.quant is not None
    unit = np.asarray(w.quant.scale, np.float64) * x.scale / y.scale
    low, high = (end - y.zero_point for end in y.dtype.bounds)
    least, most = (np.ceil((low - 0.5) / unit), np.floor((high + 0.5) / unit))
    return torch.from_numpy((total >= least) & (total <= most))
