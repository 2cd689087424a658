"""What makes a training step small: rewrites of its graph that leave the gradients as they are.

bit_masks      of an activation that only masks gradients one bit an element is kept
one_scale      where a gradient is wanted plain and times a scale of its channels, only the
               latter is made
one_factor     products with constants are with their product
rounded        what passes back through products of int8 weights is rounded, and summed as integers
split_weights  a weight of which a part is trained is never joined: convolutions take both parts,
               or go on from each other's accumulators
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lilliput.ir import Array, Attrs, Builder, DType, Node, Value
from lilliput.ops import registry
from lilliput.ops.accumulate import Conv2d, Parts, layer
from lilliput.ops.clipping import Between, clip_bits, inside, keep_bits
from lilliput.ops.conv_back import ConvBack, roundable
from lilliput.ops.conv_meetings import is_product
from lilliput.ops.conv_parts import conv2d_parts
from lilliput.ops.gradient import constant
from lilliput.ops.product_rules import carried
from lilliput.ops.shape import Concat, Slice

Nodes = list[Node]


def bit_masks(b: Builder, nodes: Sequence[Node], computed: int) -> Nodes:
    """nodes : forward, then backward from index `computed`
    An activation that the backward part only reads in `inside`, with one pair of bounds, becomes
    bits at the place where it is made."""
    masks = _only_masking(nodes, computed)
    made: Nodes = []
    bits: dict[str, Value] = {}
    for node in nodes:
        if node.op is inside and node.inputs[1].name in bits:
            dy, y = node.inputs
            kept = dy, bits[y.name]
            made.append(Node(keep_bits, kept, node.outputs, keep_bits.attrs(), node.origin))
            continue
        made.append(node)
        for value in node.outputs:
            if value.name in masks:
                made.append(_clip(b, value, masks[value.name]))
                bits[value.name] = made[-1].output
    return made


def _only_masking(nodes: Sequence[Node], computed: int) -> dict[str, Between]:
    """Activations that backwards only `inside` reads, with its bounds."""
    found: dict[str, Between] = {}
    refused: set[str] = set()
    for node in nodes[computed:]:
        for i, value in enumerate(node.inputs):
            bounds = node.attrs if i == 1 and node.op is inside else None
            if not isinstance(bounds, Between) or found.setdefault(value.name, bounds) != bounds:
                refused.add(value.name)
    made = {v.name for n in nodes[:computed] for v in n.outputs}
    return {name: a for name, a in found.items() if name in made and name not in refused}


def _clip(b: Builder, value: Value, bounds: Between) -> Node:
    (type,) = clip_bits.infer(bounds, [value.type])
    return Node(clip_bits, (value,), (Value(b.fresh(f"{value.name}/bits"), type),), bounds, "")


def rounded(nodes: Sequence[Node]) -> Nodes:
    """Gradients through products of int8 weights of rounded numbers, whose sums are exact."""
    made: Nodes = []
    for node in nodes:
        a = node.attrs
        if isinstance(a, ConvBack) and roundable(a, node.inputs[1].type):
            node = replace(node, attrs=replace(a, fixed=True))
        made.append(node)
    return made


# One scale ----------------------------------------------------------------------------------


def one_scale(b: Builder, nodes: Sequence[Node], data: Mapping[str, Array]) -> Nodes:
    """data : name -> the constants.  Sums of a gradient over its pixels, and the gradient of
    weights that it gives, are linear in it: they take the scaled one and undo the scale after."""
    users: dict[str, Nodes] = {}
    for node in nodes:
        for value in node.inputs:
            users.setdefault(value.name, []).append(node)
    instead: dict[str, tuple[Value, Array]] = {}
    for node in nodes:
        scale = _scale_of(node, data)
        readers = users.get(node.inputs[0].name, []) if node.inputs else []
        if scale is None or not np.all(np.isfinite(1 / scale)):
            continue
        others = [n for n in readers if n is not node]
        if others and all(_linear_in(n, node.inputs[0]) for n in others):
            instead[node.inputs[0].name] = node.output, scale
    return _rescaled(b, nodes, instead) if instead else list(nodes)


def _scale_of(node: Node, data: Mapping[str, Array]) -> Array | None:
    """The constant that a node multiplies its first operand by, channel by channel."""
    if node.op.name != "mul" or node.output.type.dtype.is_integer:
        return None
    scale = data.get(node.inputs[1].name)
    x = node.inputs[0].type.shape
    if scale is None or node.inputs[0].name in data or scale.ndim != 1 or len(x) < 2:
        return None
    return scale.astype(np.float64) if scale.size in (1, x[-1]) else None


def _linear_in(node: Node, dy: Value) -> bool:
    """Whether a node's result is linear in dy, for each of its channels alone."""
    if node.op.name == "conv2d_grad_w":
        return node.inputs[1] == dy and node.inputs[0] != dy
    kept = len(dy.type.shape) - 1 not in getattr(node.attrs, "axes", ())
    return node.op.name == "sum" and kept and node.output.type.shape[-1] == dy.type.shape[-1]


