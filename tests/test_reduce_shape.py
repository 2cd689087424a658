"""Pooling, mean, softmax and the operators that move elements: what they mean, and their C.

One idea: every sample of these operators goes three ways.  The reference is compared with
TFLite Micro through a model of one operator; the C kernel, built for the host under the
sanitizers, is compared with the reference on random boxes, through rings, with padded
strides and guard bytes; shapes and regions follow from the same samples.
"""

from __future__ import annotations

import functools
import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilliput.errors import TypeMismatch
from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Kernel, Op, Sample
from lilliput.ir.region import Reduce, needs
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16
from lilliput.ops import frame, pool, reduce, shape, softmax
from lilliput.ops.fixed_exp import exp_q26, reciprocal_q31

CSRC = Path(shape.__file__).parent.parent / "codegen" / "csrc"
OPS = (
    pool.avg_pool2d,
    pool.max_pool2d,
    reduce.mean,
    softmax.softmax,
    shape.reshape,
    shape.copy,
    shape.transpose,
    shape.broadcast,
    shape.concat,
    shape.slice_,
    frame.pad,
    frame.resize_nearest,
)
GUARD = 0xA5


def cases(ops: tuple[Op, ...] = OPS) -> list[Any]:
    return [
        pytest.param(op, sample, id=f"{op.name}-{k}")
        for op in ops
        for k, sample in enumerate(op.samples)
    ]


def build(op: Op, sample: Sample) -> Node:
    b = Builder()
    inputs = [b.input(f"x{i}", t) for i, t in enumerate(sample.inputs)]
    b.add_multi(op, inputs, sample.attrs, types=sample.outputs or None, name="y")
    return b.nodes[0]


def random_array(rng: np.random.Generator, t: TensorType, sample: Sample) -> Array:
    if t.dtype.is_float:
        return rng.uniform(sample.low or -1.0, sample.high or 1.0, t.shape).astype(np.float32)
    low, high = t.dtype.bounds
    data = rng.integers(low, high, t.shape, endpoint=True)
    # extreme values are where rounding and saturation go wrong
    data = np.where(rng.random(t.shape) < 0.1, rng.choice([low, high], t.shape), data)
    return data.astype(t.dtype.numpy)


