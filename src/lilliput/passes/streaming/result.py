"""What streaming gives: the step, the rings it keeps, and the work that it does again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.module import Module
from lilliput.ir.op import Cost
from lilliput.ir.region import Interval
from lilliput.ir.types import Array


@dataclass(frozen=True)
class Ring:
    """Rows of `value` that are kept, the newest among them."""

    value: str
    rows: int
    nbytes: int


@dataclass(frozen=True)
class Repeated:
    """A layer of which a step computes more rows than are new.

    computed, fresh : of its `rows`; why : what makes them differ with the window
    """

    layer: str
    operator: str
    rows: int
    computed: int
    fresh: int
    why: str


@dataclass(frozen=True, eq=False)
class Streamed:
    """`module` has one entry, `step`, which takes `hop` new frames of an axis of `window` frames
    and gives what `source`, the network of the whole window, gives for the newest `window`.

    axis : of the input
    newest : for each output its axis of time and the rows that a step gives, None: all of it
    """

    module: Module
    source: Module
    axis: int
    window: int
    hop: int
    newest: tuple[tuple[int, Interval] | None, ...]
    rings: tuple[Ring, ...]
    repeated: tuple[Repeated, ...]

    @property
    def ring_bytes(self) -> int:
        return sum(r.nbytes for r in self.rings)

    def windows(self, frames: Sequence[Array]) -> Iterator[Array]:
        """The window at each step from the first; frames before the first are zero points."""
        (source,) = self.source.inputs(self.source.entry)
        window = silence(source.type.shape, source.type.zero_point, source.type.dtype.numpy)
        for new in frames:
            kept = np.take(window, range(self.hop, self.window), self.axis)
            window = np.concatenate((kept, new), self.axis)
            yield window

    def given(self, outputs: Sequence[Array]) -> list[Array]:
        """What a step gives where these are the outputs of its window."""
        return [
            a if part is None else np.take(a, range(*part[1]), part[0])
            for a, part in zip(outputs, self.newest, strict=True)
        ]


def silence(shape: tuple[int, ...], zero_point: int, dtype: np.dtype[np.generic]) -> Array:
    """A window of zero points: what stands for frames before the first."""
    return np.full(shape, zero_point, dtype)


def work(module: Module) -> Cost:
    """Of one call of every entry."""
    costs = [n.op.cost(n) for g in module.graphs.values() for n in g.nodes]
    return Cost(sum(c.macs for c in costs), sum(c.ops for c in costs))