def _rescaled(
    b: Builder, nodes: Sequence[Node], instead: Mapping[str, tuple[Value, Array]]
) -> Nodes:
    """Readers of a gradient over what scales it, with the scale undone."""
    made: Nodes = []
    for node in nodes:
        plain = next((v for v in node.inputs if v.name in instead), None)
        if plain is None or node.output == instead[plain.name][0]:
            made.append(node)
            continue
        scaled, scale = instead[plain.name]
        result = Value(b.fresh(f"{node.output.name}/scaled"), node.output.type)
        swapped = tuple(scaled if v == plain else v for v in node.inputs)
        made.append(replace(node, inputs=swapped, outputs=(result,)))
        made.append(_undo(b, node.output, result, scale, node.op.name))
    return in_order(made)


def _undo(b: Builder, output: Value, scaled: Value, scale: Array, op: str) -> Node:
    """output = scaled / scale, along axis 0 of weights or the last one of sums."""
    inverse = (1 / scale).astype(np.float32)
    if op == "conv2d_grad_w" and inverse.size > 1:
        inverse = inverse.reshape(-1, *(1,) * (len(output.type.shape) - 1))
    factor = constant(b, inverse)
    product = registry.get("mul")
    return Node(product, (scaled, factor), (output,), product.attrs(), "")


def in_order(nodes: Sequence[Node]) -> Nodes:
    """The same nodes, those that stand before what they read moved right behind it."""
    missing = {v.name for n in nodes for v in n.outputs}
    found: Nodes = []
    held: Nodes = []
    for node in nodes:
        ready = [node]
        while ready:
            first = ready.pop(0)
            if any(v.name in missing for v in first.inputs):
                held.append(first)
                continue
            found.append(first)
            missing.difference_update(v.name for v in first.outputs)
            ready += held
            held = []
    return found


# Factors ------------------------------------------------------------------------------------


def one_factor(b: Builder, nodes: Sequence[Node], data: Mapping[str, Array]) -> Nodes:
    """A product with two constants, one after the other, as one with their product."""
    count: dict[str, int] = {}
    for node in nodes:
        for value in node.inputs:
            count[value.name] = count.get(value.name, 0) + 1
    inner: dict[str, Node] = {}
    made: Nodes = []
    for node in nodes:
        factor = _factor(node, data)
        before = inner.get(node.inputs[0].name) if node.inputs else None
        if factor is not None and before is not None:
            joint = data[before.inputs[1].name].astype(np.float64) * factor.astype(np.float64)
            if joint.ndim <= len(node.output.type.shape) and np.all(np.isfinite(joint)):
                made.remove(before)
                both = constant(b, joint.astype(np.float32))
                data = {**data, both.name: joint.astype(np.float32)}
                node = node.with_inputs((before.inputs[0], both))
        if factor is not None and count.get(node.output.name) == 1:
            inner[node.output.name] = node
        made.append(node)
    return made


def _factor(node: Node, data: Mapping[str, Array]) -> Array | None:
    """The constant that floats are multiplied by."""
    if node.op.name != "mul" or not node.output.type.dtype.is_float:
        return None
    same = node.inputs[0].type.shape == node.output.type.shape
    return data.get(node.inputs[1].name) if same and node.inputs[0].name not in data else None


# Partly trained weights -----------------------------------------------------------------------


def split_weights(
    b: Builder, nodes: Sequence[Node], parts: Mapping[str, tuple[Value, Value]]
) -> Nodes:
    """parts : the two parts' join -> (trained, frozen), along the input channels of a convolution.

    The join is left where something reads it that is not known here.
    """
    makers = {n.output.name: n for n in nodes}
    made: Nodes = []
    for node in nodes:
        part = parts.get(node.inputs[1].name) if len(node.inputs) > 1 else None
        if part is not None and node.op.name == "conv2d" and len(node.inputs) < 4:
            made += _forward(b, node, *part)
        elif part is not None and node.op.name == "conv2d_grad_x":
            made += _backward(b, node, *part)
        elif node.op.name == "slice" and _gradient_of_part(node, makers):
            made += _narrowed(b, node, makers)
        else:
            made.append(node)
    return made


