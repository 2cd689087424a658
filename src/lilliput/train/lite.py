"""Lite residual modules (TinyTL: Cai et al. 2020, section 3.2): small trained branches past blocks.

    y' = y + up(conv1x1(relu(group_conv5x5(avg_pool2x2(x)))))      x enters a block, y leaves it

The branch sees a quarter of the pixels, so that what its weights need is small; the block itself
stays as it is.  The published module begins as nothing, by a last norm of gamma 0: here the last
product has weights of 0.  Its norms are left out, as each needs a whole map of floats twice.

It is float, whatever the network is.  What a branch gives to integers is stored in steps of y,
around zero whatever the zero point of y is, so that it can take away: nothing is calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import UnsupportedError, UsageError
from lilliput.ir import Array, Builder, Graph, Module, Node, Value
from lilliput.ir.types import Quant
from lilliput.ops.accumulate import Conv2d
from lilliput.ops.gradient import call, real
from lilliput.ops.quantize import To
from lilliput.ops.registry import get

KERNEL, GROUPS = 5, 2
"""Of the published module."""
ALL_BLOCKS = -1


@dataclass(frozen=True)
class Block:
    """From `x` to `y`, around one convolution over several pixels: its expansion before, its
    projection and the sum with x behind, where there are such."""

    name: str
    x: Value
    y: Value


@dataclass(frozen=True, eq=False)
class Lite:
    """module : with branches; tensors : block -> the names of their weights and biases."""

    module: Module
    tensors: Mapping[str, tuple[str, ...]]


def blocks(module: Module) -> tuple[Block, ...]:
    """Where a branch may be, in order: not past what reads the network's input."""
    graph = module.graphs[module.entry]
    found = _Blocks(graph)
    every = [found.around(node) for node in graph.nodes if _spatial(node)]
    inputs = {v.name for v in graph.inputs}
    return tuple(b for b in every if b.x.name not in inputs and min(b.x.type.shape[1:3]) > 1)


def with_lite(module: Module, last: int, seed: int = 0) -> Lite:
    """`module` with branches past its `last` blocks, all of them for `ALL_BLOCKS`.

    Computes what `module` does, until its branches are trained.  Raises UsageError where there are
    not so many, UnsupportedError where there is none.
    """
    every = blocks(module)
    if not every:
        raise UnsupportedError(
            "no block that a lite residual module could go past",
            where=module.name,
            expected="a convolution over several pixels, not of the input itself",
        )
    if not (0 <= last <= len(every) or last == ALL_BLOCKS):
        raise UsageError("lite residual modules", expected=f"up to {len(every)}", found=last)
    chosen = {b.y.name: b for b in (every if last == ALL_BLOCKS else every[len(every) - last :])}
    graph = module.graphs[module.entry]
    names = {v.name for v in graph.values()}
    b, rng = Builder(dict(module.params), names), np.random.default_rng((seed, 5))
    now: dict[str, Value] = {}
    nodes: list[Node] = []
    tensors: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        nodes.append(node.with_inputs([now.get(v.name, v) for v in node.inputs]))
        block = chosen.get(node.output.name)
        if block is not None:
            x = now.get(block.x.name, block.x)
            now[block.y.name], tensors[block.name] = _branch(b, block, x, rng)
            nodes += b.nodes
            b.nodes.clear()
    used = {v.name for n in nodes for v in n.inputs} & b.params.keys()
    params = tuple(b.params[name].value for name in b.params if name in used)
    outputs = tuple(now.get(v.name, v) for v in graph.outputs)
    whole = Graph(graph.inputs, params, tuple(nodes), outputs)
    kept = {p.name: b.params[p.name] for p in params}
    made = replace(module, graphs={**module.graphs, module.entry: whole}, params=kept)
    return Lite(made, tensors)


