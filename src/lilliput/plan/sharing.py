"""Views of one call that share bytes: the part of the check that tags cannot tell.

One idea: within a piece of work the checker sees what is read before and what is written after, not
in which order elements are.  A kernel that reads an element before it writes it, and an epilogue,
which reads where it stores, may have an output over their operands all the same; whether views lie
so that this holds follows from where they begin and from their strides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lilliput.errors import CertificateError
from lilliput.ir.region import Interval
from lilliput.plan.program import Buffer, Call, Kind, View


@dataclass(frozen=True)
class Sharing:
    """The checks of one step; `where` it is, for errors."""

    buffers: Mapping[str, Buffer]
    where: str

    def epilogue(self, call: Call, own: int, y: Interval) -> None:
        """What the epilogue reads is there until it has been read: element by element in the order
        of the output, or as far behind it as the kernel may be ahead.  An element that is smaller
        than what is stored must be behind at the end, too; one that is read again must be apart,
        and so must rows that have places of their own."""
        out, ahead = call.output, call.kernel.ahead(call.node)
        element = call.kernel.overlap == "element"
        for view in call.inputs[0 if element else own :]:
            distance = self.address(view) - self.address(out)
            if view.places is not None or out.places is not None:
                self.apart(view, out, y)
                continue
            apart = not -_reach(view) < distance < _reach(out) or _between(view, out, distance)
            in_place = distance == 0 and _strides(view) == _strides(out)
            last = distance + _last(view) - _last(out)
            behind = min(distance, last) >= ahead * out.pixel and out.plane is None
            # both ends behind: all of it where both go through their bytes without a gap
            dense = view.is_dense and out.is_dense
            orderly = _strides(view) == _strides(out) or (
                (ahead == 0 or dense) and out.plane is None
            )
            once = view.extents == out.extents
            over = once and (in_place or (behind and orderly))
            if self.same_memory(view, out) and not (apart or over):
                raise CertificateError(
                    "an output runs over what its epilogue has not read",
                    where=self.where,
                    expected=f"{view.root} at least {ahead * out.pixel} B behind",
                    found=f"{distance} B",
                )

    def in_place(self, call: Call, index: int, view: View) -> None:
        """An operand in the storage of the output, whose bytes cannot be told from those of the
        output: the kernel must take what is in its very place, or they lie apart."""
        out, kernel = call.output, call.kernel
        taken = index == 0 and kernel.in_place and _one_place(view, out)
        if view.root != out.root or taken or kernel.overlap == "element":
            return
        distance = self.address(view) - self.address(out)
        if -_reach(view) < distance < _reach(out) and not _between(view, out, distance):
            raise CertificateError(
                "an output runs over what its kernel still reads",
                where=self.where,
                expected=f"{view.root} apart from it",
                found=f"{distance} B",
            )

    def apart(self, view: View, out: View, y: Interval) -> None:
        """The rows of an execution that an epilogue reads, and those that it stores."""
        spans = [
            (self.address(v) + (v.places[row] if v.places else _slot(v, row) * v.row), _width(v), v)
            for v in (view, out)
            for row in range(*(y if v.rows > 1 else (0, 1)))
        ]
        for at, nbytes, one in spans:
            for start, length, other in spans:
                met = at < start + length and start < at + nbytes
                if one is not other and met and self.same_memory(one, other):
                    raise CertificateError(
                        "an output runs over what its epilogue has not read",
                        where=self.where,
                        found=f"{view.root} at {at} and {start}",
                    )

    def address(self, view: View) -> int:
        return (self.buffers[view.buffer].offset or 0) + view.start

    def same_memory(self, a: View, b: View) -> bool:
        one, other = (self.buffers[v.buffer] for v in (a, b))
        return one.memory == other.memory and Kind.CONST not in (one.kind, other.kind)


def _one_place(view: View, out: View) -> bool:
    """Whether each element of the two has the same address."""
    same = view.buffer == out.buffer and view.start == out.start and view.places == out.places
    return same and view.extents == out.extents and _strides(view) == _strides(out)


def _slot(view: View, row: int) -> int:
    """Where a row lies in a line buffer, which no counter turns."""
    return row if view.ring is None else (row + view.shift) % view.ring


def _reach(view: View) -> int:
    """Bytes from the first element of a view to behind its last."""
    return _last(view) + view.dtype.itemsize


def _width(view: View) -> int:
    """Bytes from the first element of a row to behind its last."""
    pixels, channels = view.pixels - 1, view.channels - 1
    return pixels * view.pixel + channels * view.channel + view.dtype.itemsize


def _last(view: View) -> int:
    """Bytes from the first element of a view to its last."""
    rows = view.rows if view.ring is None else view.ring
    last = (rows - 1) * view.row if view.places is None else max(view.places)
    return last + (view.pixels - 1) * view.pixel + (view.channels - 1) * view.channel


def _between(view: View, out: View, distance: int) -> bool:
    """Whether two slices of one map lie beside each other, in every row or in every pixel."""
    if view.plane is not None or _strides(view) != _strides(out):
        return False
    if out.places is None and _width(out) <= distance % max(out.row, 1) <= out.row - _width(view):
        return True
    if out.row % out.pixel:
        return False
    behind = distance % out.pixel
    return _span(out) <= behind <= out.pixel - _span(view)


def _span(view: View) -> int:
    """Bytes from the first channel of a pixel to behind its last."""
    return (view.channels - 1) * view.channel + view.dtype.itemsize


def _strides(view: View) -> tuple[object, ...]:
    return view.row, view.pixel, view.channel, view.ring, view.places
