"""A head with room for classes that are not there yet.

One idea: the head is as wide as there may ever be classes, and a state says how many of them
count.  The others' logits are `UNUSED` before anything reads them: their share of the softmax is 0,
to the bit, so that loss and gradients are those of the narrower head, and no argmax finds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lilliput.errors import UsageError
from lilliput.ir import Builder, Guard, State, Value
from lilliput.ir.build import fresh_name
from lilliput.ir.types import s32
from lilliput.ops import registry
from lilliput.ops.gradient import call, constant

UNUSED = -1e30
"""The logit of a class that is not in use: finite, and far below any other."""
LEAST = 2


@dataclass(frozen=True, eq=False)
class Room:
    """state : how many of the `most` classes count, a setting that is saved"""

    state: State
    most: int

    def guard(self, label: str) -> Guard:
        """That a label is one of the classes in use."""
        return Guard(label, 0, self.most - 1, self.state.name)

    def logits(self, b: Builder, found: Value, name: str) -> Value:
        """`found` (1, most) float32, with `UNUSED` where no class is in use; called `name`."""
        count = b.read(self.state)
        numbers = b.param("class", np.arange(self.most, dtype=np.int32)[None])
        used = call(b, "less", numbers, count)
        return b.add(registry.get("select"), (used, found, constant(b, UNUSED)), name=name)


def room(used: int | None, most: int | None, taken: set[str]) -> Room | None:
    """None where no more classes may come.

    used : classes at power-on; taken : names that the state cannot have
    Raises UsageError where `most` is no more than `used`.
    """
    if most is None:
        return None
    if used is None or most <= used:
        raise UsageError(
            "classes that may come",
            expected="more than there are at power-on",
            found=f"{most} of {used or 'those of the network'}",
            hint="--classes N for those of the beginning, --max-classes M for all",
        )
    name = fresh_name(taken, "classes")
    value, init = Value(name, s32(1)), np.full(1, used, np.int32)
    return Room(State(value, init, {}, saved=True, settable=True, bounds=(LEAST, most)), most)
