"""Searches along an axis, and elements by index: ARG_MAX, TOPK_V2, GATHER, SCATTER_ND ...

The operators of the IR have few forms; what the format allows beyond them (any axis, any
number of axes, batches) is a view of the operand in front and of the result behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import ANY, Row, Rule
from lilliput.frontends.tflite.options import (
    ArgMaxOptions,
    ArgMinOptions,
    CumsumOptions,
    GatherOptions,
    OneHotOptions,
    ReshapeOptions,
    ReverseSequenceOptions,
)
from lilliput.frontends.tflite.schema import TYPE_CODES
from lilliput.frontends.tflite.writing import Job, Writer, fail
from lilliput.ir import Attrs, DType, Op, Value
from lilliput.ops.index import (
    OneHot,
    Scatter,
    gather,
    gather_nd,
    one_hot,
    scatter_nd,
    update_slice,
)
from lilliput.ops.quantize import dequantize
from lilliput.ops.reverse import ReverseSequence, reverse, reverse_sequence
from lilliput.ops.search import Arg, Cumsum, TopK, arg_max, arg_min, cumsum, top_k
from lilliput.ops.shape import Reshape, reshape

PLACES = frozenset({DType.S32, DType.S64})
DATA = ANY - {DType.S4}
SUMMED = frozenset({DType.S8, DType.F32, DType.S32, DType.S64})


def _view(call: Call, value: Value, shape: Sequence[int], suffix: str) -> Value:
    """`value` under another shape; itself where it has it."""
    if value.type.shape == tuple(shape):
        return value
    return call.between(reshape, (value,), Reshape(tuple(shape)), suffix)


def _emit(
    call: Call,
    op: Op,
    inputs: Sequence[Value],
    attrs: Attrs | None,
    shape: Sequence[int],
    result: int = 0,
) -> Value:
    """A result that `op` gives under another shape than the file."""
    type = call.result(result)
    if type.shape == tuple(shape):
        return call.emit(op, inputs, attrs, result=result)
    name = f"{call.tensors.names[call.outputs[result]]}/inner"
    inner = call.tensors.builder.add(
        op, inputs, attrs, type=type.with_shape(*shape), name=name, origin=call.origin
    )
    return call.emit(reshape, (inner,), Reshape(type.shape), result=result)


def _around(shape: Sequence[int], first: int, last: int) -> tuple[int, int, int]:
    """(everything before, axes first to last, everything behind)."""
    before, behind = shape[:first], shape[last + 1 :]
    return math.prod(before), math.prod(shape[first : last + 1]), math.prod(behind)


def _axis(call: Call, k: int, rank: int) -> int:
    """The one axis that constant operand `k` names."""
    axes = call.ints(k)
    if len(axes) != 1:
        raise FormatError(f"operand {k}", where=call.where, expected="one axis", found=axes)
    return call.axis(axes[0], rank)


def _check_constant(call: Call, k: int, extents: Sequence[int]) -> None:
    """Raises FormatError where constant indices (.., D) lie outside of D axes."""
    data = call.constant(k)
    if data is None:
        return
    rows = data.reshape(-1, len(extents))
    if ((rows < 0) | (rows >= np.array(extents))).any():
        raise FormatError(
            "index outside of its axis",
            where=call.where,
            expected=f"below {tuple(extents)}",
            found=f"{rows.min()} to {rows.max()}",
        )


# Searches and running sums ----------------------------------------------------------------


def _arg(op: Op) -> Callable[[Call], Value]:
    def build(call: Call) -> Value:
        shape = call.type(0).shape
        axis = _axis(call, 1, len(shape))
        r, n, c = _around(shape, axis, axis)
        x = _view(call, call.value(0), (r, n, c), "/operand")
        return _emit(call, op, (x,), Arg(call.out.dtype.value), (r, 1, c))

    return build


def _top_k(call: Call) -> tuple[Value, Value]:
    shape, (k, *_) = call.type(0).shape, (*call.ints(1), 0)
    if not shape or not 1 <= k <= shape[-1]:
        raise FormatError("k", where=call.where, expected=f"1 to the last of {shape}", found=k)
    r, n, _ = _around(shape, len(shape) - 1, len(shape) - 1)
    x = _view(call, call.value(0), (r, n, 1), "/operand")
    places = _emit(call, top_k, (x,), TopK(k), (r, k, 1), 1)
    picked = _view(call, x, (r, 1, n, 1), "/rows"), _view(call, places, (r, k), "/places")
    return _emit(call, gather, picked, None, (r, 1, k, 1)), places


def _cumsum(call: Call) -> Value:
    o, shape = call.options(CumsumOptions), call.type(0).shape
    axis = _axis(call, 1, len(shape))
    inner = _around(shape, axis, axis)
    x = _view(call, call.value(0), inner, "/operand")
    if call.out.dtype is DType.S8 and (x.type.quant is None or call.out.quant is None):
        raise call.refuse("int8 without a scale", found=f"{x.type} to {call.out}")
    return _emit(call, cumsum, (x,), Cumsum(o.exclusive, o.reverse), inner)


# Elements by index ------------------------------------------------------------------------


def _gather(call: Call) -> Value:
    o, x, index = call.options(GatherOptions), call.type(0).shape, call.type(1).shape
    axis = call.axis(o.axis, len(x))
    batch = o.batch_dims + (len(index) if o.batch_dims < 0 else 0)
    if not 0 <= batch <= min(axis, len(index)) or x[:batch] != index[:batch]:
        raise FormatError(
            "batch axes", where=call.where, expected=f"those of {x}", found=f"{batch} of {index}"
        )
    _check_constant(call, 1, (x[axis],))
    b, o_, n = math.prod(x[:batch]), math.prod(x[batch:axis]), x[axis]
    c, k = math.prod(x[axis + 1 :]), math.prod(index[batch:])
    data = _view(call, call.value(0), (b, o_, n, c), "/operand")
    places = _view(call, call.value(1), (b, k), "/places")
    return _emit(call, gather, (data, places), None, (b, o_, k, c))


def _gather_nd(call: Call) -> Value:
    x, index = call.type(0).shape, call.type(1).shape
    depth = index[-1] if index else 0
    if not 1 <= depth <= len(x):
        raise FormatError("indices", where=call.where, expected=f"1 to {len(x)}", found=index)
    _check_constant(call, 1, x[:depth])
    k, c = math.prod(index[:-1]), math.prod(x[depth:])
    data = _view(call, call.value(0), (*x[:depth], c), "/operand")
    places = _view(call, call.value(1), (k, depth), "/places")
    return _emit(call, gather_nd, (data, places), None, (k, c))


def _embedding_lookup(call: Call) -> Value:
    """Rows of a table; those of an integer table of a float result are dequantised behind."""
    table, k = call.type(1), call.type(0).size
    if not table.shape:
        raise FormatError("table", where=call.where, expected="rows", found=str(table))
    _check_constant(call, 0, (table.shape[0],))
    n, c = table.shape[0], math.prod(table.shape[1:])
    data = _view(call, call.value(1), (1, 1, n, c), "/table")
    places = _view(call, call.value(0), (1, k), "/places")
    if call.out.dtype is table.dtype:
        return _emit(call, gather, (data, places), None, (1, 1, k, c))
    rows = call.between(gather, (data, places), None, "/rows")
    return _emit(call, dequantize, (rows,), None, (1, 1, k, c))


def _scatter_nd(call: Call) -> Value:
    index, shape = call.type(0).shape, call.out.shape
    depth = index[-1] if index else 0
    if call.ints(2) != shape or not 1 <= depth <= len(shape):
        raise FormatError("shape", where=call.where, expected=shape, found=call.ints(2))
    _check_constant(call, 0, shape[:depth])
    k, c = math.prod(index[:-1]), math.prod(shape[depth:])
    places = _view(call, call.value(0), (k, depth), "/places")
    updates = _view(call, call.value(1), (k, c), "/updates")
    attrs = Scatter(shape[:depth])
    return _emit(call, scatter_nd, (places, updates), attrs, (*shape[:depth], c))


def _update_slice(call: Call) -> Value:
    return call.emit(update_slice, [call.value(k) for k in range(3)])


def _one_hot(call: Call) -> Value:
    index, depth = call.type(0).shape, call.ints(1)
    axis = call.options(OneHotOptions).axis
    axis = len(index) if axis == -1 else call.axis(axis, len(index) + 1)
    if len(depth) != 1:
        raise FormatError("depth", where=call.where, expected="one number", found=depth)
    r, c = math.prod(index[:axis]), math.prod(index[axis:])
    places = _view(call, call.value(0), (r, c), "/places")
    operands = places, call.value(2), call.value(3)
    return _emit(call, one_hot, operands, OneHot(depth[0]), (r, depth[0], c))


# Order ------------------------------------------------------------------------------------


def _reverse(call: Call) -> Value:
    """One node for each run of neighbouring axes."""
    shape = call.type(0).shape
    axes = sorted({call.axis(k, len(shape)) for k in call.ints(1)})
    starts = [a for a in axes if a - 1 not in axes]
    ends = [a for a in axes if a + 1 not in axes]
    value = call.value(0)
    for first, last in list(zip(starts, ends, strict=True))[:-1]:
        inner = _view(call, value, _around(shape, first, last), "/operand")
        value = call.between(reverse, (inner,), None, "/turned")
    if not axes:
        return call.emit(reshape, (value,), Reshape(shape))
    around = _around(shape, starts[-1], ends[-1])
    return _emit(call, reverse, (_view(call, value, around, "/operand"),), None, around)


def _reverse_sequence(call: Call) -> Value:
    o, shape = call.options(ReverseSequenceOptions), call.type(0).shape
    turned, batch = (call.axis(a, len(shape)) for a in (o.sequence_axis, o.batch_axis))
    low, high = min(turned, batch), max(turned, batch)
    if low == high or math.prod(shape[:low]) > 1:
        raise call.refuse(
            "axes of the sequence and the batch",
            expected="two, the first of which has none before it",
            found=f"{turned} and {batch} of {shape}",
        )
    behind = math.prod(shape[high + 1 :])
    inner = shape[low], math.prod(shape[low + 1 : high]), shape[high], behind
    x = _view(call, call.value(0), inner, "/operand")
    attrs = ReverseSequence(rows=turned < batch)
    return _emit(call, reverse_sequence, (x, call.value(1)), attrs, inner)


# What constants determine -----------------------------------------------------------------


def _broadcast_args(call: Call) -> Value:
    shapes = [call.ints(k) for k in (0, 1)]
    try:
        found = np.broadcast_shapes(*shapes)
    except ValueError:
        raise FormatError("shapes do not broadcast", where=call.where, found=shapes) from None
    return call.param("", np.array(found, call.out.dtype.numpy))


def _where(call: Call) -> Value:
    data = call.constant(0)
    if data is None:
        raise call.refuse(
            "number of results is known at run time only",
            expected="a constant condition",
            hint="select with SELECT_V2, or multiply by the condition",
        )
    return call.param("", np.argwhere(data).astype(call.out.dtype.numpy))


# Writing ----------------------------------------------------------------------------------


def _reshaped(w: Writer, job: Job, source: int, shape: Sequence[int], target: int) -> None:
    wanted = tuple(shape)
    extra = w.integers(job, "shape", wanted)
    w.operator("RESHAPE", (source, extra), (target,), ReshapeOptions(wanted))


def _scratch(w: Writer, job: Job, suffix: str, value: Value, shape: Sequence[int]) -> int:
    """A tensor of the type of `value` under another shape."""
    name = w.fresh(f"{job.out.name}/{suffix}")
    return w.tensor(Value(name, value.type.with_shape(*shape)))


def _scalar(w: Writer, job: Job, suffix: str, number: int) -> int:
    return w.extra(w.fresh(f"{job.out.name}/{suffix}"), np.array(number, np.int32))


def _write_arg(
    name: str, options: type[ArgMaxOptions | ArgMinOptions]
) -> Callable[[Writer, Job], None]:
    def rule(w: Writer, job: Job) -> None:
        r, _, c = job.out.type.shape
        flat = _scratch(w, job, "flat", job.out, (r, c))
        given = w.tensor(job.node.inputs[0]), _scalar(w, job, "axis", 1)
        w.operator(name, given, (flat,), options(TYPE_CODES[job.out.type.dtype]))
        _reshaped(w, job, flat, job.out.type.shape, w.tensor(job.out))

    return rule


def _write_top_k(w: Writer, job: Job) -> None:
    x, (r, k, c) = job.node.inputs[0], job.out.type.shape
    if c != 1:
        raise fail(job.node, "TOPK_V2 searches the last axis only")
    rows = _scratch(w, job, "rows", x, x.type.shape[:2])
    _reshaped(w, job, w.tensor(x), x.type.shape[:2], rows)
    results = _scratch(w, job, "values", x, (r, k)), _scratch(w, job, "places", job.out, (r, k))
    w.operator("TOPK_V2", (rows, _scalar(w, job, "k", k)), results, None)
    _reshaped(w, job, results[1], job.out.type.shape, w.tensor(job.out))


def _write_cumsum(w: Writer, job: Job) -> None:
    a = job.node.attrs
    assert isinstance(a, Cumsum)
    options = CumsumOptions(a.exclusive, a.reverse)
    w.emit("CUMSUM", job, None, options, [_scalar(w, job, "axis", 1)])


def _write_scatter(w: Writer, job: Job) -> None:
    """The shape is of the type of the indices, as LiteRT asks."""
    dtype = job.node.inputs[0].type.dtype.numpy
    shape = w.extra(w.fresh(f"{job.out.name}/shape"), np.array(job.out.type.shape, dtype))
    w.emit("SCATTER_ND", job, None, None, [shape])


def _write_reverse_sequence(w: Writer, job: Job) -> None:
    a = job.node.attrs
    assert isinstance(a, ReverseSequence)
    axes = (0, 2) if a.rows else (2, 0)
    w.emit("REVERSE_SEQUENCE", job, None, ReverseSequenceOptions(*axes))


def _write_one_hot(w: Writer, job: Job) -> None:
    index, on, off = (w.tensor(v) for v in job.node.inputs)
    depth = _scalar(w, job, "depth", job.out.type.shape[1])
    w.emit("ONE_HOT", job, (index, depth, on, off), OneHotOptions(1))


READ = {
    "ARG_MAX": Row(_arg(arg_max), (2, 2), PLACES, ()),
    "ARG_MIN": Row(_arg(arg_min), (2, 2), PLACES, ()),
    "BROADCAST_ARGS": Row(_broadcast_args, (2, 2), PLACES, ()),
    "CUMSUM": Row(_cumsum, (2, 2), SUMMED, ()),
    "DYNAMIC_UPDATE_SLICE": Row(_update_slice, (3, 3), DATA, ()),
    "EMBEDDING_LOOKUP": Row(_embedding_lookup, (2, 2), DATA, ()),
    "GATHER": Row(_gather, (2, 2), DATA, ()),
    "GATHER_ND": Row(_gather_nd, (2, 2), DATA, ()),
    "ONE_HOT": Row(_one_hot, (4, 4), DATA, ()),
    "REVERSE_SEQUENCE": Row(_reverse_sequence, (2, 2), DATA, ()),
    "REVERSE_V2": Row(_reverse, (2, 2), DATA, ()),
    "SCATTER_ND": Row(_scatter_nd, (3, 3), SUMMED, ()),
    "TOPK_V2": Row(_top_k, (2, 2), DATA, (), (2, 2)),
    "WHERE": Row(_where, (1, 1), PLACES, ()),
}

WRITE = {
    "arg_max": Rule(_write_arg("ARG_MAX", ArgMaxOptions)),
    "arg_min": Rule(_write_arg("ARG_MIN", ArgMinOptions)),
    "cumsum": Rule(_write_cumsum),
    "gather": Rule(lambda w, job: w.emit("GATHER", job, None, GatherOptions(2, 1))),
    "gather_nd": Rule(lambda w, job: w.emit("GATHER_ND", job)),
    "one_hot": Rule(_write_one_hot),
    "reverse": Rule(
        lambda w, job: w.emit("REVERSE_V2", job, None, None, [w.integers(job, "axes", (1,))])
    ),
    "reverse_sequence": Rule(_write_reverse_sequence),
    "scatter_nd": Rule(_write_scatter),
    "top_k": Rule(_write_top_k),
    "update_slice": Rule(lambda w, job: w.emit("DYNAMIC_UPDATE_SLICE", job)),
}
