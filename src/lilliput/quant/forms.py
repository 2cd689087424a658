"""What quantisation knows of operators: which of them have an integer form, and whose scales.

One idea: a few kinds, as tables of names; an operator that is in none stays a float or is refused.

    products   weights by channel, a bias, a result with a scale of its own
    scaled     operands and result each with a scale of its own
    tied       they move, choose or average elements: operands and result share one scale
    lstm       see `recurrent`
    fixed      the result has the scale that TFLite prescribes, whatever the data

The integer operators are those that the importer of .tflite files makes, with the same attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lilliput.errors import TypeMismatch
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Param
from lilliput.ir.op import Attrs
from lilliput.ir.types import DType, Quant, TensorType
from lilliput.ops.elementwise import Clamp, stored_bounds
from lilliput.ops.frame import Pad
from lilliput.quant.prepare import is_product
from lilliput.quant.recurrent import is_lstm

SCALED = frozenset(
    {
        "abs",
        "add",
        "ceil",
        "cos",
        "div",
        "elu",
        "exp",
        "floor",
        "gelu",
        "hard_swish",
        "leaky_relu",
        "log",
        "matmul",
        "mean",
        "mul",
        "neg",
        "prelu",
        "reduce_prod",
        "round",
        "rsqrt",
        "sign",
        "sin",
        "sqrt",
        "square",
        "squared_difference",
        "sub",
        "sum",
    }
)
TIED = frozenset(
    {
        "avg_pool2d",
        "broadcast",
        "clamp",
        "concat",
        "copy",
        "depth_to_space",
        "gather",
        "gather_nd",
        "max_pool2d",
        "maximum",
        "minimum",
        "mirror_pad",
        "pad",
        "reduce_max",
        "reduce_min",
        "reshape",
        "resize_bilinear",
        "resize_nearest",
        "reverse",
        "select",
        "slice",
        "space_to_depth",
        "strided_slice",
        "tile",
        "transpose",
    }
)
FIXED = frozenset({"l2_normalize", "log_softmax", "logistic", "softmax", "tanh"})


def has_form(node: Node, params: Mapping[str, object]) -> bool:
    """Whether a node of floats has an integer form; a node without floats is one already."""
    if not touches_floats(node):
        return True
    known = node.op.name in SCALED | TIED | FIXED
    return known or is_product(node, params) or is_lstm(node, params)


def touches_floats(node: Node) -> bool:
    return any(v.type.dtype.is_float for v in (*node.inputs, *node.outputs))


def fixed_quant(node: Node, dtype: DType) -> Quant | None:
    """The scale that a result of `dtype` has whatever the data are; None where the data decide."""
    if node.op.name not in FIXED:
        return None
    x = node.inputs[0].type.with_dtype(dtype, Quant.per_tensor(2.0**-5))
    try:
        return node.op.infer(node.attrs, [x])[0].quant
    except TypeMismatch:
        return None


def fused(graph: Graph) -> dict[str, Node]:
    """Name of a value -> the clamp that alone reads it, where what makes it can store the
    clamped range at once: the value then needs no scale of its own."""
    users, kept = graph.consumers(), {v.name for v in graph.outputs}
    found: dict[str, Node] = {}
    for node in graph.nodes:
        y = node.output
        readers = users[y.name]
        if y.name in kept or len(readers) != 1 or readers[0].op.name != "clamp":
            continue
        if node.op.name in SCALED or node.op.name in ("conv2d", "linear", "transpose_conv"):
            found[y.name] = readers[0]
    return found


def bounded(graph: Graph, params: Mapping[str, Param]) -> frozenset[str]:
    """Values that need not be covered by the range they share, for what lies beyond it does not
    come through: constants c >= 0 of a minimum, c <= 0 of a maximum, and what it alone limits.

    The range covers all results, and saturating x and c at its end gives their minimum all the
    same."""
    users, kept = graph.consumers(), {v.name for v in graph.outputs}
    found: set[str] = set()
    for node in graph.nodes:
        side = {"minimum": 1, "maximum": -1}.get(node.op.name)
        constants = [v for v in node.inputs if v.name in params and v.type.dtype.is_float]
        if side is None or len(constants) != 1:
            continue
        data = params[constants[0].name].data
        if data is not None and (side * data >= 0).all():
            ends = [v for v in node.inputs if len(users[v.name]) == 1 and v.name not in kept]
            found.update(v.name for v in ends)
    inputs = {v.name for v in graph.inputs}
    return frozenset(found - inputs)


def integer_attrs(node: Node, y: TensorType) -> Attrs:
    """The attributes of `node` with what they say in reals in the integers of its result."""
    a = node.attrs
    if isinstance(a, Clamp):
        low, high = stored_bounds(a.low, a.high, y)
        return Clamp(low, high)
    if isinstance(a, Pad):
        low, high = stored_bounds(a.value, a.value, y)
        return replace(a, value=low if a.value else y.zero_point)
    return a


def floats_of(values: tuple[Value, ...]) -> tuple[Value, ...]:
    return tuple(v for v in values if v.type.dtype is DType.F32)
