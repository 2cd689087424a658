"""The operators: importing this package registers every family.

To add one, write a `register(Op(...))` in the family it belongs to, or a new file that is
imported below; docs/adding-an-operator.md is the exercise.
"""

from lilliput.ops import (
    arithmetic,
    blocks,
    compare,
    conv,
    elementwise,
    frame,
    index,
    logical,
    lstm,
    matmul,
    pick,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    reverse,
    search,
    shape,
    softmax,
    time_filter,
    training,
    transpose_conv,
    unary,
)
from lilliput.ops.registry import all_ops, get

__all__ = [
    "all_ops",
    "arithmetic",
    "blocks",
    "compare",
    "conv",
    "elementwise",
    "frame",
    "get",
    "index",
    "logical",
    "lstm",
    "matmul",
    "pick",
    "pool",
    "quantize",
    "recurrent",
    "reduce",
    "resize",
    "reverse",
    "search",
    "shape",
    "softmax",
    "time_filter",
    "training",
    "transpose_conv",
    "unary",
]
