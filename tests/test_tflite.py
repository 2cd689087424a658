"""The .tflite reader and writer: equal graphs there and back, exact errors, no crash on damage.

The damage tests are the point of the reader: for any bytes it gives a verified module or a
ModelError, quickly.  What the operators compute is tested elsewhere; here whole files are
run by TFLite Micro before and after they went through a module.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tflite_fuzz_cases import MODULES, model, mutate, random_inputs, rewrite
from tests.tflite_ops import run_tflm

from lilliput.errors import FormatError, ModelError, UnsupportedError, UsageError
from lilliput.frontends import load_model
from lilliput.frontends.tflite import read, write
from lilliput.frontends.tflite.call import activation_bounds
from lilliput.frontends.tflite.flatbuf import decode, encode
from lilliput.frontends.tflite.schema import (
    BUILTIN,
    CODES,
    IDENTIFIER,
    TENSOR_TYPES,
    Activation,
    Model,
    OperatorCode,
    Quantization,
    SubGraph,
    Tensor,
)
from lilliput.ir import Array, Builder, Graph, Module, Quant, TensorType, verify
from lilliput.ir.interp import Session
from lilliput.ir.text import save
from lilliput.ir.types import f32, s8, s16
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.elementwise import Binary, Clamp, add, clamp
from lilliput.ops.numeric import Rounding
from lilliput.ops.pool import Pool, avg_pool2d

SHARED = Path(os.environ.get("LILLIPUT_SHARED") or "missing")
FILES = sorted(str(p.relative_to(SHARED / "models")) for p in SHARED.glob("models/*/*.tflite"))
STATEFUL = {"tflm/keyword_scrambled.tflite", "tflm/trained_lstm_int8.tflite"}
"""They read; the writer has no words for their states."""
LARGE = {"tinyengine/mcunetv2_large.tflite"}


def plain(graph: Graph) -> tuple[object, ...]:
    """A graph without origins and without the order of its parameters."""
    nodes = tuple(replace(n, origin="") for n in graph.nodes)
    return graph.inputs, frozenset(graph.params), nodes, graph.outputs


def same_parameters(a: Module, b: Module) -> bool:
    def data(m: Module, name: str) -> Array:
        found = m.params[name].data
        assert found is not None
        return found

    return a.params.keys() == b.params.keys() and all(
        np.array_equal(data(a, n), data(b, n)) for n in a.params
    )


def edited(name: str, edit: Callable[[Model], Model]) -> bytes:
    """A small model with something of its tables changed."""
    return encode(edit(decode(model(name), IDENTIFIER, Model)), IDENTIFIER)


def with_graph(edit: Callable[[SubGraph], SubGraph]) -> Callable[[Model], Model]:
    return lambda m: replace(m, subgraphs=(edit(m.subgraphs[0]), *m.subgraphs[1:]))


def with_tensor(name: str, **changes: Any) -> Callable[[Model], Model]:
    def edit(graph: SubGraph) -> SubGraph:
        tensors = tuple(replace(t, **changes) if t.name == name else t for t in graph.tensors)
        return replace(graph, tensors=tensors)

    return with_graph(edit)


# There and back ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_small_modules_round_trip(name: str) -> None:
    module, data = MODULES[name](), model(name)
    back = read(data, io="float")
    verify(back)
    assert plain(back.graphs["infer"]) == plain(module.graphs["infer"])
    assert same_parameters(back, module)
    assert write(back) == data


@pytest.mark.oracle
@pytest.mark.parametrize("name", MODULES)
def test_tflm_runs_what_is_written(name: str) -> None:
    module = MODULES[name]()
    inputs = random_inputs({v.name: v.type for v in module.inputs("infer")})
    mine = list(Session(module).run(inputs).outputs.values())
    theirs = run_tflm(model(name), list(inputs.values()), len(mine))
    for a, b in zip(mine, theirs, strict=True):
        if name == "floats":
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)
        else:
            np.testing.assert_array_equal(a, b)


def test_the_tflite_package_reads_what_is_written() -> None:
    tflite = pytest.importorskip("tflite")
    m = tflite.Model.GetRootAsModel(model("convolutional"), 0)
    g = m.Subgraphs(0)
    names = [BUILTIN[m.OperatorCodes(g.Operators(i).OpcodeIndex()).BuiltinCode()] for i in range(3)]
    assert names == ["QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D"]
    options = tflite.Conv2DOptions()
    options.Init(g.Operators(1).BuiltinOptions().Bytes, g.Operators(1).BuiltinOptions().Pos)
    assert (options.StrideH(), options.StrideW(), options.Padding()) == (2, 2, 0)
    padded = decode(model("shapes"), IDENTIFIER, Model)
    assert {BUILTIN[c.code] for c in padded.codes} >= {"PAD", "PADV2", "SLICE"}


def test_names_and_numbers_of_the_schema() -> None:
    """Every one that another implementation of the schema knows; it lacks the newest."""
    theirs = pytest.importorskip("ai_edge_litert.schema_py_generated")
    for ours, enum in ((BUILTIN, theirs.BuiltinOperator), (TENSOR_TYPES, theirs.TensorType)):
        known = {name: code for code, name in ours.items()}
        stated: dict[str, int] = {name: getattr(enum, name) for name in known}
        assert known == stated
        assert len(known) == len(ours)


@pytest.mark.shared
@pytest.mark.parametrize("file", [f for f in FILES if not f.startswith("layers/")])
def test_published_model(file: str) -> None:
    data = (SHARED / "models" / file).read_bytes()
    if file in STATEFUL:
        with pytest.raises(UnsupportedError, match="cannot hold a state"):
            write(read(data))
        return
    check_published(data, run=file not in LARGE)


@pytest.mark.shared
def test_published_layers() -> None:
    layers = [f for f in FILES if f.startswith("layers/")]
    assert len(layers) == 70
    for file in layers:
        check_published((SHARED / "models" / file).read_bytes(), run=True)


def check_published(data: bytes, *, run: bool) -> None:
    """A file reads, is written, reads back equal; TFLM gives the same for both files."""
    module = read(data, io="float")
    written = write(module)
    back = read(written, io="float")
    assert plain(back.graphs["infer"]) == plain(module.graphs["infer"])
    assert same_parameters(back, module)
    read(data, io="int8")
    hybrid = any(p.data is not None and p.data.dtype == np.float32 for p in module.params.values())
    hybrid = hybrid and any(
        t.quantization and t.quantization.scale
        for t in decode(data, IDENTIFIER, Model).subgraphs[0].tensors
    )
    if not run or hybrid:
        return
    pytest.importorskip("tflite_micro")
    inputs = list(random_inputs({v.name: v.type for v in module.inputs("infer")}).values())
    count = len(module.outputs("infer"))
    for a, b in zip(run_tflm(data, inputs, count), run_tflm(written, inputs, count), strict=True):
        np.testing.assert_array_equal(a, b)


# Ends of the network ----------------------------------------------------------------------


def test_float_ends_become_integers_under_the_same_names() -> None:
    module = read(model("convolutional"), name="net")
    graph = module.graphs["infer"]
    assert [n.op.name for n in graph.nodes if "quant" in n.op.name] == []
    assert [str(v) for v in graph.inputs] == ["%image: s8[1,8,7,3]"]
    assert [str(v) for v in graph.outputs] == ["%probabilities: s8[1,3]"]
    assert graph.nodes[-1].origin == "p"
    assert module.name == "net"
    kept = read(model("convolutional"), io="float").graphs["infer"]
    assert [v.type.dtype.is_float for v in (*kept.inputs, *kept.outputs)] == [True, True]


def test_an_input_with_two_readers_stays_float() -> None:
    def edit(graph: SubGraph) -> SubGraph:
        return replace(graph, outputs=(*graph.outputs, graph.inputs[0]))

    graph = read(edited("convolutional", with_graph(edit))).graphs["infer"]
    assert graph.inputs[0].type.dtype.is_float
    assert graph.nodes[0].op.name == "quantize"


def test_unknown_io() -> None:
    with pytest.raises(UsageError, match="int8 or float"):
        read(model("floats"), io="uint8")


# Meaning ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "scale", "zero_point", "expected"),
    [
        (Activation.NONE, 0.1, 3, None),
        (Activation.RELU, 0.1, -128, None),
        (Activation.RELU, 0.1, 3, (3, 127)),
        (Activation.RELU6, 6 / 255, -128, None),
        (Activation.RELU6, 0.1, -10, (-10, 50)),
        (Activation.RELU6, 1e-9, -10, (-10, 127)),
        (Activation.RELU_N1_TO_1, 0.4, 0, (-3, 3)),
    ],
)
def test_activation_bounds(
    activation: Activation, scale: float, zero_point: int, expected: tuple[int, int] | None
) -> None:
    assert activation_bounds(activation, s8(4, scale=scale, zero_point=zero_point)) == expected


def test_hybrid_weights_are_dequantised() -> None:
    b = Builder()
    weights = np.arange(-7, 8, dtype=np.int8).reshape(3, 5)
    x, w = b.input("x", f32(2, 5)), b.param("w", weights.astype(np.float32))
    data = write(b.module([b.add(linear, (x, w), name="y")]))
    file = decode(data, IDENTIFIER, Model)
    scales = (0.1, 0.2, 0.3)
    stored = replace(file.buffers[1], data=memoryview(weights.tobytes()))
    file = replace(file, buffers=(file.buffers[0], stored, *file.buffers[2:]))
    quantised = with_tensor("w", type=9, quantization=Quantization(scales, (0, 0, 0)))
    module = read(encode(quantised(file), IDENTIFIER))
    expected = weights.astype(np.float32) * np.array(scales, np.float32)[:, None]
    found = module.params["w"]
    assert found.value.type == f32(3, 5)
    assert found.data is not None
    np.testing.assert_array_equal(found.data, expected)


def test_negative_scales_of_weights_are_folded_into_them() -> None:
    rng = np.random.default_rng(3)
    weights, bias = rng.integers(-127, 128, (4, 3, 3, 1)), rng.integers(-999, 999, 4)

    def net(flip: bool) -> bytes:
        signs = np.array([1, -1, 1, -1]) if flip else np.ones(4, int)
        channels = Quant((0.02, 0.02, 0.01, 0.03), (0,) * 4, 0)
        b = Builder()
        x = b.input("x", s8(1, 6, 6, 4, scale=0.1, zero_point=5))
        w = b.param("w", (weights * signs[:, None, None, None]).astype(np.int8), channels)
        c = b.param("c", (bias * signs).astype(np.int32))
        y = s8(1, 6, 6, 4, scale=0.3)
        attrs = Conv2d(pad=(1, 1, 1, 1), groups=4)
        data = write(b.module([b.add(conv2d, (x, w, c), attrs, type=y, name="y")]))
        stated = (0.02, -0.02, 0.01, -0.03)
        if not flip:
            return data
        edit = with_tensor("w", quantization=Quantization(stated, (0,) * 4, dimension=3))
        return encode(edit(decode(data, IDENTIFIER, Model)), IDENTIFIER)

    assert same_parameters(read(net(True)), read(net(False)))


def test_a_clamp_that_is_no_activation_is_refused_with_all_others() -> None:
    b = Builder()
    x = b.input("x", s8(1, 4, 4, 2, scale=0.1))
    y = b.add(clamp, (x,), Clamp(-7, 90), name="odd")
    once = Binary(Rounding.SINGLE)
    y = b.add(add, (y, x), once, name="once")
    y = b.add(avg_pool2d, (y,), Pool((3, 3), (1, 1), (2, 0, 0, 0)), name="lopsided")
    w = b.param("w", np.ones((3, 2), np.int8), Quant.per_tensor(0.1))
    raw = b.add(linear, (y, w), Linear(raw=True), name="raw")
    with pytest.raises(UnsupportedError) as caught:
        write(b.module([raw]))
    assert [p.where for p in caught.value.problems] == [
        'clamp "odd"',
        'add "once"',
        'avg_pool2d "lopsided"',
        'linear "raw"',
    ]


def test_a_clamp_of_the_whole_range_leaves_no_trace() -> None:
    b = Builder()
    x = b.input("x", s16(1, 4, scale=0.1))
    y = b.add(add, (x, x), name="sum")
    y = b.add(clamp, (y,), Clamp(-32768, 32767), name="nothing")
    y = b.add(add, (y, y), name="twice")
    graph = read(write(b.module([y]))).graphs["infer"]
    assert [n.op.name for n in graph.nodes] == ["add", "add"]


def test_padding_of_no_name_becomes_a_node() -> None:
    b = Builder()
    x = b.input("x", s8(1, 5, 5, 2, scale=0.1, zero_point=-4))
    w = b.param("w", np.ones((3, 3, 3, 2), np.int8), Quant.per_tensor(0.1))
    y = b.add(conv2d, (x, w), Conv2d(pad=(2, 0, 1, 1)), type=s8(1, 5, 5, 3), name="y")
    module = b.module([y])
    back = read(write(module))
    assert [n.op.name for n in back.graphs["infer"].nodes] == ["pad", "conv2d"]
    inputs = random_inputs({"x": x.type})
    np.testing.assert_array_equal(
        Session(back).run(inputs).outputs["y"], Session(module).run(inputs).outputs["y"]
    )


# Errors -----------------------------------------------------------------------------------


def rename(code: int, custom: str = "") -> Callable[[Model], Model]:
    """Every operator of the model becomes operator `code`."""
    return lambda m: replace(
        m, codes=tuple(OperatorCode(min(code, 127), custom, 1, code) for _ in m.codes)
    )


FAULTS: dict[str, tuple[bytes, type[ModelError], str]] = {
    "empty": (b"", FormatError, "the file is empty"),
    "short": (b"TFL3", FormatError, "8 to 2147483647 bytes"),
    "identifier": (b"\x1c\0\0\0ONNX" + bytes(64), FormatError, "file identifier"),
    "root": (b"\xff\xff\xff\x7fTFL3" + bytes(64), FormatError, "lies outside of the file"),
    "version": (
        edited("floats", lambda m: replace(m, version=2)),
        FormatError,
        "version of the .tflite schema",
    ),
    "no subgraph": (
        edited("floats", lambda m: replace(m, subgraphs=())),
        FormatError,
        "has no subgraph",
    ),
    "custom": (
        edited("int4", rename(CODES["CUSTOM"], "MyOp")),
        UnsupportedError,
        r'node 0 CUSTOM "y": custom operator \(MyOp\)',
    ),
    "control flow": (
        edited(
            "int4",
            lambda m: rename(CODES["WHILE"])(
                replace(m, subgraphs=(*m.subgraphs, SubGraph(name="body")))
            ),
        ),
        FormatError,
        r"has no options\n  expected: WhileOptions",
    ),
    "unsupported, all at once": (
        edited("convolutional", rename(CODES["LSH_PROJECTION"])),
        UnsupportedError,
        r"(?s)node 1 LSH_PROJECTION.*node 5 LSH_PROJECTION",
    ),
    "dynamic": (
        edited("int4", with_tensor("x", shape_signature=(1, -1))),
        UnsupportedError,
        r"dynamic shape, axis \[1\][\s\S]*export the model with a fixed shape",
    ),
    "huge": (
        edited("floats", with_tensor("x", shape=(65536, 65536))),
        UnsupportedError,
        "dynamic or too large",
    ),
    "float16": (
        edited("floats", with_tensor("x", type=1)),
        UnsupportedError,
        "only constants may be float16",
    ),
    "no scale": (
        edited("int4", with_tensor("x", quantization=None)),
        UnsupportedError,
        "integer tensor without a scale",
    ),
    "zero scale": (
        edited("int4", with_tensor("x", quantization=Quantization((0.0,), (0,)))),
        FormatError,
        "scale is zero or not a number",
    ),
    "NaN scale": (
        edited("int4", with_tensor("x", quantization=Quantization((float("nan"),), (0,)))),
        FormatError,
        "scale is zero or not a number",
    ),
    "negative scale": (
        edited("int4", with_tensor("x", quantization=Quantization((-0.1,), (0,)))),
        FormatError,
        "scale is not a positive number",
    ),
    "buffer size": (
        edited("int4", with_tensor("w", shape=(3, 7))),
        FormatError,
        r"tensor 1 \"w\": constant is not as long as its type",
    ),
    "buffer index": (edited("int4", with_tensor("w", buffer=99)), FormatError, "does not exist"),
    "not in order": (
        edited("floats", with_graph(lambda g: replace(g, operators=tuple(reversed(g.operators))))),
        FormatError,
        "is read before any node gives it a value",
    ),
    "tensor index": (
        edited("floats", with_graph(lambda g: replace(g, outputs=(999,)))),
        FormatError,
        "outputs of the model: tensor does not exist",
    ),
    "shape of a result": (
        edited("floats", with_tensor("tanh", shape=(5, 2))),
        ModelError,
        r"node \d+ TANH",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_error(fault: str) -> None:
    data, cls, pattern = FAULTS[fault]
    with pytest.raises(cls, match=pattern):
        read(data)


def test_one_bad_tensor_is_reported_once() -> None:
    with pytest.raises(ModelError) as caught:
        read(edited("shapes", with_tensor("padded", type=10)))
    assert len(caught.value.problems) == 1


def test_shared_parts_cannot_multiply() -> None:
    """A vector that names one tensor 20,000 times is refused, not copied 20,000 times."""
    count = 20_000
    tensors = (Tensor(name="t" * 50_000), *(Tensor() for _ in range(count - 1)))
    edit = with_graph(lambda g: replace(g, tensors=tensors))
    out = bytearray(edited("int4", edit))
    vector = out.index(count.to_bytes(4, "little")) + 4
    target = vector + int.from_bytes(out[vector : vector + 4], "little")
    for at in range(vector, vector + 4 * count, 4):
        out[at : at + 4] = (target - at).to_bytes(4, "little", signed=False)
    start = time.perf_counter()
    with pytest.raises(FormatError, match="overlap so often"):
        read(bytes(out))
    assert time.perf_counter() - start < 2


# Damage -----------------------------------------------------------------------------------


def reads_or_refuses(data: bytes) -> bool:
    """Whether the bytes are a model; anything but a ModelError, or two seconds, fails."""
    start = time.perf_counter()
    read_it = False
    with contextlib.suppress(ModelError):
        verify(read(data))
        read_it = True
    assert time.perf_counter() - start < 2
    return read_it


@pytest.mark.parametrize("damage", [mutate, rewrite])
@pytest.mark.parametrize("name", MODULES)
def test_damaged_models(name: str, damage: Callable[[bytes, int], bytes]) -> None:
    data = model(name)
    outcomes = [reads_or_refuses(damage(data, seed)) for seed in range(500)]
    assert 0 < sum(outcomes) < len(outcomes)


def test_every_truncation() -> None:
    data = model("int4")
    assert not any(reads_or_refuses(data[:k]) for k in range(0, len(data) - 4, 3))


# Files ------------------------------------------------------------------------------------


def test_load_model_goes_by_content(tmp_path: Path) -> None:
    written = tmp_path / "net.bin"
    written.write_bytes(model("floats"))
    module = load_model(written)
    assert module.name == "net"
    saved = tmp_path / "other.tflite"
    saved.write_bytes(save(module))
    assert load_model(saved).graphs == module.graphs


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", "an empty file"), (b"\x08\x07\x12\x04onnx" * 4, "32 bytes beginning with")],
)
def test_load_model_refuses(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "m"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=found):
        load_model(path)


def test_load_model_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot read the model"):
        load_model(tmp_path / "nothing")


def test_quantised_type_survives() -> None:
    type: TensorType = read(model("int4")).graphs["infer"].params[0].type
    assert str(type) == "s4[3,5]"
    assert type.quant == Quant.per_tensor(0.1)
