"""Gradient rules, operator by operator: every rule is the derivative of what the operator means.

Floats are held against differences of the NumPy meaning (PyTorch's gradients are in
`test_gradients_torch`).  Of integers a rule is what it is of the real numbers that they stand for:
rounding counts as the identity.  No operator is left out by accident: those without rules, and
those that no gradient passes, are listed here with the reason.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.gradient_cases import (
    Case,
    by_differences,
    by_rule,
    by_rules,
    gradient_module,
    make_case,
    make_node,
    real_case,
)

from lilliput.devices.device import load
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import TypeMismatch
from lilliput.ir import Op, verify
from lilliput.ir.op import Sample
from lilliput.ir.types import DType, f32, s8
from lilliput.ops import all_ops
from lilliput.ops.element_rules import SLOPES
from lilliput.ops.quantize import To
from lilliput.ops.reduce import Reduction
from lilliput.ops.registry import get
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import plan
from lilliput.tolerances import BOUNDS

DIFFERENCES, INTEGERS = BOUNDS["differences"], BOUNDS["gradients of integers"]
SMOOTH = 0.7
"""Share of an operand's elements that differences have to be able to judge."""

CONVERSIONS = ("quantize", "dequantize", "requantize", "rescale")
"""Other integers for the same number: the rule is the identity, as if nothing were rounded."""

