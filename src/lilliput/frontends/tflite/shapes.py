"""The shapes of results that a file leaves open, as TFLite's interpreter would find them.

A converter writes 1 where it could not tell an extent, most often behind a batch of any size,
and says so in the tensor's signature.  Here every extent of the operands is known, so each is
found before its operator is built.  One idea: a rule is only needed where a builder reads the
shape of its result; everywhere else the operator's own `infer` gives it (see `Call.emit`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.options import (
    BatchMatMulOptions,
    FullyConnectedOptions,
    GatherOptions,
    OneHotOptions,
    PackOptions,
    ReshapeOptions,
    SqueezeOptions,
    StridedSliceOptions,
    UnpackOptions,
)
from lilliput.frontends.tflite.strides import dense, result_shape

Shape = tuple[int, ...]
Rule = Callable[[Call], Sequence[Shape]]


def settle(call: Call) -> None:
    """Settles the results of `call` that are open; raises what reading its operands raises.

    A rule gives nothing where what it needs is known at run time only: the builder says so.
    """
    rule = RULES.get(call.name)
    if rule is None or not any(call.tensors.is_open(k) for k in call.outputs):
        return
    for index, shape in zip(call.outputs, rule(call), strict=False):
        call.tensors.settle(index, shape)


def _x(call: Call, k: int = 0) -> Shape:
    return call.type(k).shape


def _ints(call: Call, k: int) -> Shape | None:
    """Operand `k` as integers, None where it is not constant."""
    return None if not call.has(k) or call.constant(k) is None else call.ints(k)


def _same(call: Call) -> Sequence[Shape]:
    return (_x(call),)


def _stated(k: int) -> Rule:
    """The shape that operand `k` lists."""

    def rule(call: Call) -> Sequence[Shape]:
        shape = _ints(call, k)
        return () if shape is None else (shape,)

    return rule


def _reshape(call: Call) -> Sequence[Shape]:
    shape = _ints(call, 1)
    if shape is None and isinstance(call.stated, ReshapeOptions) and not call.has(1):
        shape = call.stated.new_shape
    if shape is None:
        return ()
    known = math.prod(d for d in shape if d != -1)
    size = math.prod(_x(call))
    return (tuple(size // known if d == -1 and known else d for d in shape),)


def _expand_dims(call: Call) -> Sequence[Shape]:
    axes, x = _ints(call, 1), _x(call)
    if axes is None or len(axes) != 1:
        return ()
    axis = call.axis(axes[0], len(x) + 1)
    return ((*x[:axis], 1, *x[axis:]),)


def _squeeze(call: Call) -> Sequence[Shape]:
    x, o = _x(call), call.stated
    axes = {call.axis(k, len(x)) for k in o.axes} if isinstance(o, SqueezeOptions) else set[int]()
    return (tuple(d for k, d in enumerate(x) if not (k in axes if axes else d == 1)),)


def _pack(call: Call) -> Sequence[Shape]:
    x = _x(call)
    axis = call.axis(call.options(PackOptions).axis, len(x) + 1)
    return ((*x[:axis], len(call.inputs), *x[axis:]),)


def _unpack(call: Call) -> Sequence[Shape]:
    x = _x(call)
    axis = call.axis(call.options(UnpackOptions).axis, len(x))
    return [(*x[:axis], *x[axis + 1 :])] * len(call.outputs)


def _split(call: Call) -> Sequence[Shape]:
    x, axes, count = _x(call, 1), _ints(call, 0), len(call.outputs)
    if axes is None or len(axes) != 1:
        return ()
    axis = call.axis(axes[0], len(x))
    return [(*x[:axis], x[axis] // count, *x[axis + 1 :])] * count


def _split_v(call: Call) -> Sequence[Shape]:
    x, sizes, axes = _x(call), _ints(call, 1), _ints(call, 2)
    if sizes is None or axes is None or len(axes) != 1:
        return ()
    axis = call.axis(axes[0], len(x))
    left = x[axis] - sum(s for s in sizes if s != -1)
    return [(*x[:axis], left if s == -1 else s, *x[axis + 1 :]) for s in sizes]


def _strided_slice(call: Call) -> Sequence[Shape]:
    begin, end, strides = (_ints(call, k) for k in (1, 2, 3))
    if begin is None or end is None or strides is None:
        return ()
    o, x = call.options(StridedSliceOptions), _x(call)
    box = dense(o, x, (begin, end, strides), call.where)
    return (result_shape(o, box.size, len(begin)),)


def _gather(call: Call) -> Sequence[Shape]:
    o, x, index = call.options(GatherOptions), _x(call), _x(call, 1)
    axis = call.axis(o.axis, len(x))
    batch = o.batch_dims + (len(index) if o.batch_dims < 0 else 0)
    return ((*x[:axis], *index[batch:], *x[axis + 1 :]),)


def _gather_nd(call: Call) -> Sequence[Shape]:
    x, index = _x(call), _x(call, 1)
    return ((*index[:-1], *x[index[-1] :]),) if index else ()


def _embedding_lookup(call: Call) -> Sequence[Shape]:
    return ((*_x(call), *_x(call, 1)[1:]),)


def _one_hot(call: Call) -> Sequence[Shape]:
    index, depth = _x(call), _ints(call, 1)
    if depth is None or len(depth) != 1:
        return ()
    axis = call.axis(call.options(OneHotOptions).axis, len(index) + 1)
    return ((*index[:axis], *depth, *index[axis:]),)


def _top_k(call: Call) -> Sequence[Shape]:
    k = _ints(call, 1)
    return () if k is None else [(*_x(call)[:-1], *k)] * 2


def _arg(call: Call) -> Sequence[Shape]:
    x, axes = _x(call), _ints(call, 1)
    if axes is None or len(axes) != 1:
        return ()
    axis = call.axis(axes[0], len(x))
    return ((*x[:axis], *x[axis + 1 :]),)


def _space_to_batch(call: Call) -> Sequence[Shape]:
    x, blocks, margins = _x(call), _ints(call, 1), _ints(call, 2)
    if blocks is None or margins is None or min(blocks, default=0) < 1:
        return ()
    around = zip(x[1:], blocks, margins[::2], margins[1::2], strict=False)
    space = [(d + before + after) // b for d, b, before, after in around]
    return ((x[0] * math.prod(blocks), *space, *x[1 + len(space) :]),)


def _batch_to_space(call: Call) -> Sequence[Shape]:
    x, blocks, margins = _x(call), _ints(call, 1), _ints(call, 2)
    if blocks is None or margins is None or min(blocks, default=0) < 1:
        return ()
    around = zip(x[1:], blocks, margins[::2], margins[1::2], strict=False)
    space = [d * b - before - after for d, b, before, after in around]
    return ((x[0] // math.prod(blocks), *space, *x[1 + len(space) :]),)


def _fully_connected(call: Call) -> Sequence[Shape]:
    x, (features, depth) = _x(call), (*_x(call, 1), 1, 1)[:2]
    keep = call.options(FullyConnectedOptions).keep_num_dims
    return ((*x[:-1], features) if keep else (math.prod(x) // max(depth, 1), features),)


def _batch_matmul(call: Call) -> Sequence[Shape]:
    o, a, b = call.options(BatchMatMulOptions), _x(call), _x(call, 1)
    if min(len(a), len(b)) < 2:
        return ()
    rank = max(len(a), len(b))
    left, right = ((1,) * (rank - len(s)) + s for s in (a, b))
    lead = (n if m == 1 else m for m, n in zip(left[:-2], right[:-2], strict=True))
    return ((*lead, left[-1 if o.adjoint_x else -2], right[-2 if o.adjoint_y else -1]),)


def _matrix_diag(call: Call) -> Sequence[Shape]:
    return ((*_x(call), *_x(call)[-1:]),)


RULES: dict[str, Rule] = {
    "ARG_MAX": _arg,
    "ARG_MIN": _arg,
    "BATCH_MATMUL": _batch_matmul,
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "BROADCAST_TO": _stated(1),
    "CUMSUM": _same,
    "DEQUANTIZE": _same,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "EXPAND_DIMS": _expand_dims,
    "FILL": _stated(0),
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "MATRIX_DIAG": _matrix_diag,
    "ONE_HOT": _one_hot,
    "PACK": _pack,
    "QUANTIZE": _same,
    "RESHAPE": _reshape,
    "REVERSE_SEQUENCE": _same,
    "REVERSE_V2": _same,
    "SCATTER_ND": _stated(2),
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "TOPK_V2": _top_k,
    "TRANSPOSE_CONV": _stated(0),
    "UNPACK": _unpack,
    "ZEROS_LIKE": _same,
}
"""Where a builder reads the shape of its result; each rule gives a shape for each result."""
