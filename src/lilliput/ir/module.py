"""A module: one or more entry graphs over shared parameters and states.

Entries (infer, train_step, step of a stream) never run at the same time.  A parameter is
constant.  A state lives across calls: its value comes into a graph as one of the graph's
inputs (`value`), and the value that an entry leaves behind is one of that graph's outputs
(`updates[entry]`).  TFLite variables, LSTM state, rings over time, trainable weights,
optimiser moments and random generators are all states.

An entry may have guards: conditions on what it is given and on what it computes, without which
it leaves every state as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from lilliput.ir.graph import Graph, Value
from lilliput.ir.types import Array


@dataclass(frozen=True, eq=False)
class Param:
    """Constant data; `data` may be None while only shapes matter (search, cost)."""

    value: Value
    data: Array | None

    @property
    def name(self) -> str:
        return self.value.name


@dataclass(frozen=True, eq=False)
class State:
    """`value` enters every graph that reads it; `updates[entry]` is what the entry leaves.

    saved : part of what a firmware keeps in flash; settable : one element that a firmware may set
    bounds : what it may be set to, of an integer; no entry updates it then, so that it always is
        within them
    """

    value: Value
    init: Array
    updates: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    saved: bool = False
    settable: bool = False
    bounds: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return self.value.name


@dataclass(frozen=True)
class Guard:
    """An entry updates its states only if every element of `name`, one of its inputs or outputs,
    lies in [low, high]: NaN never does.  What else a refused call returns is undefined.

    below : an integer state of one element that an integer input has to be less than, too
    """

    name: str
    low: float
    high: float
    below: str = ""

    def holds(self, array: Array, states: Mapping[str, Array]) -> bool:
        """`states` : those that the call finds"""
        within = (array >= self.low) & (array <= self.high)
        return bool(np.all(within & (array < states[self.below]) if self.below else within))


def finite(name: str) -> Guard:
    """That a float32 value is neither infinite nor NaN."""
    most = float(np.finfo(np.float32).max)
    return Guard(name, -most, most)


@dataclass(frozen=True, eq=False)
class Module:
    """`params` and `states` are keyed by value name, `graphs` and `guards` by entry name.

    unrounded : operators whose activations the file that was read rounds to scales that it
        measures on each input, and this network does not; it is no part of a saved module
    """

    graphs: Mapping[str, Graph]
    params: Mapping[str, Param]
    states: Mapping[str, State] = field(default_factory=lambda: MappingProxyType({}))
    name: str = "model"
    guards: Mapping[str, tuple[Guard, ...]] = field(default_factory=lambda: MappingProxyType({}))
    unrounded: tuple[str, ...] = ()

    def inputs(self, entry: str) -> tuple[Value, ...]:
        """What the caller provides: the graph's inputs that are not states."""
        return tuple(v for v in self.graphs[entry].inputs if v.name not in self.states)

    def outputs(self, entry: str) -> tuple[Value, ...]:
        """What the caller gets: the graph's outputs less those that only update a state."""
        graph = self.graphs[entry]
        updated = sum(1 for s in self.states.values() if entry in s.updates)
        return graph.outputs[: len(graph.outputs) - updated]

    def updates(self, entry: str) -> dict[str, Value]:
        """State name -> the value this entry leaves in it, in the order of the states."""
        return {s.name: s.updates[entry] for s in self.states.values() if entry in s.updates}

    @property
    def entry(self) -> str:
        """The first entry: what is meant when nobody names one."""
        return next(iter(self.graphs))
