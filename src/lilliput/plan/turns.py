"""Pieces in turn: what a loop saves if some of its maps are made in pieces of columns.

One idea: of the rows that a window reads, those that are new are needed for a moment only.  Where
all layers of a stretch make one piece before any of them makes the next, a loop holds the new rows
of the piece at work alone, and of the others what their next window needs again:

    window of 3 rows, stride 2      whole: 3 rows      in 3 pieces: 1 row and 2 rows of a third

The halo, computed for both its pieces, makes pieces a little wider than their share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lilliput.ir.graph import Node, Value
from lilliput.ir.module import Module
from lilliput.ir.region import Window
from lilliput.passes.recompute import Stretch, boxes_of
from lilliput.plan.pace import pace


@dataclass(frozen=True)
class _Rows:
    """Rows of a map: `most` in the windows of its readers, `keep` of them there before those that
    are `new` each time."""

    most: int
    keep: int
    new: int


def saved(module: Module, stretch: Stretch, cuts: Sequence[int]) -> int:
    """Bytes of line buffers by which a loop needs less in which a stretch is in pieces that end at
    columns `cuts` of its target."""
    graph = module.graphs[stretch.entry]
    nodes = [n for n in graph.nodes if n.output.name in stretch.nodes]
    values = {v.name: v for v in graph.values()}
    once, paced = _rows(nodes, paced=False), _rows(nodes, paced=True)
    widths: dict[str, list[int]] = {}
    for wanted in boxes_of(module, stretch, cuts):
        for name, (_, (low, high)) in wanted.items():
            widths.setdefault(name, []).append(high - low)
    source, target = values[stretch.source], values[stretch.target]
    total = (once[source.name].most - paced[source.name].most) * _row(source) - _row(target)
    for name in (n for n in stretch.nodes if n != stretch.target and once[n].most > 1):
        rows, value = paced[name], values[name]
        held = rows.keep * sum(widths[name]) + (rows.most - rows.keep) * max(widths[name])
        total += once[name].most * _row(value) - held * (_row(value) // value.type.shape[2])
    return total


def _row(value: Value) -> int:
    return value.type.nbytes // value.type.shape[1]


def _rows(nodes: Sequence[Node], *, paced: bool) -> Mapping[str, _Rows]:
    """Of each map that a stretch reads, from its readers; `paced`: as many rows of it are made at
    once as `pace` says."""
    found: dict[str, _Rows] = {}
    for node in reversed(nodes):
        assert node.op.regions is not None
        mine = found.get(node.output.name)
        rows = mine.new if paced and mine else 1
        for value, rule in zip(node.inputs, node.op.regions(node), strict=True):
            if len(rule) != 4:
                continue
            along = rule[1]
            stride, reach = (along.stride, along.reach) if isinstance(along, Window) else (1, 0)
            most, new = reach + 1 + stride * (rows - 1), pace(along, rows)
            has = found.get(value.name, _Rows(0, 0, 0))
            keep = max(has.keep, most - new)
            found[value.name] = _Rows(max(has.most, most), keep, max(has.new, new))
    return found
