"""Element-wise operators: equal to TFLite Micro, and the C equal to NumPy, bit for bit.

Integers are compared over every input value (all pairs for two int8 operands); the C
expressions of all cases are compiled into one program under sanitizers.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tflite
from tests.expressions import (
    ALL_S8,
    ALL_S16,
    CSRC,
    FLAGS,
    FLOATS,
    PAIRS_S8,
    Case,
    compare_c,
    every,
    exact,
    filled,
    needs_gcc,
    node_of,
    options,
    ref,
)
from tests.tflite_ops import one_op_model, run_tflm

from lilliput.errors import TypeMismatch
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, NoAttrs, Op
from lilliput.ir.region import Pointwise, Whole
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16, s32
from lilliput.ops import floatmath
from lilliput.ops.elementwise import Binary, Clamp, add, clamp, mul, sub
from lilliput.ops.numeric import Rounding
from lilliput.ops.quantize import Requantize, To, cast, dequantize, quantize, requantize
from lilliput.ops.unary import ROWS, UNARY, Slope

OPS = (add, sub, mul, clamp, quantize, dequantize, requantize, cast, *UNARY.values())


def q8(n: int, scale: float, zero_point: int) -> TensorType:
    return s8(n, scale=scale, zero_point=zero_point)


def q16(n: int, scale: float) -> TensorType:
    return s16(n, scale=scale)


# Against TFLite Micro ---------------------------------------------------------------------

PAIR_SCALES = (
    (0.02, 4, 0.05, -9, 0.06, -3),
    (0.1, -128, 0.001, 127, 0.11, 127),
    (1e-4, 0, 7.0, 3, 9.0, -1),
    (0.5, 127, 0.5, -128, 0.01, 0),
)
BUILTIN = {
    "add": (tflite.BuiltinOperator.ADD, "AddOptions"),
    "sub": (tflite.BuiltinOperator.SUB, "SubOptions"),
    "mul": (tflite.BuiltinOperator.MUL, "MulOptions"),
}


@pytest.mark.oracle
@pytest.mark.parametrize("op", [add, sub, mul], ids=lambda op: op.name)
@pytest.mark.parametrize("p", PAIR_SCALES, ids=str)
def test_int8_pairs_equal_tflm(op: Op, p: tuple[float, ...]) -> None:
    n = 65536
    types = [q8(n, p[0], int(p[1])), q8(n, p[2], int(p[3]))]
    node = node_of(op, Binary(), types, q8(n, p[4], int(p[5])))
    exact(node, *BUILTIN[op.name], *PAIRS_S8, version=2)


@pytest.mark.oracle
@pytest.mark.parametrize("op", [add, sub, mul], ids=lambda op: op.name)
@pytest.mark.parametrize("scales", [(0.001, 0.0004, 0.002), (3.0, 0.1, 700.0)], ids=str)
def test_int16_equal_tflm(op: Op, scales: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(1)
    n = 65536
    node = node_of(op, Binary(), [q16(n, scales[0]), q16(n, scales[1])], q16(n, scales[2]))
    a, b = (rng.permutation(ALL_S16) for _ in range(2))
    a[:4], b[:4] = [32767, -32768, -32768, 32767], [32767, -32768, 32767, -32768]
    exact(node, *BUILTIN[op.name], a, b, version=4)


@pytest.mark.oracle
@pytest.mark.parametrize("op", [add, sub, mul], ids=lambda op: op.name)
def test_broadcast_and_float_equal_tflm(op: Op) -> None:
    rng = np.random.default_rng(2)
    x, y = (1, 3, 4, 5), (1, 1, 4, 1)
    node = node_of(
        op, Binary(), [s8(*x, scale=0.1), s8(*y, scale=0.3)], s8(*x, scale=0.5, zero_point=4)
    )
    a, b = rng.integers(-128, 128, x, np.int8), rng.integers(-128, 128, y, np.int8)
    exact(node, *BUILTIN[op.name], a, b, version=2)
    node = node_of(op, Binary(), [f32(*x), f32(*y)], f32(*x))
    a, b = (rng.normal(size=s).astype(np.float32) for s in (x, y))
    exact(node, *BUILTIN[op.name], a, b)


UNARY_SCALES = ((0.05, -7), (0.001, 127), (2.5, -128), (0.3, 0), (0.0235, 11), (1e-5, 3))
UNARY_BUILTIN = {
    "relu": (tflite.BuiltinOperator.RELU, None),
    "relu6": (tflite.BuiltinOperator.RELU6, None),
    "logistic": (tflite.BuiltinOperator.LOGISTIC, None),
    "tanh": (tflite.BuiltinOperator.TANH, None),
    "hard_swish": (tflite.BuiltinOperator.HARD_SWISH, "HardSwishOptions"),
    "exp": (tflite.BuiltinOperator.EXP, "ExpOptions"),
    "abs": (tflite.BuiltinOperator.ABS, "AbsOptions"),
    "neg": (tflite.BuiltinOperator.NEG, "NegOptions"),
    "square": (tflite.BuiltinOperator.SQUARE, "SquareOptions"),
    "elu": (tflite.BuiltinOperator.ELU, None),
    "leaky_relu": (tflite.BuiltinOperator.LEAKY_RELU, "LeakyReluOptions"),
}
FLOAT_ONLY = {"exp", "neg", "square"}


def unary_node(name: str, x: TensorType, y: TensorType | None = None) -> Node:
    attrs = Slope(0.3) if name == "leaky_relu" else UNARY[name].attrs()
    return node_of(UNARY[name], attrs, [x], y)


@pytest.mark.oracle
@pytest.mark.parametrize(("scale", "zero_point"), UNARY_SCALES)
@pytest.mark.parametrize("name", [n for n in UNARY_BUILTIN if n not in FLOAT_ONLY])
def test_int8_functions_equal_tflm(name: str, scale: float, zero_point: int) -> None:
    chosen = {r.name: r.chosen for r in ROWS}[name]
    for ratio, out_zero in ((1.0, zero_point), (0.7, -zero_point // 2), (3.1, 5)):
        if name == "relu6" and scale < 0.0235:  # TFLM refuses a six outside of int8
            continue
        y = q8(256, scale * ratio, out_zero)
        if name == "relu6":
            y = q8(256, scale, zero_point)
        if DType.S8 in chosen:
            y = TensorType((256,), DType.S8, chosen[DType.S8])
        exact(unary_node(name, q8(256, scale, zero_point), y), *UNARY_BUILTIN[name], ALL_S8)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["logistic", "tanh"])
@pytest.mark.parametrize("scale", [2.0**-12, 2.0**-11, 2.0**-10, 0.0007, 1e-4, 3e-6])
def test_int16_functions_equal_tflm(name: str, scale: float) -> None:
    exact(unary_node(name, q16(65536, scale)), *UNARY_BUILTIN[name], ALL_S16)


@pytest.mark.oracle
def test_int16_relu_equals_tflm() -> None:
    for y in (0.1, 0.03, 1.7):
        exact(unary_node("relu", q16(65536, 0.1), q16(65536, y)), *UNARY_BUILTIN["relu"], ALL_S16)


def ulps(found: Array, exact_value: Array) -> float:
    """The largest distance, in units of the last place of the exact value."""
    target = exact_value.astype(np.float64)
    with np.errstate(over="ignore"):
        near = target.astype(np.float32)
    usable = np.isfinite(near) & (np.abs(near) >= 1.2e-38)
    gap = np.spacing(np.abs(near[usable])).astype(np.float64)
    return float(np.max(np.abs(found[usable].astype(np.float64) - target[usable]) / gap))


Doubles = npt.NDArray[np.float64]


def _logistic(x: Doubles) -> Doubles:
    return 1 / (1 + np.exp(-x))


def _rsqrt(x: Doubles) -> Doubles:
    return 1 / np.sqrt(x)


EXACT_FLOAT: tuple[tuple[Callable[[Array], Array], Callable[[Doubles], Doubles], float], ...] = (
    (floatmath.exp, np.exp, 1.0),
    (floatmath.log, np.log, 1.0),
    (floatmath.tanh, np.tanh, 2.0),
    (floatmath.logistic, _logistic, 2.0),
    (floatmath.sqrt, np.sqrt, 0.5),
    (floatmath.rsqrt, _rsqrt, 1.5),
)


@pytest.mark.parametrize(
    ("ours", "true", "bound"), EXACT_FLOAT, ids=lambda v: getattr(v, "__name__", "")
)
def test_float_functions_are_accurate(
    ours: Callable[[Array], Array], true: Callable[[Doubles], Doubles], bound: float
) -> None:
    x = FLOATS[np.isfinite(FLOATS)]
    if ours in (floatmath.log, floatmath.sqrt, floatmath.rsqrt):
        x = x[x > 0]
    with np.errstate(all="ignore"):
        assert ulps(ours(x), true(x.astype(np.float64))) <= bound


def test_float_functions_at_the_ends() -> None:
    inf, nan = math.inf, math.nan
    cases = (
        (floatmath.exp, [-inf, inf, 0, -0.0, 88.8, -104], [0, inf, 1, 1, inf, 0]),
        (floatmath.log, [inf, 0, -0.0, -1, 1], [inf, -inf, -inf, nan, 0]),
        (floatmath.tanh, [-inf, inf, 0, 9.02], [-1, 1, 0, 1]),
        (floatmath.logistic, [-inf, inf, 0], [0, 1, 0.5]),
        (floatmath.sqrt, [inf, 0, -1, 4], [inf, 0, nan, 2]),
        (floatmath.rsqrt, [inf, 0, -1, 4], [0, inf, nan, 0.5]),
    )
    for function, x, y in cases:
        found = function(np.array([*x, nan], np.float32))
        np.testing.assert_array_equal(found, np.array([*y, nan], np.float32))


@pytest.mark.oracle
@pytest.mark.parametrize("name", list(UNARY_BUILTIN))
def test_float_functions_are_near_tflm(name: str) -> None:
    x = np.linspace(-20, 20, 4001, dtype=np.float32)
    node = unary_node(name, f32(x.size))
    code, option = UNARY_BUILTIN[name]
    model = one_op_model(code, [f32(x.size)], [f32(x.size)], options(option) if option else None)
    np.testing.assert_allclose(ref(node, x), run_tflm(model, [x])[0], rtol=3e-7, atol=1.2e-7)


CONVERSIONS = (
    (q8(256, 0.05, -7), q8(256, 0.02, 100)),
    (q8(256, 0.05, 127), q8(256, 0.3, -128)),
    (q8(256, 0.5, 1), q16(256, 0.01)),
    (q16(65536, 0.001), q8(65536, 0.2, 3)),
    (q16(65536, 0.3), q16(65536, 0.1)),
    (q8(256, 0.1, 0), TensorType((256,), DType.U8, Quant.per_tensor(0.1, 128))),
    (TensorType((256,), DType.U8, Quant.per_tensor(0.1, 128)), q8(256, 0.1, 0)),
    (TensorType((256,), DType.U8, Quant.per_tensor(0.1, 7)), q8(256, 0.03, -2)),
    (s32(65536).with_dtype(DType.S32, Quant.per_tensor(1e-7)), q8(65536, 0.9, -5)),
    (s32(65536).with_dtype(DType.S32, Quant.per_tensor(1e-7)), q16(65536, 0.006)),
    (q16(65536, 0.3), s32(65536).with_dtype(DType.S32, Quant.per_tensor(1e-4))),
)


@pytest.mark.oracle
@pytest.mark.parametrize(("x", "y"), CONVERSIONS, ids=str)
def test_requantize_equals_tflm(x: TensorType, y: TensorType) -> None:
    node = node_of(requantize, Requantize(y.dtype), [x], y)
    exact(node, tflite.BuiltinOperator.QUANTIZE, "QuantizeOptions", every(x))


@pytest.mark.oracle
@pytest.mark.parametrize("y", [q8(4001, 0.05, -7), q8(4001, 1.0, 5), q16(4001, 1e-3)], ids=str)
def test_quantize_equals_tflm(y: TensorType) -> None:
    x = np.linspace(-100, 100, 4001, dtype=np.float32)
    x[:2001] = np.float32(y.scale) * (np.arange(2001) / np.float32(2) - 500)
    node = node_of(quantize, To(y.dtype), [f32(4001)], y)
    exact(node, tflite.BuiltinOperator.QUANTIZE, "QuantizeOptions", x.astype(np.float32))


@pytest.mark.oracle
@pytest.mark.parametrize("x", [q8(256, 0.05, -7), q8(256, 1e-9, 127), q16(65536, 3e-5)], ids=str)
def test_dequantize_equals_tflm(x: TensorType) -> None:
    node = node_of(dequantize, NoAttrs(), [x], None)
    exact(node, tflite.BuiltinOperator.DEQUANTIZE, "DequantizeOptions", every(x))


# C against NumPy --------------------------------------------------------------------------


def sample_cases() -> list[Case]:
    cases: list[Case] = []
    for op in OPS:
        for k, s in enumerate(op.samples):
            attrs = s.attrs if isinstance(s.attrs, op.attrs) else op.attrs()
            node = node_of(op, attrs, s.inputs, s.outputs[0] if s.outputs else None)
            cases.append(Case(node, tuple(filled(t, s, k + i) for i, t in enumerate(s.inputs))))
    return cases


def sweep_cases() -> list[Case]:
    """Every int8 pair, every int16, and floats to infinity, through every expression."""
    cases: list[Case] = []
    for op in (add, sub, mul):
        for rounding in Rounding:
            for p in PAIR_SCALES:
                types = [q8(65536, p[0], int(p[1])), q8(65536, p[2], int(p[3]))]
                node = node_of(op, Binary(rounding), types, q8(65536, p[4], int(p[5])))
                cases.append(Case(node, tuple(PAIRS_S8)))
            if rounding is Rounding.EVEN:  # int8 alone
                continue
            node = node_of(
                op, Binary(rounding), [q16(65536, 1.0), q16(65536, 1e-3)], q16(65536, 9.0)
            )
            cases.append(Case(node, (ALL_S16, ALL_S16[::-1].copy())))
    for name, op in UNARY.items():
        cases.append(Case(unary_node(name, f32(FLOATS.size)), (FLOATS,)))
        for dtype in op.dtypes[1:]:
            quant = Quant.per_tensor(3e-4) if dtype.itemsize <= 2 else None
            t = TensorType((len(ALL_S16),), dtype, quant)
            x = np.resize(ALL_S8, len(ALL_S16)) if dtype is DType.S8 else ALL_S16
            cases.append(Case(unary_node(name, t), (x.astype(dtype.numpy),)))
    for x, y in CONVERSIONS:
        for rounding in (Rounding.DOUBLE, Rounding.SINGLE):
            node = node_of(requantize, Requantize(y.dtype, rounding), [x], y)
            cases.append(Case(node, (every(x),)))
    x = f32(FLOATS.size)
    ends = [
        *(
            node_of(quantize, To(y.dtype), [x], y)
            for y in (q8(x.size, 0.05, -7), q16(x.size, 1e-30))
        ),
        *(node_of(cast, To(d), [x], None) for d in (DType.S8, DType.S16, DType.S32, DType.U8)),
    ]
    return [*cases, *(Case(node, (FLOATS,)) for node in ends)]


@needs_gcc
def test_c_equals_numpy_on_samples(tmp_path: Path) -> None:
    compare_c(sample_cases(), tmp_path)


@needs_gcc
def test_c_equals_numpy_on_every_value(tmp_path: Path) -> None:
    compare_c(sweep_cases(), tmp_path)


FUNCTIONS = ("exp", "log", "tanh", "logistic", "sqrt", "rsqrt")


@needs_gcc
def test_c_float_functions_equal_numpy(tmp_path: Path) -> None:
    calls = "".join(f"        y[{k}] = ll_{name}f(x);\n" for k, name in enumerate(FUNCTIONS))
    source = tmp_path / "functions.c"
    source.write_text(
        f'#include <stdio.h>\n#include "float.h"\nint main(void)\n{{\n    float x, y[6];\n'
        f"    while (fread(&x, 4, 1, stdin) == 1) {{\n{calls}"
        f"        fwrite(y, 4, 6, stdout);\n    }}\n    return 0;\n}}\n"
    )
    program = tmp_path / "functions"
    flags = [*FLAGS, "-O2"]
    flags += ["-fsanitize=undefined", "-fno-sanitize-recover=all", f"-I{CSRC}"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(program)], check=True, timeout=60)
    bits = np.random.default_rng(5).integers(0, 2**32, 100_000, np.uint64).astype(np.uint32)
    x = np.concatenate([FLOATS, bits.view(np.float32)])
    run = subprocess.run([str(program)], input=x.tobytes(), stdout=-1, check=True, timeout=60)
    found = np.frombuffer(run.stdout, np.float32).reshape(-1, len(FUNCTIONS))
    for k, name in enumerate(FUNCTIONS):
        np.testing.assert_array_equal(found[:, k], getattr(floatmath, name)(x), err_msg=name)


# Types and regions ------------------------------------------------------------------------


def test_broadcast_regions() -> None:
    node = node_of(add, Binary(), [f32(2, 3, 4), f32(3, 1)], f32(2, 3, 4))
    assert node.op.regions is not None
    assert node.op.regions(node) == (
        (Pointwise(0), Pointwise(1), Pointwise(2)),
        (Pointwise(1), Whole()),
    )


@pytest.mark.parametrize(
    ("op", "attrs", "inputs", "message"),
    [
        (add, Binary(), [f32(2), f32(3)], "shapes do not broadcast"),
        (add, Binary(), [f32(2), s32(2)], "operand types differ"),
        (add, Binary(), [f32(2)], "wrong number of operands"),
        (mul, Binary(), [s16(2, zero_point=1), s16(2)], "int16 operand has a zero point"),
        (add, Binary(), [TensorType((2,), DType.S8), s8(2)], "not quantised per tensor"),
        (clamp, Clamp(3, 2), [f32(2)], "empty range"),
        (quantize, To(DType.S32), [f32(2)], "result of this type"),
        (UNARY["hard_swish"], NoAttrs(), [s32(2)], "operand of this type"),
    ],
)
def test_wrong_types_are_refused(
    op: Op, attrs: Attrs, inputs: list[TensorType], message: str
) -> None:
    with pytest.raises(TypeMismatch, match=message):
        node_of(op, attrs, inputs, None)


def test_rules_refuse_output_scales_they_cannot_give() -> None:
    with pytest.raises(TypeMismatch, match="output quantisation"):
        unary_node("logistic", q8(4, 0.1, 0), q8(4, 0.1, 0))
    with pytest.raises(TypeMismatch, match="output scale is too small"):
        node_of(add, Binary(), [q8(4, 9.0, 0), q8(4, 9.0, 0)], q8(4, 1e-6, 0))
