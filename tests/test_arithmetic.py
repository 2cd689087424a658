"""Quotients, remainders, powers, comparisons and bits: every value, and the odd operands.

The samples of the operators are held against their oracles elsewhere; here are all pairs of
int8, what happens at zero divisors and at the ends of types, and floats against exact ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
import tflite
from tests.expressions import (
    ALL_S8,
    ALL_S16,
    FLOATS,
    PAIRS_S8,
    Case,
    compare_c,
    exact,
    filled,
    needs_gcc,
    node_of,
    options,
    ref,
)
from tests.tflite_ops import one_op_model, run_tflm
from tests.tflm import run_litert

from lilliput.errors import TypeMismatch
from lilliput.frontends.tflite import read, write
from lilliput.frontends.tflite.operators import READ
from lilliput.ir import Builder, Session
from lilliput.ir.graph import Node
from lilliput.ir.op import NoAttrs, Op
from lilliput.ir.types import Array, DType, Quant, TensorType, f32, s8, s16, s32
from lilliput.ops import floatpair
from lilliput.ops.arithmetic import add_n, div, floor_div, floor_mod, power, squared_difference
from lilliput.ops.compare import comparisons, maximum, minimum, select
from lilliput.ops.logical import bitwise_xor, logical_and, logical_not, logical_or, right_shift
from lilliput.ops.numeric import quantize_multiplier
from lilliput.ops.quantize import CASTS, To, cast

ARITHMETIC = (div, squared_difference, floor_div, floor_mod, power, add_n)
CHOICES = (*comparisons.values(), minimum, maximum, select)
LOGIC = (logical_and, logical_or, logical_not, bitwise_xor, right_shift)
ENDS = np.array([0, 1, -1, 2, -2, 7, -7, 2**31 - 1, -(2**31), 31, 32, -32], np.int32)
ENDS_S64 = np.array([0, 1, -1, 3, -3, 2**63 - 1, -(2**63), 2**40 + 1], np.int64)
LARGE = (16777215.0, 16777216.0, 33554432.0, 1e30, 3e38, np.inf)
ODD_SIZES = np.array([0, 1, 2, 3, 0.5, 0.1, 0.3, 7.25, 1e-45, 1e-40, *LARGE, np.nan], np.float32)
ODD = np.concatenate([ODD_SIZES, -ODD_SIZES])


def pairs(values: Array) -> list[Array]:
    return [a.ravel() for a in np.meshgrid(values, values)]


def q8(scale: float, zero_point: int) -> TensorType:
    return s8(65536, scale=scale, zero_point=zero_point)


def typed(operands: Sequence[Array]) -> list[TensorType]:
    return [
        TensorType(x.shape, DType.of(x.dtype), Quant.per_tensor(0.1) if x.itemsize < 4 else None)
        for x in operands
    ]


# Against TFLite Micro and LiteRT ----------------------------------------------------------

DIVISIONS = (
    (0.02, 4, 0.05, -9, 0.006, -3),
    (0.1, -128, 0.1, -128, 1 / 64, 0),
    (3.0, 5, 0.01, 5, 9.0, 5),
)
COARSE = (0.02, 4, 0.05, -9, 0.06, -3)


def bits(a: Array) -> Array:
    """How many bits |a| has."""
    return np.frexp(np.abs(a).astype(np.float64))[1]


@pytest.mark.oracle
@pytest.mark.parametrize("p", [*DIVISIONS, COARSE], ids=str)
def test_int8_quotients_equal_tflm_where_its_shift_is_defined(p: tuple[float, ...]) -> None:
    """Its last shift is by more than 31 where a quotient is small: undefined, and zero here."""
    za, zb = int(p[1]), int(p[3])
    a, b = (x.astype(np.int64) - z for x, z in zip(PAIRS_S8, (za, zb), strict=True))
    _, shift = quantize_multiplier(float(np.float32(p[0]) / (np.float32(p[2]) * np.float32(p[4]))))
    signed = np.where(b < 0, -a, a)
    room = 31 - bits(np.where(signed < 0, ~signed, signed))
    keep = (b != 0) & (bits(b) - 1 + room - shift <= 31)
    assert keep.sum() > 4000
    pairs_kept = [np.resize(x[keep], 65536) for x in PAIRS_S8]
    node = node_of(div, NoAttrs(), [q8(p[0], za), q8(p[2], zb)], q8(p[4], int(p[5])))
    exact(node, tflite.BuiltinOperator.DIV, "DivOptions", *pairs_kept)


@pytest.mark.parametrize("p", [*DIVISIONS, COARSE], ids=str)
def test_int8_quotients_are_within_one_step_of_the_exact_ones(p: tuple[float, ...]) -> None:
    node = node_of(div, NoAttrs(), [q8(p[0], int(p[1])), q8(p[2], int(p[3]))], q8(p[4], int(p[5])))
    a, b = (x.astype(np.float64) - z for x, z in zip(PAIRS_S8, (p[1], p[3]), strict=True))
    far = np.where(a == 0, 0.0, np.sign(a) * 1e9)
    real = np.where(b == 0, far, a * p[0] / (np.where(b == 0, 1, b) * p[2]))
    nearest = np.clip(np.round(real / p[4]) + p[5], -128, 127)
    assert np.abs(ref(node, *PAIRS_S8) - nearest).max() <= 1


SQUARES = (
    (0.02, 4, 0.05, -9, 0.06, -3),
    (0.1, -128, 0.001, 127, 0.11, 127),
    (1e-4, 0, 7.0, 3, 9.0, -1),
)
COMPARED = ((0.02, 4, 0.05, -9), (0.1, -128, 0.1, 127), (1e-6, 0, 0.9, 3))


@pytest.mark.oracle
@pytest.mark.parametrize("p", SQUARES, ids=str)
def test_int8_squared_differences_equal_tflm(p: tuple[float, ...]) -> None:
    types = [q8(p[0], int(p[1])), q8(p[2], int(p[3]))]
    node = node_of(squared_difference, NoAttrs(), types, q8(p[4], int(p[5])))
    code = tflite.BuiltinOperator.SQUARED_DIFFERENCE
    exact(node, code, "SquaredDifferenceOptions", *PAIRS_S8)


@pytest.mark.oracle
@pytest.mark.parametrize("name", list(comparisons))
@pytest.mark.parametrize(
    "p", [(0.02, 4, 0.05, -9), (0.1, -128, 0.1, 127), (1e-6, 0, 0.9, 3)], ids=str
)
def test_int8_comparisons_equal_tflm(name: str, p: tuple[float, ...]) -> None:
    types = [q8(p[0], int(p[1])), q8(p[2], int(p[3]))]
    node = node_of(comparisons[name], NoAttrs(), types, None)
    option = "".join(part.capitalize() for part in name.split("_")) + "Options"
    exact(node, getattr(tflite.BuiltinOperator, name.upper()), option, *PAIRS_S8)


@pytest.mark.oracle
@pytest.mark.parametrize("op", [floor_div, floor_mod], ids=lambda op: op.name)
def test_floored_int8_equal_litert(op: Op) -> None:
    pytest.importorskip("ai_edge_litert")
    a, b = PAIRS_S8
    usual = (b != 0) & ~((a == -128) & (b == -1))  # 128 is no int8
    a, b = a[usual], b[usual]
    node = node_of(op, NoAttrs(), typed((a, b)), None)
    code = getattr(tflite.BuiltinOperator, op.name.upper())
    model = one_op_model(code, [v.type for v in node.inputs], [node.output.type])
    theirs = run_litert(model, [a, b], reference=True)[0]
    np.testing.assert_array_equal(ref(node, a, b), theirs)


@pytest.mark.parametrize("count", [2, 8, 9, 17])
@pytest.mark.parametrize("dtype", [DType.S8, DType.S32, DType.F32])
@pytest.mark.oracle
def test_sums_of_any_number_equal_tflm_and_litert(count: int, dtype: DType) -> None:
    quant = Quant.per_tensor(0.1, 5) if dtype is DType.S8 else None
    x = TensorType((300,), dtype, quant)
    y = x.with_dtype(dtype, quant and Quant.per_tensor(0.4, -3))
    model = one_op_model(tflite.BuiltinOperator.ADD_N, [x] * count, [y], options("AddNOptions"))
    rng = np.random.default_rng(count)
    # TFLite Micro's sum of int8 overflows where many are large
    data = [rng.integers(-60, 60, x.shape).astype(dtype.numpy) for _ in range(count)]
    module = read(model, io="float")
    given = {v.name: d for v, d in zip(module.inputs("infer"), data, strict=True)}
    (ours,) = Session(module).run(given).outputs.values()
    if dtype is DType.S32:
        pytest.importorskip("ai_edge_litert")
        np.testing.assert_array_equal(ours, run_litert(model, data, reference=True)[0])
        return
    np.testing.assert_array_equal(ours, run_tflm(model, data)[0])


# Operands that others leave undefined -----------------------------------------------------


def quotient(a: int, b: int) -> int:
    return int(abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1) if b else 0


def floored(a: int, b: int) -> int:
    return a // b if b else 0


def remainder(a: int, b: int) -> int:
    return a % b if b else 0


def shifted(a: int, n: int) -> int:
    return a >> min(max(n, 0), 31)


def raised(a: int, b: int) -> int:
    if b >= 0:
        return pow(a, b, 2**32)
    return {1: 1, -1: 1 - 2 * (b & 1)}.get(a, 0)


INT32 = (
    (div, quotient),
    (floor_div, floored),
    (floor_mod, remainder),
    (right_shift, shifted),
    (power, raised),
)


@pytest.mark.parametrize(
    ("op", "meaning"), [*INT32, (power, raised)], ids=lambda v: getattr(v, "name", "")
)
def test_int32_is_defined_everywhere(op: Op, meaning: Callable[[int, int], int]) -> None:
    a, b = pairs(ENDS)
    node = node_of(op, NoAttrs(), [s32(a.size), s32(a.size)], None)
    expected = [meaning(int(x), int(y)) for x, y in zip(a, b, strict=True)]
    wrapped = np.array([v % 2**32 for v in expected], np.uint32).view(np.int32)
    np.testing.assert_array_equal(ref(node, a, b), wrapped)


def test_float_powers_are_those_of_c_at_the_ends() -> None:
    inf, nan = np.inf, np.nan
    x = [0, -0.0, 0, -0.0, -0.0, 1, -1, -1, 2, 2, 0.5, -8, nan, 5, -inf, -inf, -inf, 1, -2, -2]
    y = [3, 3, -1, -1, -2, nan, inf, 0.5, inf, -inf, inf, 1 / 3, 0, nan, 3, 0.5, -1, -7, 2, 3]
    z = [0, -0.0, inf, -inf, inf, 1, 1, nan, inf, 0, 0, nan, 1, nan, -inf, inf, -0.0, 1, 4, -8]
    found = floatpair.power(np.array(x, np.float32), np.array(y, np.float32))
    np.testing.assert_array_equal(found, np.array(z, np.float32))
    np.testing.assert_array_equal(np.signbit(found[:3]), [False, True, False])


def test_float_powers_are_accurate() -> None:
    rng = np.random.default_rng(7)
    x = np.exp(rng.uniform(-80, 80, 100_000)).astype(np.float32)
    y = rng.uniform(-4, 4, x.size).astype(np.float32)
    true = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
    normal = (true > 1.2e-38) & (true < 3.4e38)
    found = floatpair.power(x, y)
    error = np.abs(found[normal] - true[normal]) / np.spacing(found[normal])
    assert float(error.max()) <= 0.51


def test_float_remainders_are_exact() -> None:
    rng = np.random.default_rng(3)
    a = (rng.normal(size=400) * 10.0 ** rng.integers(-30, 30, 400)).astype(np.float32)
    b = (rng.normal(size=400) * 10.0 ** rng.integers(-30, 30, 400)).astype(np.float32)
    for x, y, rest in zip(a, b, floatpair.floor_mod(a, b), strict=True):
        p, q = Fraction(float(x)), Fraction(float(y))
        true = p - q * floor(p / q)
        assert rest == np.float32(float(true))


# C against NumPy --------------------------------------------------------------------------


def sample_cases() -> list[Case]:
    cases: list[Case] = []
    for op in (*ARITHMETIC, *CHOICES, *LOGIC, cast):
        for k, s in enumerate(op.samples):
            attrs = s.attrs if isinstance(s.attrs, op.attrs) else op.attrs()
            node = node_of(op, attrs, s.inputs, s.outputs[0] if s.outputs else None)
            cases.append(Case(node, tuple(filled(t, s, k + i) for i, t in enumerate(s.inputs))))
    return cases


def case_of(op: Op, operands: Sequence[Array], attrs: To | None = None) -> Case:
    node: Node = node_of(op, attrs or op.attrs(), typed(operands), None)
    return Case(node, tuple(operands))


def sweep_cases() -> list[Case]:
    """Every pair of int8, the ends of int32 and int64, odd floats, through every expression."""
    cases: list[Case] = []
    odd, ends, wide = pairs(ODD), pairs(ENDS), pairs(ENDS_S64)
    many = [FLOATS, np.random.default_rng(1).permutation(FLOATS)]
    halves = [ALL_S16, np.random.default_rng(2).permutation(ALL_S16)]
    for op in (*ARITHMETIC, *comparisons.values(), minimum, maximum, bitwise_xor, right_shift):
        data = {DType.F32: (odd, many), DType.S32: (ends,), DType.S64: (wide,)}
        data |= {DType.S8: (PAIRS_S8,), DType.S16: (halves,)}
        for dtype in op.dtypes:
            cases += [case_of(op, operands) for operands in data.get(dtype, ())]
    ints = [ALL_S8, ALL_S16, ENDS, ENDS_S64, ALL_S8.astype(np.uint8), np.array([False, True])]
    for x in (FLOATS, *ints):
        cases += [case_of(cast, (x,), To(to)) for to in CASTS]
    for p in DIVISIONS:
        types = [q8(p[0], int(p[1])), q8(p[2], int(p[3]))]
        for op in (div, squared_difference):
            node = node_of(op, NoAttrs(), types, q8(p[4] * 30, int(p[5])))
            cases.append(Case(node, tuple(PAIRS_S8)))
    for y in (s16(65536, scale=1e-6), s16(65536, scale=30.0)):
        types = [s16(65536, scale=0.3), s16(65536, scale=0.001)]
        cases.append(Case(node_of(div, NoAttrs(), types, y), tuple(halves)))
    return cases


@needs_gcc
def test_c_equals_numpy_on_samples(tmp_path: Path) -> None:
    compare_c(sample_cases(), tmp_path)


@needs_gcc
def test_c_equals_numpy_on_every_value(tmp_path: Path) -> None:
    compare_c(sweep_cases(), tmp_path)


# Types, and what files hold ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (div, [s16(2, zero_point=1), s16(2)], "int16 operand has a zero point"),
        (power, [s8(2), s8(2)], "operands of this type"),
        (add_n, [s8(2), s8(2, scale=3.0)], "quantisation of the operands"),
        (add_n, [f32(2)], "number of operands"),
        (minimum, [s8(2), s8(2, zero_point=1)], "quantisation of the operands"),
        (comparisons["less"], [TensorType((2,), DType.S8), s8(2)], "not quantised per tensor"),
        (comparisons["less"], [s8(2, scale=32.0), s8(2)], "scale is too large to compare"),
        (div, [s8(2, scale=1e38), s8(2, scale=1e-38)], "scales are too far apart"),
        (select, [s8(2), s8(2), s8(2)], "condition of this type"),
        (logical_and, [s8(2), s8(2)], "operands of this type"),
        (logical_not, [s8(2)], "operand of this type"),
        (right_shift, [s8(2), s16(2)], "operand types differ"),
    ],
)
def test_wrong_types_are_refused(op: Op, inputs: list[TensorType], message: str) -> None:
    with pytest.raises(TypeMismatch, match=message):
        node_of(op, NoAttrs(), inputs, None)


@pytest.mark.parametrize("op", [*ARITHMETIC, *CHOICES, *LOGIC, cast], ids=lambda op: op.name)
def test_every_sample_is_a_file(op: Op) -> None:
    """Nothing is left out of the comparison with other implementations by not being written."""
    for k, sample in enumerate(op.samples):
        b = Builder()
        values = [b.input(f"x{i}", t) for i, t in enumerate(sample.inputs)]
        attrs = sample.attrs if isinstance(sample.attrs, op.attrs) else op.attrs()
        y = b.add(op, values, attrs, type=sample.outputs[0] if sample.outputs else None)
        again = read(write(b.module([y]), "infer"), io="float")
        (node,) = again.graphs["infer"].nodes
        assert (node.op, node.output.type) == (op, y.type), k


def test_a_vector_selects_rows_in_the_old_operator_and_columns_in_the_new() -> None:
    x = TensorType((2, 2), DType.S32)
    condition = TensorType((2,), DType.BOOL)
    given = [np.array([True, False]), np.ones((2, 2), np.int32), np.zeros((2, 2), np.int32)]
    results: dict[str, Array] = {}
    for name in ("SELECT", "SELECT_V2"):
        assert name in READ
        model = one_op_model(getattr(tflite.BuiltinOperator, name), [condition, x, x], [x])
        module = read(model, io="float")
        named = {v.name: d for v, d in zip(module.inputs("infer"), given, strict=True)}
        (results[name],) = Session(module).run(named).outputs.values()
    assert results["SELECT"].tolist() == [[1, 1], [0, 0]]
    assert results["SELECT_V2"].tolist() == [[1, 0], [1, 0]]


def test_a_choice_between_two_quantisations_is_made_in_that_of_the_result() -> None:
    a, b, y = s8(4, scale=0.1), s8(4, scale=0.2, zero_point=-3), s8(4, scale=0.4, zero_point=5)
    model = one_op_model(tflite.BuiltinOperator.MAXIMUM, [a, b], [y])
    module = read(model, io="float")
    assert [n.op.name for n in module.graphs["infer"].nodes].count("requantize") == 2
    names = [v.name for v in module.inputs("infer")]
    given = [np.array([10, 20, -80, 127], np.int8), np.array([-3, 7, 2, -128], np.int8)]
    (found,) = Session(module).run(dict(zip(names, given, strict=True))).outputs.values()
    assert found.tolist() == [8, 10, 8, 37]
