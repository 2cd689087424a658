"""A GRU in operators that have integer forms: each frame written out.

    r, z = logistic(x W + h R + b)    n = tanh(x W + b + r (h R + c))    h' = n + z (h - n)

One idea: there is no integer GRU, and none is needed where frames are few: products, sums and
tables each get the scale that the data ask for.  Frames share their weights; a step of the program
for each operator and frame is what it costs, so that long sequences are left to the floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.module import Module
from lilliput.ir.op import Attrs, Op
from lilliput.ir.types import Array
from lilliput.ops.conv import Linear, linear
from lilliput.ops.elementwise import add, mul, sub
from lilliput.ops.shape import Concat, Reshape, Slice, concat, reshape, slice_
from lilliput.ops.unary import logistic, tanh

MOST_FRAMES = 64


def unrolled(module: Module) -> Module:
    """`module`, of one graph without states, with its short GRUs frame by frame."""
    graph = module.graphs[module.entry]
    if not any(_is_short(n, module) for n in graph.nodes):
        return module
    b = Builder()
    known = {v.name: b.input(v.name, v.type) for v in graph.inputs}
    for node in graph.nodes:
        for v in node.inputs:
            if v.name not in known:
                known[v.name] = b.use(module.params[v.name])
        operands = [known[v.name] for v in node.inputs]
        if _is_short(node, module):
            data = [module.params[v.name].data for v in node.inputs[1:]]
            weights = [d for d in data if d is not None]
            known[node.output.name] = _Frames(b, node, weights).of(operands[0])
            continue
        types, name = [v.type for v in node.outputs], node.output.name
        made = b.add_multi(
            node.op, operands, node.attrs, types=types, name=name, origin=node.origin
        )
        known |= zip((v.name for v in node.outputs), made, strict=True)
    made = b.module([known[v.name] for v in graph.outputs], name=module.name)
    return replace(module, graphs=made.graphs, params=made.params)


def _is_short(node: Node, module: Module) -> bool:
    if node.op.name != "gru" or not node.output.type.dtype.is_float:
        return False
    batch, frames, _ = node.inputs[0].type.shape
    constants = all(
        v.name in module.params and module.params[v.name].data is not None for v in node.inputs[1:]
    )
    return constants and batch == 1 and frames <= MOST_FRAMES


class _Frames:
    """One GRU: its weights as parameters of a gate each, shared by the frames."""

    def __init__(self, b: Builder, node: Node, weights: list[Array]):
        self.b, self.node, self.name = b, node, node.output.name
        w, r, bias, rbias, self.state = weights
        parts = {"w": w, "r": r, "bias": bias, "rbias": rbias}
        gates = [{k: np.split(v, 3)[g] for k, v in parts.items()} for g in range(3)]
        self.gates: dict[str, Mapping[str, Array]] = dict(zip("rzn", gates, strict=True))
        self.params: dict[str, Value] = {}

    def of(self, x: Value) -> Value:
        (_, frames, depth), units = x.type.shape, self.state.shape[1]
        rows: list[Value] = []
        h: Value | None = None
        for t in range(frames):
            part = self._add(slice_, (x,), Slice((0, t, 0), (1, 1, depth)), f"x{t}/part")
            row = self._add(reshape, (part,), Reshape((1, depth)), f"x{t}")
            h = self._frame(row, h, t)
            rows.append(self._add(reshape, (h,), Reshape((1, 1, units)), f"h{t}/row"))
        return self._add(concat, rows, Concat(1), "")

    def _frame(self, x: Value, h: Value | None, t: int) -> Value:
        r, z = (self._gate(x, h, g, t) for g in "rz")
        gate = self.gates["n"]
        if h is None:
            behind = self._param("n/first", self.state @ gate["r"].T + gate["rbias"])
        else:
            behind = self._product(h, "n", "r", gate["rbias"], t)
        held = self._add(mul, (r, behind), None, f"reset{t}")
        fresh = self._product(x, "n", "w", gate["bias"], t)
        n = self._add(tanh, (self._add(add, (fresh, held), None, f"n{t}/in"),), None, f"n{t}")
        if h is None and not self.state.any():  # a constant of zeros would have no scale
            return self._add(sub, (n, self._add(mul, (z, n), None, f"left{t}")), None, f"h{t}")
        before = h if h is not None else self._param("state", self.state)
        apart = self._add(sub, (before, n), None, f"apart{t}")
        return self._add(add, (n, self._add(mul, (z, apart), None, f"kept{t}")), None, f"h{t}")

    def _gate(self, x: Value, h: Value | None, g: str, t: int) -> Value:
        gate = self.gates[g]
        bias = gate["bias"] + gate["rbias"]
        if h is None:
            first = bias + (self.state @ gate["r"].T).reshape(-1)
            total = self._product(x, g, "w", first, t)
        else:
            parts = self._product(x, g, "w", bias, t), self._product(h, g, "r", None, t)
            total = self._add(add, parts, None, f"{g}{t}/in")
        return self._add(logistic, (total,), None, f"{g}{t}")

    def _product(self, x: Value, g: str, kind: str, bias: Array | None, t: int) -> Value:
        operands = [x, self._param(f"{g}/{kind}", self.gates[g][kind])]
        if bias is not None:
            first = "/first" if t == 0 else ""
            operands.append(self._param(f"{g}/{kind}/bias{first}", bias))
        return self._add(linear, operands, Linear(), f"{g}{t}/{kind}")

    def _param(self, name: str, data: Array) -> Value:
        if name not in self.params:
            made = np.ascontiguousarray(data, np.float32)
            self.params[name] = self.b.param(f"{self.name}/{name}", made)
        return self.params[name]

    def _add(self, op: Op, operands: Sequence[Value], attrs: Attrs | None, name: str) -> Value:
        full = f"{self.name}/{name}" if name else self.name
        return self.b.add(op, operands, attrs, name=full, origin=self.node.origin)