def _add(
    b: Builder, made: Nodes, op: str, inputs: Sequence[Value], attrs: Attrs, stem: str
) -> Value:
    found = registry.get(op)
    (type,) = found.infer(attrs, [v.type for v in inputs])
    made.append(Node(found, tuple(inputs), (Value(b.fresh(stem), type),), attrs, ""))
    return made[-1].output


def _channels(b: Builder, made: Nodes, x: Value, begin: int, count: int) -> Value:
    rank = len(x.type.shape)
    attrs = Slice((*(0,) * (rank - 1), begin), (*x.type.shape[:-1], count))
    return _add(b, made, "slice", (x,), attrs, f"{x.name}/part")


def _forward(b: Builder, node: Node, trained: Value, frozen: Value) -> Nodes:
    """One node of both parts where it is a product of int8, else the frozen channels' accumulators,
    and the trained ones' from there."""
    x, _, *bias = node.inputs
    if _in_one(node, trained, frozen):
        both = node.with_inputs((x, trained, frozen, *bias))
        return [replace(both, op=conv2d_parts, attrs=Parts(layer(node).rounding))]
    made: Nodes = []
    k, rest = trained.type.shape[3], frozen.type.shape[3]
    attrs = replace(node.attrs, raw=True)  # type: ignore[call-arg]
    behind = _channels(b, made, x, k, rest)
    start = _add(b, made, "conv2d", (behind, frozen), attrs, f"{node.output.name}/frozen")
    front = _channels(b, made, x, 0, k)
    own = bias or [b.param(f"{node.output.name}/none", _zeros(node, start))]
    made.append(node.with_inputs((front, trained, *own, start)))
    return made


def _in_one(node: Node, trained: Value, frozen: Value) -> bool:
    """Whether `conv2d_parts` has a meaning for a convolution."""
    a, integers = node.attrs, (DType.S8,) * 4
    types = tuple(v.type for v in (node.inputs[0], trained, frozen, node.output))
    biases = all(v.type.dtype is DType.S32 for v in node.inputs[2:])
    quants = (v.type.quant for v in (trained, frozen))
    plain = all(q is not None and not any(q.zero_point) for q in quants)
    product = isinstance(a, Conv2d) and not a.raw and is_product(a, trained.type.shape)
    return product and plain and biases and tuple(t.dtype for t in types) == integers


def _zeros(node: Node, start: Value) -> Array:
    return np.zeros(node.output.type.shape[-1], start.type.dtype.numpy)


def _backward(b: Builder, node: Node, trained: Value, frozen: Value) -> Nodes:
    """The gradients of both parts' channels, side by side."""
    made: Nodes = []
    dy = node.inputs[0]
    both = [
        _add(b, made, "conv2d_grad_x", (dy, w), node.attrs, f"{node.output.name}/part")
        for w in (trained, frozen)
    ]
    made.append(Node(registry.get("concat"), tuple(both), node.outputs, Concat(3), node.origin))
    return made


def _gradient_of_part(node: Node, makers: Mapping[str, Node]) -> Node | None:
    """The gradient of weights that a slice takes the first input channels of, maybe scaled."""
    attrs = node.attrs
    assert isinstance(attrs, Slice)
    whole = node.inputs[0].type.shape
    if any(attrs.begin) or attrs.size[:-1] != whole[:-1]:
        return None
    maker = makers.get(node.inputs[0].name)
    while maker is not None and maker.op.name == "mul" and maker.inputs[1].name not in makers:
        maker = makers.get(maker.inputs[0].name)
    return maker if maker is not None and maker.op.name == "conv2d_grad_w" else None


def _narrowed(b: Builder, node: Node, makers: Mapping[str, Node]) -> Nodes:
    """The gradient of those channels alone, by the same factors."""
    made: Nodes = []
    factors: list[Value] = []
    maker = makers[node.inputs[0].name]
    while maker.op.name == "mul":
        factors.append(maker.inputs[1])
        maker = makers[maker.inputs[0].name]
    x, dy = maker.inputs
    part = _channels(b, made, x, 0, node.output.type.shape[-1])
    attrs = replace(maker.attrs, carried=carried(node.output.type.size, dy))  # type: ignore[call-arg]
    value = _add(b, made, "conv2d_grad_w", (part, dy), attrs, node.output.name)
    product = registry.get("mul")
    for factor in reversed(factors):
        value = _add(b, made, "mul", (value, factor), product.attrs(), node.output.name)
    last = made.pop()
    made.append(replace(last, outputs=node.outputs))
    return made
