"""By how much what one task of a loop writes may be ahead of what another one still reads.

One idea: the lead changes evenly but at a few executions, so that these are enough to look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

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


# Windows of whole strides ----------------------------------------------------------------

MEMORY: Final = 1 << 14
"""What is kept of questions about loops that a search asks again and again."""


class Lead(NamedTuple):
    """By how many bytes a writer may be ahead of what a reader still needs, at most.

    order : how many places the writer stands behind the reader in the body of their loop
    made : rows that an execution of the writer makes; taken : rows by which the reader's window
        moves on with each of its executions, from `pad` rows before the first
    out, inp : (rows, bytes of one) of what is written and of what is read
    """

    writer: Slot
    reader: Slot
    order: int
    made: int
    taken: int
    pad: int
    out: tuple[int, int]
    inp: tuple[int, int]

    def at(self, k: int, end: int) -> int:
        """When the writer has executed k + 1 times, and `end` rows are there."""
        later = first_unfinished(self.writer, self.reader, k, self.order)
        if later >= self.reader.count:
            return 0
        first = min(max(later * self.taken - self.pad, 0), self.inp[0])
        return min(end, self.out[0]) * self.out[1] - first * self.inp[1]

    @lru_cache(maxsize=MEMORY)  # noqa: B019
    def most(self) -> int:
        """Over all executions.

        Where the reader's period divides the writer's, what is written and what is dead grow
        evenly, the first until the map ends, the second from where the window leaves the padding:
        the lead is concave, and largest at an end or at a bend.
        """
        writer, reader = self.writer, self.reader
        step, rest = divmod(writer.period, reader.period) if self.order else (1, 0)
        beyond = (reader.count - 1) * self.taken - self.pad > self.inp[0]
        if rest or beyond or self.pad < 0:
            return self._largest(range(writer.count))
        since = writer.phase - reader.phase if self.order else 0
        begun = since // reader.period + 1 if self.order > 0 else -(-since // reader.period)
        last = min(writer.count - 1, (reader.count - 1 - begun) // step)
        leaves = -(-(-(-self.pad // self.taken) - begun) // step)
        full = self.out[0] // self.made
        bends = 0, leaves - 1, leaves, full - 1, full, last
        return self._largest([k for k in bends if 0 <= k <= last])

    def _largest(self, executions: Iterable[int]) -> int:
        return max([self.at(k, (k + 1) * self.made) for k in executions], default=0)
