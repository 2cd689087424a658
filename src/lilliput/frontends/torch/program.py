"""A captured module, as plain data: what `capture` makes of torch's graph and `reader` reads.

    Traced = inputs, constants, states, steps, outputs       steps in the order they were run

Nothing here knows torch: operators are names such as "conv2d.default", arguments go by the names
of the operator's schema, defaults filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from lilliput.ir import Array


@dataclass(frozen=True)
class Ref:
    """Result `index` of the step (or the input, constant or state) of that name."""

    name: str
    index: int = 0


Argument: TypeAlias = "Ref | bool | int | float | str | tuple[Argument, ...] | None"
"""Element types are their names: "float32"."""


@dataclass(frozen=True)
class Spec:
    """Shape and element type; the shape is None where it depends on data."""

    shape: tuple[int, ...] | None
    dtype: str


@dataclass(frozen=True)
class Step:
    """One operator.

    label : what the user knows it by: the path of its layer, "features.0.conv"
    source : the line of the user's code that called it, "net.py:41", and its text
    """

    name: str
    operator: str
    arguments: Mapping[str, Argument]
    results: tuple[Spec, ...]
    label: str
    source: str = ""
    text: str = ""

    @property
    def origin(self) -> str:
        return f"{self.label} ({self.source})" if self.source else self.label


@dataclass(frozen=True, eq=False)
class Held:
    """A parameter, a buffer or a constant of the module: its path, and its data."""

    path: str
    data: Array


@dataclass(frozen=True, eq=False)
class Traced:
    """inputs : placeholder -> type, in the order of the call
    constants : placeholder -> what it holds
    states : placeholder -> the buffer, and what a call leaves in it
    outputs : (name, what is returned)
    """

    inputs: Mapping[str, Spec]
    constants: Mapping[str, Held]
    states: Mapping[str, tuple[Held, Ref]]
    steps: tuple[Step, ...]
    outputs: tuple[tuple[str, Ref], ...] = field(default=())
