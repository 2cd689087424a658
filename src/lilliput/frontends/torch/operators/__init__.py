"""Builders of ATen operators, by family: one table, name -> builder.

An operator that is named here is kept whole when a module is captured, whatever torch could take
it apart into; the others become operators that are.
"""

from __future__ import annotations

from collections.abc import Mapping

from lilliput.frontends.torch.call import Build, Integer
from lilliput.frontends.torch.operators import (
    elementwise,
    index,
    layers,
    products,
    quantised,
    recurrent,
    reduce,
    shape,
)

READ: Mapping[str, Build] = (
    elementwise.READ
    | index.READ
    | layers.READ
    | products.READ
    | quantised.READ
    | recurrent.READ
    | reduce.READ
    | shape.READ
)

INTEGER: Mapping[str, Integer] = quantised.INTEGER
"""Builders that are asked first where an operand is known as integers."""

IGNORED = frozenset(
    ("_assert_tensor_metadata.default", "_assert_scalar.default", "_assert_async.msg")
)
"""Checks that hold for the shapes and types of the example, and so for every call."""
