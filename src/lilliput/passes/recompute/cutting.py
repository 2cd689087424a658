"""Cutting maps: what a rectangle of a result needs of its operands, and nodes that make it.

One idea: a rectangle of a map is a value of its own, made by the node that makes the map with the
padding that is left at the rectangle's borders, of slices of its operands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from lilliput.ir.build import fresh_name
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.op import Attrs
from lilliput.ir.region import AxisRule, Interval, Pointwise, Whole, Window, clamp
from lilliput.ops.shape import Slice, slice_
from lilliput.passes.recompute.pieces import Piece

AXES = (1, 2)
"""Rows and columns of a map (N,H,W,C)."""
Rectangle = tuple[Interval, Interval]
"""Rows and columns [lo, hi) of a map."""


def divides(node: Node, given: Set[str]) -> bool:
    """Whether any rectangle of a node's map can be computed of rectangles of its operands."""
    if node.op.regions is None or node.op.view or len(node.outputs) > 1:
        return False
    if len(node.output.type.shape) != 4 or node.output.type.shape[0] != 1:
        return False
    for value, rule in zip(node.inputs, node.op.regions(node), strict=True):
        if value.name in given:
            if len(rule) == 4 and any(not isinstance(rule[axis], Whole) for axis in AXES):
                return False  # a constant map would have to be cut, too
        elif len(rule) != 4 or not all(_cuts(node, value, axis, rule[axis]) for axis in AXES):
            return False
    slides = node.op.slide is not None and all(node.op.slide(node, a, (0, 0)) for a in AXES)
    return node.op.scalar is not None or slides


def _cuts(node: Node, value: Value, axis: int, rule: AxisRule) -> bool:
    """Whether an axis of an operand goes with that of the result, and no window of it lies in
    the padding as a whole."""
    if not isinstance(rule, Pointwise | Window) or rule.axis != axis:
        return False
    count, extent = node.output.type.shape[axis], value.type.shape[axis]
    return rule.needs(0, 1)[1] > 0 and rule.needs(count - 1, count)[0] < extent


def needs_of(node: Node, k: int, box: Rectangle, attrs: Attrs) -> tuple[Rectangle, Attrs]:
    """The rectangle of operand k that `box` of the result reads, and the attributes with what
    is left of the padding."""
    assert node.op.regions is not None
    rule, found = node.op.regions(node)[k], list[Interval]()
    for axis, piece in zip(AXES, box, strict=True):
        along, extent = rule[axis], node.inputs[k].type.shape[axis]
        if isinstance(along, Window):
            low, high = along.needs(*piece)
            inside = clamp((low, high), extent)
            assert node.op.slide is not None
            outside = inside[0] - low, high - inside[1]
            slid = node.op.slide(replace(node, attrs=attrs), axis, outside)
            assert slid is not None
            attrs = slid
            found.append(inside)
        else:
            found.append(piece)
    return (found[0], found[1]), attrs


def whole(value: Value) -> Rectangle:
    return (0, value.type.shape[1]), (0, value.type.shape[2])


class Cutting:
    """A graph whose maps are cut.

    names : that are taken; pieces : what each value that was added stands for; made : nodes that
    were added, in order
    """

    def __init__(self, graph: Graph, names: set[str]):
        self.graph, self.names = graph, names
        self.values = {v.name: v for v in graph.values()}
        self.given = {v.name for v in graph.params}
        self.pieces: dict[str, Piece] = {}
        self.made: list[Node] = []

    def slice(self, value: Value, has: Rectangle, need: Rectangle, of: str) -> Value:
        """`need` of a value that holds `has`, one axis after the other, as views are."""
        for axis in (1, 0):
            if has[axis] == need[axis]:
                continue
            has = (has[0], need[1]) if axis else (need[0], has[1])
            begin, size = [0] * 4, list(value.type.shape)
            at = self.pieces[value.name].begin if value.name in self.pieces else (0,) * 4
            begin[axis + 1] = need[axis][0] - at[axis + 1]
            size[axis + 1] = need[axis][1] - need[axis][0]
            made = self.part(self.values[of], has)
            attrs = Slice(tuple(begin), tuple(size))
            self.made.append(Node(slice_, (value,), (made,), attrs, self.origin(of)))
            value = made
        return value

    def wanted(self, nodes: Sequence[Node], target: str, box: Rectangle) -> dict[str, Rectangle]:
        """The rectangle of each value that `box` of the target needs, all its readers together;
        `nodes` make the target, in order."""
        wanted = {target: box}
        for node in reversed(nodes):
            here = wanted[node.output.name]
            for k, value in enumerate(node.inputs):
                if value.name not in self.given:
                    need, _ = needs_of(node, k, here, node.attrs)
                    had = wanted.get(value.name, need)
                    y, x = (
                        (min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(had, need, strict=True)
                    )
                    wanted[value.name] = y, x
        return wanted

    def cut_of(
        self, node: Node, box: Rectangle, parts: Mapping[str, tuple[Rectangle, Value]]
    ) -> Value:
        """`box` of what a node makes, of rectangles of its operands: `parts` are there of some, all
        of the others."""
        attrs, inputs = node.attrs, list[Value]()
        for k, value in enumerate(node.inputs):
            if value.name in self.given:
                inputs.append(value)
                continue
            need, attrs = needs_of(node, k, box, attrs)
            has, part = parts.get(value.name, (whole(value), value))
            inputs.append(self.slice(part, has, need, value.name))
        made = self.part(node.output, box)
        self.made.append(replace(node, inputs=tuple(inputs), outputs=(made,), attrs=attrs))
        return made

    def part(self, whole: Value, box: Rectangle) -> Value:
        """A value for `box` of `whole`."""
        (y0, y1), (x0, x1) = box
        n, _, _, c = whole.type.shape
        shape = n, y1 - y0, x1 - x0, c
        type = replace(whole.type, shape=shape)
        made = Value(fresh_name(self.names, f"{whole.name}/{y0}_{x0}"), type)
        self.pieces[made.name] = Piece(whole.name, (0, y0, x0, 0), shape)
        return made

    def origin(self, name: str) -> str:
        found = (n.origin for n in self.graph.nodes if n.output.name == name)
        return next(found, "") or name
