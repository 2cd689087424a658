"""The operators: importing this package registers every family.

To add one, write a `register(Op(...))` in the family it belongs to, or a new file that is
imported below; docs/adding-an-operator.md is the exercise.
"""

from lilliput.ops import (
    conv,
    elementwise,
    frame,
    pool,
    quantize,
    recurrent,
    reduce,
    shape,
    softmax,
    training,
    unary,
)
from lilliput.ops.registry import all_ops, get

__all__ = [
    "all_ops",
    "conv",
    "elementwise",
    "frame",
    "get",
    "pool",
    "quantize",
    "recurrent",
    "reduce",
    "shape",
    "softmax",
    "training",
    "unary",
]
