"""Losses as graph nodes: (builder, what the network gives, target) -> loss, f32[1].

    cross_entropy    classes, from logits: a class or shares of the classes
    bce              independent yes/no questions, from logits
    mse              numbers
    reconstruction   numbers: the network's own input again
    triplet          embeddings: nearer to what is alike than to what is not
    contrastive      embeddings: near to what is alike, away from what is not

Quantised values count as their real numbers.  A loss of several rows or elements is their mean.
`LOSSES` has each with the type of its target, which is all that a training step needs to know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lilliput.errors import GraphError
from lilliput.ir import Builder, TensorType, Value
from lilliput.ir.types import f32, s32
from lilliput.ops.gradient import add, call, constant, mul, real, reshape, scaled, shifted, sub

MARGIN = 1.0
"""How much nearer, or how far away: for embeddings of about unit length."""


# Classes ----------------------------------------------------------------------------------


def cross_entropy(b: Builder, logits: Value, target: Value) -> Value:
    """-sum of target * log(softmax(logits)) along the last axis.

    logits (..., C); target the class of each row, s32, or shares of the classes, f32 (..., C).
    """
    x = real(b, logits)
    if not target.type.dtype.is_float:
        target = reshape(b, one_hot(b, target, x.type.shape[-1]), x.type.shape)
    _check("target of cross_entropy", target.type, f32(*x.type.shape))
    return _mean(b, call(b, "softmax_cross_entropy", x, target))


def one_hot(b: Builder, label: Value, classes: int) -> Value:
    """(N, classes) f32: 1 at the label of each row, s32 of N elements, else 0."""
    rows = label.type.size
    on, off = constant(b, 1.0), constant(b, 0.0)
    hot = call(b, "one_hot", reshape(b, label, (rows, 1)), on, off, depth=classes)
    return reshape(b, hot, (rows, classes))


def bce(b: Builder, logits: Value, target: Value) -> Value:
    """-(t * log(p) + (1 - t) * log(1 - p)), p = 1 / (1 + exp(-logit)); target t like the logits.

    Computed as cross-entropy of the two logits (x, 0): finite for every x, and the slope is p - t
    everywhere, 0 included.
    """
    _check("target of bce", target.type, f32(*logits.type.shape))
    size = logits.type.size
    x, t = (reshape(b, v, (size, 1)) for v in (real(b, logits), target))
    pair = call(b, "pad", x, before=(0, 0), after=(0, 1))
    shares = call(b, "concat", t, sub(b, constant(b, 1.0), t), axis=1)
    return _mean(b, call(b, "softmax_cross_entropy", pair, shares))


# Numbers ----------------------------------------------------------------------------------


def mse(b: Builder, output: Value, target: Value) -> Value:
    """(output - target)^2; one shape."""
    t = real(b, target)
    _check("target of mse", t.type, f32(*output.type.shape))
    return _mean(b, call(b, "squared_difference", real(b, output), t))


def reconstruction(b: Builder, output: Value, target: Value) -> Value:
    """`mse` towards what went into the network, of as many elements: of an autoencoder."""
    return mse(b, output, reshape(b, real(b, target), output.type.shape))


# Embeddings -------------------------------------------------------------------------------


def triplet(b: Builder, embedding: Value, target: Value) -> Value:
    """max(0, |a - p|^2 - |a - n|^2 + MARGIN) (Schroff et al. 2015, FaceNet).

    embedding a (1, D); target f32 (2, D): p, the embedding of something alike, and n, of something
    else, both from earlier calls.
    """
    width = embedding.type.size
    _check("target of triplet", target.type, f32(2, width))
    apart = call(b, "squared_difference", reshape(b, real(b, embedding), (1, width)), target)
    nearer = mul(b, apart, constant(b, np.array([[1.0], [-1.0]])))
    return call(b, "relu", shifted(b, _sum(b, nearer), MARGIN))


def contrastive(b: Builder, embedding: Value, target: Value) -> Value:
    """s * d^2 + (1 - s) * max(0, MARGIN - d)^2, d = |a - o| (Hadsell et al. 2006).

    embedding a (1, D); target f32 (1, D + 1): o, another embedding, and s, 1 if both are of the
    same kind, else 0.
    """
    width = embedding.type.size
    _check("target of contrastive", target.type, f32(1, width + 1))
    other = call(b, "slice", target, begin=(0, 0), size=(1, width))
    same = reshape(b, call(b, "slice", target, begin=(0, width), size=(1, 1)), (1,))
    a = reshape(b, real(b, embedding), (1, width))
    square = _sum(b, call(b, "squared_difference", a, other))
    missing = call(b, "relu", sub(b, constant(b, MARGIN), call(b, "sqrt", square)))
    away = mul(b, sub(b, constant(b, 1.0), same), call(b, "square", missing))
    return add(b, mul(b, same, square), away)


# Nodes ------------------------------------------------------------------------------------


def _sum(b: Builder, v: Value) -> Value:
    """f32[1]."""
    axes = tuple(range(len(v.type.shape)))
    summed = call(b, "sum", v, axes=axes, keepdims=True) if v.type.size > 1 else v
    return reshape(b, summed, (1,))


def _mean(b: Builder, v: Value) -> Value:
    """f32[1]."""
    return scaled(b, _sum(b, v), 1 / math.prod(v.type.shape))


def _check(what: str, found: TensorType, expected: TensorType) -> None:
    if found != expected:
        raise GraphError(what, expected=str(expected), found=str(found))


# The table --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loss:
    """build : adds the nodes; target : (type of the output, type of the input) -> of the target;
    own : the target is what went into the network, so that nobody has to give one."""

    build: Callable[[Builder, Value, Value], Value]
    target: Callable[[TensorType, TensorType], TensorType]
    own: bool = False


def _rows(type: TensorType) -> int:
    return math.prod(type.shape[:-1])


LOSSES: Mapping[str, Loss] = {
    "cross_entropy": Loss(cross_entropy, lambda y, _: s32(_rows(y))),
    "soft_cross_entropy": Loss(cross_entropy, lambda y, _: f32(*y.shape)),
    "bce": Loss(bce, lambda y, _: f32(*y.shape)),
    "mse": Loss(mse, lambda y, _: f32(*y.shape)),
    "reconstruction": Loss(reconstruction, lambda _, x: x, own=True),
    "triplet": Loss(triplet, lambda y, _: f32(2, y.size)),
    "contrastive": Loss(contrastive, lambda y, _: f32(1, y.size + 1)),
}
