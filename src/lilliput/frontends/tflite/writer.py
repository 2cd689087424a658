"""Writes a module as a .tflite file: deterministic bytes, and what the format cannot say.

Used to compare with other implementations and to hand a network on.  A `clamp` behind a
node that can carry an activation becomes that activation; padding becomes SAME or VALID,
or a PAD node.  Nodes that the format has no words for are listed, all of them, in one
UnsupportedError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import Problem, UnsupportedError, UsageError
from lilliput.frontends.tflite.call import activation_bounds
from lilliput.frontends.tflite.flatbuf import encode
from lilliput.frontends.tflite.schema import (
    CODES,
    IDENTIFIER,
    TYPE_CODES,
    VERSION,
    Activation,
    AddOptions,
    Buffer,
    ConcatenationOptions,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    LeakyReluOptions,
    Model,
    MulOptions,
    Operator,
    OperatorCode,
    Padding,
    Pool2DOptions,
    Quantization,
    ReducerOptions,
    ReshapeOptions,
    ResizeNearestOptions,
    SoftmaxOptions,
    SubGraph,
    SubOptions,
    Tensor,
)
from lilliput.ir import Array, DType, Module, NoAttrs, Node, Quant, TensorType, Value
from lilliput.ir.build import fresh_name
from lilliput.ops.conv import Conv2d, Linear, same_pad
from lilliput.ops.elementwise import Clamp
from lilliput.ops.frame import Pad, ResizeNearest
from lilliput.ops.numeric import Rounding
from lilliput.ops.pool import Pool
from lilliput.ops.reduce import Mean
from lilliput.ops.shape import Concat, Reshape, Slice, Transpose
from lilliput.ops.softmax import Softmax
from lilliput.ops.unary import UNARY, Slope

FUSES = frozenset({"conv2d", "linear", "add", "sub", "mul", "avg_pool2d", "max_pool2d"})
RANGES = (Activation.RELU, Activation.RELU6, Activation.RELU_N1_TO_1)
CONV_TO_DEPTHWISE = (3, 1, 2, 0)
VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "RESIZE_NEAREST_NEIGHBOR": 3,
}
"""Versions that a reader of the format may ask for; 2, the first with int8, where unlisted."""
_NO_RAW = "the format has no accumulators: requantise in the node itself"


def write(module: Module, entry: str = "infer") -> bytes:
    """The .tflite file of one entry; raises UnsupportedError listing every node left over."""
    if entry not in module.graphs:
        raise UsageError("no such entry", expected=", ".join(module.graphs), found=entry)
    writer = _Writer(module, entry)
    return encode(writer.model(), IDENTIFIER)


def _fail(node: Node, what: str, hint: str = "") -> UnsupportedError:
    return UnsupportedError(what, where=node.describe(), hint=hint)


@dataclass(frozen=True)
class _Job:
    """A node to write: what it is called, where its result goes, and its activation."""

    node: Node
    out: Value
    activation: Activation


class _Writer:
    def __init__(self, module: Module, entry: str):
        self.module = module
        self.graph = module.graphs[entry]
        self.entry = entry
        self.tensors: list[Tensor] = []
        self.buffers: list[Buffer] = [Buffer()]
        self.codes: dict[str, int] = {}
        self.operators: list[Operator] = []
        self._index: dict[str, int] = {}
        self._names = {v.name for v in self.graph.values()}
        self._claimed: set[str] = set()
        self._alias: dict[str, Value] = {}

    def model(self) -> Model:
        problems = [
            Problem("the format cannot hold a state", s.name) for s in self.module.states.values()
        ]
        inputs = [self.tensor(v) for v in self.graph.inputs]
        for job in self._jobs():
            try:
                self._write(job)
            except UnsupportedError as e:
                problems += e.problems
        if problems:
            raise UnsupportedError(problems)
        outputs = [self.tensor(v) for v in self.module.outputs(self.entry)]
        graph = SubGraph(
            tuple(self.tensors), tuple(inputs), tuple(outputs), tuple(self.operators), "main"
        )
        codes = tuple(
            OperatorCode(min(CODES[n], 127), "", VERSIONS.get(n, 2), CODES[n]) for n in self.codes
        )
        return Model(VERSION, codes, (graph,), "lilliput", tuple(self.buffers))

    def _jobs(self) -> list[_Job]:
        """The nodes to write, with clamps moved into the nodes that they follow."""
        consumers, producers = self.graph.consumers(), self.graph.producers()
        kept = {v.name for v in self.graph.outputs}
        jobs: dict[str, _Job] = {}
        for node in self.graph.nodes:
            job = _Job(node, node.output, Activation.NONE)
            if isinstance(node.attrs, Clamp) and node.inputs[0].type == node.output.type:
                source = node.inputs[0]
                activation = _activation(node.attrs, node.output.type)
                maker = producers.get(source.name)
                alone = len(consumers[source.name]) == 1 and source.name not in kept
                if activation is Activation.NONE:
                    self._alias[node.output.name] = source
                    continue
                if maker and maker.op.name in FUSES and alone and activation:
                    jobs[source.name] = _Job(maker, node.output, activation)
                    continue
            jobs[node.output.name] = job
        return list(jobs.values())

    def _write(self, job: _Job) -> None:
        node = job.node
        if getattr(node.attrs, "rounding", Rounding.DOUBLE) is not Rounding.DOUBLE:
            raise _fail(node, "rounds otherwise than the format does", "use Rounding.DOUBLE")
        rule = RULES.get(node.op.name)
        if rule is not None:
            rule(self, job)
        elif node.op.name in UNARY and node.op.name.upper() in CODES and node.op.attrs is NoAttrs:
            self.emit(node.op.name.upper(), job)
        else:
            raise _fail(node, "the .tflite format has no such operator")

    def emit(
        self,
        name: str,
        job: _Job,
        inputs: Sequence[int] | None = None,
        options: object | None = None,
        extra: Sequence[int] = (),
    ) -> None:
        """One operator; `inputs` default to the node's own, followed by `extra`."""
        given = [self.tensor(v) for v in job.node.inputs] if inputs is None else list(inputs)
        self._operator(name, (*given, *extra), self.tensor(job.out), options)

    def _operator(
        self, name: str, inputs: Sequence[int], output: int, options: object | None
    ) -> None:
        code = self.codes.setdefault(name, len(self.codes))
        self.operators.append(Operator(code, tuple(inputs), (output,), options))

    # Tensors --------------------------------------------------------------------------

    def tensor(self, value: Value) -> int:
        """The tensor of a value, written when it is first needed."""
        while value.name in self._alias:
            value = self._alias[value.name]
        if value.name not in self._index:
            data = None
            if value.name in self.module.params:
                data = self.data(value)
            self._index[value.name] = self._append(self.claim(value.name), value.type, data)
        return self._index[value.name]

    def data(self, value: Value) -> Array:
        data = self.module.params[value.name].data if value.name in self.module.params else None
        if data is None:
            raise UnsupportedError("parameter has no data", where=value.name)
        return data

    def extra(
        self, name: str, array: Array, quant: Quant | None = None, dtype: DType | None = None
    ) -> int:
        """A constant that the graph does not have as a value, under a name nobody has."""
        type = TensorType(tuple(array.shape), dtype or DType.of(array.dtype), quant)
        return self._append(name, type, array)

    def integers(self, job: _Job, suffix: str, numbers: Sequence[int] | Array) -> int:
        return self.extra(self.fresh(f"{job.out.name}/{suffix}"), np.asarray(numbers, np.int32))

    def claim(self, name: str) -> str:
        """The name of a value for the one tensor that stands for it; another one the next time."""
        if name in self._claimed:
            return self.fresh(name)
        self._claimed.add(name)
        return name

    def fresh(self, stem: str) -> str:
        return fresh_name(self._names, stem)

    def _append(self, name: str, type: TensorType, data: Array | None) -> int:
        if type.dtype not in TYPE_CODES:
            raise UnsupportedError("element type is not in the format", where=name, found=str(type))
        buffer = 0
        if data is not None:
            buffer = len(self.buffers)
            self.buffers.append(Buffer(memoryview(_bytes(data, type.dtype))))
        quant = None
        if type.quant is not None:
            q = type.quant
            quant = Quantization(q.scale, q.zero_point, dimension=q.axis or 0)
        self.tensors.append(Tensor(type.shape, TYPE_CODES[type.dtype], buffer, name, quant))
        return len(self.tensors) - 1

    def padded(self, job: _Job, pad: tuple[int, int, int, int]) -> int:
        """The node's first operand behind a PAD node."""
        x = job.node.inputs[0]
        widths = [(0, 0), pad[:2], pad[2:], (0, 0)]
        shape = tuple(d + a + b for d, (a, b) in zip(x.type.shape, widths, strict=True))
        table = self.integers(job, "paddings", np.array(widths))
        out = self._append(self.fresh(f"{job.out.name}/pad"), x.type.with_shape(*shape), None)
        self._operator("PAD", (self.tensor(x), table), out, None)
        return out


