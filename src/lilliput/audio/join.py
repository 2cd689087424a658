"""A front end and a network as one module, which reads samples."""

from __future__ import annotations

import math
from dataclasses import replace

from lilliput.audio.describe import FrontEnd
from lilliput.audio.graph import build
from lilliput.errors import UnsupportedError, UsageError
from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.module import Module
from lilliput.ops.shape import Reshape, reshape


def prepend(front: FrontEnd, module: Module) -> Module:
    """`module`, a network of one input of features, with `front` before it: it reads samples
    (1, blocks, axes, stride), and its features have the element type and scale of that input.

    Raises UnsupportedError for several inputs, UsageError for one of another shape or type.
    """
    if len(module.graphs) > 1 or len(module.inputs(module.entry)) != 1:
        raise UnsupportedError(
            "a front end goes before a network of one entry and one input",
            where=module.name,
            found=", ".join(v.name for v in module.inputs(module.entry)),
        )
    graph = module.graphs[module.entry]
    (x,) = module.inputs(module.entry)
    b = Builder(names={v.name for v in graph.values()})
    made = build(b, front, _frames(front, x), x.type)
    read = Node(reshape, (made,), (x,), Reshape(x.type.shape), x.name)
    first = b.graph(())
    inputs = (*first.inputs, *(v for v in graph.inputs if v != x))
    joined = replace(
        graph,
        inputs=inputs,
        params=(*first.params, *graph.params),
        nodes=(*first.nodes, read, *graph.nodes),
    )
    return replace(module, graphs={module.entry: joined}, params={**b.params, **module.params})


def _frames(front: FrontEnd, x: Value) -> int:
    """Frames that the input `x` holds, features of one after those of another."""
    each, shape = math.prod(front.shape), x.type.shape
    count = x.type.size // each
    axes = {math.prod(shape[:k]) for k in range(len(shape) + 1)}
    if count < 1 or count * each != x.type.size or count not in axes:
        raise UsageError(
            "the front end gives other features than the network reads",
            where=f"input {x.name}",
            expected=f"[1, frames, {', '.join(map(str, front.shape))}], with any axes of 1",
            found=str(list(shape)),
            hint="give the front end the number of features that the network was trained on",
        )
    return count
