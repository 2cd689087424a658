"""The table of operators.  A family registers its `Op` values when it is imported."""

from __future__ import annotations

import difflib

from lilliput.errors import GraphError
from lilliput.ir.op import Op

_OPS: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Puts an operator into the table; gives it back, so that a family can name it."""
    assert op.name not in _OPS, f"operator {op.name} is registered twice"
    _OPS[op.name] = op
    return op


def all_ops() -> tuple[Op, ...]:
    """Every operator, by name."""
    return tuple(_OPS[name] for name in sorted(_OPS))


def get(name: str) -> Op:
    """The operator of that name; raises GraphError with the nearest names."""
    if name not in _OPS:
        near = difflib.get_close_matches(name, _OPS, 3)
        raise GraphError(
            "unknown operator",
            found=name,
            hint=f"did you mean {' or '.join(near)}?" if near else "",
        )
    return _OPS[name]
