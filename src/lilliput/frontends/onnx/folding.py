"""Nodes whose operands are all known, evaluated while the file is read.

What is computed of shapes is such a chain: Shape, Gather, Concat ...  The meaning is that of
`onnx.reference`; what could become large is looked at first.
"""

from __future__ import annotations

import warnings

import numpy as np

from lilliput.frontends.onnx.call import Call
from lilliput.frontends.onnx.library import ValueInfoProto, onnx, reference
from lilliput.frontends.onnx.tensors import Budget, Tensor
from lilliput.ir import Array, DType
from lilliput.ir.verify import MAX_ELEMENTS

FOLDED = frozenset((
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "ConstantOfShape", "Div", "Equal",
    "Exp", "Expand", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity",
    "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow",
    "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "Relu", "Reshape", "Round", "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum",
    "Tile", "Transpose", "Unsqueeze", "Where", "Xor",
))  # fmt: skip
SIZED = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1}
"""The operand that is the shape of the result."""


def evaluated(call: Call, budget: Budget) -> list[Tensor] | None:
    """The results of a node whose operands are known; None where some are not."""
    kind = call.node.op_type
    operands = [t for t in call.inputs if t is not None]
    if kind not in FOLDED or (not operands and kind != "Range"):
        return None
    if any(t.data is None for t in operands):
        return None
    if _size(call) > MAX_ELEMENTS:
        raise call.refuse("constant result is too large", found=_size(call))
    if kind == "Reshape":
        return None  # has rules of its own for 0 and -1
    found = _run(call, [t.data for t in operands if t.data is not None])
    for data in found:
        budget.spend(data.nbytes, call.where)
    return [call.known(_plain(data), k) for k, data in enumerate(found)]


def _plain(data: Array) -> Array:
    data = np.asarray(data)
    if data.dtype == np.float64:
        return data.astype(np.float32)
    DType.of(data.dtype)
    return data


def _size(call: Call) -> int:
    """Elements that the result has at most."""
    kind, size = call.node.op_type, 1
    if kind in SIZED:
        for n in call.list(SIZED[kind], "shape"):
            size *= max(n, 1)
        if kind != "ConstantOfShape":
            size *= int(np.prod(call.shape(0)))
        return size
    if kind == "Range":
        start, limit, delta = (float(call.constant(k, "range").reshape(-1)[0]) for k in range(3))
        return int(abs((limit - start) / delta)) + 1 if delta else MAX_ELEMENTS + 1
    if kind == "Tile":
        for n in call.list(1, "repeats"):
            size *= max(n, 1)
        return size * int(np.prod(call.shape(0)))
    shapes = [t.shape for t in call.inputs if t is not None]
    if kind == "Gather":
        return int(np.prod(shapes[0])) * max(int(np.prod(shapes[1])), 1)
    if kind == "Concat":
        return sum(int(np.prod(s)) for s in shapes)
    try:
        return int(np.prod([float(n) for n in np.broadcast_shapes(*shapes)]))
    except ValueError:
        return sum(int(np.prod(s)) for s in shapes)


def _run(call: Call, operands: list[Array]) -> list[Array]:
    node = onnx.NodeProto()
    node.CopyFrom(call.node)
    names = [n for n in node.input if n]

    def info(name: str, data: Array) -> ValueInfoProto:
        code = onnx.helper.np_dtype_to_tensor_dtype(data.dtype)
        return onnx.helper.make_tensor_value_info(name, code, data.shape)

    given = dict(zip(names, operands, strict=True))
    graph = onnx.helper.make_graph(
        [node],
        "folded",
        [info(n, d) for n, d in given.items()],
        [onnx.helper.make_empty_tensor_value_info(n) for n in node.output],
    )
    opsets = [onnx.helper.make_opsetid("", call.opset)]
    model = onnx.helper.make_model(graph, opset_imports=opsets)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return [np.asarray(a) for a in reference.ReferenceEvaluator(model).run(None, given)]
        except Exception as e:
            raise call.refuse("constant cannot be computed", found=str(e)[:200]) from None
