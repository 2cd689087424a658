"""The graph of a step: the nodes of the window's graph on the rows that a step computes.

One idea: a row is what it was in the whole window, so an interval of rows is computed by the
node itself, on the rows of its operands that they read, with padding only where those would lie
outside the window.  Where the rows come from (a ring, one piece or another) is slices and
concatenations, which the planner turns into views or copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import UnsupportedError, UsageError
from lilliput.ir.build import Builder
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.interp import Session
from lilliput.ir.module import Module, State
from lilliput.ir.op import Attrs, Indices
from lilliput.ir.region import Interval
from lilliput.ir.types import Array, TensorType
from lilliput.ops.recurrent import Push, push
from lilliput.ops.shape import Concat, Slice, concat, slice_
from lilliput.passes.canonicalize import Canonicalize
from lilliput.passes.streaming.demand import Rows, demand, frames, newest
from lilliput.passes.streaming.demand import reads as reads_rows
from lilliput.passes.streaming.follow import Track, Tracks, Way, follow, way
from lilliput.passes.streaming.result import Repeated, Ring, Streamed, silence, work
from lilliput.passes.streaming.upright import upright

STEP = "step"


@dataclass(frozen=True)
class Stream:
    """axis : of the input that is time; None: the first behind the batch that has an extent
    hop : frames that a step takes; None: as few as the strides over time allow
    """

    axis: int | None = None
    hop: int | None = None


def stream(module: Module, options: Stream | None = None) -> Streamed:
    """The step of `module`, a network in canonical form over a window of frames.

    Raises UsageError for an axis or a hop that cannot be, UnsupportedError for a network that
    does not stream.
    """
    options = options or Stream()
    _require_window(module)
    (source,) = module.graphs[module.entry].inputs
    axis = _axis(source, options.axis)
    stood = upright(module, follow(module.graphs[module.entry], source, axis))
    graph = stood.graphs[stood.entry]
    tracks = follow(graph, source, axis)
    hop = _hop(frames(tracks), source.type.shape[axis], options.hop)
    rows = demand(graph, source.name, tracks, hop)
    step = _Step(stood, source, tracks, rows, hop)
    made = Canonicalize()(step.module())
    ends = (tracks.get(v.name) for v in graph.outputs)
    found = Streamed(
        made,
        module,
        axis,
        source.type.shape[axis],
        hop,
        tuple(None if t is None else (t.axis, newest(t, hop)) for t in ends),
        tuple(step.rings),
        step.repeated(),
    )
    _require_gain(found)
    return found


# What is refused --------------------------------------------------------------------------


def _require_window(module: Module) -> None:
    inputs = module.inputs(module.entry)
    if len(module.graphs) > 1 or module.states:
        names = ", ".join(module.states) or ", ".join(module.graphs)
        raise UnsupportedError(
            "a network with states or several entries is not a function of a window",
            where=module.name,
            found=names,
            hint="a recurrent network takes one frame a call already: compile it as it is",
        )
    if len(inputs) != 1:
        raise UnsupportedError(
            "streaming over time needs one input, whose frames arrive one after another",
            where=module.name,
            found=f"{len(inputs)} inputs: {', '.join(v.name for v in inputs)}",
            hint="convert the network with its other inputs as constants",
        )


def _axis(source: Value, asked: int | None) -> int:
    shape = source.type.shape
    long = [k for k, n in enumerate(shape) if k > 0 and n > 1]
    axis = asked if asked is not None else next(iter(long), 0)
    if not 0 <= axis < len(shape) or shape[axis] < 2:
        raise UsageError(
            "no axis of time",
            where=f"input {source.name}",
            expected=f"an axis with several frames: {', '.join(map(str, long)) or 'there is none'}",
            found=f"axis {axis} of {list(shape)}",
        )
    return axis


def _hop(natural: int, window: int, asked: int | None) -> int:
    hop = natural if asked is None else asked
    if hop < 1 or hop % natural or hop > window:
        raise UsageError(
            "a step cannot take so many frames",
            expected=f"a multiple of {natural} up to the window of {window}",
            found=str(hop),
            hint="the strides over time give a new row only every so many frames"
            if natural > 1
            else "",
        )
    return hop


def _require_gain(found: Streamed) -> None:
    step, whole = work(found.module), work(found.source)
    saved = whole.macs - step.macs if whole.macs else whole.ops - step.ops
    if saved > 0:
        return
    reasons = "; ".join(f"{r.operator} {r.layer!r}: {r.why}" for r in found.repeated[:3])
    raise UnsupportedError(
        "streaming over this axis saves nothing: a step would compute the whole window",
        where=f"{found.source.name}, axis {found.axis}",
        found=reasons or f"{whole.macs:,} MACs either way, the first layer reads all frames",
        hint="name the axis of time with --stream-axis, or compile the window as it is",
    )


# The graph --------------------------------------------------------------------------------


class _Step:
    """Built node by node: `parts` says where rows of a value of the window's graph are, `known`
    what stands for a value without an axis of time."""

    def __init__(
        self, module: Module, source: Value, tracks: Tracks, rows: Mapping[str, Rows], hop: int
    ):
        self.source, self.tracks, self.where, self.hop = module, tracks, rows, hop
        self.graph: Graph = module.graphs[module.entry]
        self.rings: list[Ring] = []
        self.builder = Builder(names=set())
        self.updates: dict[str, Value] = {}
        self.known: dict[str, Value] = {}
        self.parts: dict[str, list[tuple[Interval, Value]]] = {}
        self.cut: dict[tuple[str, Interval], Value] = {}
        self.first = _first_values(module, source)
        track = self._track(source)
        (given,) = rows[source.name].pieces
        newest_frames = self.builder.input(source.name, _resized(source.type, track.axis, hop))
        self.parts[source.name] = [(given, newest_frames)]
        self._keep(source)
        for node in self.graph.nodes:
            self._node(node)

    def module(self) -> Module:
        outputs = [self._output(v) for v in self.graph.outputs]
        graph = self.builder.graph([*outputs, *self.updates.values()])
        states = {
            name: State(s.value, s.init, {STEP: self.updates[name]})
            for name, s in self.builder.states.items()
        }
        return Module({STEP: graph}, dict(self.builder.params), states, self.source.name)

    def repeated(self) -> tuple[Repeated, ...]:
        found: list[Repeated] = []
        for node in self.graph.nodes:
            track, rows = self.tracks.get(node.output.name), self.where.get(node.output.name)
            if track is None or rows is None or node.op.view:
                continue
            computed, (low, high) = sum(b - a for a, b in rows.pieces), newest(track, self.hop)
            if computed > high - low:
                moving = "padding in time" if track.steady != (0, 0) else "all rows change"
                why, name = track.undivided or moving, node.origin or node.output.name
                found.append(Repeated(name, node.op.name, track.rows, computed, high - low, why))
        return tuple(found)

    def _track(self, value: Value) -> Track:
        track = self.tracks[value.name]
        assert track is not None
        return track

    def _node(self, node: Node) -> None:
        name = node.output.name
        track = self.tracks.get(name)
        if track is not None:
            pieces = self.where[name].pieces
            self.parts[name] = [
                (piece, self._piece(node, track, piece, last=piece is pieces[-1]))
                for piece in pieces
            ]
            self._keep(node.output)
            return
        inputs = [self._all(v) for v in node.inputs]
        outputs = self.builder.add_multi(
            node.op,
            inputs,
            node.attrs,
            types=[v.type for v in node.outputs],
            name=name,
            origin=node.origin,
        )
        self.known.update({v.name: new for v, new in zip(node.outputs, outputs, strict=True)})

    def _piece(self, node: Node, track: Track, piece: Interval, *, last: bool) -> Value:
        """The rows `piece` of a node's result, of the rows that they read."""
        inputs: list[Value] = []
        kept: list[Indices] = []
        outside, whole = (0, 0), piece == (0, track.rows)
        for value, read in zip(node.inputs, track.reads, strict=True):
            if read is None:
                inputs.append(self._all(value))
                kept.append(_indices(value.type))
                continue
            axis, rule = read
            low, high = rule.needs(*piece)
            part = reads_rows(value, read, piece)
            outside = max(outside[0], part[0] - low), max(outside[1], high - part[1])
            whole = whole and part == (0, value.type.shape[axis])
            inputs.append(self._rows(value, axis, part))
            kept.append(_indices(value.type, axis, part))
        attrs = node.attrs if whole else _attrs(node, track, outside, kept, piece)
        name = node.output.name
        type = _resized(node.output.type, track.axis, piece[1] - piece[0])
        stem = name if last else f"{name}/{piece[0]}"
        return self.builder.add(node.op, inputs, attrs, type=type, name=stem, origin=node.origin)

    def _keep(self, value: Value) -> None:
        """The ring of a value, turned by its fresh rows."""
        rows, axis = self.where[value.name], self._track(value).axis
        if rows.ring is None:
            return
        low, high = rows.ring
        type = _resized(value.type, axis, high - low)
        init = np.ascontiguousarray(np.take(self.first[value.name], range(low, high), axis))
        old = self.builder.state(f"{value.name}/ring", type, init)
        new = self._rows(value, axis, rows.fresh)
        turned = self.builder.add(push, (old, new), Push(axis), name=f"{old.name}/new")
        self.updates[old.name] = turned
        self.rings.append(Ring(value.name, high - low, type.nbytes))
        self.parts[value.name].append((rows.ring, turned))

    def _output(self, value: Value) -> Value:
        track = self.tracks.get(value.name)
        if track is None:
            return self._all(value)
        return self._rows(value, track.axis, newest(track, self.hop))

    # rows

    def _all(self, value: Value) -> Value:
        track = self.tracks.get(value.name)
        if track is not None:
            return self._rows(value, track.axis, (0, track.rows))
        if value.name not in self.known:
            self.known[value.name] = self.builder.use(self.source.params[value.name])
        return self.known[value.name]

    def _rows(self, value: Value, axis: int, wanted: Interval) -> Value:
        """Rows of a value of the window's graph, from wherever they are."""
        if value.name not in self.parts:
            self.parts[value.name] = [((0, value.type.shape[axis]), self._all(value))]
        parts = self.parts[value.name]
        for have, part in parts:
            if have[0] <= wanted[0] and wanted[1] <= have[1]:
                return self._slice(part, axis, have, wanted)
        pieces: list[Value] = []
        at = wanted[0]
        while at < wanted[1]:
            have, part = max(
                ((h, p) for h, p in parts if h[0] <= at < h[1]), key=lambda found: found[0][1]
            )
            pieces.append(self._slice(part, axis, have, (at, min(have[1], wanted[1]))))
            at = have[1]
        key = value.name, wanted
        if key not in self.cut:
            name = f"{value.name}/rows{wanted[0]}"
            self.cut[key] = self.builder.add(concat, pieces, Concat(axis), name=name)
        return self.cut[key]

    def _slice(self, part: Value, axis: int, have: Interval, wanted: Interval) -> Value:
        if have == wanted:
            return part
        key = part.name, wanted
        if key not in self.cut:
            begin, size = [0] * len(part.type.shape), list(part.type.shape)
            begin[axis], size[axis] = wanted[0] - have[0], wanted[1] - wanted[0]
            box = Slice(tuple(begin), tuple(size))
            name = f"{part.name}/from{begin[axis]}"
            self.cut[key] = self.builder.add(slice_, (part,), box, name=name)
        return self.cut[key]


