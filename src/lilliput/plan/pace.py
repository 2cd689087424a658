"""Pace: how many rows a piece of columns is made of at once.

One idea: where a map is made and read in pieces of columns, one after the other, a piece is of use
only while its reader works; between two rows of the reader it should hold what the next window
needs again, and no more.  So before a window of stride 2 two rows of a piece are made together, in
the iteration that reads them:

    rows t, t+1 of piece 0 -> a row of the reader,    rows t, t+1 of piece 1 -> a row of the reader

Rows are counted from the top, so that fits where windows end with an odd row, as 3 rows do behind
one row of padding; elsewhere one more row would be made too early, and rows come one by one.  A map
that is whole gains nothing either way, as all of it is there while its reader works.
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
        steps = {pace(rule, found.get(out, 1)) for out, rule in readers.get(name, ())}
        if name in pieces and len(steps) == 1 and (rows := steps.pop()) > 1:
            found[name] = rows
    return found


def pace(rule: AxisRule, rows: int) -> int:
    """Rows of an operand that go on by together where its reader makes `rows` at once: those that
    it goes on by, if its windows end where these do."""
    if not isinstance(rule, Window):
        return rows if isinstance(rule, Pointwise) else 1
    step, (_, end) = rows * rule.stride, rule.needs(0, rows)
    return 1 if end % step else step


def _of_columns(layout: Storage, value: Value) -> bool:
    """Whether a value is some of the columns of what it lies in."""
    box = layout.place(value).box
    return box.rows > 1 and box.pixels * box.pixel < box.row
