"""Writes docs/operators.md from the registry: `python -m tools.operator_table > docs/operators.md`.

One idea: the table is what the operators say of themselves, so it cannot be out of date for
longer than a test run.  Not a place for prose about one operator: that is its `doc`.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, Field, fields

from lilliput.frontends.tflite.operators import READ
from lilliput.ir.op import Op
from lilliput.ir.types import DType
from lilliput.ops.registry import all_ops

HEAD = """# Operators

Written by `python -m tools.operator_table` from the registry; do not edit. What each computes, to
the bit, is in [numerics.md](numerics.md); how to add one in
[adding-an-operator.md](adding-an-operator.md).

- *attributes*: with their defaults; how a graph's text and the Python API write them.
- *C*: `fuses` is one expression, joined to the operator before it; `view` costs nothing; else the
  kernels, in `src/lilliput/codegen/csrc/kernels`; `moves` ends as a view, or as copies of elements.
- *types, held against*: element types of the first operand (f32 = float32, s8 = int8 and so on),
  and whose reference kernel the tests compare each with, at 0 LSB for integers.
- *gradient*: which operands have one, counted from 0, or that none passes; `-` where nobody has
  written it, so that training through it is refused ([training.md](training.md)).

| operator | meaning | attributes | C | types, held against | gradient |
|---|---|---|---|---|---|
"""

TFLITE = """
# Operators of .tflite files

What each is read as is in `src/lilliput/frontends/tflite/operators`; a form that is not supported
is refused with its reason. Types are those of the (first) result; legacy uint8 networks are read as
int8.

| operator | types |
|---|---|
"""


def render() -> str:
    """The whole page."""
    read = (
        f"| {name} | {' '.join(d.value for d in DType if d in row.dtypes) or '-'} |\n"
        for name, row in sorted(READ.items())
    )
    return HEAD + "".join(row(op) for op in all_ops()) + TFLITE + "".join(read)


def row(op: Op) -> str:
    attributes = ", ".join(attribute(f) for f in fields(op.attrs))
    cells = (f"`{op.name}`", op.doc, attributes, code(op), oracles(op), gradient(op))
    return "| " + " | ".join(cell(c) for c in cells) + " |\n"


def attribute(field: Field[object]) -> str:
    """`stride=(1, 1)`, or only the name of one that has to be given."""
    if field.default is MISSING:
        return f"`{field.name}`"
    default = getattr(field.default, "name", field.default)
    return f"`{field.name}={default}`"


def oracles(op: Op) -> str:
    """`f32 s8: TFLM ADD; s32: docs/numerics.md`: types with one oracle stand together."""
    named: dict[str, list[str]] = {}
    for dtype in op.dtypes:
        named.setdefault(op.held_against(dtype), []).append(dtype.value)
    return "; ".join(f"{' '.join(types)}: {oracle}" for oracle, types in named.items())


def gradient(op: Op) -> str:
    """`yes`, `of 0 and 2`, `none passes`, or nothing where nobody has written rules."""
    if not op.grads or all(op.grads):
        return "yes" if op.grads else ""
    numbers = [str(i) for i, rule in enumerate(op.grads) if rule is not None]
    return f"of {' and '.join(numbers)}" if numbers else "none passes"


def code(op: Op) -> str:
    if op.scalar is not None:
        return "fuses"
    if op.view:
        return "view"
    return ", ".join(f"`{k.name}`" for k in op.kernels) or "moves"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|") or "-"


if __name__ == "__main__":
    sys.stdout.write(render())