def _attrs(
    node: Node, track: Track, outside: Interval, kept: list[Indices], piece: Interval
) -> Attrs:
    """Of a node that computes `piece` of what it reads, `kept` of its operands."""
    how = way(node, track.axis, track.reads)
    attrs: Attrs | None = None
    if how is Way.SLIDE and node.op.slide is not None:
        attrs = node.op.slide(node, track.axis, outside)
    narrow = node.op.narrow(node)
    if how is Way.NARROW and narrow is not None:
        attrs = narrow(node, kept, _indices(node.output.type, track.axis, piece))
    return attrs or node.attrs


def _indices(type: TensorType, axis: int = -1, part: Interval = (0, 0)) -> Indices:
    """All indices of each axis, of one of them only `part`."""
    return tuple(
        np.arange(*(part if k == axis else (0, extent))) for k, extent in enumerate(type.shape)
    )


def _resized(type: TensorType, axis: int, rows: int) -> TensorType:
    return replace(type, shape=(*type.shape[:axis], rows, *type.shape[axis + 1 :]))


def _first_values(module: Module, source: Value) -> Mapping[str, Array]:
    """What every value is for a window of zero points."""
    type = source.type
    if any(p.data is None for p in module.params.values()):  # planned, not run
        values = module.graphs[module.entry].values()
        return {v.name: silence(v.type.shape, 0, v.type.dtype.numpy) for v in values}
    window = silence(type.shape, type.zero_point, type.dtype.numpy)
    return Session(module).run({source.name: window}).values
