"""Which way to round a weight: not each to the nearest, but all of a channel for the least error of
the sums they make.

The objective is that of adaptive rounding (Nagel et al. 2020, "Up or down?"): the squared error
of a layer's outputs on the data, d' H d with d the error of the weights and H the second moments
of the inputs.  It is minimised column by column, the error of each being made up for by the
columns that are still free (Frantar et al. 2022, GPTQ): closed form, deterministic, no steps to
tune.  A channel keeps the nearest integers where these are better.
"""

from __future__ import annotations

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.types import Array
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.conv import windows
from lilliput.quant.scheme import WEIGHT_LIMIT, Weights, along

ROWS = 8192
"""Places of a layer's outputs that its second moments are taken from."""
DAMPING = 0.01
"""Share of the mean second moment that is added to each."""


def adapt(node: Node, real: Array, x: Array, nearest: Weights, rng: np.random.Generator) -> Array:
    """The integers (O, ...) for weights `real` on inputs `x` (reals, joined samples)."""
    steps = real.astype(np.float64) / along(nearest.scale, real.ndim)
    groups = node.attrs.groups if isinstance(node.attrs, Conv2d) else 1
    wanted = steps.reshape(groups, -1, int(np.prod(real.shape[1:])))
    found = nearest.data.reshape(wanted.shape).astype(np.float64)
    limit = WEIGHT_LIMIT[nearest.dtype]
    chosen = np.empty_like(found)
    for g, rows in enumerate(_rows(node, x, groups, rng)):
        moments = rows.T @ rows
        other = second_order(wanted[g], moments, limit)
        better = _error(wanted[g] - other, moments) < _error(wanted[g] - found[g], moments)
        chosen[g] = np.where(better[:, None], other, found[g])
    return chosen.reshape(real.shape).astype(nearest.data.dtype)


def second_order(steps: Array, moments: Array, limit: int) -> Array:
    """Integers within +-limit near `steps` (O, K) for inputs of these moments (K, K)."""
    size = len(moments)
    mean = float(np.trace(moments)) / size
    if mean == 0.0:
        return np.clip(np.rint(steps), -limit, limit)
    damped = moments + DAMPING * mean * np.eye(size)
    inverse = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, made = steps.copy(), np.empty_like(steps)
    for k in range(size):
        made[:, k] = np.clip(np.rint(left[:, k]), -limit, limit)
        error = (left[:, k] - made[:, k]) / inverse[k, k]
        left[:, k + 1 :] -= error[:, None] * inverse[k, k + 1 :]
    return made


def _error(d: Array, moments: Array) -> Array:
    return np.einsum("ok,kl,ol->o", d, moments, d, optimize=True)


def _rows(node: Node, x: Array, groups: int, rng: np.random.Generator) -> list[Array]:
    """For each group what its weights are multiplied with, (rows, K), at places drawn by `rng`."""
    a = node.attrs
    if not isinstance(a, Conv2d):
        flat = x.reshape(-1, x.shape[-1])
        return [flat[_drawn(len(flat), rng)].astype(np.float64)]
    shape, kernel = node.output.type.shape, node.inputs[1].type.shape[1:3]
    padded = np.pad(x, ((0, 0), a.pad[:2], a.pad[2:], (0, 0)))
    at = _drawn(len(x) * shape[1] * shape[2], rng)
    place = np.unravel_index(at, (len(x), shape[1], shape[2]))
    taps = windows(padded, kernel, a.stride, a.dilation, shape[1:3])
    parts = np.stack([tap[place] for _, tap in taps], 1).astype(np.float64)
    width = x.shape[-1] // groups
    return [parts[:, :, g * width : (g + 1) * width].reshape(len(at), -1) for g in range(groups)]


def _drawn(count: int, rng: np.random.Generator) -> Array:
    if count <= ROWS:
        return np.arange(count)
    return np.sort(rng.choice(count, ROWS, replace=False))
