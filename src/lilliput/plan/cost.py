"""Predicted cycles of a kernel on a node, for each core.

One idea: a kernel names the amounts of its work (`Kernel.work`), and a prediction is linear in
them; the coefficients are measured, not guessed.  `python -m benchmarks.fit` runs every kernel
over a grid of shapes on the emulated cores and writes `cycles.toml`.

    cycles = call + inner * Work.inner + element * Work.elements + setup * Work.setups

Not an estimate of a run: that is `emu.cycles`, which counts instructions.  A prediction only
has to rank kernels and plans before anything is compiled, and its error is stated beside it.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final, cast

from lilliput.ir.graph import Node
from lilliput.ir.op import Kernel

DEFAULT: Final = "default"


@dataclass(frozen=True)
class Coefficients:
    """Cycles a call, a pass of the inner loop, an element stored, and a set-up of the loop."""

    call: float
    inner: float
    element: float
    setup: float


STAND_IN: Final = "cortex-m33"
"""A core without a table is predicted as this one: counting needs an emulator that can."""

ALIKE: Final[Mapping[str, Sequence[str]]] = {
    "bool": ("s8",),
    "u8": ("s8",),
    "u16": ("s16",),
    "s32": ("f32",),
    "u32": ("s32", "f32"),
    "s64": ("s32", "f32"),
}
"""Element types that are not measured for every kernel -> those whose rows stand in: of the same
size where there is one, because such kernels move elements."""

FALLBACK: Final = Coefficients(100.0, 6.0, 20.0, 15.0)
"""Where not even a default row is fitted: a portable kernel without special instructions."""


@dataclass(frozen=True)
class PredictionError:
    """|predicted / estimated - 1| of the fit's steps, each left out of its own fit.

    compiler : what they were compiled with; the code of another one is not what was fitted
    """

    median: float
    worst: float
    compiler: str


@dataclass(frozen=True)
class CostTable:
    """One core's rows, by `row_name`; others stand in for those that lack."""

    unit: str
    rows: Mapping[str, Coefficients]
    error: PredictionError | None

    def row(self, name: str) -> Coefficients:
        """The row `kernel/dtype`, or of a type like it (`ALIKE`), or the default one."""
        kernel, _, dtype = name.partition("/")
        names = (name, *(f"{kernel}/{other}" for other in ALIKE.get(dtype, ())), DEFAULT)
        return next((self.rows[n] for n in names if n in self.rows), FALLBACK)


def row_name(kernel: Kernel, node: Node) -> str:
    """kernel/dtype of the operand; loops of element-wise operators are told apart by operator."""
    dtype = (node.inputs or node.outputs)[0].type.dtype.value
    name = kernel.name if node.op.scalar is None else f"{kernel.name}.{node.op.name}"
    return f"{name}/{dtype}"


def predict(kernel: Kernel, node: Node, core: str, fused: Sequence[Node] = ()) -> float:
    """Predicted cycles of one call of `kernel` for `node`, its epilogue of `fused` nodes included.

    A kernel without a fitted row takes the row of a like element type or the core's `default`
    row, a core without a table those of `STAND_IN`: a prediction always exists.
    """
    every = tables()
    table = every.get(core) or every.get(STAND_IN) or CostTable("cycles", {}, None)
    row, work = table.row(row_name(kernel, node)), kernel.work(node)
    cycles = row.call + row.inner * work.inner + row.element * work.elements
    cycles += row.setup * work.setups
    epilogue = (table.row(f"map.{n.op.name}/{n.inputs[0].type.dtype.value}") for n in fused)
    return cycles + sum(row.element for row in epilogue) * work.elements


def call_cycles(kernel: Kernel, node: Node, core: str) -> float:
    """Predicted cycles of a call of `kernel` on nothing: what each part of a node costs more."""
    every = tables()
    table = every.get(core) or every.get(STAND_IN) or CostTable("cycles", {}, None)
    return table.row(row_name(kernel, node)).call


def prediction_error(core: str) -> PredictionError | None:
    """The stated error of the core's table; None where there is none."""
    table = tables().get(core)
    return table.error if table else None


@functools.cache
def tables() -> Mapping[str, CostTable]:
    """`cycles.toml`, by the core's name."""
    text = (resources.files("lilliput.plan") / "cycles.toml").read_text(encoding="utf-8")
    return read_tables(text)


def read_tables(text: str) -> Mapping[str, CostTable]:
    """core -> table, from the text of a `cycles.toml`."""
    return {core: _table(cast(Mapping[str, object], t)) for core, t in tomllib.loads(text).items()}


def _table(table: Mapping[str, object]) -> CostTable:
    rows = cast(Mapping[str, Sequence[float]], table["rows"])
    error = cast(Mapping[str, float] | None, table.get("error"))
    compiler = str(table.get("compiler", ""))
    return CostTable(
        str(table["unit"]),
        {name: Coefficients(*values) for name, values in rows.items()},
        PredictionError(error["median"], error["worst"], compiler) if error else None,
    )
