"""The variables of a file: tensors that live across calls, as states of the module.

One idea: graphs are pure, so a variable is the value it has at this point of the walk.  The
first read makes a state, an assignment changes what later reads see, and what is left at
the end is the state's update.  A variable that nothing assigns is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np

from lilliput.errors import FormatError, UnsupportedError
from lilliput.ir import Array, Builder, TensorType, Value
from lilliput.ops.shape import Reshape, reshape

Known = Callable[[Value], Array | None]
MAX_BYTES = 1 << 26
"""Of all variables that begin with zeros: a file of a few bytes may ask for any number."""


class Variables:
    """By name.  `known` gives the data of values that constants determine."""

    def __init__(self, builder: Builder, known: Known):
        self._builder = builder
        self._known = known
        self._start: dict[str, Value] = {}
        self._states: dict[str, str] = {}
        self._now: dict[str, Value] = {}
        self._assigned: set[str] = set()
        self._left = MAX_BYTES
        self.starting = False
        """Assignments happen before the first call: they say what variables begin with."""

    def read(self, name: str, type: TensorType, where: str) -> Value:
        """The variable's value at this point; zeros (real zeros) before any assignment."""
        if self.starting:
            if name not in self._start:
                raise FormatError("variable is read before it has a value", where=where, found=name)
            return self._start[name]
        if name not in self._now:
            value = self._builder.state(name, type, self._initial(name, type, where))
            self._states[name] = value.name
            self._now[name] = value
        value = self._now[name]
        if (value.type.shape, value.type.dtype) != (type.shape, type.dtype):
            raise FormatError(
                "variable is read as another type", where=where, expected=value, found=type
            )
        return self._as(value, type)

    def _as(self, value: Value, type: TensorType) -> Value:
        """The same bytes under another scale: a variable holds numbers, as in TFLite."""
        if value.type == type:
            return value
        attrs = Reshape(type.shape)
        return self._builder.add(reshape, (value,), attrs, type=type, name=f"{value.name}/read")

    @contextmanager
    def unchanged(self, where: str) -> Generator[None]:
        """A stretch of the walk that may read variables, but assign none."""
        before = {name: self._now[name] for name in self._assigned}
        yield
        changed = [n for n in sorted(self._assigned) if before.get(n) != self._now[n]]
        if changed:
            raise UnsupportedError(
                "a branch that may not be taken assigns variables",
                where=where,
                found=", ".join(changed),
                hint="assign behind the condition, what it has chosen",
            )

    def assign(self, name: str, value: Value) -> None:
        if self.starting:
            self._start[name] = value
        else:
            self._now[name] = value
            self._assigned.add(name)

    def _initial(self, name: str, type: TensorType, where: str) -> Array:
        start = self._start.get(name)
        if start is None:
            self._left -= type.nbytes
            if self._left < 0:
                raise UnsupportedError(
                    "variables are too large",
                    where=where,
                    expected=f"at most {MAX_BYTES:,} bytes",
                    found=type,
                )
            return np.full(type.shape, type.zero_point, type.dtype.numpy)
        data = self._known(start)
        if data is None or start.type != type:
            raise FormatError(
                "variable does not begin with a constant of its type",
                where=where,
                expected=type,
                found=start,
            )
        return data

    def finish(self) -> dict[str, Value]:
        """State -> the value that a call leaves in it, under the state's own scale.

        Raises FormatError with the variables that are only read: their values are not in the file.
        """
        unknown = sorted(self._states.keys() - self._assigned - self._start.keys())
        if unknown:
            more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
            raise FormatError(
                "variables are read, but nothing gives them a value",
                expected="an initial value, or an assignment",
                found=", ".join(unknown[:8]) + more,
                hint="convert again from a saved model, which holds the weights",
            )
        for name in self._states.keys() - self._assigned:
            self._builder.freeze(self._states[name])
        return {
            state: self._as(self._now[name], self._builder.states[state].value.type)
            for name, state in self._states.items()
            if name in self._assigned
        }
