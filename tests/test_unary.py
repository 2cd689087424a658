"""Functions of one element and normalisations, where their samples are not enough.

Every int8 and int16 at scales whose quotients end in exactly a half, where a multiplier that
is one unit off shows; the float functions in units of the last place and on random bit
patterns; rows of normalisations at many scales; what is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tests.expressions import Case, compare_c, needs_gcc, node_of, ref
from tests.tflm import Tflm, run_litert
from tests.tolerances import ONE_OPERATOR, check_near

from lilliput.errors import TypeMismatch
from lilliput.frontends.tflite import read, write
from lilliput.frontends.tflite.flatbuf import decode, encode
from lilliput.frontends.tflite.options import L2NormOptions
from lilliput.frontends.tflite.schema import IDENTIFIER, Activation, Model
from lilliput.ir import Array, Attrs, Builder, Module, NoAttrs, Op, Session, TensorType
from lilliput.ir.types import DType, Quant, f32, s8, s16, s32
from lilliput.ops import floatmath
from lilliput.ops.fixed_exp import inverse_sqrt, log_q26
from lilliput.ops.normalise import LOG_QUANT, UNIT_QUANT, l2_normalize, log_softmax
from lilliput.ops.prelu import prelu
from lilliput.ops.unary import UNARY, Gelu, Slope

Doubles = npt.NDArray[np.float64]
RNG = np.random.default_rng(17)
BITS = RNG.integers(0, 2**32, 100_000, np.uint64).astype(np.uint32).view(np.float32)


def one(op: Op, attrs: Attrs, inputs: Sequence[TensorType], y: TensorType | None) -> Module:
    b = Builder()
    given = [b.input(f"x{i}", t) for i, t in enumerate(inputs)]
    return b.module([b.add(op, given, attrs, type=y)])


def theirs(op: Op, module: Module, given: Sequence[Array]) -> Array:
    """The result of the implementation that the operator names for the first operand's type."""
    data = write(module)
    if op.held_against(module.inputs("infer")[0].type.dtype).startswith("TFLM"):
        return Tflm(data, arena=4 << 20).run(given).outputs[0]
    return run_litert(data, given, reference=True)[0]


def compare(
    op: Op, attrs: Attrs, inputs: Sequence[TensorType], y: TensorType | None, *given: Array
) -> None:
    module = one(op, attrs, inputs, y)
    (ours,) = Session(module).run({f"x{i}": x for i, x in enumerate(given)}).outputs.values()
    check_near(ours, theirs(op, module, given), ONE_OPERATOR, f"{op.name} {inputs} {y}")


# Against other implementations ------------------------------------------------------------

TIES = ((0.1, 0.008), (0.05, 0.02), (0.3, 0.2), (0.0004, 0.0016), (0.15, 0.06))
ATTRS: dict[str, tuple[Attrs, ...]] = {
    "gelu": (Gelu(), Gelu(approximate=True)),
    "leaky_relu": (Slope(0.1), Slope(0.5), Slope(-1.5)),
}
FROM_ZERO = ("sqrt", "rsqrt")
HELD = [
    pytest.param(op, dtype, id=f"{op.name}-{dtype.value}")
    for op in UNARY.values()
    for dtype in (DType.S8, DType.S16)
    if op.held_against(dtype).startswith(("TFLM", "LiteRT"))
]


@pytest.mark.oracle
@pytest.mark.parametrize(("op", "dtype"), HELD)
def test_every_integer_at_scales_that_tie_equals_the_oracle(op: Op, dtype: DType) -> None:
    low, high = dtype.bounds
    for k, (x_scale, y_scale) in enumerate(TIES):
        zeros = (0, 0) if dtype is DType.S16 else ((3, 2), (-128, -128), (127, -5))[k % 3]
        first = zeros[0] if op.name in FROM_ZERO else low
        given = np.arange(first, high + 1).astype(dtype.numpy)
        x = TensorType(given.shape, dtype, Quant.per_tensor(x_scale, zeros[0]))
        (chosen,) = op.infer(op.attrs(), (x,))
        if op.name == "exp" and x_scale * high > 80:  # beyond float32, undefined in LiteRT
            continue
        if op.name == "relu6" and 6 / x_scale + zeros[0] > high:  # TFLM refuses such a six
            continue
        fixed = chosen.quant != x.quant or op.name == "relu6"
        y = chosen if fixed else TensorType(x.shape, dtype, Quant.per_tensor(y_scale, zeros[1]))
        for attrs in ATTRS.get(op.name, (op.attrs(),)):
            compare(op, attrs, (x,), y, given)


