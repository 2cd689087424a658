"""The digits network as one table, with its float meaning and its gradients, in NumPy.

One idea: a row of `LAYERS` says everything about a layer, and the functions below read rows.
Not a training library: it knows only the four forms that this network is made of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Weights = dict[str, F32]
"""`<layer>` and `<layer>/bias` for every row of `LAYERS` that has weights."""


@dataclass(frozen=True)
class Layer:
    """One row of the network.

    `kind` is conv (weights OHWI), depthwise (1HWC), flatten (none) or dense (OI).
    Both convolutions pad SAME and end in a ReLU.
    """

    name: str
    kind: str
    size: int = 1
    stride: int = 1
    shape: tuple[int, ...] = ()

    @property
    def relu(self) -> bool:
        """Whether the layer is a convolution, and so ends in a ReLU."""
        return self.kind in ("conv", "depthwise")


LAYERS = (
    Layer("stem", "conv", 3, 1, (16, 3, 3, 1)),  # 8x8x16
    Layer("depthwise1", "depthwise", 3, 2, (1, 3, 3, 16)),  # 4x4x16
    Layer("pointwise1", "conv", 1, 1, (32, 1, 1, 16)),  # 4x4x32
    Layer("depthwise2", "depthwise", 3, 2, (1, 3, 3, 32)),  # 2x2x32
    Layer("pointwise2", "conv", 1, 1, (48, 1, 1, 32)),  # 2x2x48
    Layer("flatten", "flatten"),  # 192
    Layer("classes", "dense", shape=(10, 192)),  # 10
)


def windows(layer: Layer, x: F32) -> F32:
    """x (N,H,W,C) -> (N,H',W',C,k,k) under SAME padding with zeros, the odd row at the end."""
    k, s = layer.size, layer.stride
    pad = max((-(-x.shape[1] // s) - 1) * s + k - x.shape[1], 0)
    edge = (pad // 2, pad - pad // 2)
    padded = np.pad(x, ((0, 0), edge, edge, (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, (k, k), (1, 2))[:, ::s, ::s]


def linear(layer: Layer, w: F32, x: F32) -> F32:
    """The layer without its bias and ReLU; flatten ignores `w`."""
    if layer.kind == "flatten":
        return x.reshape(len(x), -1)
    if layer.kind == "dense":
        return x @ w.T
    if layer.kind == "depthwise":
        return np.einsum("nhwcij,ijc->nhwc", windows(layer, x), w[0])
    return np.tensordot(windows(layer, x), w, ((3, 4, 5), (3, 1, 2)))


def forward(weights: Weights, x: F32) -> list[F32]:
    """What enters each layer, and last the logits (N,10).  x is (N,8,8,1)."""
    tensors = [x]
    for layer in LAYERS:
        y = linear(layer, weights.get(layer.name, x), tensors[-1])
        y = y + weights[layer.name + "/bias"] if layer.shape else y
        tensors.append(np.maximum(y, 0) if layer.relu else y)
    return tensors


def backward(layer: Layer, w: F32, x: F32, dy: F32) -> tuple[F32, F32]:
    """(dx, dw) of `linear`, for every kind but flatten."""
    if layer.kind == "dense":
        return dy @ w, dy.T @ x
    view, depthwise = windows(layer, x), layer.kind == "depthwise"
    if depthwise:
        dw = np.einsum("nhwcij,nhwc->ijc", view, dy)[None]
    else:
        dw = np.tensordot(dy, view, ((0, 1, 2), (0, 1, 2))).transpose(0, 2, 3, 1)
    # Gathered on the padded map, where every window lies whole, then cropped to x.
    k, s, n = layer.size, layer.stride, x.shape[1]
    side = (dy.shape[1] - 1) * s + k
    dx = np.zeros((len(x), side, side, x.shape[3]), x.dtype)
    for i, j in np.ndindex(k, k):
        part = dy * w[0, i, j] if depthwise else dy @ w[:, i, j]
        dx[:, i : side - k + i + 1 : s, j : side - k + j + 1 : s] += part
    top = max(side - n, 0) // 2
    return dx[:, top : top + n, top : top + n], dw