def _bytes(data: Array, dtype: DType) -> bytes:
    if dtype is not DType.S4:
        return np.ascontiguousarray(data, data.dtype.newbyteorder("<")).tobytes()
    flat = np.append(data.reshape(-1), np.zeros(data.size % 2, np.int8)).astype(np.uint8) & 15
    return (flat[::2] | (flat[1::2] << 4)).tobytes()


def _activation(attrs: Clamp, type: TensorType) -> Activation | None:
    """The activation that limits as `attrs` do; NONE where nothing is limited."""
    bounds: tuple[float, float] = attrs.low, attrs.high
    if type.dtype.is_integer:
        if type.quant is None or not type.quant.is_per_tensor:
            return None
        floor, ceiling = type.dtype.bounds
        bounds = max(attrs.low, floor), min(attrs.high, ceiling)
        if bounds == (floor, ceiling):
            return Activation.NONE
    elif bounds == (-math.inf, math.inf):
        return Activation.NONE
    return next((a for a in RANGES if activation_bounds(a, type) == bounds), None)


# Rules: how each operator is written ------------------------------------------------------


def _padding(
    x: TensorType,
    pad: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Padding | None:
    """VALID or SAME where these are the pads that it means."""
    if not any(pad):
        return Padding.VALID
    rows, columns = (same_pad(x.shape[k + 1], window[k], stride[k], dilation[k]) for k in (0, 1))
    return Padding.SAME if (*rows, *columns) == tuple(pad) else None


def _bias(w: _Writer, job: _Job) -> list[int]:
    """The bias of a product; integers get the scale x.scale * w.scale that the format asks for."""
    if len(job.node.inputs) < 3:
        return []
    x, weights, bias = (v.type for v in job.node.inputs[:3])
    value = job.node.inputs[2]
    plain = bias.dtype.is_float or bias.quant is not None or value.name not in w.module.params
    if plain or x.quant is None or weights.quant is None:
        return [w.tensor(value)]
    scales = tuple(float(np.float32(x.scale * s)) for s in weights.quant.scale)
    axis = None if weights.quant.is_per_tensor else 0
    return [w.extra(w.claim(value.name), w.data(value), Quant(scales, (0,) * len(scales), axis))]


def _product(job: _Job, raw: bool) -> None:
    if raw or len(job.node.inputs) > 3:
        raise _fail(job.node, "has a raw or an initial accumulator", _NO_RAW)


def _conv2d(w: _Writer, job: _Job) -> None:
    node, a = job.node, job.node.attrs
    assert isinstance(a, Conv2d)
    _product(job, a.raw)
    x, weights = node.inputs[0], node.inputs[1]
    padding = _padding(x.type, a.pad, weights.type.shape[1:3], a.stride, a.dilation)
    source = w.tensor(x) if padding is not None else w.padded(job, a.pad)
    padding = Padding.VALID if padding is None else padding
    size = (a.stride[1], a.stride[0])
    dilation = (a.dilation[1], a.dilation[0])
    if a.groups > 1 and a.groups == x.type.shape[3]:
        quant = weights.type.quant
        if quant is not None and not quant.is_per_tensor:
            quant = replace(quant, axis=3)
        data = np.ascontiguousarray(w.data(weights).transpose(CONV_TO_DEPTHWISE))
        kernel = w.extra(w.claim(weights.name), data, quant, weights.type.dtype)
        multiplier = weights.type.shape[0] // a.groups
        options = DepthwiseConv2DOptions(padding, *size, multiplier, job.activation, *dilation)
        w.emit("DEPTHWISE_CONV_2D", job, (source, kernel, *_bias(w, job)), options)
        return
    options = Conv2DOptions(padding, *size, job.activation, *dilation)
    w.emit("CONV_2D", job, (source, w.tensor(weights), *_bias(w, job)), options)


def _linear(w: _Writer, job: _Job) -> None:
    a, x = job.node.attrs, job.node.inputs[0]
    assert isinstance(a, Linear)
    _product(job, a.raw)
    options = FullyConnectedOptions(job.activation, 0, len(x.type.shape) != 2)
    operands = [w.tensor(v) for v in job.node.inputs[:2]]
    w.emit("FULLY_CONNECTED", job, (*operands, *_bias(w, job)), options)


def _pool(name: str) -> Callable[[_Writer, _Job], None]:
    def rule(w: _Writer, job: _Job) -> None:
        a = job.node.attrs
        assert isinstance(a, Pool)
        padding = _padding(job.node.inputs[0].type, a.pad, a.kernel, a.stride, (1, 1))
        if padding is None:
            raise _fail(job.node, "pads are neither SAME nor VALID", f"pads are {a.pad}")
        stride, kernel = (a.stride[1], a.stride[0]), (a.kernel[1], a.kernel[0])
        w.emit(name, job, None, Pool2DOptions(padding, *stride, *kernel, job.activation))

    return rule


def _binary(
    name: str, options: type[AddOptions | SubOptions | MulOptions]
) -> Callable[[_Writer, _Job], None]:
    return lambda w, job: w.emit(name, job, None, options(job.activation))


def _clamp(w: _Writer, job: _Job) -> None:
    assert isinstance(job.node.attrs, Clamp)
    activation = _activation(job.node.attrs, job.out.type)
    if job.node.inputs[0].type != job.out.type or not activation:
        raise _fail(job.node, "bounds are those of no activation of the format")
    w.emit(activation.name, job)


def _concat(w: _Writer, job: _Job) -> None:
    assert isinstance(job.node.attrs, Concat)
    w.emit("CONCATENATION", job, None, ConcatenationOptions(job.node.attrs.axis))


def _leaky_relu(w: _Writer, job: _Job) -> None:
    assert isinstance(job.node.attrs, Slope)
    w.emit("LEAKY_RELU", job, None, LeakyReluOptions(job.node.attrs.alpha))


def _mean(w: _Writer, job: _Job) -> None:
    a = job.node.attrs
    assert isinstance(a, Mean)
    w.emit("MEAN", job, None, ReducerOptions(a.keepdims), [w.integers(job, "axes", a.axes)])


def _pad(w: _Writer, job: _Job) -> None:
    a, type = job.node.attrs, job.out.type
    assert isinstance(a, Pad)
    extra = [w.integers(job, "paddings", np.stack((a.before, a.after), axis=1))]
    if a.value == (0 if type.dtype.is_float else type.zero_point):
        w.emit("PAD", job, None, None, extra)
        return
    value = np.array([a.value], type.dtype.numpy)
    w.emit(
        "PADV2",
        job,
        None,
        None,
        [*extra, w.extra(w.fresh(f"{job.out.name}/value"), value, type.quant)],
    )


def _reshape(w: _Writer, job: _Job) -> None:
    assert isinstance(job.node.attrs, Reshape)
    shape = job.node.attrs.shape
    w.emit("RESHAPE", job, None, ReshapeOptions(shape), [w.integers(job, "shape", shape)])


def _resize_nearest(w: _Writer, job: _Job) -> None:
    a = job.node.attrs
    assert isinstance(a, ResizeNearest)
    size = w.integers(job, "size", (a.height, a.width))
    options = ResizeNearestOptions(a.align_corners, a.half_pixel_centers)
    w.emit("RESIZE_NEAREST_NEIGHBOR", job, None, options, [size])


def _slice(w: _Writer, job: _Job) -> None:
    a = job.node.attrs
    assert isinstance(a, Slice)
    extra = [w.integers(job, "begin", a.begin), w.integers(job, "size", a.size)]
    w.emit("SLICE", job, None, None, extra)


def _softmax(w: _Writer, job: _Job) -> None:
    assert isinstance(job.node.attrs, Softmax)
    w.emit("SOFTMAX", job, None, SoftmaxOptions(job.node.attrs.beta))


def _transpose(w: _Writer, job: _Job) -> None:
    assert isinstance(job.node.attrs, Transpose)
    w.emit("TRANSPOSE", job, None, None, [w.integers(job, "perm", job.node.attrs.perm)])


RULES: dict[str, Callable[[_Writer, _Job], None]] = {
    "add": _binary("ADD", AddOptions),
    "avg_pool2d": _pool("AVERAGE_POOL_2D"),
    "clamp": _clamp,
    "concat": _concat,
    "conv2d": _conv2d,
    "dequantize": lambda w, job: w.emit("DEQUANTIZE", job),
    "leaky_relu": _leaky_relu,
    "linear": _linear,
    "max_pool2d": _pool("MAX_POOL_2D"),
    "mean": _mean,
    "mul": _binary("MUL", MulOptions),
    "pad": _pad,
    "quantize": lambda w, job: w.emit("QUANTIZE", job),
    "requantize": lambda w, job: w.emit("QUANTIZE", job),
    "reshape": _reshape,
    "resize_nearest": _resize_nearest,
    "slice": _slice,
    "softmax": _softmax,
    "sub": _binary("SUB", SubOptions),
    "transpose": _transpose,
}
