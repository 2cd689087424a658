"""GRU and LSTM: layers upon layers, one or both directions, states in and out.

torch has both gates' biases; of an LSTM they only occur as a sum.  Its order of gates is that
of the IR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lilliput.frontends.channels import Place
from lilliput.frontends.torch.call import Build, Call
from lilliput.frontends.torch.operators.shape import box, turned
from lilliput.ir import Value
from lilliput.ops.elementwise import add
from lilliput.ops.gru import gru
from lilliput.ops.lstm import LSTM, lstm
from lilliput.ops.shape import Concat, Reshape, Transpose, concat, reshape, transpose

Cell = Callable[[Place, Value, Sequence[Value], Sequence[Value]], tuple[Value, list[Value]]]
"""(place, x (N,T,I), weights, states (N,H)) -> y (N,T,H), the last states (N,H)."""


def _last(p: Place, y: Value) -> Value:
    """(N,T,H) -> (N,H) of the last frame."""
    n, t, h = y.type.shape
    return p.between(reshape, (box(p, y, 1, t - 1, 1, "end"),), Reshape((n, h)), "last")


def _gru_cell(
    p: Place, x: Value, weights: Sequence[Value], states: Sequence[Value]
) -> tuple[Value, list[Value]]:
    w, r, bias, rbias = weights
    y = p.between(gru, (x, w, r, bias, rbias, states[0]))
    return y, [_last(p, y)]


def _lstm_cell(
    p: Place, x: Value, weights: Sequence[Value], states: Sequence[Value]
) -> tuple[Value, list[Value]]:
    w, r, *biases = weights
    bias = p.between(add, biases, suffix="bias")
    y, cell = p.builder.add_multi(
        lstm, (x, w, r, bias, *states), LSTM(), name=f"{p.name}/lstm", origin=p.origin
    )
    return y, [_last(p, y), cell]


def _layers(cell: Cell, count: int) -> Build:
    """`count` states: y and the last states, each (layers * directions, N, H)."""

    def build(call: Call) -> Sequence[Value]:
        if call.flag("train") and call.number("dropout"):
            raise call.refuse("dropout between layers in training mode")
        x = call.value("input")
        given = call.list("hx") if count > 1 else [call.value("hx")]
        single = len(x.type.shape) == 2
        if single:
            x = call.shaped(x, (1, *x.type.shape), "batch")
            given = [call.shaped(v, (v.type.shape[0], 1, v.type.shape[1]), "one") for v in given]
        elif not call.flag("batch_first"):
            x = call.between(transpose, (x,), Transpose((1, 0, 2)), "by_sample")
        y, ends = _stack(call, cell, x, given)
        p = call.place
        if not call.flag("batch_first") and not single:
            y = p.between(transpose, (y,), Transpose((1, 0, 2)), "by_frame")
        made = [y]
        for k in range(count):
            rows = [
                p.between(reshape, (e[k],), Reshape((1, *e[k].type.shape)), f"end{k}/{i}")
                for i, e in enumerate(ends)
            ]
            end = p.between(concat, rows, Concat(0), f"end{k}") if len(rows) > 1 else rows[0]
            made.append(end)
        return [
            call.shaped(v, call.result(k).shape, f"result{k}") if single else v
            for k, v in enumerate(made)
        ]

    return build


def _stack(
    call: Call, cell: Cell, x: Value, given: Sequence[Value]
) -> tuple[Value, list[list[Value]]]:
    """Of a sequence (N,T,I): the last layer's (N,T,D*H), and every layer's last states."""
    layers, params = call.integer("num_layers"), call.list("params")
    directions = 2 if call.flag("bidirectional") else 1
    each = 4 if call.flag("has_biases") else 2
    if len(params) != layers * directions * each:
        raise call.refuse("recurrent layers", expected="weights and biases", found=len(params))
    ends: list[list[Value]] = []
    for layer in range(layers):
        sides: list[Value] = []
        for d in range(directions):
            k = layer * directions + d
            p = call.place.inner(f"layer{layer}{'_reverse' if d else ''}")
            weights = _with_biases(p, params[k * each : (k + 1) * each])
            states = [_state(p, v, k) for v in given]
            y, end = cell(p, turned(p, x, 1, "backwards") if d else x, weights, states)
            sides.append(turned(p, y, 1, "forwards") if d else y)
            ends.append(end)
        inner = call.place.inner(f"layer{layer}")
        x = inner.between(concat, sides, Concat(2), "both") if directions > 1 else sides[0]
    return x, ends


def _with_biases(p: Place, weights: Sequence[Value]) -> Sequence[Value]:
    if len(weights) == 4:
        return weights
    zeros = p.constant(np.zeros(weights[0].type.shape[0], np.float32), "bias")
    return (*weights, zeros, zeros)


def _state(p: Place, states: Value, k: int) -> Value:
    """State `k` of (layers * directions, N, H)."""
    _, n, h = states.type.shape
    part = box(p, states, 0, k, 1, "start")
    return p.between(reshape, (part,), Reshape((n, h)), "state")


READ: dict[str, Build] = {
    "gru.input": _layers(_gru_cell, 1),
    "lstm.input": _layers(_lstm_cell, 2),
}
