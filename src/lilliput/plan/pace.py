"""Pace: how many rows a piece of columns is made of at once.

One idea: where a map is made and read in pieces of columns, one after the other, a piece is of use
only while its reader works; between two rows of the reader it should hold what the next window
needs again, and no more.  So before a window of stride 2 two rows of a piece are made together, in
the iteration that reads them:

    rows t, t+1 of piece 0 -> a row of the reader,    rows t, t+1 of piece 1 -> a row of the reader

A map that is whole gains nothing by that, as all of it is there while its reader works.
"""

from __future__ import annotations

from collections.abc import Mapping

from lilliput.ir.graph import Value
from lilliput.ir.module import Param
from lilliput.ir.region import AxisRule, Pointwise, Window
from lilliput.plan.layout import Job, Storage
from lilliput.plan.parts import operands


def paces(layout: Storage, params: Mapping[str, Param]) -> dict[str, int]:
    """Root -> rows that its maker makes in an execution, where that is more than one: of what is
    made of a piece of columns, as many as an execution of its readers goes on by."""
    jobs = [a for a in layout.actions if isinstance(a, Job)]
    pieces, readers = set[str](), dict[str, list[tuple[str, AxisRule]]]()
    for job in jobs:
        out = layout.place(job.task.output).root
        pairs = zip(operands(job.task), job.task.rules, strict=True)
        read = [(v, rule.y) for v, rule in pairs if v.name not in params]
        for value, rule in read:
            readers.setdefault(layout.place(value).root, []).append((out, rule))
        if out == job.task.output.name and any(
            _of_columns(layout, v) or layout.place(v).root in pieces for v, _ in read
        ):
            pieces.add(out)
    found: dict[str, int] = {}
    for job in reversed(jobs):
        name = job.task.output.name
        steps = {found.get(out, 1) * _stride(rule) for out, rule in readers.get(name, ())}
        if name in pieces and len(steps) == 1 and (pace := steps.pop()) > 1:
            found[name] = pace
    return found


def _of_columns(layout: Storage, value: Value) -> bool:
    """Whether a value is some of the columns of what it lies in."""
    box = layout.place(value).box
    return box.rows > 1 and box.pixels * box.pixel < box.row


def _stride(rule: AxisRule) -> int:
    """Rows that a reader goes on by for each of its own; 0 where that does not matter."""
    if isinstance(rule, Window):
        return rule.stride
    return 1 if isinstance(rule, Pointwise) else 0
