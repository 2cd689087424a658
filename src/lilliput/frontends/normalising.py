"""Normalisation by what is measured of the operand: group, instance and layer norm, in floats.

(x - mean) * rsqrt(mean of squares of (x - mean) + epsilon) * scale + bias
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lilliput.frontends.channels import Place, channels_first, channels_last
from lilliput.ir import Value
from lilliput.ops.elementwise import add, mul, sub
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.shape import Reshape, reshape
from lilliput.ops.unary import UNARY

RSQRT, SQUARE = UNARY["rsqrt"], UNARY["square"]


def _normalised(p: Place, x: Value, axes: Sequence[int], epsilon: float) -> Value:
    """x less its mean over `axes`, divided by its deviation."""
    over = Reduction(tuple(axes))
    centred = p.between(sub, (x, p.between(mean, (x,), over)), suffix="centred")
    square = p.between(SQUARE, (centred,))
    variance = p.between(mean, (square,), over, "variance")
    least = p.constant(np.array([epsilon], np.float32), "epsilon")
    factor = p.between(RSQRT, (p.between(add, (variance, least), suffix="least"),))
    return p.between(mul, (centred, factor), suffix="normalised")


def _scaled(p: Place, y: Value, scale: Value | None, bias: Value | None) -> Value:
    if scale is not None:
        y = p.between(mul, (y, scale), suffix="scaled")
    return y if bias is None else p.between(add, (y, bias), suffix="shifted")


def layer_norm(
    p: Place, x: Value, axes: Sequence[int], scale: Value | None, bias: Value | None, epsilon: float
) -> Value:
    """Over `axes`, which are the last of x; scale and bias broadcast."""
    return _scaled(p, _normalised(p, x, axes, epsilon), scale, bias)


def group_norm(
    p: Place, x: Value, groups: int, scale: Value | None, bias: Value | None, epsilon: float
) -> Value:
    """Over all of x (N,C,*S) but the batch, each of `groups` of channels by itself; scale and
    bias (C).  With as many groups as channels it is instance norm."""
    rows = channels_last(p, x)
    n, *space, c = rows.type.shape
    if c % groups:
        raise p.refuse("channels of a group norm", expected=f"a multiple of {groups}", found=c)
    split = (n, math.prod(space), groups, c // groups)
    parts = p.between(reshape, (rows,), Reshape(split), "groups")
    y = p.between(reshape, (_normalised(p, parts, (1, 3), epsilon),), Reshape(rows.type.shape))
    return channels_first(p, _scaled(p, y, scale, bias))