@pytest.mark.oracle
@pytest.mark.parametrize(("x_scale", "y_scale"), TIES)
@pytest.mark.parametrize("dtype", [DType.S8, DType.S16])
def test_prelu_equals_the_oracle_for_every_slope(
    dtype: DType, x_scale: float, y_scale: float
) -> None:
    low, high = dtype.bounds
    zero = 0 if dtype is DType.S16 else -11
    step = 1 if dtype is DType.S8 else 257
    values = np.arange(low, high + 1, step).astype(dtype.numpy)
    slopes = np.arange(-128, 128).astype(np.int8)
    given = np.repeat(values[:, None], 256, axis=1)
    x = TensorType(given.shape, dtype, Quant.per_tensor(x_scale, zero))
    y = TensorType(given.shape, dtype, Quant.per_tensor(y_scale, -zero))
    for alpha in (s8(256, scale=0.1, zero_point=7), s8(256, scale=0.03, zero_point=-128)):
        if dtype is DType.S16:
            alpha = s8(256, scale=alpha.scale)
        compare(prelu, NoAttrs(), (x, alpha), y, given, slopes)


@pytest.mark.oracle
@pytest.mark.parametrize("alpha", [(5,), (1, 4, 1), (3, 1, 5), (1,), (2, 3, 4, 5)], ids=str)
def test_prelu_broadcasts_as_the_oracle_does(alpha: tuple[int, ...]) -> None:
    shape = (2, 3, 4, 5)
    given = [RNG.integers(-128, 128, s, np.int8) for s in (shape, alpha)]
    types = (s8(*shape, scale=0.05, zero_point=-7), s8(*alpha, scale=0.01, zero_point=3))
    compare(prelu, NoAttrs(), types, s8(*shape, scale=0.03, zero_point=9), *given)
    floats = [RNG.normal(size=s).astype(np.float32) for s in (shape, alpha)]
    compare(prelu, NoAttrs(), (f32(*shape), f32(*alpha)), None, *floats)


@pytest.mark.oracle
@pytest.mark.parametrize("scale", [1e-6, 0.004, 0.0313, 0.1, 0.37, 1.0, 6.0, 40.0])
@pytest.mark.parametrize("op", [log_softmax, l2_normalize], ids=lambda op: op.name)
def test_rows_at_any_scale_equal_tflm(op: Op, scale: float) -> None:
    for channels, zero_point in ((1, -128), (2, 127), (3, 0), (17, -9), (1000, 4)):
        given = RNG.integers(-128, 128, (64, channels), np.int8)
        given[:16] = np.clip(given[:16], -3, 3)
        given[16] = zero_point
        x = s8(64, channels, scale=scale, zero_point=zero_point)
        compare(op, NoAttrs(), (x,), None, given)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["sin", "cos", "floor", "ceil", "round", "sqrt", "log", "rsqrt"])
def test_floats_equal_the_oracle_far_from_zero(name: str) -> None:
    x = np.concatenate([RNG.uniform(-1e5, 1e5, 3000), np.arange(-50, 50) / 2]).astype(np.float32)
    given = np.abs(x) + np.float32(0.5) if name in ("sqrt", "log", "rsqrt") else x
    compare(UNARY[name], NoAttrs(), (f32(x.size),), None, given)


# Float functions --------------------------------------------------------------------------


def ulps(found: Array, exact_value: Doubles) -> float:
    """The largest distance, in units of the last place of the exact value."""
    near = exact_value.astype(np.float32)
    usable = np.abs(near) >= np.float32(1.2e-38)
    gap = np.spacing(np.abs(near[usable])).astype(np.float64)
    return float(np.max(np.abs(found[usable].astype(np.float64) - exact_value[usable]) / gap))


@pytest.mark.parametrize(
    ("ours", "true", "bound"),
    [
        (floatmath.sin, np.sin, 3.0),
        (floatmath.cos, np.cos, 3.0),
        (floatmath.erf, np.vectorize(math.erf, otypes=[np.float64]), 2.0),
    ],
    ids=["sin", "cos", "erf"],
)
def test_float_functions_are_accurate_for_every_argument(
    ours: Callable[[Array], Array], true: Callable[[Doubles], Doubles], bound: float
) -> None:
    near_multiples = (np.arange(1, 20000) * (math.pi / 2)).astype(np.float32)
    finite = BITS[np.isfinite(BITS)]
    x = np.concatenate([finite, near_multiples, RNG.uniform(-6, 6, 50000).astype(np.float32)])
    assert ulps(ours(x), true(x.astype(np.float64))) <= bound


def test_float_functions_at_the_ends() -> None:
    inf, nan = math.inf, math.nan
    cases = (
        (floatmath.sin, [inf, -inf, 0.0, nan], [nan, nan, 0.0, nan]),
        (floatmath.cos, [inf, -inf, -0.0, nan], [nan, nan, 1.0, nan]),
        (floatmath.erf, [inf, -inf, 4.0, nan], [1.0, -1.0, 1.0, nan]),
    )
    for function, x, y in cases:
        found = function(np.array(x, np.float32))
        np.testing.assert_array_equal(found, np.array(y, np.float32))
    for function in (floatmath.sin, floatmath.erf):
        assert np.signbit(function(np.array([-0.0], np.float32)))[0]


def test_round_takes_the_even_of_two_and_keeps_the_sign_of_zero() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -0.2, 8388607.5, -0.0], np.float32)
    node = node_of(UNARY["round"], NoAttrs(), [f32(x.size)], None)
    y = np.array([0, 2, 2, -0.0, -2, -0.0, 8388608, -0.0], np.float32)
    assert ref(node, x).tobytes() == y.tobytes()


