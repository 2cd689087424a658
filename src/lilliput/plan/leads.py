"""By how much what one task of a loop writes may be ahead of what another one still reads.

One idea: the lead changes evenly but at a few executions, so that these are enough to look at.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from lilliput.ir.region import AxisRule, needs
from lilliput.plan.group import Slot, behind, first_unfinished, stride


@lru_cache(maxsize=1 << 14)
def lead(
    write: tuple[Slot, int],
    read: tuple[Slot, int],
    order: int,
    out: tuple[int, int],
    inp: tuple[int, int],
    rule: AxisRule,
) -> int:
    """Bytes by which what is written may be ahead of what is still to be read.

    write, read : when, and rows an execution; no rows are written: all at the end
    order : as in `first_unfinished`; out, inp : rows, and bytes of one
    """
    (writer, made), (reader, taken) = write, read
    far = 0
    for k in _corners(writer, reader, rule, taken) if made else (writer.count - 1,):
        later = first_unfinished(writer, reader, k, order)
        if later < reader.count:
            first = needs(rule, (later * taken, later * taken + 1), inp[0])[0]
            end = min((k + 1) * made, out[0]) if made else out[0]
            far = max(far, end * out[1] - first * inp[1])
    return far


@lru_cache(maxsize=1024)
def tops(rule: AxisRule, quantum: int, count: int, rows: int) -> tuple[int, ...]:
    """The first row that each execution reads."""
    return tuple(needs(rule, (k * quantum, (k + 1) * quantum), rows)[0] for k in range(count))


def _corners(writer: Slot, reader: Slot, rule: AxisRule, rows: int) -> Iterator[int]:
    """Executions of the writer at which its lead over the reader can be largest: it changes evenly
    but where it begins, where the reader's windows leave the padding, and where either ends."""
    ahead = behind(rule) / max(float(stride(rule)) * rows, 1e-9)
    knee = (ahead * reader.period + reader.phase - writer.phase) / writer.period
    end = (reader.period * (reader.count - 1) + reader.phase - writer.phase) / writer.period
    for middle in (0, int(knee), int(end), writer.count - 1):
        yield from (k for k in range(middle - 2, middle + 4) if 0 <= k < writer.count)
