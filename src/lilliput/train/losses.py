"""Losses as graph nodes: (builder, what the network gives, target) -> loss, f32[1]."""

from __future__ import annotations

from lilliput.ir import Builder, DType, Value
from lilliput.ops.gradient import call, constant, reshape


def cross_entropy(b: Builder, logits: Value, target: Value) -> Value:
    """-log softmax(logits)[target]; logits (1, C) f32, target a class, s32[1], or shares of the
    classes, f32 (1, C)."""
    if not target.type.dtype.is_float:
        target = one_hot(b, target, logits.type.shape[-1])
    return reshape(b, call(b, "softmax_cross_entropy", logits, target), (1,))


def one_hot(b: Builder, label: Value, classes: int) -> Value:
    """(1, classes) float32: 1 at `label` (s32[1]), else 0."""
    assert label.type.dtype is DType.S32
    on, off = constant(b, 1.0, ()), constant(b, 0.0, ())
    hot = call(b, "one_hot", reshape(b, label, (1, 1)), on, off, depth=classes)
    return reshape(b, hot, (1, classes))
