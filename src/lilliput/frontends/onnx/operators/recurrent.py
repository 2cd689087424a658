"""LSTM and GRU over a sequence (T,N,I), one or both directions.

ONNX has the gates of LSTM in the order i, o, f, c, the IR i, f, c, o; those of GRU as z, r, h, the
IR r, z, n.  A GRU that resets the state before its product (linear_before_reset=0) has no
operator: its frames are unrolled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lilliput.frontends.channels import Place
from lilliput.frontends.onnx.call import Call
from lilliput.frontends.onnx.tensors import Tensor
from lilliput.ir import Array, Value
from lilliput.ops.conv import linear
from lilliput.ops.elementwise import add, mul, sub
from lilliput.ops.gru import gru
from lilliput.ops.lstm import LSTM, lstm
from lilliput.ops.reverse import reverse
from lilliput.ops.shape import (
    Concat,
    Reshape,
    Slice,
    Transpose,
    concat,
    reshape,
    slice_,
    transpose,
)
from lilliput.ops.unary import UNARY

Build = Callable[[Call], Tensor | list[Tensor]]
LOGISTIC, TANH = UNARY["logistic"], UNARY["tanh"]
MAX_FRAMES = 256
"""Of a GRU whose frames are unrolled."""


def _checked(call: Call, activations: list[str]) -> tuple[int, int]:
    """(directions, units) of a layer whose options are the usual ones."""
    directions = {"forward": 1, "reverse": 1, "bidirectional": 2}
    direction = call.attr("direction", "forward")
    if direction not in directions:
        raise call.refuse("direction", expected=", ".join(directions), found=direction)
    count = directions[direction]
    found = [s.lower() for s in call.strings("activations")]
    if found and found != activations * count:
        raise call.refuse("activations", expected=activations, found=found)
    lengths = call.data(4) if call.has(4) else None
    whole = not call.has(4) or (lengths is not None and (lengths == call.shape(0)[0]).all())
    if call.attr("layout", 0) or call.attr("input_forget", 0) or not whole:
        raise call.refuse("layout=1, input_forget, or sequences of several lengths")
    return count, call.shape(2)[2]


def _start(call: Call, k: int, direction: int, units: int) -> Value:
    """(N,H): an initial state, zero where it is left out."""
    batch = call.shape(0)[1]
    if not call.has(k):
        return call.place.constant(np.zeros((batch, units), np.float32), f"state{k}")
    data = call.data(k)
    if data is not None:
        return call.place.constant(np.ascontiguousarray(data[direction]), f"state{k}")
    box = Slice((direction, 0, 0), (1, batch, units))
    part = call.place.between(slice_, (call.value(k),), box, f"state{k}/part")
    return call.place.between(reshape, (part,), Reshape((batch, units)), f"state{k}")


def _sequence(call: Call, direction: int) -> Value:
    """x as (N,T,I), backwards for the reverse direction."""
    p = call.place
    x = call.value(0)
    if _backwards(call, direction):
        t, n, i = x.type.shape
        flat = p.between(reshape, (x,), Reshape((1, t, n * i)), "flat")
        x = p.between(reshape, (p.between(reverse, (flat,)),), Reshape((t, n, i)), "backwards")
    return p.between(transpose, (x,), Transpose((1, 0, 2)), "frames")


def _backwards(call: Call, direction: int) -> bool:
    return direction == 1 or call.attr("direction", "forward") == "reverse"


def _results(call: Call, shown: list[Value], ends: list[list[Value]]) -> list[Tensor]:
    """Y (T,D,N,H) of sequences (N,T,H), and the last states (D,N,H)."""
    p, parts = call.place, list[Value]()
    for d, y in enumerate(shown):
        n, t, h = y.type.shape
        q = p.inner(f"direction{d}")
        y = q.between(transpose, (y,), Transpose((1, 0, 2)))
        if _backwards(call, d):
            flat = q.between(reshape, (y,), Reshape((1, t, n * h)), "flat")
            y = q.between(reverse, (flat,))
        parts.append(q.between(reshape, (y,), Reshape((t, 1, n, h)), "direction"))
    made = [Tensor(call.node.output[0], value=_joined(p, parts, 1))]
    for k, states in enumerate(ends, 1):
        if k < len(call.node.output):
            q = p.inner(f"end{k}")
            rows = [
                q.between(reshape, (s,), Reshape((1, *s.type.shape)), f"direction{d}")
                for d, s in enumerate(states)
            ]
            made.append(Tensor(call.node.output[k], value=_joined(q, rows, 0)))
    return made


def _joined(p: Place, parts: list[Value], axis: int) -> Value:
    return parts[0] if len(parts) == 1 else p.last(concat, parts, Concat(axis))


def _gates(data: Array, units: int, order: tuple[int, ...]) -> Array:
    """Rows of gates in another order."""
    return np.concatenate([data[g * units : (g + 1) * units] for g in order])


def _weights(call: Call, gates: int) -> tuple[Array, Array, Array]:
    """w (D,G*H,I), r (D,G*H,H), biases (D,2*G*H)."""
    w, r = call.constant(1, "weights"), call.constant(2, "recurrent weights")
    bias = call.constant(3, "bias") if call.has(3) else None
    if bias is None:
        bias = np.zeros((w.shape[0], 2 * gates * r.shape[2]), np.float32)
    return w, r, bias


def _lstm(call: Call) -> list[Tensor]:
    count, units = _checked(call, ["sigmoid", "tanh", "tanh"])
    if call.has(7) and np.any(call.constant(7, "peepholes")):
        raise call.refuse("LSTM with peepholes")
    w, r, bias = _weights(call, 4)
    order, shown, hidden, cells = (0, 2, 3, 1), list[Value](), list[Value](), list[Value]()
    for d in range(count):
        p = call.place.inner(f"lstm{d}")
        both = bias[d][: 4 * units] + bias[d][4 * units :]
        constants = [
            p.constant(np.ascontiguousarray(_gates(a, units, order)), name)
            for a, name in ((w[d], "w"), (r[d], "r"), (both, "bias"))
        ]
        states = _start(call, 5, d, units), _start(call, 6, d, units)
        y, c = p.builder.add_multi(
            lstm,
            (_sequence(call, d), *constants, *states),
            LSTM(call.attr("clip", 0.0)),
            name=f"{p.name}/lstm",
            origin=p.origin,
        )
        shown.append(y)
        hidden.append(_last(p, y))
        cells.append(c)
    return _results(call, shown, [hidden, cells])


def _gru(call: Call) -> list[Tensor]:
    count, units = _checked(call, ["sigmoid", "tanh"])
    if call.attr("clip", 0.0):
        raise call.refuse("GRU that is clipped", expected="no clip", found=call.attr("clip", 0.0))
    direction = _whole_gru if call.attr("linear_before_reset", 0) else _unrolled_gru
    w, r, bias = _weights(call, 3)
    shown, hidden = list[Value](), list[Value]()
    for d in range(count):
        y, h = direction(call, d, units, w[d], r[d], bias[d])
        shown.append(y)
        hidden.append(h)
    return _results(call, shown, [hidden])


def _whole_gru(
    call: Call, d: int, units: int, w: Array, r: Array, bias: Array
) -> tuple[Value, Value]:
    """(N,T,H) and the last (N,H), where the reset comes behind the recurrent product."""
    p, order = call.place.inner(f"gru{d}"), (1, 0, 2)
    data = {"w": w, "r": r, "bias": bias[: 3 * units], "rbias": bias[3 * units :]}
    constants = [
        p.constant(np.ascontiguousarray(_gates(a, units, order)), name) for name, a in data.items()
    ]
    y = p.between(gru, (_sequence(call, d), *constants, _start(call, 5, d, units)))
    return y, _last(p, y)


def _last(p: Place, y: Value) -> Value:
    """(N,T,H) -> (N,H) of the last frame."""
    n, t, h = y.type.shape
    last = p.between(slice_, (y,), Slice((0, t - 1, 0), (n, 1, h)), "last")
    return p.between(reshape, (last,), Reshape((n, h)), "hidden")


def _unrolled_gru(
    call: Call, d: int, units: int, w: Array, r: Array, bias: Array
) -> tuple[Value, Value]:
    """(N,T,H) and the last (N,H), where the state is reset in front of its product.  z, r, n are
    the gates:

    h' = (1 - z) * n + z * h = n + z * (h - n)
    """
    p, x = call.place.inner(f"gru{d}"), _sequence(call, d)
    n, frames, _ = x.type.shape
    if frames > MAX_FRAMES:
        raise call.refuse(
            "GRU of many frames",
            expected=MAX_FRAMES,
            found=frames,
            hint="linear_before_reset=1, as PyTorch exports it, takes any number",
        )
    both = bias[: 3 * units] + bias[3 * units :]
    sums = p.between(linear, (x, p.constant(w, "w"), p.constant(both, "bias")), suffix="products")
    own = p.constant(np.ascontiguousarray(r[2 * units :]), "r/new")
    gates = p.constant(np.ascontiguousarray(r[: 2 * units]), "r/gates")
    h, steps = _start(call, 5, d, units), list[Value]()
    for t in range(frames):
        q = p.inner(f"frame{t}")
        row = q.between(slice_, (sums,), Slice((0, t, 0), (n, 1, 3 * units)), "row")
        given = q.between(reshape, (row,), Reshape((n, 3 * units)), "given")
        gx = [_part(q, given, k, units, "x") for k in range(3)]
        told = q.between(linear, (h, gates), suffix="h")
        gh = [_part(q, told, k, units, "h") for k in range(2)]
        z, reset = (q.between(LOGISTIC, (q.between(add, (gx[k], gh[k])),)) for k in range(2))
        inner = q.between(linear, (q.between(mul, (reset, h), suffix="reset"), own))
        new = q.between(TANH, (q.between(add, (gx[2], inner)),))
        kept = q.between(mul, (z, q.between(sub, (h, new))), suffix="kept")
        h = q.between(add, (new, kept), suffix="state")
        steps.append(q.between(reshape, (h,), Reshape((n, 1, units)), "step"))
    y = steps[0] if len(steps) == 1 else p.between(concat, steps, Concat(1))
    return y, h


def _part(p: Place, x: Value, k: int, units: int, name: str) -> Value:
    """One gate of (N,G*H)."""
    box = Slice((0, k * units), (x.type.shape[0], units))
    return p.between(slice_, (x,), box, f"{name}{k}")


READ: Mapping[str, Build] = {"GRU": _gru, "LSTM": _lstm}