def _branch(
    b: Builder, block: Block, x: Value, rng: np.random.Generator
) -> tuple[Value, tuple[str, ...]]:
    """What leaves the block now, and the names of what is trained."""
    channels, out = x.type.shape[3], block.y.type.shape[3]
    groups = GROUPS if channels % GROUPS == 0 else 1
    inside = channels // groups
    bound = np.sqrt(6 / (inside * KERNEL * KERNEL))
    drawn = rng.uniform(-bound, bound, (channels, KERNEL, KERNEL, inside)).astype(np.float32)
    tensors = (
        b.param(f"{block.name}/lite/group", drawn),
        b.param(f"{block.name}/lite/group/bias", _zeros(channels)),
        b.param(f"{block.name}/lite/point", _zeros(out, 1, 1, channels)),
        b.param(f"{block.name}/lite/point/bias", _zeros(out)),
    )
    small = real(b, call(b, "avg_pool2d", x, kernel=(2, 2), stride=(2, 2)))
    around = (KERNEL // 2,) * 4
    v = call(b, "conv2d", small, *tensors[:2], pad=around, groups=groups)
    v = call(b, "conv2d", call(b, "relu", v), *tensors[2:])
    rows, columns = block.y.type.shape[1:3]
    if v.type.shape[1:3] != (rows, columns):
        v = call(b, "resize_bilinear", v, height=rows, width=columns)
    type = block.y.type
    if type.quant is not None:
        centred = replace(type, quant=Quant.per_tensor(type.scale))
        v = b.add(get("quantize"), (v,), To(type.dtype), type=centred)
    y = b.add(get("add"), (block.y, v), type=type, name=f"{block.name}/lite", origin=block.name)
    return y, tuple(t.name for t in tensors)


def _zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


# Blocks -----------------------------------------------------------------------------------


def _spatial(node: Node) -> bool:
    return isinstance(node.attrs, Conv2d) and max(node.inputs[1].type.shape[1:3]) > 1


def _pointwise(node: Node) -> bool:
    one = node.attrs.groups == 1 if isinstance(node.attrs, Conv2d) else False
    return one and max(node.inputs[1].type.shape[1:3]) == 1


class _Blocks:
    def __init__(self, graph: Graph):
        self.users, self.makers = graph.consumers(), graph.producers()
        self.kept = {v.name for v in graph.outputs}

    def around(self, node: Node) -> Block:
        x = self._back(node.inputs[0])
        maker = self.makers.get(x.name)
        if maker is not None and _pointwise(maker) and _widens(maker) and self._alone(x):
            x = maker.inputs[0]
        else:
            x = node.inputs[0]
        y = self._on(node.output)
        behind = self._alone(y)
        if behind is not None and _pointwise(behind) and not _widens(behind):
            y = self._on(behind.output)
            behind = self._alone(y)
        if behind is not None and behind.op.name == "add" and x in behind.inputs:
            y = self._on(behind.output)
        return Block(node.origin or node.output.name, x, y)

    def _alone(self, v: Value) -> Node | None:
        """The only reader."""
        readers: Sequence[Node] = self.users.get(v.name, ())
        return readers[0] if len(readers) == 1 and v.name not in self.kept else None

    def _back(self, v: Value) -> Value:
        """What an activation is of."""
        maker = self.makers.get(v.name)
        while maker is not None and _activates(maker) and self._alone(maker.inputs[0]):
            v = maker.inputs[0]
            maker = self.makers.get(v.name)
        return v

    def _on(self, v: Value) -> Value:
        """Behind the activations that follow."""
        behind = self._alone(v)
        while behind is not None and _activates(behind):
            v = behind.output
            behind = self._alone(v)
        return v


def _activates(node: Node) -> bool:
    return node.op.scalar is not None and len(node.inputs) == 1 and _same(node)


def _same(node: Node) -> bool:
    return node.inputs[0].type.dtype is node.output.type.dtype


def _widens(node: Node) -> bool:
    return node.output.type.shape[3] > node.inputs[0].type.shape[3]