@needs_gcc
def test_c_equals_numpy_on_random_bit_patterns(tmp_path: Path) -> None:
    compare_c(
        [
            Case(node_of(op, attrs, [f32(BITS.size)], None), (BITS,))
            for op in UNARY.values()
            for attrs in ATTRS.get(op.name, (op.attrs(),))
        ],
        tmp_path,
    )


@needs_gcc
def test_c_equals_numpy_where_int32_wraps(tmp_path: Path) -> None:
    x = np.array([-(2**31), 2**31 - 1, 0, -1, 65536, -70000], np.int32)
    names = [op.name for op in UNARY.values() if DType.S32 in op.dtypes]
    assert names == ["square", "abs", "neg", "sign"]
    compare_c(
        [Case(node_of(UNARY[n], NoAttrs(), [s32(x.size)], None), (x,)) for n in names], tmp_path
    )


@needs_gcc
@pytest.mark.parametrize("dtype", [DType.S8, DType.S16])
def test_c_equals_numpy_at_scales_of_any_size(dtype: DType, tmp_path: Path) -> None:
    """float32 overflows, multipliers saturate or vanish; nothing is undefined."""
    low, high = dtype.bounds
    given = np.arange(low, high + 1).astype(dtype.numpy)
    cases: list[Case] = []
    for x_scale, y_scale in ((1e-38, 1e30), (1e20, 1e-17), (3e38, 3e38), (1e-38, 1e-38), (1, 1e-9)):
        x, y = (TensorType(given.shape, dtype, Quant.per_tensor(s)) for s in (x_scale, y_scale))
        for op in UNARY.values():
            (chosen,) = op.infer(op.attrs(), (x,))
            if chosen.quant == x.quant and op.name != "hard_swish":
                cases.append(Case(node_of(op, op.attrs(), [x], y), (given,)))
    compare_c(cases, tmp_path)


# Fixed point ------------------------------------------------------------------------------


def test_log_in_fixed_point_is_near_the_logarithm() -> None:
    a = np.unique(np.exp2(RNG.uniform(19, 31, 20000)).astype(np.int64))
    error = log_q26(a) / 2.0**26 - np.log(a / 2.0**19)
    assert float(np.max(np.abs(error))) < 1e-7


def test_inverse_sqrt_is_near_the_root() -> None:
    a = np.concatenate([np.arange(1, 5000), np.exp2(RNG.uniform(12, 31, 5000)).astype(np.int64)])
    mult, shift = inverse_sqrt(a)
    error = mult / 2.0**31 * np.exp2(shift) * np.sqrt(a) - 1
    assert float(np.max(np.abs(error))) < 2e-6
    assert [int(v[0]) for v in inverse_sqrt([0])] == [2**31 - 1, 0]


# Reading, and what is refused -------------------------------------------------------------


def test_the_activation_of_a_normalisation_is_read_as_a_clamp() -> None:
    file = write(one(l2_normalize, NoAttrs(), (f32(2, 5),), None))
    model = decode(file, IDENTIFIER, Model)
    (graph,) = model.subgraphs
    (operator,) = graph.operators
    object.__setattr__(operator, "options", L2NormOptions(Activation.RELU))
    module = read(encode(model, IDENTIFIER), io="float")
    assert [n.op.name for n in module.graphs["infer"].nodes] == ["l2_normalize", "clamp"]


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (prelu, [s16(2), s16(2)], "slope of this type"),
        (prelu, [s16(2, zero_point=3), s8(2)], "zero point of int16"),
        (prelu, [f32(2), f32(3)], "shapes do not broadcast"),
        (l2_normalize, [s8(1, 40000)], "channels"),
        (l2_normalize, [s16(1, 4)], "operand of this type"),
        (log_softmax, [s8(1, 5000)], "channels"),
        (log_softmax, [s8(1, 4, scale=1e-9)], "scale"),
        (UNARY["sin"], [s32(3)], "operand of this type"),
        (UNARY["floor"], [TensorType((3,), DType.S8)], "not quantised per tensor"),
    ],
)
def test_wrong_types_are_refused(op: Op, inputs: list[TensorType], message: str) -> None:
    with pytest.raises(TypeMismatch, match=message):
        node_of(op, op.attrs(), inputs, None)


def test_tables_of_int16_refuse_zero_points() -> None:
    with pytest.raises(TypeMismatch, match="int16 of a table has a zero point"):
        node_of(UNARY["exp"], NoAttrs(), [s16(3, scale=1e-4, zero_point=5)], None)


def test_normalisations_prescribe_the_scale_of_their_result() -> None:
    for op, quant in ((log_softmax, LOG_QUANT), (l2_normalize, UNIT_QUANT)):
        node = node_of(op, NoAttrs(), [s8(2, 3, scale=0.1)], s8(2, 3, scale=0.5))
        reasons = {k.accepts(node) for k in op.kernels}
        assert f"output quantisation is not {quant}" in reasons
        assert None not in reasons