NONE_PASSES = {
    *("floor", "ceil", "round", "sign", "floor_div"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("arg_max", "arg_min", "top_k"),
}
"""Float operators whose results are constant but for jumps."""

UNRULED = {
    **dict.fromkeys(("lstm", "gru"), "a recurrence in one operator; unrolled ones have rules"),
    **dict.fromkeys(("push", "time_filter"), "of networks that are fed frame by frame"),
    "detection": "selects boxes",
    "one_hot": "of indices",
    **dict.fromkeys(("scatter_nd", "update_slice"), "places are known at run time only"),
    "max_pool2d": "not written yet",
}
"""Float operators without rules: autodiff reports them (one that gets rules may stay here)."""

GRADIENTS = {
    *("conv2d_grad_w", "conv2d_grad_x", "max_pool2d_grad", "inside", "keep_bits", "clip_bits"),
    *("sgd", "sgd_dither", "sgd_rest", "sgd_carry", "finite_or", "round_pixels"),
}
"""What gradients and updates are made of."""


def float_samples(op: Op) -> tuple[Sample, ...]:
    return tuple(s for s in op.samples if any(t.dtype.is_float for t in s.inputs))


def integer_samples(op: Op) -> tuple[Sample, ...]:
    """Of quantised activations: s8 or s16 with a scale first."""
    return tuple(
        s
        for s in op.samples
        if any(t.dtype in (DType.S8, DType.S16) and t.quant is not None for t in s.inputs)
    )


def ruled(op: Op) -> bool:
    return any(rule is not None for rule in op.grads)


def by_name(op: Op) -> str:
    return op.name


RULED = [op for op in all_ops() if ruled(op) and float_samples(op)]
REAL = [op for op in RULED if op.name not in CONVERSIONS]
QUANTISED = [
    op for op in all_ops() if ruled(op) and integer_samples(op) and op.name not in CONVERSIONS
]


def test_every_float_operator_has_rules_or_a_reason() -> None:
    of_floats = [op for op in all_ops() if float_samples(op)]
    assert {op.name for op in of_floats if not op.grads} <= UNRULED.keys() | GRADIENTS
    assert {op.name for op in of_floats if op.grads and not ruled(op)} <= NONE_PASSES | GRADIENTS


@pytest.mark.parametrize("op", all_ops(), ids=by_name)
def test_there_is_a_rule_for_each_operand(op: Op) -> None:
    """Or more, of operators that take any number."""
    if op.grads:
        assert len(op.grads) >= max(len(s.inputs) for s in op.samples)


@pytest.mark.parametrize("op", REAL, ids=by_name)
def test_a_rule_is_the_derivative(op: Op) -> None:
    for number, sample in enumerate(float_samples(op)):
        case = make_case(op, sample, seed=number)
        found = by_rules(case)
        for i in case.wanted:
            expected, smooth = by_differences(case, i)
            assert found[i].shape == case.operands[i].shape
            assert np.isfinite(found[i]).all()
            assert smooth.mean() >= SMOOTH
            wrong = DIFFERENCES.broken(expected, found[i]) & smooth
            assert not wrong.any(), f"sample {number}, operand {i}: {_worst(expected, found[i])}"


def _worst(expected: np.ndarray, found: np.ndarray) -> str:
    at = np.unravel_index(np.argmax(np.abs(expected - found)), expected.shape)
    return f"{found[at]} instead of {expected[at]} at {tuple(map(int, at))}"


@pytest.mark.parametrize("name", [name for name, rule in SLOPES.items() if rule is not None])
def test_a_rule_keeps_a_tensor_without_axes(name: str) -> None:
    case = make_case(get(name), Sample((f32(),), low=0.5, high=1.5))
    assert by_rules(case)[0].shape == ()


@pytest.mark.parametrize("name", CONVERSIONS)
def test_rounding_is_the_identity(name: str) -> None:
    for sample in get(name).samples:
        case = make_case(get(name), sample)
        assert np.array_equal(by_rule(case, 0, case.results()), case.weights[0])


def test_a_number_without_its_scale_is_as_many_steps() -> None:
    case = make_case(get("cast"), Sample((s8(7, scale=0.25, zero_point=3),), To(DType.F32)))
    assert np.array_equal(by_rule(case, 0, case.results()), 4 * case.weights[0])


@pytest.mark.parametrize("op", QUANTISED, ids=by_name)
def test_a_rule_of_integers_is_that_of_their_real_numbers(op: Op) -> None:
    compared = 0
    for number, sample in enumerate(integer_samples(op)):
        case = make_case(op, sample, seed=number)
        try:
            real, given = real_case(case)
        except TypeMismatch:
            continue  # it means something else of floats
        for i in case.differentiable:
            found = by_rule(case, i, case.results())
            expected = by_rule(real, i, given)
            assert found.shape == case.operands[i].shape
            assert not INTEGERS.broken(expected, found).any(), f"sample {number}, operand {i}"
            compared += 1
    assert compared > 0


# What differences do not see --------------------------------------------------------------


def rule_at(name: str, *operands: object, sample: Sample | None = None) -> list[list[float]]:
    """The gradients of sum(y) at these operands."""
    arrays = tuple(np.array(x, np.float32) for x in operands)
    types = tuple(f32(*a.shape) for a in arrays)
    node = make_node(get(name), types, sample or Sample(types))
    weights = (np.ones(node.output.type.shape, np.float32),)
    case = Case(node, arrays, weights, step=0.0)
    found = by_rules(case)
    return [found[i].tolist() for i in case.wanted]


def test_what_lies_on_a_bound_passes_nothing() -> None:
    assert rule_at("relu", [-1, 0, 1]) == [[0, 0, 1]]
    assert rule_at("relu6", [-1, 0, 3, 6, 7]) == [[0, 0, 1, 0, 0]]


def test_ties_are_for_the_first_operand_of_two() -> None:
    assert rule_at("maximum", [1, 2, 3], [2, 2, 2]) == [[0, 1, 1], [1, 0, 0]]
    assert rule_at("minimum", [1, 2, 3], [2, 2, 2]) == [[1, 1, 0], [0, 0, 1]]


def test_ties_of_a_reduction_get_equal_shares() -> None:
    sample = Sample((f32(1, 4),), Reduction((1,), keepdims=False))
    assert rule_at("reduce_max", [[3, 1, 3, 2]], sample=sample) == [[[0.5, 0, 0.5, 0]]]


def test_a_product_with_zeros_has_the_products_of_the_others() -> None:
    sample = Sample((f32(3, 3),), Reduction((1,)))
    (found,) = rule_at("reduce_prod", [[2, 0, 3], [0, 5, 0], [1, 2, 4]], sample=sample)
    assert found == [[0, 6, 0], [0, 0, 0], [8, 4, 2]]


def test_the_direction_of_nothing_has_a_finite_gradient() -> None:
    (found,) = rule_at("l2_normalize", [[0, 0, 0]])
    assert np.isfinite(found).all()


def test_an_index_that_is_picked_twice_gets_both_gradients() -> None:
    case = make_case(get("gather"), Sample((f32(1, 1, 3, 2), get("gather").samples[0].inputs[1])))
    index = np.array([[2, 0, 2, 9, -4]], np.int32)
    case = Case(case.node, (case.operands[0], index), case.weights, case.step)
    c = case.weights[0][0, 0]
    expected = np.stack([c[1] + c[4], 0 * c[0], c[0] + c[2] + c[3]])
    assert np.allclose(by_rules(case)[0][0, 0], expected, atol=1e-6)


# In C -------------------------------------------------------------------------------------


QUICK = ("avg_pool2d", "gather", "maximum", "pad", "resize_bilinear", "softmax")
IN_C = [pytest.param(op, marks=[] if op.name in QUICK else [pytest.mark.slow]) for op in REAL]


@pytest.mark.gcc
@pytest.mark.parametrize("op", IN_C, ids=by_name)
def test_gradients_have_the_same_bits_in_c(op: Op, host_compiler: Toolchain) -> None:
    """All nodes are operators that are proven by themselves: this is about them together."""
    module, calls = gradient_module(op, float_samples(op))
    module = Canonicalize()(module)
    verify(module)
    proof = prove(module, plan(module, load("cortex-m4")), calls, hosts=[host_compiler])
    assert proof.exact, proof.difference