def data_of(sample: Sample, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [random_array(rng, t, sample) for t in sample.inputs]


@pytest.mark.parametrize(("op", "sample"), cases())
def test_ref_has_the_inferred_type_and_regions_cover_every_axis(op: Op, sample: Sample) -> None:
    node = build(op, sample)
    (result,) = op.ref(node, data_of(sample))
    assert result.shape == node.output.type.shape
    assert result.dtype == node.output.type.dtype.numpy
    assert op.regions is not None
    rules = op.regions(node)
    assert [len(r) for r in rules] == [len(v.type.shape) for v in node.inputs]


@pytest.mark.parametrize(("op", "sample"), cases())
def test_what_a_region_leaves_out_does_not_matter(op: Op, sample: Sample) -> None:
    """Elements outside the needed box are changed: the piece of the result stays."""
    node, rng = build(op, sample), np.random.default_rng(1)
    operands = data_of(sample)
    (whole,) = op.ref(node, operands)
    piece = []
    for extent in whole.shape:
        lo = int(rng.integers(0, extent))
        piece.append((lo, int(rng.integers(lo, extent)) + 1))
    assert op.regions is not None
    changed: list[Array] = []
    for rules, operand in zip(op.regions(node), operands, strict=True):
        other = random_array(rng, TensorType(operand.shape, DType.of(operand.dtype)), sample)
        box = tuple(
            slice(0, d)
            if isinstance(rule, Reduce)
            else slice(*needs(rule, piece[getattr(rule, "axis", 0)], d))
            for rule, d in zip(rules, operand.shape, strict=True)
        )
        other[box] = operand[box]
        changed.append(other)
    (again,) = op.ref(node, changed)
    part = tuple(slice(lo, hi) for lo, hi in piece)
    np.testing.assert_array_equal(again[part], whole[part])


@pytest.mark.parametrize(
    ("op", "types", "attrs", "words"),
    [
        (pool.avg_pool2d, (s8(1, 3, 3, 1),), pool.Pool((2, 2), pad=(2, 0, 0, 0)), "padding"),
        (pool.max_pool2d, (s8(1, 3, 3, 1),), pool.Pool((4, 2)), "larger"),
        (reduce.mean, (s8(2, 3),), reduce.Mean((2,)), "axes"),
        (reduce.mean, (s16(1, 300, 300, 2),), reduce.Mean((1, 2)), "32-bit"),
        (softmax.softmax, (s8(1, 5000),), softmax.Softmax(), "channels"),
        (softmax.softmax, (s16(1, 5),), softmax.Softmax(wide=True), "wide"),
        (shape.reshape, (s8(6),), shape.Reshape((4,)), "number of elements"),
        (shape.transpose, (s8(2, 3),), shape.Transpose((0, 0)), "perm"),
        (shape.broadcast, (s8(2, 3),), shape.Broadcast((2, 4)), "extents"),
        (shape.concat, (s8(2), s8(2, scale=2.0)), shape.Concat(0), "quantisation"),
        (shape.concat, (s8(2, 3), s8(3, 2)), shape.Concat(0), "across"),
        (shape.slice_, (s8(4),), shape.Slice((2,), (3,)), "box"),
        (frame.pad, (s8(4),), frame.Pad((1,), (1,), 128), "value"),
        (frame.resize_nearest, (s8(4),), frame.ResizeNearest(2, 2), "rank"),
    ],
)
def test_refusals_name_what_is_wrong(
    op: Op, types: tuple[TensorType, ...], attrs: Any, words: str
) -> None:
    with pytest.raises(TypeMismatch, match=words):
        op.infer(attrs, types)


def test_fixed_point_functions_are_close_to_the_real_ones() -> None:
    a = -np.arange(0, 31 << 26, 1_234_567, dtype=np.int64)
    np.testing.assert_allclose(exp_q26(a) / 2**31, np.exp(a / 2**26), atol=2e-7)
    f = np.arange(0, 1 << 31, 3_456_789, dtype=np.int64)
    np.testing.assert_allclose(reciprocal_q31(f) / 2**31, 1 / (1 + f / 2**31), atol=2e-7)


# TFLite Micro -----------------------------------------------------------------------------

Options = Callable[[Any, Node], tuple[str, Any, list[Array]]]
"""(schema, node) -> name of the options, the options, constant operands after the first."""

TFLITE_TYPE = {
    DType.F32: "FLOAT32",
    DType.S8: "INT8",
    DType.S16: "INT16",
    DType.S32: "INT32",
    DType.S64: "INT64",
}


def _pool_options(schema: Any, node: Node) -> tuple[str, Any, list[Array]] | None:
    """None where the padding is neither VALID nor SAME."""
    a, x, y = node.attrs, node.inputs[0].type.shape, node.output.type.shape
    assert isinstance(a, pool.Pool)
    options = schema.Pool2DOptionsT()
    options.filterHeight, options.filterWidth = a.kernel
    options.strideH, options.strideW = a.stride
    same = all(
        y[k + 1] == -(-x[k + 1] // a.stride[k])
        and a.pad[2 * k] == max((y[k + 1] - 1) * a.stride[k] + a.kernel[k] - x[k + 1], 0) // 2
        for k in (0, 1)
    )
    if any(a.pad) and not same:
        return None
    options.padding = schema.Padding.SAME if any(a.pad) else schema.Padding.VALID
    return "Pool2DOptions", options, []


def _mean_options(schema: Any, node: Node) -> tuple[str, Any, list[Array]]:
    assert isinstance(node.attrs, reduce.Mean)
    options = schema.ReducerOptionsT()
    options.keepDims = node.attrs.keepdims
    return "ReducerOptions", options, [np.array(node.attrs.axes, np.int32)]


def _softmax_options(schema: Any, node: Node) -> tuple[str, Any, list[Array]]:
    assert isinstance(node.attrs, softmax.Softmax)
    options = schema.SoftmaxOptionsT()
    options.beta = node.attrs.beta
    return "SoftmaxOptions", options, []


def _concat_options(schema: Any, node: Node) -> tuple[str, Any, list[Array]]:
    assert isinstance(node.attrs, shape.Concat)
    options = schema.ConcatenationOptionsT()
    options.axis = node.attrs.axis
    return "ConcatenationOptions", options, []


def _resize_options(schema: Any, node: Node) -> tuple[str, Any, list[Array]]:
    a = node.attrs
    assert isinstance(a, frame.ResizeNearest)
    options = schema.ResizeNearestNeighborOptionsT()
    options.alignCorners, options.halfPixelCenters = a.align_corners, a.half_pixel_centers
    return "ResizeNearestNeighborOptions", options, [np.array([a.height, a.width], np.int32)]


def _constants(name: str, arrays: Callable[[Any, Node], list[Array]]) -> Options:
    def options(schema: Any, node: Node) -> tuple[str, Any, list[Array]]:
        return name, getattr(schema, f"{name}T")(), arrays(node.attrs, node)

    return options


def _pad_constants(a: frame.Pad, node: Node) -> list[Array]:
    widths = np.array([a.before, a.after], np.int32).T
    return [widths, np.array([a.value], node.output.type.dtype.numpy)]


TFLITE: dict[str, tuple[str, Any]] = {
    "avg_pool2d": ("AVERAGE_POOL_2D", _pool_options),
    "max_pool2d": ("MAX_POOL_2D", _pool_options),
    "mean": ("MEAN", _mean_options),
    "softmax": ("SOFTMAX", _softmax_options),
    "concat": ("CONCATENATION", _concat_options),
    "resize_nearest": ("RESIZE_NEAREST_NEIGHBOR", _resize_options),
    "transpose": (
        "TRANSPOSE",
        _constants("TransposeOptions", lambda a, n: [np.array(a.perm, np.int32)]),
    ),
    "broadcast": (
        "BROADCAST_TO",
        _constants("BroadcastToOptions", lambda a, n: [np.array(a.shape, np.int32)]),
    ),
    "slice": (
        "SLICE",
        _constants("SliceOptions", lambda a, n: [np.array(v, np.int32) for v in (a.begin, a.size)]),
    ),
    "pad": ("PADV2", _constants("PadV2Options", _pad_constants)),
}

NOT_IN_TFLM = {
    "avg_pool2d-2": "padding that is neither SAME nor VALID",
    "max_pool2d-2": "padding that is neither SAME nor VALID",
    "transpose-4": "rank 6",
    "transpose-5": "int32",
    "broadcast-4": "rank 6",
}


def _tensor(schema: Any, t: TensorType, buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.shape, tensor.buffer = list(t.shape), buffer
    tensor.type = getattr(schema.TensorType, TFLITE_TYPE[t.dtype])
    if t.quant is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = list(t.quant.scale)
        tensor.quantization.zeroPoint = list(t.quant.zero_point)
    return tensor


def one_op_model(
    schema: Any, node: Node, code: str, options: tuple[str, Any, list[Array]]
) -> bytes:
    """A .tflite file that holds `node` alone."""
    import flatbuffers

    name, value, constants = options
    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    model.version, model.buffers = 3, [schema.BufferT()]
    graph.tensors = [_tensor(schema, v.type, 0) for v in (*node.inputs, node.output)]
    first = len(graph.tensors)
    for data in constants:
        buffer = schema.BufferT()
        buffer.data = list(data.tobytes())
        model.buffers.append(buffer)
        quant = node.output.type.quant if data.dtype != np.int32 else None
        t = TensorType(data.shape, DType.of(data.dtype), quant)
        graph.tensors.append(_tensor(schema, t, len(model.buffers) - 1))
    count = len(node.inputs)
    graph.inputs, graph.outputs = list(range(count)), [count]
    operator.inputs = [*range(count), *range(first, len(graph.tensors))]
    operator.outputs = [count]
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
    operator.builtinOptions = value
    opcode = schema.OperatorCodeT()
    opcode.builtinCode = getattr(schema.BuiltinOperator, code)
    opcode.deprecatedBuiltinCode = min(opcode.builtinCode, 127)
    opcode.version = 1
    model.operatorCodes, graph.operators, model.subgraphs = [opcode], [operator], [graph]
    b = flatbuffers.Builder(1024)
    b.Finish(model.Pack(b), b"TFL3")
    return bytes(b.Output())


@pytest.mark.oracle
@pytest.mark.parametrize(("op", "sample"), [c for c in cases() if c.values[0].name in TFLITE])
def test_ref_is_tflite_micro(op: Op, sample: Sample, request: pytest.FixtureRequest) -> None:
    oracle_compare(op, sample, request.node.callspec.id)


def oracle_compare(op: Op, sample: Sample, name: str = "") -> None:
    from tflite_micro import runtime
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    node = build(op, sample)
    code, make = TFLITE[op.name]
    options = make(schema, node)
    if options is None or name in NOT_IN_TFLM:
        pytest.skip(NOT_IN_TFLM.get(name, "not expressible"))
    model = one_op_model(schema, node, code, options)
    interpreter = runtime.Interpreter.from_bytes(model)
    for seed in range(3):
        operands = data_of(sample, seed)
        for i, data in enumerate(operands):
            interpreter.set_input(data, i)
        interpreter.invoke()
        (ours,) = op.ref(node, operands)
        theirs = interpreter.get_output(0).reshape(ours.shape)
        if ours.dtype == np.float32 and op is softmax.softmax:
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-30)
        else:
            np.testing.assert_array_equal(ours, theirs)


# C on the host ---------------------------------------------------------------------------

KERNEL_C = """
#define LL_NAME(x) LL_CAT(x, {tag})
{defines}
static LL_R store_{tag}(const ll_at *at, LL_ACC acc)
{{
    (void)at;
    return (LL_R)({store});
}}
#include "kernels/{source}"
static void run_{tag}(const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{{
    static const ll_{name}_params p = {{{fields}}};
    LL_NAME({name})(&p, in, out, r, scratch, 0, 0, store_{tag});
}}
#undef LL_NAME
{undefines}
"""

MAIN_C = """
#include <stdio.h>
#include <stdlib.h>
static int32_t word(FILE *f)
{
    int32_t v = 0;
    if (fread(&v, 4, 1, f) != 1) {
        abort();
    }
    return v;
}
static void *blob(FILE *f, int32_t *view)
{
    int32_t bytes = word(f);
    void *p = malloc((size_t)bytes);
    for (int k = 0; k < 4; ++k) {
        view[k] = word(f);
    }
    if (!p || fread(p, 1, (size_t)bytes, f) != (size_t)bytes) {
        abort();
    }
    return p;
}
int main(int argc, char **argv)
{
    FILE *f = argc == 3 ? fopen(argv[1], "rb") : 0;
    if (!f) {
        return 2;
    }
    int32_t which = word(f), operands = word(f), bytes = word(f), regions = word(f), v[4];
    ll_in in[LL_AT_MAX];
    void *held[LL_AT_MAX + 1];
    for (int32_t i = 0; i < operands; ++i) {
        held[i] = blob(f, v);
        in[i] = (ll_in){held[i], v[0], v[1], v[2], v[3]};
    }
    int32_t size = word(f);
    fseek(f, -4, SEEK_CUR);
    held[operands] = blob(f, v);
    ll_out out = {held[operands], v[0], v[1], v[2], v[3]};
    void *scratch = malloc((size_t)bytes);
    for (int32_t i = 0; i < regions; ++i) {
        ll_region r = {word(f), 0, 0, 0, 0, 0};
        r.y1 = word(f);
        r.x0 = word(f);
        r.x1 = word(f);
        r.c0 = word(f);
        r.c1 = word(f);
        RUN[which](in, &out, &r, scratch);
    }
    fclose(f);
    f = fopen(argv[2], "wb");
    fwrite(held[operands], 1, (size_t)size, f);
    fclose(f);
    for (int32_t i = 0; i <= operands; ++i) {
        free(held[i]);
    }
    free(scratch);
    return 0;
}
"""

WARNINGS = "-std=c11 -Wall -Wextra -Wconversion -Werror -Wno-unused-function".split()


@dataclass(frozen=True)
class Case:
    """One sample on one kernel that takes it, and the kernel's operands in a builder."""

    node: Node
    sample: Sample
    kernel: Kernel
    builder: Builder


def kernel_cases(op: Op) -> Iterator[Case]:
    for sample in op.samples:
        node = build(op, sample)
        for kernel in op.kernels:
            if kernel.accepts(node) is None:
                yield Case(node, sample, kernel, Builder(names={"y", "x0", "x1", "x2"}))


def instance(case: Case, tag: int) -> str:
    kernel, node = case.kernel, case.node
    y = node.output.type.dtype
    c_y = "float" if y.is_float else f"int{8 * y.itemsize}_t"
    types = {"LL_Y": c_y, "LL_R": "float" if y.is_float else "int32_t", **kernel.types(node)}
    store = "acc"
    if kernel.finish is not None:
        store = kernel.finish(case.builder, node).c("acc", lambda value: value.name)
    fields = ", ".join(
        f".{k} = {v!r}f" if isinstance(v, float) else f".{k} = {v}"
        for k, v in kernel.params(node).items()
    )
    return KERNEL_C.format(
        tag=tag,
        defines="\n".join(f"#define {k} {v}" for k, v in types.items()),
        undefines="\n".join(f"#undef {k}" for k in types),
        store=store,
        source=kernel.source,
        name=kernel.name,
        fields=fields,
    )


@functools.cache
def program(op_name: str, compiler: str, folder: Path) -> tuple[Path, tuple[Case, ...]]:
    """A host program with every case of an operator, under the sanitizers."""
    op = next(o for o in OPS if o.name == op_name)
    every = tuple(kernel_cases(op))
    text = ["#define LL_ROWS 64", '#include "ll.h"', '#include "isa/generic.h"']
    text += [instance(case, tag) for tag, case in enumerate(every)]
    run = ", ".join(f"run_{tag}" for tag in range(len(every)))
    kind = "(*RUN[])(const ll_in *, const ll_out *, const ll_region *, void *)"
    text += [f"static void {kind} = {{{run}}};", MAIN_C]
    source, binary = folder / f"{op_name}.c", folder / f"{op_name}-{compiler}"
    source.write_text("\n".join(text))
    flags = ["-O1", "-g", "-ffp-contract=off", f"-I{CSRC}", "-fno-sanitize-recover=all"]
    sanitizers = "-fsanitize=address,undefined"
    command = [compiler, *WARNINGS, *flags, sanitizers, str(source), "-o", str(binary)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return binary, every


def laid_out(
    data: Array, rng: np.random.Generator, dense: bool, ring: bool
) -> tuple[bytes, list[int], Callable[[bytes], Array]]:
    """(bytes, [row, pixel, ring, first], how to read them back) of one view of `data`."""
    rows, pixels, channels = TensorType(data.shape, DType.of(data.dtype)).frame
    size = data.dtype.itemsize
    pixel = size * (channels + (0 if dense else int(rng.integers(0, 3))))
    row = pixel * pixels + (0 if dense else size * int(rng.integers(0, 4)))
    first = int(rng.integers(0, rows)) if ring else 0
    memory = np.full(rows * row, GUARD, np.uint8)
    place = np.zeros(rows * row, bool)
    index = (
        ((np.arange(rows) + first) % rows * row)[:, None, None, None]
        + (np.arange(pixels) * pixel)[:, None, None]
        + (np.arange(channels) * size)[:, None]
        + np.arange(size)
    ).ravel()
    place[index] = True
    memory[index] = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)

    def read(found: bytes) -> Array:
        array = np.frombuffer(found, np.uint8)
        assert (array[~place] == GUARD).all(), "wrote outside of its elements"
        return np.frombuffer(array[index].tobytes(), data.dtype).reshape(data.shape)

    return memory.tobytes(), [row, pixel, rows if ring else 2**31 - 1, first], read


def cuts(rng: np.random.Generator, extent: int, cut: bool) -> list[tuple[int, int]]:
    inner = rng.integers(1, extent + 1, 2) if cut else []
    edges = sorted({0, extent, *(int(v) for v in inner)})
    return list(zip(edges, edges[1:], strict=False))


def regions(case: Case, rng: np.random.Generator, cut: bool) -> list[list[int]]:
    """Boxes that cover the result once; rows of the input where a kernel carries sums."""
    rows, pixels, channels = case.node.output.type.frame
    carries = case.kernel.carry(case.node) > 0
    if carries:
        rows = case.node.inputs[0].type.frame[0]
    split = cut and not carries
    boxes = [
        [*y, *x, *c]
        for y in cuts(rng, rows, cut)
        for x in cuts(rng, pixels, split)
        for c in cuts(rng, channels, split and case.node.op is not softmax.softmax)
    ]
    if not carries:
        rng.shuffle(boxes)
    return boxes


def run_kernel(binary: Path, case: Case, which: int, seed: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    given = data_of(case.sample, seed)
    values = {v.name: d for v, d in zip(case.node.inputs, given, strict=True)}
    (expected,) = case.node.op.ref(case.node, given)
    operands = case.kernel.operands(case.builder, case.node)
    boxes = regions(case, rng, seed > 0)
    bytes_needed = case.kernel.scratch(case.node) + case.kernel.carry(case.node)
    words = [which, len(operands), bytes_needed, len(boxes)]
    blob = np.array(words, np.int32).tobytes()
    for operand in operands:
        constant = operand.value.name not in values
        data = case.builder.params[operand.value.name].data if constant else None
        data = values[operand.value.name] if data is None else data
        dense = constant or case.kernel.dense
        memory, view, _ = laid_out(data, rng, dense, not dense and seed == 2)
        blob += np.array([len(memory), *view], np.int32).tobytes() + memory
    empty = np.frombuffer(bytes([GUARD]) * expected.nbytes, expected.dtype).reshape(expected.shape)
    memory, view, read = laid_out(empty, rng, False, seed == 2)
    blob += np.array([len(memory), *view], np.int32).tobytes() + memory
    blob += np.array(boxes, np.int32).tobytes()
    given_file, found_file = folder / "given.bin", folder / "found.bin"
    given_file.write_bytes(blob)
    command = [str(binary), str(given_file), str(found_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    np.testing.assert_array_equal(read(found_file.read_bytes()), expected)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("op", [pytest.param(o, id=o.name) for o in OPS if o.kernels])
def test_kernels_are_the_ref_on_any_partition(
    op: Op, compiler: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    binary, every = program(op.name, compiler, tmp_path_factory.mktemp("kernels"))
    for which, case in enumerate(every):
        for seed in range(4):
            run_kernel(binary, case, which, seed, tmp_path)
