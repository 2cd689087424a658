"""What each operator of the format becomes and comes from: one file a family, one table of all.

To read another operator, write `def _name(call: Call) -> Value` in its family's file and add
its row to the family's `READ`; to write it, a rule in `WRITE`.
"""

from __future__ import annotations

from lilliput.frontends.tflite.operators import (
    compare,
    constants,
    control,
    detection,
    elementwise,
    frame,
    index,
    products,
    recurrent,
    reduce,
    shape,
    softmax,
    unary,
    windows,
)
from lilliput.frontends.tflite.operators.table import Row, Rule

FAMILIES = (
    compare,
    constants,
    control,
    detection,
    elementwise,
    frame,
    index,
    products,
    recurrent,
    reduce,
    shape,
    softmax,
    unary,
    windows,
)

READ: dict[str, Row] = {name: row for family in FAMILIES for name, row in family.READ.items()}
WRITE: dict[str, Rule] = {name: rule for family in FAMILIES for name, rule in family.WRITE.items()}
